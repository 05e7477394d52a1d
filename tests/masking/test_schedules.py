import pytest

from maskgym.errors import BadInput
from maskgym.masking.schedules import adaptive, constant, linear, parse
from maskgym.masking.select import budget


def test_the_adaptive_ratio_hides_as_many_of_100_patches_as_the_papers_say():
    schedule = adaptive()
    hidden = [budget(schedule(epoch, 800), 100) for epoch in (1, 2, 10, 100, 400, 800)]
    assert hidden == [25, 30, 44, 63, 74, 80]


@pytest.mark.parametrize("epochs", [10, 30, 2000])
def test_a_run_of_any_length_goes_through_the_ratios_of_the_papers_800_epochs(epochs):
    schedule = adaptive(cap=0.95)
    ends = [schedule(epoch, epochs) for epoch in (1, epochs)]
    assert ends == pytest.approx([adaptive(cap=0.95)(epoch, 800) for epoch in (1, 800)])


def test_a_linear_schedule_reaches_its_end_in_the_last_epoch():
    assert [linear(0, 0.5)(epoch, 4) for epoch in (1, 2, 4)] == [0.125, 0.25, 0.5]


def test_a_constant_schedule_stays():
    assert constant(0.6)(1, 10) == constant(0.6)(10, 10) == 0.6


@pytest.mark.parametrize(
    ("text", "epoch", "share"),
    [("0.75", 3, 0.75), ("constant:0.4", 3, 0.4), ("linear:0:0.5", 3, 0.15), ("adaptive:0.25:12:0.8", 800, 0.8),
     ("adaptive", 1, 0.25)],
)  # fmt: skip
def test_schedules_are_read_from_text(text, epoch, share):
    assert parse(text)(epoch, 10) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "fast", "linear", "linear:0", "linear:a:b", "adaptive:1:2:3:4"])
def test_text_that_is_no_schedule_is_refused(text):
    with pytest.raises(BadInput, match="is no schedule: write a number"):
        parse(text)

import pytest
import torch
from torch import nn

from maskgym.errors import BadInput
from maskgym.pretrain.teacher import Teacher, parse_teacher


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_memory_rises_over_the_first_quarter_and_stays():
    teacher = Teacher(student())
    told = [teacher.momentum(step, 1000) for step in (0, 125, 250, 999)]
    assert told == pytest.approx([1 - 1 / 20, 1 - 1 / 50, 1 - 1 / 80, 1 - 1 / 80])


def test_a_teacher_is_as_far_behind_in_a_short_run_as_in_a_long_one():
    """A student that goes at one pace from 0 to 1: where does its teacher stand in the end?"""
    behind = []
    for steps in (200, 20_000):
        learning = nn.Linear(1, 1, bias=False)
        learning.weight.data.fill_(0.0)
        teacher = Teacher(learning)
        for step in range(steps):
            learning.weight.data.fill_((step + 1) / steps)
            teacher.follow(learning, step, steps)
        behind.append(1 - float(teacher.network.weight))
    assert behind == pytest.approx([0.08, 0.08], abs=0.01)


def test_an_average_over_half_of_what_was_so_far_stands_where_the_student_was_at_half_its_age():
    learning = nn.Linear(1, 1, bias=False)
    learning.weight.data.fill_(0.0)
    teacher = parse_teacher("so-far:0.5", learning)
    for step in range(1000):
        learning.weight.data.fill_(step + 1.0)
        teacher.follow(learning, step, 10**6)
        if step in (99, 999):
            assert 0.55 < float(teacher.network.weight) / (step + 1) < 0.75


def test_momenta_as_the_papers_print_them_are_taken_literally():
    teacher = parse_teacher("momentum:0.999:0.9999:0.25", student())
    assert [teacher.momentum(step, 1000) for step in (0, 250)] == pytest.approx([0.999, 0.9999])


def test_the_teacher_takes_a_step_towards_weights_and_buffers():
    learning = student()
    teacher = Teacher(learning, 0.75, 0.75, of="momentum")
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    learning(torch.randn(8, 3) + 2)  # moves the norm's buffers
    with torch.no_grad():
        learning[0].weight.add_(1.0)
    teacher.follow(learning, 0, 10)
    after, theirs = teacher.network.state_dict(), learning.state_dict()
    for name in ("0.weight", "1.running_mean", "1.running_var"):
        assert not torch.equal(before[name], after[name])
        assert torch.allclose(after[name], 0.75 * before[name] + 0.25 * theirs[name])
    assert after["1.num_batches_tracked"] == 1


def test_the_teacher_gives_no_gradients_and_is_not_the_student():
    learning = student()
    teacher = Teacher(learning)
    assert not any(weight.requires_grad for weight in teacher.network.parameters())
    assert all(weight.requires_grad for weight in learning.parameters())
    assert not teacher.network.training


def test_no_text_means_no_teacher_and_bad_text_is_refused():
    assert parse_teacher("", student()) is None
    assert parse_teacher("0.1:0.2:0.5", student()).rise == 0.5
    for text in ("often", "0.9:0.8:0.1", "1:2:3:4"):
        with pytest.raises(BadInput):
            parse_teacher(text, student())

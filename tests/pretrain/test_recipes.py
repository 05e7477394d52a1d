import json
from pathlib import Path

import pytest

from maskgym.cli import parse
from maskgym.errors import BadInput
from maskgym.masking import schedules
from maskgym.pretrain import RECIPES, make_settings
from maskgym.pretrain.losses import parse_loss
from maskgym.pretrain.recipes import table
from maskgym.pretrain.settings import student_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_complete_and_its_texts_can_be_read(name):
    settings = make_settings("out", name)
    assert settings.recipe == name
    assert settings.patches.count >= 64
    if not settings.contrastive:
        parse_loss(settings.loss)
    for text in (settings.ratio, settings.hard_share):
        assert 0 <= schedules.parse(text)(settings.epochs, settings.epochs) <= 1


def test_the_papers_counts_of_amlp_come_out():
    ratio = schedules.parse(make_settings("out", "amlp").ratio)
    assert [int(ratio(epoch, 800) * 100) for epoch in (1, 2, 10, 100, 400, 800)] == [25, 30, 44, 63, 74, 80]


def test_the_command_line_goes_before_the_file_and_the_file_before_the_recipe(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text("epochs = 7\nbatch = 6\nlr = 1\n[student_settings]\nwidths = [8, 16]\n")
    line = ["--recipe", "amlp", "--settings", str(file), "--out", str(tmp_path / "run"), "--batch", "5"]
    settings = parse("pretrain", line)
    assert (settings.agent, settings.epochs, settings.batch, settings.lr) == ("amlp", 7, 5, 1.0)
    assert settings.student_settings == "widths=8,16"
    assert make_settings(tmp_path / "run", "amlp", str(file), batch=5).of_the_run() == settings.of_the_run()


def test_a_saved_run_can_be_given_back_as_settings(tmp_path):
    first = make_settings(tmp_path / "a", "anatomask", epochs=3, student_settings="widths=4,8")
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(first.of_the_run()))
    again = parse("pretrain", [f"--settings={file}", "--out", str(tmp_path / "b")])
    assert again.of_the_run() == first.of_the_run()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch = 7", "did you mean 'epochs'"),
        ("epochs = 'many'", "type int"),
        ("target = 'norm'", "raw or normalised"),
        ("epochs =", "damaged"),
    ],
)
def test_a_bad_settings_file_is_told_in_one_line(tmp_path, text, told):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=told) as error:
        make_settings(tmp_path, "random", str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"recipe": "anatomsk"}, "did you mean 'anatomask'"),
        ({"settings": "nowhere.toml"}, "cannot be read"),
        ({"batch": 0}, "batch 0"),
        ({"batch": 6, "accumulate": 4}, "parts"),
        ({"lr": -1.0}, "lr -1"),
    ],
)
def test_bad_settings_are_told_in_one_line(given, told):
    with pytest.raises(BadInput, match=told):
        make_settings("out", **given)


def test_student_settings_are_read_as_numbers():
    assert student_settings("widths=8, 16&rate=0.5") == {"widths": (8, 16), "rate": 0.5}
    with pytest.raises(BadInput, match="widths"):
        student_settings("widths=wide")


def test_the_table_in_the_docs_is_the_one_of_the_recipes():
    assert table() in (ROOT / "docs" / "pretraining.md").read_text()


def test_the_example_settings_are_understood():
    assert make_settings("out", settings=str(ROOT / "examples" / "pretrain_recipe.toml")).recipe == "random"

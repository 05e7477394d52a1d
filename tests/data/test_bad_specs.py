"""Data sets that cannot be what was asked for: each is refused in one line that says the fix."""

import shutil

import numpy as np
import published
import pytest
from refused import refusal


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("lgg:/nowhere/at/all", ["/nowhere/at/all", "does not exist"]),
        ("lgg", ["lgg", "LAYOUT:FOLDER"]),
        ("lgg:", ["LAYOUT:FOLDER"]),
        ("lggg:/tmp", ["lggg", "did you mean 'lgg'"]),
        ("phantom:/tmp", ["phantom", "did you mean 'phantoms'"]),
        ("phantoms:/tmp", ["no folder"]),
        ("phantoms?axis=1", ["phantoms?seed=3"]),
        ("phantoms?sed=1", ["did you mean 'seed'"]),
        ("phantoms?seed=one", ["seed is a number"]),
        ("phantoms?seed", ["no value"]),
        ("lgg:/tmp?axis=3", ["axis=3"]),
        ("lgg:/tmp?fit=squeeze", ["resize or pad or crop"]),
        ("lgg:/tmp?clip=1,101", ["clip=1,101"]),
        ("lgg:/tmp?clip=a,b", ["clip=a,b", "2 numbers"]),
        ("lgg:/tmp?window=5", ["window=5", "2 numbers"]),
        ("lgg:/tmp?window=5,-5", ["window=5,-5", "first"]),
        ("lgg:/tmp?body=2", ["body=2"]),
        ("lgg:/tmp?spacing=0", ["spacing=0"]),
        ("phantoms?seed=-1", ["seed=-1"]),
        ("phantoms?count=2000000", ["count=2000000", "1000000"]),
        ("phantoms?labels=organs", ["lesion or anatomy"]),
        ("lgg:/tmp?count=5", ["phantoms", "lgg"]),
    ],
)
def test_a_wrong_data_set_string_is_answered_with_the_fix(dataset, words):
    sentence = refusal(dataset)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("size", [(16,), (0, 16), (2, 2, 2, 2)])
def test_a_wrong_size_is_refused(size):
    assert "size" in refusal("phantoms", size)


def test_a_wrong_split_is_refused():
    assert "train, val or test" in refusal("phantoms", split="validation")


def test_a_wrong_layout_says_what_was_looked_for_and_what_was_found(tmp_path):
    published.busi(tmp_path / "set")
    sentence = refusal(f"lgg:{tmp_path / 'set'}")
    assert "looked for TCGA_CS_4941" in sentence
    assert "found benign, malignant, normal" in sentence


def test_an_archive_is_not_unpacked(tmp_path):
    shutil.make_archive(str(tmp_path / "set"), "zip", published.lgg(tmp_path / "set"))
    assert "not unpacked" in refusal(f"lgg:{tmp_path / 'set.zip'}")


@pytest.mark.parametrize("content", [None, "{", '{"labels": 3}'])
def test_a_decathlon_task_needs_a_table_of_contents_that_can_be_read(tmp_path, content):
    published.msd(tmp_path)
    (tmp_path / "dataset.json").unlink()
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    assert "dataset.json" in refusal(f"msd:{tmp_path}")


def test_an_empty_split_is_refused(tmp_path):
    published.msd(tmp_path, cases=1)
    assert "val split" in refusal(f"msd:{tmp_path}", split="val")


def test_nothing_left_is_refused(tmp_path):
    published.folder(tmp_path)
    for file in tmp_path.glob("images/*.png"):
        published.png(file, np.zeros((20, 24), np.uint8))
    assert "no image of" in refusal(f"folder:{tmp_path}")


def test_pictures_cannot_be_loaded_as_volumes(tmp_path):
    assert "is a picture" in refusal(f"busi:{published.busi(tmp_path)}", (8, 8, 8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("modality=FLAR", ["FLAR", "FLAIR"]),
        ("classes=tumor", ["tumor", "tumour"]),
    ],
)
def test_a_wrong_option_value_offers_the_right_one(tmp_path, options, words):
    sentence = refusal(f"lgg:{published.lgg(tmp_path)}?{options}")
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("pattern", "word"), [("(", "regular expression"), ("^x(y)", "finds no patient"), ("(y)?", "finds no patient")]
)
def test_a_pattern_that_finds_no_patient_is_refused(tmp_path, pattern, word):
    assert word in refusal(f"folder:{published.folder(tmp_path)}?patient={pattern}")


def test_grades_need_their_table(tmp_path):
    published.messidor2(tmp_path)
    (tmp_path / "messidor_data.csv").unlink()
    assert "messidor_data.csv" in refusal(f"messidor2:{tmp_path}")

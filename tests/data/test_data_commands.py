import json

import numpy as np
import published
import pytest
from PIL import Image

from maskgym.cli import main
from maskgym.data.layouts import LAYOUTS
from maskgym.drawing import CLASSES


def run(*words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return caught.value.code


def pixels(file):
    with Image.open(file) as sheet:
        return np.array(sheet)


def test_list_names_every_layout(capsys):
    assert run("data", "list") == 0
    told = capsys.readouterr().out
    for layout in LAYOUTS:
        assert f"{layout}:DIR" in told


def test_check_leaves_with_0_where_all_is_well_and_says_what_is_there(tmp_path, capsys):
    assert run("data", "check", "--data", f"busi:{published.busi(tmp_path)}") == 0
    told = capsys.readouterr().out
    for words in ("9, of which 9 can be used", "no patient ids", "in 7 of 9 cases", "2 of 9 cases", "malignant"):
        assert words in told


def test_check_leaves_with_1_and_names_every_bad_file(tmp_path, capsys):
    published.msd(tmp_path)
    for number in (1, 2):
        (tmp_path / "imagesTr" / f"hippocampus_00{number}.nii.gz").write_bytes(b"")
    assert run("data", "check", "--data", f"msd:{tmp_path}") == 1
    told = capsys.readouterr().out
    assert "2 to repair" in told
    assert "hippocampus_001.nii.gz" in told
    assert "hippocampus_002.nii.gz" in told


def test_bad_input_leaves_with_2_and_one_line(capsys):
    assert run("data", "check", "--data", "lgg:/nowhere") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "split", "prepare"])
def test_phantoms_have_no_files_to_check_or_split(command, capsys):
    assert run("data", command, "--data", "phantoms") == 2
    assert "phantoms" in capsys.readouterr().err


def test_show_outlines_labels_in_colour(tmp_path, capsys):
    data = published.lgg(tmp_path / "set")
    assert (
        run(
            "data",
            "show",
            "--data",
            f"lgg:{data}?modality=FLAIR",
            "--image-size",
            "32x32",
            "--out",
            tmp_path / "a" / "s.png",
        )
        == 0
    )
    sheet = pixels(tmp_path / "a" / "s.png")
    assert sheet.shape[2] == 3
    assert (sheet == CLASSES[0]).all(-1).sum() > 100
    assert "of 6 images of 2 patients" in capsys.readouterr().out


def test_show_draws_volumes_in_three_planes(tmp_path):
    data = published.msd(tmp_path / "set")
    assert (
        run(
            "data", "show", "--data", f"msd:{data}", "--image-size", "8x8x8", "--out", tmp_path / "s.png", "--images", 1
        )
        == 0
    )
    height, width, _ = pixels(tmp_path / "s.png").shape
    assert width > 3 * 200
    assert height < 2 * 200


def test_show_draws_colour_pictures_and_sets_without_labels(tmp_path):
    data = published.messidor2(tmp_path / "set")
    assert run("data", "show", "--data", f"messidor2:{data}", "--image-size", "32x32", "--out", tmp_path / "s.png") == 0
    sheet = pixels(tmp_path / "s.png").astype(int)
    assert (np.ptp(sheet, axis=-1) > 60).sum() > 1000


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--image-size", "12a"], "32x32x32"),
        (["--out", "sheet.jpg"], "sheet.png"),
        (["--images", "0"], "at least 1"),
        (["--split", "all"], "train, val or test"),
    ],
)
def test_show_refuses_what_makes_no_sense(tmp_path, capsys, words, answer):
    assert run("data", "show", "--data", f"lgg:{published.lgg(tmp_path)}", *words) == 2
    assert answer in capsys.readouterr().err


def test_show_takes_one_number_as_the_environment_does(tmp_path, capsys):
    data = published.lgg(tmp_path / "set")
    assert run("data", "show", "--data", f"lgg:{data}", "--image-size", 24, "--out", tmp_path / "s.png") == 0
    assert "of 6 images" in capsys.readouterr().out


def test_prepare_fills_the_store_and_verifying_mends_it(tmp_path, cache_folder, capsys):
    data = f"msd:{published.msd(tmp_path / 'set')}"
    assert run("data", "prepare", "--data", data, "--workers", 2) == 0
    assert "4 cases of 4 patients" in capsys.readouterr().out
    file = next(cache_folder.glob("cases/msd/*.label.npy"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"\x09")
    assert run("data", "prepare", "--data", data, "--verify") == 0
    assert "did not agree with their hash: 1 (hippocampus_00" in capsys.readouterr().out
    assert file.read_bytes() == whole


def test_split_writes_ids_and_not_paths(tmp_path, capsys):
    data = published.lgg(tmp_path / "set", patients=10)
    assert run("data", "split", "--data", f"lgg:{data}", "--out", tmp_path / "split.json") == 0
    told = json.loads((tmp_path / "split.json").read_text())
    assert [len(told[part]) for part in ("train", "val", "test")] == [6, 2, 2]
    assert str(tmp_path) not in json.dumps(told)
    assert told["hash"] in capsys.readouterr().out


def test_folds_are_written_side_by_side(tmp_path):
    data = published.lgg(tmp_path / "set", patients=6)
    assert run("data", "split", "--data", f"lgg:{data}", "--folds", 3, "--out", tmp_path / "fold.json") == 0
    assert sorted(file.name for file in tmp_path.glob("*.json")) == ["fold-1.json", "fold-2.json", "fold-3.json"]


def test_split_says_where_there_are_no_patient_ids(tmp_path, capsys):
    run("data", "split", "--data", f"busi:{published.busi(tmp_path)}", "--out", tmp_path / "split.json")
    assert "no patient ids" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    data = f"lgg:{published.lgg(tmp_path / 'set')}"
    for command, name in (("split", "split.json"), ("show", "sheet.png")):
        assert run("data", command, "--data", data, "--out", tmp_path / "file" / name) == 2
        assert "choose another --out" in capsys.readouterr().err


def test_clear_says_what_it_removed(tmp_path, cache_folder, capsys):
    run(
        "data",
        "show",
        "--data",
        f"lgg:{published.lgg(tmp_path / 'set')}",
        "--image-size",
        "16x16",
        "--out",
        tmp_path / "s.png",
    )
    (store,) = cache_folder.glob("cases/*/store.json")
    store.with_name(".case.7-ab.json").write_text("half")  # of a preparation that was killed: no case
    assert run("data", "clear") == 0
    assert "entries removed: 7," in capsys.readouterr().out  # six cases, and the images cut from them

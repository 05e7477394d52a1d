"""Studies: the plan, shared stages, what a kill and a failing cell leave."""

import json
import sys
from pathlib import Path

import pytest

from maskgym.errors import BadInput
from maskgym.studies.cells import record, state
from maskgym.studies.engines import Local, run_all
from maskgym.studies.study import keep, read_study

QUICK = Path(__file__).parents[2] / "examples" / "studies" / "quick.toml"
FAKE = """
import sys, pathlib
words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
with open(pathlib.Path(__file__).parent / "log", "a") as log: log.write(" ".join(words) + chr(10))
if "anatomask" in words and (pathlib.Path(__file__).parent / "break").exists(): sys.exit("it broke")
out.mkdir(parents=True, exist_ok=True)
(out / ("scores.json" if words[0] == "finetune" else "model.safetensors")).write_text("{}")
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "fake.py").write_text(FAKE)
    return (sys.executable, str(tmp_path / "fake.py"))


def test_a_network_is_pre_trained_once_for_all_label_shares(tmp_path):
    cells = read_study(QUICK).cells(tmp_path)
    kinds = [cell.kind for cell in cells]
    assert kinds.count("pretrain") == 4
    assert kinds.count("finetune") == 12
    assert all(cell.needs for cell in cells if cell.kind == "finetune" and "none" not in cell.words)


def test_failing_cells_are_told_and_only_they_run_again(tmp_path, command):
    out, cells = tmp_path / "out", read_study(QUICK).cells(tmp_path / "out")
    (tmp_path / "break").touch()
    wrong = run_all(out, cells, Local(out, 2, command))
    assert sorted(why.split(",")[0] for why in wrong.values()) == ["it broke"] * 2 + ["skipped"] * 4
    (tmp_path / "break").unlink()
    (tmp_path / "log").unlink()
    assert run_all(out, cells, Local(out, 2, command)) == {}
    assert len((tmp_path / "log").read_text().splitlines()) == 6


def test_a_cell_that_left_a_run_is_resumed_and_changed_words_run_again(tmp_path, command):
    cells = read_study(QUICK).cells(tmp_path / "out")
    cells[0].leaves.parent.mkdir(parents=True)
    (cells[0].leaves.parent / "settings.json").write_text("{}")
    run_all(tmp_path / "out", cells[:1], Local(tmp_path / "out", 1, command))
    assert (tmp_path / "log").read_text().endswith("--resume\n")
    told = json.loads(record(tmp_path / "out", cells[0]).read_text())
    record(tmp_path / "out", cells[0]).write_text(json.dumps(told | {"words": ["other"]}))
    assert state(tmp_path / "out", cells[0])["state"] == "waiting"


def test_a_folder_keeps_its_study_which_may_grow_but_not_change(tmp_path):
    study, out = tmp_path / "s.toml", tmp_path / "out"
    study.write_text(QUICK.read_text())
    keep(study, out)
    study.write_text(QUICK.read_text().replace("[0, 1]", "[0, 1, 2]"))
    keep(study, out)
    assert (out / "study.toml").read_bytes() == study.read_bytes()
    study.write_text(study.read_text().replace("epochs = 2", "epochs = 3"))
    with pytest.raises(BadInput, match="data0/random/seed0/pretrain differs"):
        keep(study, out)


def test_a_record_tells_when_and_with_what(tmp_path, command):
    cells = read_study(QUICK).cells(tmp_path / "out")
    run_all(tmp_path / "out", cells[:1], Local(tmp_path / "out", 1, command))
    told = json.loads(record(tmp_path / "out", cells[0]).read_text())
    assert set(told["versions"]) == {"python", "maskgym", "torch", "monai", "numpy"}
    assert told["started"].endswith("+00:00")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds", "seed", "did you mean 'seeds'"),
        ("epochs", "epoch", "did you mean 'epochs'"),
        ('recipe = "anatomask"', 'recipe = "anatomsk"', "did you mean 'anatomask'"),
        ("[0.1, 1.0]", "[0.0]", "leaves no patient"),
        ("[0, 1]", "[0, 0]", "twice"),
        ('"scratch"', '"../x"', "becomes a folder"),
        ('"scratch"', '"random"', "two methods"),
    ],
)
def test_bad_studies_are_refused_before_anything_runs(tmp_path, old, new, words):
    (tmp_path / "s.toml").write_text(QUICK.read_text().replace(old, new))
    with pytest.raises(BadInput, match=words):
        read_study(tmp_path / "s.toml")

"""What several cells of a study stand on is made once; who stands on what; how far a study is."""

import json
import re
from pathlib import Path
from threading import Event

import pytest

from maskgym.cli import run
from maskgym.errors import BadInput
from maskgym.studies.cells import _alone, record, run_cell, state, write
from maskgym.studies.plan import Cell
from maskgym.studies.standing import stand
from maskgym.studies.study import keep, read_study

STUDY = """
data = ["phantoms", "lgg:/nowhere"]
seeds = [0, 1]
shares = [0.1, 1.0]
[pretrain]
image_size = "32x32"
patch_size = 4
[reconstructor]
steps = 40
widths = [8, 8]
[[policy]]
agent = "a3c?width=8"
steps = 64
[[policy]]
name = "carried"
on = 0
[score]
images = 6
queries = 40
steps = 100
[[method]]
name = "scratch"
[[method]]
name = "random"
recipe = "random"
[[method]]
name = "shared"
recipe = "ahm"
[method.pretrain]
agent = "policy"
[[method]]
name = "abroad"
recipe = "ahm"
[method.pretrain]
agent = "carried"
[[method]]
name = "anew"
recipe = "ahm"
[method.pretrain]
agent = "a3c"
reconstructor = "reconstructor"
[[method]]
name = "other-size"
recipe = "random"
[method.pretrain]
patch_size = 8
"""


@pytest.fixture
def study(tmp_path) -> Path:
    (tmp_path / "s.toml").write_text(STUDY)
    return tmp_path / "s.toml"


@pytest.fixture
def cells(study, tmp_path) -> dict[str, Cell]:
    return {cell.name: cell for cell in read_study(study).cells(tmp_path / "out")}


def after(cell: Cell, option: str) -> str:
    return cell.words[cell.words.index(option) + 1]


def test_stages_are_made_once_for_each_data_set_and_one_that_is_carried_once_for_all(cells):
    kinds = [cell.kind for cell in cells.values()]
    assert [kinds.count(kind) for kind in ("split", "reconstructor", "policy", "par")] == [1, 2, 3, 2]
    assert "data0/carried" in cells
    assert "data1/carried" not in cells
    own = cells["data1/reconstructor"].words
    assert own[own.index("--train.widths") :][:3] == ("--train.widths", "8", "8")
    assert after(cells["data1/policy"], "--reconstructor").endswith("out/data1/reconstructor")
    assert cells["data1/policy"].needs == ("data1/split", "data1/reconstructor")


def test_methods_mask_by_the_policy_they_name(cells, tmp_path):
    home = tmp_path / "out"
    shared, abroad, anew = (cells[f"data1/{name}/seed1/pretrain"] for name in ("shared", "abroad", "anew"))
    assert after(shared, "--agent") == f"a3c:{home / 'data1' / 'policy'}"
    assert "data1/policy" in shared.needs
    assert after(abroad, "--agent") == f"a3c:{home / 'data0' / 'carried'}"
    assert "data0/carried" in abroad.needs
    assert after(anew, "--agent") == "a3c"
    assert after(anew, "--reconstructor") == str(home / "data1" / "reconstructor")
    assert anew.needs == ("data1/split", "data1/reconstructor")


def test_whoever_masks_is_scored_in_the_game_that_all_share(cells, tmp_path):
    scored = {
        name.split("/")[1]: cell.words[1] for name, cell in cells.items() if cell.kind == "score" and "data0" in name
    }
    home = tmp_path / "out" / "data0"
    assert scored == {
        "random": "random",
        "shared": f"a3c:{home / 'policy'}",
        "abroad": f"a3c:{home / 'carried'}",
        "anew": f"a3c:{home / 'anew' / 'seed{seed}' / 'pretrain' / 'policy'}",
    }
    assert {f"data0/anew/seed{seed}/pretrain" for seed in (0, 1)} < set(cells["data0/anew/score"].needs)
    assert after(cells["data0/anew/score"], "--par") == after(cells["data0/par"], "--out")
    assert "--queries" in cells["data0/par"].words
    assert "--queries" not in cells["data0/anew/score"].words


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('agent = "policy"', 'agent = "polisy"', "unknown agent 'polisy'"),
        ('agent = "a3c?width=8"', 'agent = "variance"', "'variance' is not one"),
        ("on = 0", "on = 2", "there are 2, from 0"),
        ("on = 0", 'reconstructor = "reconstructr"', "did you mean 'reconstructor'"),
        ("on = 0", "", None),
        ('name = "carried"', 'name = "random"', "two methods or stages"),
        ("patch_size = 4\n", "", "say patch_size in"),
        ("[reconstructor]\nsteps = 40\nwidths = [8, 8]\n", "", "add .reconstructor"),
        ("widths = [8, 8]", "widths = 8", "does not suit the option --widths"),
        ("images = 6", "imags = 6", "did you mean 'images'"),
        ("steps = 40", 'steps = "many"', "does not suit the option --steps"),
        ('"lgg:/nowhere"', '"lgg"', "is not a data set"),
    ],
)
def test_stages_that_make_no_sense_are_refused(study, old, new, words):
    assert old in STUDY
    study.write_text(STUDY.replace(old, new, 1))
    if words is None:
        read_study(study)
        return
    with pytest.raises(BadInput, match=words):
        read_study(study)


def test_other_data_may_be_given_and_is_what_the_folder_remembers(study, tmp_path):
    keep(study, tmp_path / "out", ("phantoms?seed=7",))
    kept = (tmp_path / "out" / "study.toml").read_text()
    assert kept == STUDY.replace('["phantoms", "lgg:/nowhere"]', '["phantoms?seed=7"]')
    with pytest.raises(BadInput, match="another study"):
        keep(study, tmp_path / "out", ("phantoms?seed=8",))


def finish(out: Path, cell: Cell, seconds: float) -> None:
    cell.leaves.parent.mkdir(parents=True, exist_ok=True)
    cell.leaves.write_text("{}")
    write(record(out, cell), {"words": cell.words, "state": "finished", "seconds": seconds})


def test_what_is_left_is_guessed_from_the_cells_most_alike(cells, tmp_path):
    out = tmp_path / "out"
    finish(out, cells["data0/scratch/seed0/share0.1"], 10)
    finish(out, cells["data0/random/seed0/share0.1"], 30)
    left = {one.cell.name: one.left for one in stand(out, list(cells.values()))}
    assert left["data0/scratch/seed0/share0.1"] == 0
    assert left["data0/scratch/seed1/share0.1"] == 10  # its own method
    assert left["data0/shared/seed0/share0.1"] == 20  # its data set
    assert left["data1/scratch/seed0/share0.1"] == 20  # its kind
    assert left["data0/random/seed0/pretrain"] is None


def test_status_counts_and_tells_what_failed_and_what_runs(study, cells, tmp_path, capsys):
    out = tmp_path / "out"
    keep(study, out)
    finish(out, cells["data0/scratch/seed0/share0.1"], 90)
    failed, running = cells["data0/random/seed0/pretrain"], cells["data0/scratch/seed1/share0.1"]
    told = {"words": failed.words, "state": "failed", "error": ["it", "broke"], "seconds": 1}
    write(record(out, failed), told)
    with _alone(out, running, Event()):
        run(["study", "status", str(out), "--workers", "2"])
    said = capsys.readouterr().out
    row = {words[0]: words[1:] for words in map(str.split, said.splitlines()) if words}
    assert row["finetune"][:3] == ["1", "1", str(2 * 6 * 2 * 2 - 2)]
    assert row["pretrain"][0] == "1"
    assert "failed   data0/random/seed0/pretrain: broke" in said
    assert re.search(r"running  data0/scratch/seed1/share0.1: process \d+ on ", said)
    assert "left: about 35.2 min with 2 at once, and unknown for par, policy, pretrain" in said.replace("\n", " ")
    with pytest.raises(BadInput, match="holds no study"):
        run(["study", "status", str(tmp_path)])


def test_a_study_that_was_moved_is_still_finished(tmp_path):
    there = Cell(
        "a/b", "finetune", ("a3c:x/old/data0/p", "--out", "x/old/a/b"), tmp_path / "old" / "a" / "b" / "scores.json"
    )
    here = Cell(
        "a/b", "finetune", (f"a3c:{tmp_path}/new/data0/p", "--out", f"{tmp_path}/new/a/b"), tmp_path / "new" / "done"
    )
    finish(tmp_path / "new", here, 1)
    write(record(tmp_path / "new", here), {"words": there.words, "state": "finished", "seconds": 1.0})
    assert state(tmp_path / "new", here)["state"] == "finished"
    write(record(tmp_path / "new", here), {"words": (*there.words, "--steps", "3"), "state": "finished"})
    assert state(tmp_path / "new", here)["state"] == "waiting"


def test_a_cell_says_what_its_command_said_last_without_boxes_drawn_round_it(tmp_path):
    cell = Cell("box", "finetune", ("--out", "x"), tmp_path / "box" / "scores.json")
    told = run_cell(tmp_path, cell, ("sh", "-c", "echo first; echo '│ the reason │' >&2; echo '╰────╯'; exit 3"))
    assert told["error"] == ["first", "the reason"]
    assert json.loads(record(tmp_path, cell).read_text())["state"] == "failed"
    assert record(tmp_path, cell, ".log").read_text().startswith("first")

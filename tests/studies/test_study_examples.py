"""The ready studies: each is planned without its data, and every command it would run is understood."""

from pathlib import Path

import pytest

from maskgym.cli import COMMANDS, parse, run
from maskgym.commands.score import Score
from maskgym.commands.train import Train
from maskgym.masking import schedules
from maskgym.pretrain.losses import parse_loss
from maskgym.pretrain.settings import PretrainSettings, student_settings
from maskgym.studies.plan import Cell
from maskgym.studies.study import read_study

STUDIES = sorted((Path(__file__).parents[2] / "examples" / "studies").glob("*.toml"))
PHANTOMS = ("phantoms", "phantoms?seed=1")


def understood(cell: Cell):
    name = next(" ".join(cell.words[:n]) for n in (2, 1) if " ".join(cell.words[:n]) in COMMANDS)
    return parse(name, list(cell.words[len(name.split()) :]))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_ready_study_is_planned_and_its_commands_are_understood(file, tmp_path, capsys):
    run(["study", str(file), "--out", str(tmp_path / "out"), "--dry-run", "--data", *PHANTOMS])
    said = capsys.readouterr().out
    assert "unknown for" in said.splitlines()[-1]
    cells = read_study(file, PHANTOMS).cells(tmp_path / "out")
    assert said.count("waiting ") == len(cells)
    assert not (tmp_path / "out").exists(), "a dry run writes nothing"
    names = {cell.name for cell in cells}
    assert all(names.issuperset(cell.needs) for cell in cells)
    kinds = set()
    for cell in cells:
        if (cell.kind == "finetune" and cell.kind in kinds) or "seed1" in cell.name or "seed2" in cell.name:
            continue  # alike
        kinds.add(cell.kind)
        command = understood(cell)
        if isinstance(command, PretrainSettings):
            schedules.parse(command.ratio), schedules.parse(command.hard_share), parse_loss(command.loss)
            student_settings(command.student_settings)
            assert command.patches.count > 1
        elif isinstance(command, Train | Score):
            assert command.patch_size
            assert command.reconstructor in {str(tmp_path / "out" / name) for name in names}


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_ready_study_with_its_own_data_splits_by_patient(file, tmp_path):
    cells = read_study(file).cells(tmp_path)
    real = [
        cell
        for cell in cells
        if cell.kind in ("pretrain", "finetune", "policy", "score") and "phantoms" not in cell.words
    ]
    assert all("--split-file" in cell.words for cell in real)
    assert all(any(need.endswith("/split") for need in cell.needs) for cell in real)

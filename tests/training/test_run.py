import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from maskgym.errors import BadInput
from maskgym.training.folder import Folder, Metrics
from maskgym.training.run import Plan, Run
from maskgym.training.watch import Verdict

SETTINGS = {"agent": "toy", "seed": 0}


def run(agent: Any, games: Any, path: Path, resume: bool = False, **plan: Any) -> int:
    judge = lambda judged: Verdict({"points": float(judged.weights.detach().sum())})  # noqa: E731
    return Run(agent, games, Plan(**plan), Folder(path, SETTINGS, resume), judge, quiet=True)()


@pytest.mark.parametrize("synchronous", [False, True])
def test_a_run_leaves_what_there_is_to_see(toy: Any, games: Any, tmp_path: Path, synchronous: bool) -> None:
    plan = {"steps": 400, "workers": 2, "synchronous": synchronous, "judge_every": 100, "save_every": 100}
    assert run(toy(), games, tmp_path / "run", **plan) >= 400
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"settings.json", "checkpoint.pt", "metrics.csv", "toy.pt"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.startswith(".") for name in names)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["masks"]) >= 400
    assert rows[-1]["points"]
    assert any(row["reward"] for row in rows)


@pytest.mark.parametrize("synchronous", [False, True])
def test_a_killed_run_goes_on_to_the_weights_of_one_that_was_not(
    toy: Any, games: Any, tmp_path: Path, synchronous: bool
) -> None:
    plan = {"steps": 2000, "workers": 1, "synchronous": synchronous, "judge_every": 0}
    whole = toy()
    run(whole, games, tmp_path / "whole", **plan)
    code = f"""
import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from conftest import Toy, Games
from maskgym.training.folder import Folder
from maskgym.training.run import Plan, Run
folder = Folder(Path({str(tmp_path / "killed")!r}), {SETTINGS!r})
saves, save = [], folder.save
def kill(*what):
    save(*what)
    saves.append(1)
    if len(saves) == 3:
        os.kill(os.getpid(), 9)
folder.save = kill
Run(Toy(nap=0.004), Games, Plan(save_every=40, **{plan!r}), folder, quiet=True)()
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    resumed = toy()
    assert run(resumed, games, tmp_path / "killed", resume=True, **plan) == 2000
    assert torch.equal(resumed.weights, whole.weights)
    masks = [
        int(row["masks"]) for row in csv.DictReader((tmp_path / "killed" / "metrics.csv").read_text().splitlines())
    ]
    assert masks == sorted(masks)


@pytest.mark.parametrize("synchronous", [False, True])
def test_ctrl_c_saves_and_leaves_no_process(toy: Any, games: Any, tmp_path: Path, synchronous: bool) -> None:
    class Asking(toy):  # type: ignore[misc]
        asked = False

        def rate(self, share: float) -> float:
            if share > 0.0002 and not self.asked:  # some turns have been played
                self.asked = True
                os.kill(PARENT, signal.SIGINT)
            return super().rate(share)

    PARENT = os.getpid()  # noqa: N806
    plan = {"steps": 10**6, "workers": 1, "synchronous": synchronous, "judge_every": 0}
    paid = run(Asking(nap=0.01), games, tmp_path / "run", **plan)
    assert 0 < paid < 10**6
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert sum(state["turns"]) * 4 == paid


def test_a_run_whose_workers_all_died_says_so_and_has_saved(toy: Any, games: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cursed"):
        run(toy(trouble="raises"), games, tmp_path / "run", steps=1000, workers=1)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["turns"] == [3]


def test_an_agent_with_a_way_of_its_own_is_trained_by_it(games: Any, tmp_path: Path) -> None:
    class Own:
        def learn(self, env: Any, steps: int, report: Any) -> None:
            for masks in range(64, steps + 1, 64):
                report(masks, {"reward": 0.1})

        def save(self, folder: Path) -> None:
            (folder / "own").touch()

    assert Run(Own(), games, Plan(steps=640), Folder(tmp_path / "run", SETTINGS), quiet=True)() == 640
    assert (tmp_path / "run" / "own").exists()


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    Folder(tmp_path / "run", SETTINGS)
    with pytest.raises(BadInput, match="--resume"):
        Folder(tmp_path / "run", SETTINGS)
    with pytest.raises(BadInput, match="agent was 'toy', is 'other'"):
        Folder(tmp_path / "run", {**SETTINGS, "agent": "other"}, resume=True)
    with pytest.raises(BadInput, match="no run"):
        Folder(tmp_path / "nothing", SETTINGS, resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.pdf").touch()
    with pytest.raises(BadInput, match="not empty"):
        Folder(tmp_path / "full", SETTINGS)
    with pytest.raises(BadInput, match="is a file"):
        Folder(tmp_path / "full" / "thesis.pdf", SETTINGS)


def test_a_full_disk_leaves_the_last_good_checkpoint(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = toy()
    folder, optimiser = Folder(tmp_path / "run", SETTINGS), agent.optimiser()
    folder.save(agent, optimiser, [5])

    def full(state: Any, path: Path) -> None:
        Path(path).write_bytes(b"half a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BadInput, match=r"No space left.*checkpoint stands"):
        folder.save(agent, optimiser, [9])
    assert folder.load(agent, optimiser) == [5]
    assert not any(path.name.startswith(".") for path in folder.path.iterdir())


def test_a_damaged_checkpoint_is_told_in_one_line(toy: Any, tmp_path: Path) -> None:
    agent = toy()
    folder = Folder(tmp_path / "run", SETTINGS)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"rubbish")
    with pytest.raises(BadInput, match="damaged"):
        folder.load(agent, agent.optimiser())


def test_figures_after_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    for masks in (0, 20):
        table = Metrics(tmp_path, ["masks", "reward"], masks)
        for more in (10, 20, 30):
            table.add({"masks": masks + more, "reward": 1.0, "unknown": 2})
    rows = [int(row["masks"]) for row in csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())]
    assert rows == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"workers": 0}, {"save_every": 0}, {"judge_every": -1}])
def test_senseless_plans_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="at least"):
        Plan(**wrong)  # type: ignore[arg-type]

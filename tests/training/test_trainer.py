import csv
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.learner import OwnLoop
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent
from maskgym.training.devices import compile_networks
from maskgym.training.folder import Folder, Metrics
from maskgym.training.trainer import Trainer, TrainerSettings
from maskgym.training.update import make_optimizer
from maskgym.training.watch import Evaluation

SETTINGS = {"agent": "toy", "seed": 0}


def run(agent: Any, games: Any, path: Path, **settings: Any) -> int:
    evaluate = lambda copy: Evaluation({"points": float(next(copy.parameters()).detach().sum())})  # noqa: E731
    return Trainer(agent, games, TrainerSettings(**settings), Folder(path, SETTINGS), evaluate, quiet=True)()


@pytest.mark.parametrize("synchronous", [False, True])
def test_a_run_leaves_what_there_is_to_see(toy: Any, games: Any, tmp_path: Path, synchronous: bool) -> None:
    settings = {"steps": 400, "workers": 2, "synchronous": synchronous, "eval_every": 100, "save_every": 100}
    settings["precision"] = "bf16"
    assert run(toy(trouble="needs bf16"), games, tmp_path / "run", **settings) >= 400
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"settings.json", "checkpoint.pt", "metrics.csv", "toy.pt"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.startswith(".") for name in names)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["env_steps"]) >= 400
    assert rows[-1]["points"]
    assert any(row["reward"] for row in rows)


def test_compiled_networks_train_to_the_same_weights_and_what_is_judged_is_not_compiled(
    games: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def compiled(function: Any, *args: Any, **more: Any) -> Any:
        def call(*inputs: Any, **named: Any) -> Any:
            calls.append(type(function.__self__).__name__)
            return function(*inputs, **named)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    weights = []
    for compiling in (False, True):
        agent = make_agent("a3c?width=8&images=2&masks=2", game_spec=GameSpec(Patches((4, 4), (2, 2)), ratio=0.5))
        run(agent, games, tmp_path / str(compiling), steps=8, synchronous=True, workers=1, compile=compiling)
        weights.append(torch.cat([weight.flatten() for weight in agent.parameters()]))
    assert calls.count("ActorCritic") == calls.count("Blank") == 2  # one an update, none when it was evaluated
    assert torch.equal(*weights)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(BadInput, match="C\\+\\+ compiler"):
        compile_networks(nn.Identity())
    with pytest.raises(BadInput, match="--mode synchronous"):
        TrainerSettings(compile=True)


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_weights_of_one_that_was_not(
    toy: Any, games: Any, tmp_path: Path, synchronous: bool
) -> None:
    settings = {"steps": 800, "workers": 1, "synchronous": synchronous, "eval_every": 0}
    whole = toy()
    run(whole, games, tmp_path / "whole", **settings)
    code = f"""
import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from conftest import Toy, Games
from maskgym.training.folder import Folder
from maskgym.learner import OwnLoop
from maskgym.masking.patches import Patches
from maskgym.training.trainer import Trainer, TrainerSettings
from maskgym.training.update import make_optimizer
folder = Folder(Path({str(tmp_path / "killed")!r}), {SETTINGS!r})
saves, save = [], folder.save
def kill(*what):
    save(*what)
    saves.append(1)
    if len(saves) == 3:
        os.kill(os.getpid(), 9)
folder.save = kill
Trainer(Toy(nap=0.004), Games, TrainerSettings(save_every=40, **{settings!r}), folder, quiet=True)()
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    resumed = toy()
    assert run(resumed, games, tmp_path / "killed", **settings) == 800
    assert torch.equal(resumed.weights, whole.weights)
    env_steps = [
        int(row["env_steps"]) for row in csv.DictReader((tmp_path / "killed" / "metrics.csv").read_text().splitlines())
    ]
    assert env_steps == sorted(env_steps)


@pytest.mark.parametrize("synchronous", [False, True])
def test_ctrl_c_saves_and_leaves_no_process(toy: Any, games: Any, tmp_path: Path, synchronous: bool) -> None:
    class Asking(toy):  # type: ignore[misc]
        asked = False

        def loss(self, images: Any, proposal: Any, played: Any) -> Any:
            if proposal.kept > 50 and not self.asked:  # some updates have been made
                self.asked = True
                os.kill(PARENT, signal.SIGINT)
            return super().loss(images, proposal, played)

    PARENT = os.getpid()  # noqa: N806
    settings = {"steps": 10**6, "workers": 1, "synchronous": synchronous, "eval_every": 0}
    done = run(Asking(nap=0.01), games, tmp_path / "run", **settings)
    assert 0 < done < 10**6
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert sum(state["updates"]) * 4 == done


def test_a_run_whose_workers_all_failed_says_so_and_has_saved(toy: Any, games: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cursed"):
        run(toy(trouble="raises"), games, tmp_path / "run", steps=1000, workers=1)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["updates"] == [3]


def test_a_learner_with_a_loop_of_its_own_is_trained_by_it(games: Any, tmp_path: Path) -> None:
    class Own(OwnLoop):
        def learn(self, env: Any, steps: int, report: Any = None) -> None:
            for env_steps in range(64, steps + 1, 64):
                report(env_steps, {"reward": 0.1})

    own = Own(GameSpec(Patches((4, 4), (2, 2)), ratio=0.5))
    folder = Folder(tmp_path / "run", SETTINGS)
    assert Trainer(own, games, TrainerSettings(steps=640), folder, quiet=True)() == 640
    assert (tmp_path / "run" / "agent.json").exists()
    assert folder.reached() == 640


def test_a_nan_gradient_in_one_worker_is_skipped_and_counted(
    toy: Any, games: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskgym.training.worker.TELL_EVERY", 1000.0)  # workers tell only when they leave
    agent = toy(trouble="NaN", nap=0.002)
    run(agent, games, tmp_path / "run", steps=400, workers=2, save_every=20)
    assert bool(agent.weights.isfinite().all())
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert all(bool(value.isfinite().all()) for value in state["weights"].values())
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert max(float(row["skipped"] or 0) for row in rows) == 1


def test_weights_that_are_not_finite_are_never_saved(toy: Any, games: Any, tmp_path: Path) -> None:
    agent, folder = toy(), Folder(tmp_path / "run", SETTINGS)
    optimizer = make_optimizer(agent)
    folder.save(agent, optimizer, [5])
    with torch.no_grad():
        agent.weights[1] = float("inf")
    with pytest.raises(BadInput, match=r"weights became NaN|not saved.*last checkpoint stands"):
        folder.save(agent, optimizer, [9])
    assert folder.load(toy(), optimizer) == [5]
    assert bool(torch.load(tmp_path / "run" / "toy.pt", weights_only=True)["weights"].isfinite().all())


def test_no_checkpoint_is_taken_while_a_worker_does_not_rest(
    toy: Any, games: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    saved: list[list[int]] = []
    monkeypatch.setattr("maskgym.training.watch.Watch.say", lambda self, text: said.append(text))
    monkeypatch.setattr("maskgym.training.worker_pool.WorkerPool.rest", lambda self: nullcontext([1]))
    folder = Folder(tmp_path / "run", SETTINGS)
    save = folder.save
    monkeypatch.setattr(folder, "save", lambda *what: (saved.append(what[2]), save(*what)))
    Trainer(toy(nap=0.002), games, TrainerSettings(steps=400, workers=2, save_every=20), folder, quiet=True)()
    assert len(saved) == 1  # when all had ended
    assert len(said) == 1  # and not with every update
    assert "worker 1 did not come to rest" in said[0]


def test_the_same_command_goes_on_and_another_run_is_refused(toy: Any, tmp_path: Path) -> None:
    Folder(tmp_path / "run", SETTINGS)
    Folder(tmp_path / "run", SETTINGS)
    with pytest.raises(BadInput, match="agent was 'toy', is 'other'.*--fresh") as error:
        Folder(tmp_path / "run", {**SETTINGS, "agent": "other"})
    assert "\n" not in str(error.value)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.pdf").touch()
    for fresh in (False, True):
        with pytest.raises(BadInput, match="not empty"):
            Folder(tmp_path / "full", SETTINGS, fresh)
    with pytest.raises(BadInput, match="is a file"):
        Folder(tmp_path / "full" / "thesis.pdf", SETTINGS)


def test_fresh_starts_over_and_takes_away_what_a_run_has_left_and_nothing_else(
    toy: Any, games: Any, tmp_path: Path
) -> None:
    run(toy(), games, tmp_path / "run", steps=40, workers=1)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "pictures").mkdir()
    Folder(tmp_path / "run", {**SETTINGS, "agent": "other"}, fresh=True, leaves=("pictures", "toy.pt"))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["notes.txt", "run.lock", "settings.json"]


def test_a_full_disk_leaves_the_last_good_checkpoint(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = toy()
    folder, optimizer = Folder(tmp_path / "run", SETTINGS), make_optimizer(agent)
    folder.save(agent, optimizer, [5])

    def full(state: Any, path: Path) -> None:
        Path(path).write_bytes(b"half a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BadInput, match=r"No space left.*checkpoint stands"):
        folder.save(agent, optimizer, [9])
    assert folder.load(agent, optimizer) == [5]
    assert not any(path.name.startswith(".") for path in folder.path.iterdir())


def test_a_damaged_checkpoint_is_told_in_one_line(toy: Any, tmp_path: Path) -> None:
    agent = toy()
    folder = Folder(tmp_path / "run", SETTINGS)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"rubbish")
    with pytest.raises(BadInput, match="damaged"):
        folder.load(agent, make_optimizer(agent))


def test_metrics_after_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    for done in (0, 20):
        table = Metrics(tmp_path, ["env_steps", "reward"], done)
        for more in (10, 20, 30):
            table.add({"env_steps": done + more, "reward": 1.0, "unknown": 2})
    rows = [int(row["env_steps"]) for row in csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())]
    assert rows == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"workers": 0}, {"save_every": 0}, {"eval_every": -1}])
def test_senseless_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="at least"):
        TrainerSettings(**wrong)  # type: ignore[arg-type]

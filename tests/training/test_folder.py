"""Two processes on one folder of a run: the second is refused, and a killed one is followed at once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from maskgym.errors import BadInput
from maskgym.training.devices import make_fabric
from maskgym.training.fit import Job, Plan, fit
from maskgym.training.folder import Folder
from maskgym.training.trainer import Trainer, TrainerSettings

pytestmark = pytest.mark.slow


class Slow(Job):
    """Takes one step, then sleeps; forks a child that outlives it."""

    def __init__(self, told=None):
        self.network = nn.Linear(1, 1)
        self.optimiser = torch.optim.SGD(self.network.parameters(), lr=0.0)
        self.fabric = make_fabric()
        self.told = told

    def make(self, step):
        return None

    def gradients(self, batch):
        if self.told is not None:
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            self.told.put(child)
            time.sleep(60)
        return self.network(torch.ones(1, 1)).sum()


def _hold(folder, told):
    fit(Slow(told), Plan(1, 0.0, workers=0), folder)


@pytest.fixture
def busy(tmp_path):
    """Give a folder, the process that trains in it, and the child that this one forked."""
    Folder(tmp_path / "run", {"seed": 0})
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=_hold, args=(tmp_path / "run", told), daemon=True)
    process.start()
    child = told.get(timeout=60)
    yield tmp_path / "run", process
    process.kill()
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_in_which_another_process_trains_is_refused_and_left_as_it_is(busy, fresh):
    folder, _ = busy
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match="another process is training in"):
        Folder(folder, {"seed": 0}, fresh)
    with pytest.raises(BadInput, match="another process is training in"):
        fit(Slow(), Plan(1, 0.0, workers=0), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_killed_run_is_followed_at_once_though_its_workers_live_on(busy):
    folder, process = busy
    process.kill()
    process.join()
    assert fit(Slow(), Plan(1, 0.0, workers=0), folder)


def test_a_trainer_holds_its_folder_to_the_end(tmp_path, monkeypatch):
    told = []
    code = "import sys, pathlib, maskgym.training.folder as runs; runs.Folder(pathlib.Path(sys.argv[1]), {})"

    def train(trainer):
        words = [sys.executable, "-c", code, str(tmp_path / "run")]
        told.append(subprocess.run(words, capture_output=True, text=True, check=False).stderr)

    monkeypatch.setattr(Trainer, "_in_one_process", train)
    Trainer(
        nn.Linear(1, 1), None, TrainerSettings(steps=1, synchronous=True), Folder(tmp_path / "run", {}), quiet=True
    )()
    assert "another process is training in" in told[0]

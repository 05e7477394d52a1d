import os
import signal
import threading

import numpy as np
import pytest
import torch
from torch import nn

from maskgym import checkpoint
from maskgym.errors import BadInput
from maskgym.training.devices import make_fabric
from maskgym.training.fit import Job, Plan, ahead, fit


class Line(Job):
    """Fit a line to points that every step draws anew."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Linear(4, 1)
        self.optimiser = torch.optim.SGD([{"params": self.network.parameters(), "scale": 0.5}], lr=0.0)
        self.fabric = make_fabric()
        self.rates, self.moves, self.rows, self.evaluated = [], [], [], []

    def make(self, step):
        points = torch.from_numpy(np.random.default_rng((7, step)).normal(size=(8, 4)).astype(np.float32))
        return points, 100 * points.sum(1, keepdim=True)

    def gradients(self, batch):
        points, values = batch
        noise = torch.randn(len(points), 1)  # seeded by the loop
        loss = (self.network(points) - values + noise).square().mean()
        loss.backward()
        self.before = self.network.weight.detach().clone()
        return loss

    def stepped(self, batch):
        self.rates.append(self.optimiser.param_groups[0]["lr"])
        self.moves.append(float((self.network.weight.detach() - self.before).norm()))

    def tell(self, metrics):
        self.rows.append(metrics)

    def evaluate(self):
        self.evaluated.append(self.done)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_the_learning_rate_rises_then_falls_along_a_cosine_and_groups_keep_their_scale(folder):
    job = Line()
    fit(job, Plan(100, 0.04, warm_up=0.2), folder)
    assert np.all(np.diff(job.rates[:20]) > 0)
    assert np.all(np.diff(job.rates[20:]) < 0)
    assert job.rates[60] == pytest.approx(0.5 * 0.04 * 0.5, rel=0.03)
    assert max(job.rates) == pytest.approx(0.02, rel=0.01)
    assert job.rates[-1] < 1e-5


def test_randomness_grows_from_the_seed_and_the_step_and_from_nothing_else(tmp_path):
    class Noted(Line):
        def gradients(self, batch):
            self.drawn.append(float(torch.rand(())))
            return super().gradients(batch)

    def drawn(seed, outside):
        job = Noted()
        job.drawn = []
        torch.manual_seed(outside)
        folder = tmp_path / f"{seed}-{outside}"
        folder.mkdir()
        fit(job, Plan(3, 0.01, seed=seed), folder)
        return job.drawn

    first = drawn(1, outside=5)
    assert len(set(first)) == 3, "no step repeats another's"
    assert drawn(1, outside=6) == first
    assert not set(drawn(2, outside=5)) & set(first)


@pytest.mark.parametrize(
    ("decay", "expected"), [("constant", [1, 1, 1]), ("stairs", [1, 0.9, 0.81]), ("poly", [1, 0.986, 0.973])]
)
def test_other_decays_are_those_of_the_papers(decay, expected):
    plan = Plan(2000, 1.0, decay)
    assert [plan.rate(step) for step in (0, 30, 60)] == pytest.approx(expected, abs=2e-3)


def test_gradients_are_cut_to_the_length_asked_for(folder):
    free, cut = Line(), Line()
    fit(free, Plan(5, 1e-3, "constant"), folder)
    (folder / checkpoint.NAME).unlink()
    fit(cut, Plan(5, 1e-3, "constant", clip=0.1), folder)
    assert max(cut.moves) <= 0.5 * 1e-3 * 0.1 * 1.001
    assert min(free.moves) > 100 * max(cut.moves)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_cut_ends_with_the_weights_of_one_that_was_not(folder, tmp_path, workers):
    plan = Plan(25, 1e-3, warm_up=0.1, save_every=6, eval_every=10, workers=workers)
    whole = Line()
    assert fit(whole, plan, folder)

    class Cut(Exception):
        pass

    class Dying(Line):
        def gradients(self, batch):
            if self.done == 17:
                raise Cut
            return super().gradients(batch)

    (tmp_path / "other").mkdir()
    with pytest.raises(Cut):
        fit(Dying(), plan, tmp_path / "other")
    again = Line()
    assert fit(again, plan, tmp_path / "other")
    assert torch.equal(whole.network.weight, again.network.weight)
    assert (again.evaluated, whole.evaluated) == ([20, 25], [10, 20, 25])
    assert len(again.rates) == 25 - 12


def test_ctrl_c_saves_and_the_same_call_goes_on(folder):
    class Interrupted(Line):
        def stepped(self, batch):
            super().stepped(batch)
            if self.done == 7:
                os.kill(os.getpid(), signal.SIGINT)

    assert not fit(Interrupted(), Plan(20, 1e-3), folder)
    assert torch.load(folder / checkpoint.NAME, weights_only=True)["done"] == 7
    assert fit(Line(), Plan(20, 1e-3), folder)


def test_a_loss_that_is_no_number_names_its_step_and_leaves_the_last_checkpoint(folder):
    class Broken(Line):
        def make(self, step):
            points, values = super().make(step)
            return points, values * (float("nan") if step == 13 else 1)

        def blame(self, batch):
            return ", of these points"

    with pytest.raises(BadInput, match=r"the loss is nan at step 14, of these points: lower --lr 0\.001"):
        fit(Broken(), Plan(30, 1e-3, save_every=4), folder)
    kept = torch.load(folder / checkpoint.NAME, weights_only=True)
    assert kept["done"] == 12
    assert kept["job"]["network"]["weight"].isfinite().all()


def test_a_damaged_checkpoint_and_a_full_disk_are_told_in_one_line(folder, monkeypatch):
    fit(Line(), Plan(4, 1e-3), folder)
    whole = (folder / checkpoint.NAME).read_bytes()
    (folder / checkpoint.NAME).write_bytes(whole[:100])
    with pytest.raises(BadInput, match=r"checkpoint\.pt is damaged"):
        fit(Line(), Plan(4, 1e-3), folder)
    (folder / checkpoint.NAME).write_bytes(whole)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BadInput, match="No space left"):
        fit(Line(), Plan(8, 1e-3), folder)
    assert sorted(path.name for path in folder.iterdir()) == [checkpoint.NAME, "run.lock"]
    assert (folder / checkpoint.NAME).read_bytes() == whole


def test_batches_are_made_ahead_in_other_threads_and_come_in_order():
    makers = set()

    def make(step):
        makers.add(threading.current_thread().name)
        return step

    assert list(ahead(make, 3, 40, workers=3)) == list(range(3, 40))
    assert threading.current_thread().name not in makers


def test_the_share_of_time_spent_waiting_for_batches_is_told(folder):
    class Slow(Line):
        def make(self, step):
            threading.Event().wait(0.02)
            return super().make(step)

    job = Slow()
    fit(job, Plan(10, 1e-3, workers=0), folder)
    assert job.rows[-1]["waiting"] > 0.5
    assert job.waited / job.seconds > 0.5

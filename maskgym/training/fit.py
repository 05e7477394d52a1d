"""The one loop that fits a network by gradients: reconstructors, students in pre-training, segmenters in fine-tuning.

All randomness of step s grows from (seed, s), so on a CPU a run that was killed and goes on ends with the weights of
one that was not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from maskgym import checkpoint
from maskgym.errors import BadInput
from maskgym.training.devices import anywhere
from maskgym.training.folder import alone
from maskgym.training.interrupts import interrupts
from maskgym.training.rates import cosine

Decay = Literal["cosine", "constant", "stairs", "poly"]
TELL_EVERY = 10  # steps between two rows of metrics; on a GPU they are also the pace at which it is waited for


@dataclass(frozen=True)
class Plan:
    """How a network is fitted."""

    steps: int
    """Of the optimiser."""
    lr: float
    """Peak learning rate."""
    decay: Decay = "cosine"
    """After the warm-up: a cosine to zero, constant, x 0.9 every 1.5 % (stairs), or (1 - share)^0.9 (poly)."""
    warm_up: float = 0.0
    """Share of the steps in which the learning rate rises linearly."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 = any."""
    seed: int = 0
    """Of all randomness."""
    save_every: int = 200
    """Steps between two checkpoints."""
    eval_every: int = 0
    """Steps between two evaluations; 0 = only at the end."""
    workers: int = 2
    """Threads that prepare batches ahead; 0 = none."""

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, from 0."""
        done = (step + 0.5) / self.steps  # the middle of a step: neither its first nor its last one stands still
        if done < self.warm_up or self.decay == "cosine":
            return self.lr * cosine(done, self.warm_up)
        share = (done - self.warm_up) / max(1 - self.warm_up, 1e-9)
        if self.decay == "stairs":
            return self.lr * 0.9 ** floor(200 * share / 3)
        return self.lr * (1 - share) ** 0.9 if self.decay == "poly" else self.lr


class Job:
    """What is fitted, and how: override `make` and `gradients`, and what else the job needs.

    Attributes:
        network: whose gradients are clipped.
        optimiser: a group may have a `scale`, its learning rate over the others'.
        fabric: from `make_fabric`.
        done: steps taken.
        seconds: they took, over all starts.
        waited: of these seconds, spent waiting for batches.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    fabric: Any
    done: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def begin(self) -> AbstractContextManager[Any]:
        """Open what is to be closed when training ends; `done` is known."""
        return nullcontext()

    def make(self, step: int) -> Any:
        """Prepare the batch of a step; called ahead of time and in another thread."""
        raise NotImplementedError

    def gradients(self, batch: Any) -> Tensor:
        """Compute loss and gradients of one step; the loss stays where it was computed."""
        raise NotImplementedError

    def stepped(self, batch: Any) -> None:
        """Do what follows the optimiser's step; `done` counts it already."""

    def tell(self, metrics: dict[str, float]) -> None:
        """Note what the last steps were like."""

    def evaluate(self) -> None:
        """Evaluate what was learned; leaves no trace in the training."""

    def enough(self) -> bool:
        """Say whether training may end early."""
        return False

    def blame(self, batch: Any) -> str:
        """Name what was in a batch whose loss is no number."""
        return ""

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to go on as if nothing had happened."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def keep(self) -> None:
        """Write what others use of the run; follows every checkpoint."""


def fit(job: Job, plan: Plan, folder: Path) -> bool:
    """Train from the folder's checkpoint, or from the start, to the end; False if it was interrupted.

    Ctrl-C and a polite kill save first; after any kill the last checkpoint stands.
    """
    with alone(folder) if job.fabric.is_global_zero else nullcontext():
        return _fit(job, plan, folder)


def _fit(job: Job, plan: Plan, folder: Path) -> bool:
    _go_on(job, folder)
    if job.done >= plan.steps and job.fabric.is_global_zero:
        job.keep()  # the run was killed between its last checkpoint and this, or what it left was deleted
    pending: list[tuple[int, Tensor, Any]] = []  # steps whose loss was not looked at yet
    earlier, started, waited = job.seconds, time.monotonic(), job.waited
    made_ahead = closing(ahead(job.make, job.done, plan.steps, plan.workers))
    with interrupts() as asked, job.begin(), made_ahead as batches:
        while job.done < plan.steps and not job.enough():
            before = time.monotonic()
            batch = next(batches)
            job.waited += time.monotonic() - before
            pending.append((job.done + 1, take_step(job, plan, batch), batch))
            job.seconds = earlier + time.monotonic() - started
            ended = job.done == plan.steps
            evaluating = ended or (plan.eval_every > 0 and job.done % plan.eval_every == 0)
            stop = anywhere(job.fabric, asked())
            saving = evaluating or stop or job.done % plan.save_every == 0
            if saving or job.done % TELL_EVERY == 0:
                metrics = _sum_up(job, plan, pending)
                share = (job.waited - waited) / max(time.monotonic() - started, 1e-9)
                job.tell(metrics | {"waiting": round(share, 4)})
            if evaluating:
                job.evaluate()
            if saving:
                _save(job, folder)
            if stop and not ended:
                return False
    return True


def take_step(job: Job, plan: Plan, batch: Any) -> Tensor:
    """Take one step; the loss stays where it was computed."""
    for group in job.optimiser.param_groups:
        group["lr"] = plan.rate(job.done) * group.get("scale", 1.0)
    job.optimiser.zero_grad()
    with torch.random.fork_rng(devices=[]):
        random = np.random.default_rng((plan.seed, job.done, job.fabric.global_rank))
        _seed(int(random.integers(2**62)))
        loss = job.gradients(batch)
    if plan.clip:
        nn.utils.clip_grad_norm_(job.network.parameters(), plan.clip)
    job.optimiser.step()
    job.done += 1
    job.stepped(batch)
    return loss.detach()


def _seed(seed: int) -> None:
    """As torch.manual_seed, which writes down the whole call stack for every kind of device: 2 ms of each step."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def _sum_up(job: Job, plan: Plan, pending: list[tuple[int, Tensor, Any]]) -> dict[str, float]:
    """Check the last steps and average their losses."""
    losses = torch.stack([loss for _, loss, _ in pending]).tolist()
    for (step, _, batch), loss in zip(pending, losses, strict=True):
        if not np.isfinite(loss):
            raise BadInput(
                f"the loss is {loss} at step {step}{job.blame(batch)}: lower --lr {plan.lr:g} or see `maskgym data "
                "check`; the last checkpoint stands"
            )
    pending.clear()
    return {"loss": float(np.mean(losses)), "learning rate": plan.rate(job.done - 1)}


def _go_on(job: Job, folder: Path) -> None:
    def take(state: dict[str, Any]) -> None:
        job.load(state["job"])
        job.done, job.seconds, job.waited = int(state["done"]), float(state["seconds"]), float(state["waited"])

    checkpoint.read(folder, job.fabric.device, take)


def _save(job: Job, folder: Path) -> None:
    if job.fabric.is_global_zero:
        state = {"job": job.state(), "done": job.done, "seconds": job.seconds, "waited": job.waited}
        checkpoint.write(folder, state)
        job.keep()
    job.fabric.barrier()


def ahead(make: Callable[[int], Any], first: int, last: int, workers: int = 2) -> Generator[Any, None, None]:
    """Give make(first), ..., make(last - 1) in order, some prepared ahead of time by threads."""
    if not workers:
        yield from map(make, range(first, last))
        return
    with ThreadPoolExecutor(workers, "batches") as threads:
        waiting: deque[Future[Any]] = deque()
        try:
            for step in range(first, last):
                waiting.append(threads.submit(make, step))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for batch in waiting:
                batch.cancel()

"""Watching a training: a line of progress, TensorBoard, `metrics.csv`, and how good the agent is on val."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskgym.training.board import open_board
from maskgym.training.folder import Metrics

_COLUMNS = ("env_steps", "seconds", "worker", "points", "above random", "reward", "loss", "policy loss", "value loss")
_MORE = ("ranking loss", "gradient norm", "skipped", "env_steps per second")


class Evaluation(NamedTuple):
    """How good an agent is on a fixed set of images."""

    metrics: dict[str, float]  # "points" where par is known, else "above random", in percent
    picture: np.ndarray | None = None  # (H, W, 3) uint8


Evaluate = Callable[[Any], Evaluation]


class Watch:
    """Everything a person can look at while an agent trains.

    Args:
        folder: for TensorBoard and `metrics.csv`.
        steps: env steps of the whole training.
        env_steps: those done when this start of it began.
        workers: how many processes report.
        quiet: print no progress.
        log: where curves go besides TensorBoard, see `maskgym.training.board`.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        env_steps: int = 0,
        workers: int = 1,
        quiet: bool = False,
        log: str = "tensorboard",
    ):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.table = Metrics(folder, [*_COLUMNS, *_MORE], env_steps, key="env_steps")
        self.board = open_board(folder, env_steps, log)
        self.started, self.first = time.monotonic(), env_steps
        self.skipped = [0.0] * workers  # updates skipped by each, since this start
        self.last = [(self.started, 0)] * workers  # when each last reported, and its own env steps then
        self.latest = ""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, disable=quiet)
        self.bar = self.progress.add_task("training", total=steps, completed=env_steps)
        self.progress.start()

    def hear(self, env_steps: int, metrics: dict[str, float], worker: int = 0, own: int | None = None) -> None:
        """Note what a worker reported; `own` = env steps of its own."""
        now = time.monotonic()
        self.skipped[worker] = metrics.get("skipped", 0.0)
        metrics = metrics | {"skipped": sum(self.skipped)}
        for name, value in metrics.items():
            self.board.add_scalar(f"train/{name}", value, env_steps)
        then, own_then = self.last[worker]
        own = env_steps if own is None else own
        if own_then and now > then:
            self.board.add_scalar(f"env_steps per second/worker {worker}", (own - own_then) / (now - then), env_steps)
        self.last[worker] = (now, own)
        self.table.add({**metrics, **self._row(env_steps), "worker": worker})
        self.advance(env_steps)

    def advance(self, env_steps: int) -> None:
        """Move the line of progress."""
        skipped = f", {sum(self.skipped):.0f} updates skipped (gradient not finite)" if any(self.skipped) else ""
        text = f"training, {self.rate(env_steps):.0f} env steps/s{self.latest}{skipped}"
        self.progress.update(self.bar, completed=env_steps, description=text)

    def evaluated(self, env_steps: int, evaluation: Evaluation) -> None:
        """Note how good the agent is."""
        for name, value in evaluation.metrics.items():
            self.board.add_scalar(f"val/{name}", value, env_steps)
        if evaluation.picture is not None:
            self.board.add_image("val/masks", evaluation.picture, env_steps)
        self.latest = "".join(f", {value:.1f} {name}" for name, value in list(evaluation.metrics.items())[:1])
        self.table.add({**evaluation.metrics, **self._row(env_steps)})
        self.advance(env_steps)

    def rate(self, env_steps: int) -> float:
        """Env steps a second since this start."""
        return (env_steps - self.first) / max(time.monotonic() - self.started, 1e-9)

    def say(self, text: str) -> None:
        """Print above the line of progress."""
        self.progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Stop the line, write out what is left."""
        self.progress.stop()
        self.board.close()

    def _row(self, env_steps: int) -> dict[str, Any]:
        seconds = round(time.monotonic() - self.started, 2)
        return {"env_steps": env_steps, "seconds": seconds, "env_steps per second": round(self.rate(env_steps), 1)}

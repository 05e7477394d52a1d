"""Watching a training: a line of progress, TensorBoard, `metrics.csv`, and a judge that says how good the agent is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskgym.training.folder import Metrics

_COLUMNS = ("masks", "seconds", "worker", "points", "above random", "reward", "policy loss", "value loss", "entropy")
_MORE = ("mean probability", "gradient norm", "masks per second")


class Verdict(NamedTuple):
    """What a judge says of an agent on a fixed set of images."""

    figures: dict[str, float]  # "points" where par is known, else "above random", in percent
    picture: np.ndarray | None = None  # (H, W, 3) uint8


Judge = Callable[[Any], Verdict]


class Watch:
    """Everything a person can look at while an agent trains.

    Args:
        folder: for TensorBoard and `metrics.csv`.
        steps: masks to be paid for in all.
        masks: masks paid for before this run began.
        workers: how many processes tell.
        quiet: no line of progress.
    """

    def __init__(self, folder: Path, steps: int, masks: int = 0, workers: int = 1, quiet: bool = False):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from torch.utils.tensorboard import SummaryWriter

        self.table = Metrics(folder, [*_COLUMNS, *_MORE], masks)
        self.game_spec = SummaryWriter(str(folder), purge_step=masks)
        self.started, self.first = time.monotonic(), masks
        self.told = [(self.started, 0)] * workers  # when each last told its rate, and its masks then
        self.verdict = ""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, disable=quiet)
        self.bar = self.progress.add_task("training", total=steps, completed=masks)
        self.progress.start()

    def hear(self, masks: int, figures: dict[str, float], worker: int = 0, own: int | None = None) -> None:
        """Note what a worker told; `own` = masks it has paid for itself."""
        now = time.monotonic()
        for name, value in figures.items():
            self.game_spec.add_scalar(f"train/{name}", value, masks)
        then, before = self.told[worker]
        own = masks if own is None else own
        if before and now > then:
            self.game_spec.add_scalar(f"masks per second/worker {worker}", (own - before) / (now - then), masks)
        self.told[worker] = (now, own)
        self.table.add({**figures, **self._row(masks), "worker": worker})
        self.advance(masks)

    def advance(self, masks: int) -> None:
        """Move the line of progress."""
        text = f"training, {self.rate(masks):.0f} masks/s{self.verdict}"
        self.progress.update(self.bar, completed=masks, description=text)

    def judged(self, masks: int, verdict: Verdict) -> None:
        """Note what the judge said."""
        for name, value in verdict.figures.items():
            self.game_spec.add_scalar(f"val/{name}", value, masks)
        if verdict.picture is not None:
            self.game_spec.add_image("val/masks", verdict.picture, masks, dataformats="HWC")
        self.verdict = "".join(f", {value:.1f} {name}" for name, value in list(verdict.figures.items())[:1])
        self.table.add({**verdict.figures, **self._row(masks)})
        self.advance(masks)

    def rate(self, masks: int) -> float:
        """Masks a second since this run began."""
        return (masks - self.first) / max(time.monotonic() - self.started, 1e-9)

    def say(self, text: str) -> None:
        """Print above the line of progress."""
        self.progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Stop the line, write out what is left."""
        self.progress.stop()
        self.game_spec.close()

    def _row(self, masks: int) -> dict[str, Any]:
        seconds = time.monotonic() - self.started
        return {"masks": masks, "seconds": round(seconds, 2), "masks per second": round(self.rate(masks), 1)}

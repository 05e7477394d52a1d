"""Watching a pre-training: a line of progress, TensorBoard, `metrics.csv`, pictures."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from maskgym.training.folder import Metrics

_COLUMNS = ("step", "epoch", "seconds", "loss", "hidden loss", "learning rate", "ratio", "hard share")
_MORE = ("images per second", "held-out loss", "patch mean", "held-out loss, own masks", "patch mean, own masks")


class Watch:
    """Everything a person can look at while a network is pre-trained.

    Args:
        folder: for TensorBoard, `metrics.csv` and pictures.
        steps: in all.
        done: before this run began.
        batch: images a step.
        quiet: no line of progress.
    """

    def __init__(self, folder: Path, steps: int, done: int, batch: int, quiet: bool = False):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.batch = folder, batch
        self.table = Metrics(folder, [*_COLUMNS, *_MORE], done, key="step")
        self.game_spec = SummaryWriter(str(folder), purge_step=done)
        self.started, self.last = time.monotonic(), (time.monotonic(), done)
        self.told = ""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=Console(stderr=True), disable=quiet)
        self.bar = self.progress.add_task("pre-training", total=steps, completed=done)
        self.progress.start()

    def hear(self, step: int, epoch: int, figures: dict[str, float], own: dict[str, float]) -> None:
        """Note some steps: their figures, and what the agent told."""
        now = time.monotonic()
        (then, before), self.last = self.last, (now, step)
        figures = figures | {"images per second": round((step - before) * self.batch / max(now - then, 1e-9), 2)}
        for name, value in figures.items():
            self.game_spec.add_scalar(f"train/{name}", value, step)
        for name, value in own.items():
            self.game_spec.add_scalar(f"agent/{name}", value, step)
        self.table.add({**figures, **self._row(step, epoch)})
        text = f"epoch {epoch}, loss {figures['loss']:.3f}, {figures['images per second']:.0f} images/s{self.told}"
        self.progress.update(self.bar, completed=step, description=text)

    def looked(self, step: int, epoch: int, errors: dict[str, float], picture: np.ndarray) -> None:
        """Note what the val split says, and keep the picture."""
        from PIL import Image

        for name, value in errors.items():
            self.game_spec.add_scalar(f"val/{name}", value, step)
        self.game_spec.add_image("val/reconstructions", picture, step, dataformats="HWC")
        (self.folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(picture).save(self.folder / "pictures" / f"epoch-{epoch:04d}.png")
        self.table.add({**errors, **self._row(step, epoch)})
        self.told = f", held out {errors['held-out loss']:.3f} (patch mean {errors['patch mean']:.3f})"
        self.last = (time.monotonic(), step)

    def close(self) -> None:
        """Stop the line, write out what is left."""
        self.progress.stop()
        self.game_spec.close()

    def _row(self, step: int, epoch: int) -> dict[str, float]:
        return {"step": step, "epoch": epoch, "seconds": round(time.monotonic() - self.started, 2)}

"""Watching a fine-tuning: a line of progress, TensorBoard and `metrics.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from maskgym.training.folder import Metrics


class Watch:
    """Everything a person can look at while a network learns.

    Args:
        folder: for TensorBoard and `metrics.csv`.
        steps: in all.
        done: before this run began.
        classes: whose val Dice is told.
        quiet: no line of progress.
    """

    def __init__(self, folder: Path, steps: int, done: int, classes: tuple[str, ...], quiet: bool = False):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from torch.utils.tensorboard import SummaryWriter

        columns = ["step", "seconds", "loss", "learning rate", "val DSC", *(f"val DSC {name}" for name in classes)]
        self.table = Metrics(folder, columns, done, key="step")
        self.game_spec = SummaryWriter(str(folder), purge_step=done)
        self.told = ""
        parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*parts, console=Console(stderr=True), disable=quiet)
        self.bar = self.progress.add_task("fine-tuning", total=steps, completed=done)
        self.progress.start()

    def hear(self, step: int, loss: float, rate: float, seconds: float) -> None:
        """Note a step."""
        self.game_spec.add_scalar("train/loss", loss, step)
        self.game_spec.add_scalar("train/learning rate", rate, step)
        self.table.add({"step": step, "seconds": round(seconds, 2), "loss": loss, "learning rate": rate})
        self.progress.update(self.bar, completed=step, description=f"fine-tuning, loss {loss:.3f}{self.told}")

    def judged(
        self, step: int, dice: Mapping[str, float | None], mean: float, picture: np.ndarray, seconds: float
    ) -> None:
        """Note what val says."""
        known = {name: value for name, value in dice.items() if value is not None}
        for name, value in known.items():
            self.game_spec.add_scalar(f"val/DSC {name}", value, step)
        self.game_spec.add_scalar("val/DSC", mean, step)
        self.game_spec.add_image("val/predictions", picture, step, dataformats="HWC")
        row = {f"val DSC {name}": value for name, value in known.items()}
        self.table.add({"step": step, "seconds": round(seconds, 2), "val DSC": mean, **row})
        self.told = f", val DSC {mean:.3f}"

    def close(self) -> None:
        """Stop the line, write out what is left."""
        self.progress.stop()
        self.game_spec.close()

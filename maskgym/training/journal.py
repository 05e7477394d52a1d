"""What a person can look at while a network is fitted: a line of progress, TensorBoard, `metrics.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from maskgym.training.board import open_board
from maskgym.training.folder import Metrics


class Journal:
    """Notes everything a run tells, in its folder and on the screen.

    Args:
        folder: of the run.
        title: of the line of progress.
        total: steps of the run.
        done: steps taken before this start.
        columns: of metrics.csv, besides the step.
        quiet: print no progress.
        log: where curves go besides TensorBoard, see `maskgym.training.board`.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        total: int,
        done: int,
        columns: Sequence[str],
        quiet: bool = False,
        log: str = "tensorboard",
    ):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.title = title
        self.table = Metrics(folder, ["step", *columns], done, key="step")
        self.board = open_board(folder, done, log)
        parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*parts, console=Console(stderr=True), disable=quiet)
        self.bar = self.progress.add_task(title, total=total, completed=done)
        self.progress.start()

    def note(
        self, step: int, metrics: Mapping[str, float], more: Mapping[str, float] = {}, group: str = "train"
    ) -> None:
        """Write metrics to TensorBoard and, with `more`, a row of the table."""
        for name, value in metrics.items():
            self.board.add_scalar(f"{group}/{name}", value, step)
        self.table.add({**metrics, **more, "step": step})

    def show(self, step: int, text: str) -> None:
        """Move the line of progress."""
        self.progress.update(self.bar, completed=step, description=f"{self.title}, {text}")

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Put a picture (H, W, 3) uint8 into TensorBoard."""
        self.board.add_image(name, picture, step)

    def close(self) -> None:
        """Stop the line, write out what is left."""
        self.progress.stop()
        self.board.close()

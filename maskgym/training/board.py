"""Where curves go: TensorBoard always, and Weights & Biases or MLflow beside it. The one place that knows them.

Both are used in their own offline ways unless their environment variables say otherwise: nothing is sent anywhere.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from maskgym.errors import BadInput

Log = Literal["tensorboard", "wandb", "mlflow"]
_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow-skinny"}


class Board:
    """TensorBoard in the folder of a run.

    Args:
        folder: of the run.
        done: steps done before; what was written beyond them is taken back.
    """

    def __init__(self, folder: Path, done: int = 0):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=done)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        self.writer.add_scalar(name, value, step)

    def add_image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Add a picture (H, W, 3) uint8."""
        self.writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is left."""
        self.writer.close()


class WandbBoard(Board):
    """Weights & Biases beside it: offline, unless $WANDB_MODE says otherwise; `wandb sync` sends it later."""

    def __init__(self, folder: Path, done: int = 0):
        import wandb

        super().__init__(folder, done)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "maskgym"),
            name=folder.name,
            id=_identity(folder),
            resume="allow",
            dir=str(folder),
            mode=cast(Any, os.environ.get("WANDB_MODE", "offline")),
            settings=wandb.Settings(console="off", silent=True),
        )
        self.run.define_metric("*", step_metric="step")  # a step of ours, which may come twice after a resumption

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        super().add_scalar(name, value, step)
        self.run.log({name: value, "step": step})

    def add_image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Add a picture (H, W, 3) uint8."""
        import wandb

        super().add_image(name, picture, step)
        self.run.log({name: wandb.Image(picture), "step": step})

    def close(self) -> None:
        """Write out what is left."""
        super().close()
        self.run.finish()


class MlflowBoard(Board):
    """MLflow beside it: in the file store FOLDER/mlruns, unless $MLFLOW_TRACKING_URI says otherwise."""

    def __init__(self, folder: Path, done: int = 0):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        super().__init__(folder, done)
        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", (folder / "mlruns").absolute().as_uri()))
        experiment = self.client.get_experiment_by_name("maskgym")
        number = experiment.experiment_id if experiment else self.client.create_experiment("maskgym")
        key = _identity(folder)
        there = self.client.search_runs([number], f"tags.maskgym = '{key}'")  # the same run goes on
        run = there[0] if there else self.client.create_run(number, run_name=folder.name, tags={"maskgym": key})
        self.run = run.info.run_id
        self.client.set_terminated(self.run, "RUNNING")

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        super().add_scalar(name, value, step)
        self.client.log_metric(self.run, _allowed(name), float(value), step=step)

    def add_image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Add a picture (H, W, 3) uint8."""
        super().add_image(name, picture, step)
        self.client.log_image(self.run, picture, f"{_allowed(name)}-{step:08d}.png")

    def close(self) -> None:
        """Write out what is left."""
        super().close()
        self.client.set_terminated(self.run, "FINISHED")


_BOARDS: dict[str, type[Board]] = {"tensorboard": Board, "wandb": WandbBoard, "mlflow": MlflowBoard}


def check_log(log: str) -> None:
    """Refuse a log that is unknown or not installed."""
    if log not in get_args(Log):
        raise BadInput(f"unknown log {log!r}: choose one of {', '.join(get_args(Log))}")
    if log in _PACKAGES and importlib.util.find_spec(log) is None:
        raise BadInput(f"log {log!r} is not installed: pip install {_PACKAGES[log]}")


def open_board(folder: Path, done: int = 0, log: str = "tensorboard") -> Board:
    """Open the curves of a run, new or resumed."""
    check_log(log)
    return _BOARDS[log](folder, done)


def _identity(folder: Path) -> str:
    """Name a run by its folder, so that a resumed one goes on in the same curves."""
    return hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]


def _allowed(name: str) -> str:
    """MLflow takes no commas in a name."""
    return name.replace(",", "")

import os
import subprocess
import sys

import numpy as np
import pytest

from maskgym.errors import BadInput
from maskgym.training.board import open_board


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))


def write(folder, log: str, first: int) -> None:
    board = open_board(folder, first, log)
    for step in range(first, first + 3):
        board.add_scalar("train/loss", 1.0 / (step + 1), step)
    board.add_image("val/masks", np.zeros((4, 4, 3), np.uint8), first)
    board.close()


def points(folder) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars("train/loss")]


def test_tensorboard_holds_the_curve_and_takes_back_what_a_resumed_run_does_again(tmp_path):
    write(tmp_path, "tensorboard", 0)
    write(tmp_path, "tensorboard", 2)
    assert [step for step, _ in points(tmp_path)] == [0, 1, 2, 3, 4]


def test_mlflow_holds_the_curve_in_its_file_store_and_a_resumed_run_goes_on_in_it(tmp_path, offline):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is no dependency: pip install mlflow-skinny")
    folder = tmp_path / "run"
    write(folder, "mlflow", 0)
    write(folder, "mlflow", 3)
    client = mlflow.tracking.MlflowClient((folder / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("maskgym").experiment_id])
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == list(range(6))
    assert len(client.list_artifacts(run.info.run_id, "val")) == 2
    assert run.info.status == "FINISHED"
    assert len(points(folder)) == 6


def test_wandb_holds_the_curve_offline(tmp_path, offline):
    pytest.importorskip("wandb", reason="Weights & Biases is no dependency: pip install wandb")
    # In a process of its own: it starts a service, whose sockets would count as left open here.
    where = f"Path({str(tmp_path)!r})"
    code = f"from tests.training.test_board import write; from pathlib import Path; write({where}, 'wandb', 0)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=os.getcwd())
    assert run.returncode == 0, run.stderr
    (kept,) = (tmp_path / "wandb").glob("offline-run-*")
    written = b"".join(path.read_bytes() for path in kept.glob("*.wandb"))
    assert b"train/loss" in written
    assert list(kept.glob("files/media/images/val/masks*.png"))
    assert len(points(tmp_path)) == 3


@pytest.mark.parametrize(("log", "said"), [("wandbb", "choose one of"), ("mlflow", "pip install mlflow-skinny")])
def test_an_unknown_or_missing_log_is_told_with_the_fix(log, said, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=said):
        open_board(tmp_path, 0, log)

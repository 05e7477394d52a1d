import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "curves.py"
spec = importlib.util.spec_from_file_location("curves", SCRIPT)
curves = importlib.util.module_from_spec(spec)
spec.loader.exec_module(curves)


def run(folder: Path, agent: str, looks: dict[int, float], **settings) -> Path:
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"agent": agent, "settings": settings}))
    with (folder / "metrics.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["env_steps", "points", "above random", "reward"])
        table.writeheader()
        for masks, points in looks.items():
            table.writerow({"env_steps": masks, "reward": 0.3})  # what the agent told of itself
            table.writerow({"env_steps": masks, "points": points, "above random": points / 2})
    return folder


def test_a_level_is_reached_at_the_first_look_that_stands_at_it():
    curve = np.array([1000, 2000, 3000]), np.array([10.0, 55.0, 45.0])
    assert [curves.reached(curve, level) for level in (10, 40, 56)] == [1000, 2000, float("inf")]


def test_the_mean_of_runs_goes_as_far_as_all_of_them():
    masks, values = curves.mean(
        [(np.array([1000, 2000, 4000]), np.array([0.0, 10.0, 30.0])), (np.array([500, 3000]), np.array([5.0, 30.0]))]
    )
    assert masks.tolist() == [1000, 2000]
    assert values == pytest.approx([5.0, 15.0])


def test_runs_become_a_picture_and_a_table(tmp_path):
    folders = [
        run(tmp_path / "a", "a3c", {1000: 41, 2000: 72}),
        run(tmp_path / "b", "a3c", {1000: 29, 2000: 65}),
        run(tmp_path / "c", "sb3-ppo", {1000: 12, 2000: 31}, policy="cnn"),
    ]
    done = subprocess.run(
        [sys.executable, SCRIPT, *folders, "--out", tmp_path / "x.png"], capture_output=True, text=True, check=True
    )
    assert (tmp_path / "x.png").stat().st_size > 10_000
    lines = done.stdout.splitlines()
    assert lines[2] == (
        "| a3c | 1,000, 2,000 | 1,000, 2,000 | 2,000, 2,000 | 2,000, 2,000 | 2,000, never "
        "| 72.0 (2,000), 65.0 (2,000) |"
    )
    assert lines[3] == "| sb3-ppo?policy=cnn | 2,000 | never | never | never | never | 31.0 (2,000) |"


def test_a_run_without_points_says_how_to_get_them(tmp_path):
    folder = run(tmp_path / "a", "a3c", {})
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, "--out", tmp_path / "x.png"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("and `maskgym par --split val` before")

"""Make a study's folder up: the files that its jobs leave, with scores that the test knows."""

import csv
import json
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from maskgym.report.page import Gallery, Rows
from maskgym.studies import plan as plans
from maskgym.studies.job import path
from maskgym.studies.read import keep, read_study

METHODS = {"scratch": "", "random": "random", "hpm": "selfmedhpm"}
PLAN = 'data = ["phantoms"]\nseeds = [0, 1]\nshares = [0.1]\n'
TABLES = '[pretrain]\nimage_size = "32x32"\npatch_size = 4\n'
SCORE = "[reconstructor]\n[score]\n"
DSC = {
    ("scratch", 0): {"p1": 0.2, "p2": 0.4, "p3": None},
    ("scratch", 1): {"p1": 0.3, "p2": 0.5, "p3": None},
    ("random", 0): {"p1": 0.4, "p2": 0.4, "p3": None},
    ("random", 1): {"p1": 0.4, "p2": 0.6, "p3": None},
    ("hpm", 0): {"p1": 0.5, "p2": 0.4, "p3": None},
    ("hpm", 1): {"p1": 0.5, "p2": 0.8, "p3": None},
}
METRICS = ("DSC", "PPV", "SEN", "IoU", "HD95", "BIoU", "NSD")


def run(
    out: Path, method: str, seed: int, dsc: dict[str, float | None], share: float = 0.1, place: str = "data0", **more
) -> Path:
    """One finished fine-tuning in which every measure of `lesion` is the DSC, but HD95, which is 100 times it."""
    folder = out / place / method / f"seed{seed}" / f"share{share:g}"
    folder.mkdir(parents=True)
    regions = more.pop("regions", ("lesion",))
    weights = "none" if method == "scratch" else str(folder.parent / "pretrain")
    patients = {
        name: {region: {metric: _scaled(value, metric) for metric in METRICS} for region in regions}
        for name, value in dsc.items()
    }
    known = [value for value in dsc.values() if value is not None]
    told = {
        "data": "phantoms",
        "label_share": share,
        "seed": seed,
        "weights": weights,
        "network": "unet",
        "split": "abc",
        "labelled": ["p1", "p2"],
        "distances_in": "pixels",
        "patients": patients,
        "per_slice": {region: dict.fromkeys(METRICS, float(np.mean(known)) + 0.01) for region in regions},
    }
    (folder / "scores.json").write_text(json.dumps(told | more))
    (folder / "settings.json").write_text(json.dumps({"seed": seed, "steps": 40, "recipe_settings": {"lr": 0.001}}))
    steps = np.arange(10, 41, 10)
    curve(folder, {"step": steps, "val DSC": np.mean(known) * steps / 40})
    Image.new("RGB", (60, 40), "navy").save(folder / "predictions.png")
    record(out, f"{place}/{method}/seed{seed}/share{share:g}", 30)
    return folder


def pretraining(out: Path, method: str, seed: int, place: str = "data0", **settings) -> Path:
    """One finished pre-training."""
    folder = out / place / method / f"seed{seed}" / "pretrain"
    (folder / "pictures").mkdir(parents=True)
    told = {"agent": method, "ratio": "0.75", "student": "unet", "seed": seed, "epochs": 2}
    (folder / "settings.json").write_text(json.dumps(told | settings))
    steps = np.arange(1, 5) * 10
    curve(folder, {"step": steps, "held-out loss": 2 / steps, "patch mean": np.full(4, 0.1)})
    Image.new("RGB", (60, 40), "black").save(folder / "pictures" / "epoch-0002.png")
    (folder / "model.safetensors").touch()
    record(out, f"{place}/{method}/seed{seed}/pretrain", 90)
    return folder


def points(out: Path, method: str, value: float, place: str = "data0") -> None:
    """What `maskgym score` wrote for a method's agent, beside the two that always play."""
    lines = [
        {
            "agent": agent,
            "ratio": ratio,
            "mode": mode,
            "reward": told / 100,
            "points": {"value": told - 10 * (ratio < 0.7), "low": told - 2, "high": told + 2},
        }
        for agent, told in {"random": 0.5, "variance": 40.0, method: value}.items()
        for ratio in (0.5, 0.75)
        for mode in ("deterministic", "sampled")
    ]
    folder = out / place / method / "score"
    folder.mkdir(parents=True)
    (folder / "score.json").write_text(json.dumps({"lines": lines}))


@cache
def _jobs(out: Path, _text: str) -> list[plans.Job]:
    return plans.plan(read_study(out / "study.json"), out)


def record(out: Path, name: str, seconds: float, state: str = "finished", **more) -> None:
    """What the study noted of a job."""
    job = next(job for job in _jobs(out, (out / "study.json").read_text()) if job.name == name)
    told = {"words": plans.at_home(job.words, out), "seconds": seconds, "state": state, "versions": {"torch": "9.9"}}
    path(out, job).parent.mkdir(parents=True, exist_ok=True)
    path(out, job).write_text(json.dumps(told | more))


def curve(folder: Path, columns: dict[str, np.ndarray]) -> None:
    """A metrics.csv."""
    with (folder / "metrics.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def _scaled(value: float | None, metric: str) -> float | None:
    return None if value is None else value * (100 if metric == "HD95" else 1)


def plan(folder, top=PLAN, tables="", **methods):
    """Write the study file of a folder; keywords are more methods with their recipes."""
    listed = METHODS | methods
    file = folder.parent / f"{folder.name}.toml"
    file.write_text(top + TABLES + tables + "".join(_method(name, recipe) for name, recipe in listed.items()))
    (folder / "study.json").unlink(missing_ok=True)
    keep(file, folder)


def _method(name, recipe):
    return f"[[method]]\nname = {json.dumps(name)}\n" + (f'recipe = "{recipe}"\n' if recipe else "")


def make(folder):
    plan(folder)
    for (method, seed), dsc in DSC.items():
        run(folder, method, seed, dsc)
        if method != "scratch":
            pretraining(folder, method, seed)
    return folder


def tables(made, words):
    found = [
        block
        for section in made.sections
        for block in section.blocks
        if isinstance(block, Rows) and words in block.caption
    ]
    assert found, words
    return found


def rows(table):
    return {row[0].text: dict(zip(table.headings[1:], row[1:], strict=True)) for row in table.rows}


def pictures(made):
    blocks = [block for section in made.sections for block in section.blocks if isinstance(block, Gallery)]
    return [picture for block in blocks for picture in block.pictures]

"""Tiny runs for the tests of pre-training."""

import csv
from pathlib import Path
from typing import Any

from maskgym.pretrain import PretrainSettings, make_settings

TINY: dict[str, Any] = {
    "image_size": "16x16",
    "patch_size": "4",
    "images": 24,
    "batch": 8,
    "epochs": 4,
    "eval_every": 2,
    "workers": 1,
    "quiet": True,
    "student": "unet",
    "student_settings": "widths=4,8",
}
VIT = {"student": "vit-mae", "student_settings": "width=24&depth=1&heads=2&decoder_width=24&predictor_depth=1"}
STUNET = {"student": "stunet-s", "student_settings": "widths=4,8"}
STUDENTS = {"anatomask": STUNET, "selfmedhpm": VIT}


def tiny(out: Any, recipe: str = "random", **more: Any) -> PretrainSettings:
    return make_settings(out, recipe, **{**TINY, **STUDENTS.get(recipe, {}), **more})


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))

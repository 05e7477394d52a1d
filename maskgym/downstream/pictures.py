"""Pictures of predictions: the image, the true outline and the predicted one, from the worst patient to the best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskgym.data.sheet import COLOURS, FAINT, INK, PAPER
from maskgym.data.source import Images
from maskgym.downstream.metrics import overlap
from maskgym.downstream.scores import Scores, rows_of

_TILE, _GAP, _LINE = 192, 8, 20


def draw(predicted: np.ndarray, images: Images, dsc: Mapping[str, float | None], count: int = 6) -> np.ndarray:
    """Draw patients spread evenly from the lowest Dice to the highest: (H, W, 3) uint8.

    Args:
        predicted: (n, *size) label maps.
        images: with their labels.
        dsc: of each patient, None where it is not defined.
        count: how many patients.
    """
    assert images.labels is not None
    order = sorted((patient for patient in dsc if dsc[patient] is not None), key=lambda patient: dsc[patient] or 0.0)
    order = order or list(dsc)
    chosen = [order[place] for place in np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
    rows, width = rows_of(images.patients), 3 * _TILE + 4 * _GAP
    sheet = Image.new("RGB", (width, len(chosen) * (_TILE + _GAP + _LINE) + 2 * _LINE + _GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, title in enumerate(("image", "truth", "prediction")):
        pen.text((_GAP + place * (_TILE + _GAP), _GAP), title, INK, _font(13))
    _legend(pen, images, 2 * _LINE - 8)
    for line, patient in enumerate(chosen):
        image, truth, given = _plane(predicted, images, rows[patient])
        y = 2 * _LINE + _GAP + line * (_TILE + _GAP + _LINE)
        for place, labels in enumerate((None, truth, given)):
            tile = _tile(image, labels, len(images.classes))
            sheet.paste(tile, (_GAP + place * (_TILE + _GAP), y))
        value = dsc[patient]
        told = f"{patient[:40]}  DSC {value:.3f}" if value is not None else f"{patient[:40]}  DSC not defined"
        pen.text((_GAP, y + _TILE + 2), told, FAINT, _font(12))
    return np.array(sheet)


def quick(predicted: np.ndarray, images: Images) -> dict[str, float | None]:
    """Give each patient's Dice of anything against anything, cheaply."""
    assert images.labels is not None
    found: dict[str, float | None] = {}
    for patient, rows in rows_of(images.patients).items():
        given, truth = predicted[rows] > 0, np.asarray(images.labels[rows]) > 0
        found[patient] = overlap(given, truth)["DSC"] if given.any() or truth.any() else None
    return found


def of_scores(scores: Scores) -> dict[str, float | None]:
    """Give each patient's mean Dice over the regions."""
    means: dict[str, float | None] = {}
    for patient, table in scores.patients.items():
        known = [value for measures in table.values() if (value := measures["DSC"]) is not None]
        means[patient] = float(np.mean(known)) if known else None
    return means


def _plane(predicted: np.ndarray, images: Images, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pick the slice with most to see: image (H, W), truth and prediction (H, W)."""
    assert images.labels is not None
    truth, given = np.asarray(images.labels[rows]), predicted[rows]
    if truth.ndim == 4:
        truth, given = truth[0], given[0]
    marked = (truth > 0).sum((1, 2)) * 1000 + (given > 0).sum((1, 2))
    best = int(marked.argmax()) if marked.any() else len(truth) // 2
    if len(images.size) == 3:
        return np.asarray(images.images[rows[0], 0, best]), truth[best], given[best]
    return np.asarray(images.images[rows[best], 0]), truth[best], given[best]


def _tile(image: np.ndarray, labels: np.ndarray | None, classes: int) -> Image.Image:
    low, high = np.percentile(image, (0.5, 99.5))
    grey = (((image - low) / max(float(high - low), 1e-6)).clip(0, 1) * 255).astype(np.uint8)
    scale = _TILE / max(image.shape)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    tile = np.array(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB"))
    if labels is not None:
        large = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        for value in range(1, classes + 1):
            tile[_outline(large == value)] = COLOURS[(value - 1) % len(COLOURS)]
    return Image.fromarray(tile)


def _outline(inside: np.ndarray) -> np.ndarray:
    """The inner edge of a region, two pixels wide."""
    kept = np.pad(inside, 1)
    for _ in range(2):
        kept[1:-1, 1:-1] &= kept[:-2, 1:-1] & kept[2:, 1:-1] & kept[1:-1, :-2] & kept[1:-1, 2:]
    return inside & ~kept[1:-1, 1:-1]


def _legend(pen: ImageDraw.ImageDraw, images: Images, y: int) -> None:
    x = _GAP
    for value, name in enumerate(images.classes[:6]):
        pen.rectangle((x, y + 3, x + 10, y + 13), outline=COLOURS[value % len(COLOURS)], width=2)
        pen.text((x + 15, y), name, FAINT, _font(12))
        x += round(pen.textlength(name, _font(12))) + 30


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

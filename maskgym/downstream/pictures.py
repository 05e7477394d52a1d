"""Pictures of predictions: the image, the true outline and the predicted one, from the worst patient to the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskgym.data.case import Case
from maskgym.data.sheet import COLOURS, FAINT, INK, PAPER
from maskgym.downstream.scores import Scores

_TILE, _GAP, _LINE = 192, 8, 20


def draw(
    answers: Mapping[str, tuple[Case, np.ndarray]],
    classes: tuple[str, ...],
    dsc: Mapping[str, float | None],
    count: int = 6,
) -> np.ndarray:
    """Draw patients spread evenly from the lowest Dice to the highest: (H, W, 3) uint8.

    Args:
        answers: a case of each patient, and its labels (*case.shape).
        classes: names of labels 1, 2, ...
        dsc: of each patient, None where it is not defined.
        count: how many patients.
    """
    order = sorted((patient for patient in dsc if dsc[patient] is not None), key=lambda patient: dsc[patient] or 0.0)
    order = order or list(dsc)
    chosen = [order[place] for place in np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
    width = 3 * _TILE + 4 * _GAP
    sheet = Image.new("RGB", (width, len(chosen) * (_TILE + _GAP + _LINE) + 2 * _LINE + _GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, title in enumerate(("image", "truth", "prediction")):
        pen.text((_GAP + place * (_TILE + _GAP), _GAP), title, INK, _font(13))
    _legend(pen, classes, 2 * _LINE - 8)
    for line, patient in enumerate(chosen):
        image, truth, given = _plane(*answers[patient])
        y = 2 * _LINE + _GAP + line * (_TILE + _GAP + _LINE)
        for place, labels in enumerate((None, truth, given)):
            tile = _tile(image, labels, len(classes))
            sheet.paste(tile, (_GAP + place * (_TILE + _GAP) + (_TILE - tile.width) // 2, y))
        value = dsc[patient]
        told = f"{patient[:40]}  DSC {value:.3f}" if value is not None else f"{patient[:40]}  DSC not defined"
        pen.text((_GAP, y + _TILE + 2), told, FAINT, _font(12))
    return np.array(sheet)


def most_marked(answers: Iterable[tuple[Case, np.ndarray]]) -> dict[str, tuple[Case, np.ndarray]]:
    """Keep of each patient the case with most to see."""
    kept: dict[str, tuple[Case, np.ndarray]] = {}
    most: dict[str, int] = {}
    for case, given in answers:
        truth = 0 if case.label is None else int(np.count_nonzero(case.label))
        marked = 1000 * truth + int(np.count_nonzero(given))
        if marked > most.get(case.patient, -1):
            kept[case.patient], most[case.patient] = (case, given), marked
    return kept


def of_scores(scores: Scores) -> dict[str, float | None]:
    """Give each patient's mean Dice over the regions."""
    means: dict[str, float | None] = {}
    for patient, table in scores.patients.items():
        known = [value for measures in table.values() if (value := measures["DSC"]) is not None]
        means[patient] = float(np.mean(known)) if known else None
    return means


def _plane(case: Case, given: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pick the slice with most to see: image (H, W), truth and prediction (H, W)."""
    truth = np.zeros_like(given) if case.label is None else np.asarray(case.label)
    image = np.asarray(case.image[0], np.float32)
    if given.ndim == 2:
        return image, truth, given
    marked = (truth > 0).sum((1, 2)) * 1000 + (given > 0).sum((1, 2))
    best = int(marked.argmax()) if marked.any() else len(truth) // 2
    return image[best], truth[best], given[best]


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


def _legend(pen: ImageDraw.ImageDraw, classes: tuple[str, ...], y: int) -> None:
    x = _GAP
    for value, name in enumerate(classes[:6]):
        pen.rectangle((x, y + 3, x + 10, y + 13), outline=COLOURS[value % len(COLOURS)], width=2)
        pen.text((x + 15, y), name, FAINT, _font(12))
        x += round(pen.textlength(name, _font(12))) + 30


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

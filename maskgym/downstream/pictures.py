"""Pictures of predictions: the image, the true outline and the predicted one, from the worst patient to the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from maskgym import drawing
from maskgym.data.case import Case
from maskgym.downstream.scores import Scores
from maskgym.drawing import Panel


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
    rows = []
    for patient in chosen:
        image, truth, given = _plane(*answers[patient])
        picture, value = drawing.grey(image[None]), dsc[patient]
        note = f"DSC {value:.3f}" if value is not None else "DSC not defined"
        shown = (("image", patient[:30], None), ("truth", "", truth), ("prediction", note, given))
        rows.append([Panel(picture, heading, told, labels) for heading, told, labels in shown])
    legend = list(zip(classes, drawing.CLASSES, strict=False))
    return np.asarray(drawing.sheet(rows, legend=legend))


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

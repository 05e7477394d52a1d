"""How well whole images are told into grades: accuracy, precision, recall, F1, area under the curve, weighted kappa."""

from __future__ import annotations

import numpy as np

from maskgym.downstream.probe import auroc

MEASURES = ("accuracy", "precision", "recall", "F1", "AUROC", "kappa")


def measure_grades(shares: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Measure what was said of some images.

    Precision, recall and F1 are means over the grades that were there or were said; AUROC is the mean over grades of
    each against the rest, where both are there.

    Args:
        shares: (n, K), how likely each image is of each grade.
        truth: (n,) int, its grade.
    """
    counts = confusion(shares.argmax(1), truth, shares.shape[1])
    right, said, there = np.diag(counts), counts.sum(0), counts.sum(1)
    seen = (said + there) > 0
    precision, recall = right / np.maximum(said, 1), right / np.maximum(there, 1)
    f1 = 2 * right / np.maximum(said + there, 1)
    areas = [auroc(shares[:, grade], truth == grade) for grade in range(shares.shape[1])]
    known = [area for area in areas if area == area]
    return {
        "accuracy": float(right.sum() / len(truth)),
        "precision": float(precision[seen].mean()),
        "recall": float(recall[there > 0].mean()),
        "F1": float(f1[seen].mean()),
        "AUROC": float(np.mean(known)) if known else float("nan"),
        "kappa": quadratic_kappa(counts),
    }


def confusion(said: np.ndarray, truth: np.ndarray, grades: int) -> np.ndarray:
    """Count how often each grade (rows) was said to be each (columns): (K, K)."""
    return np.bincount(truth * grades + said, minlength=grades**2).reshape(grades, grades)


def quadratic_kappa(counts: np.ndarray) -> float:
    """Agreement above what the two margins would give, disagreements weighted by their squared distance (Cohen 1968).

    >>> quadratic_kappa(np.array([[5, 0], [0, 5]])), quadratic_kappa(np.array([[5, 5], [5, 5]]))
    (1.0, 0.0)
    """
    grades = np.arange(len(counts))
    weights = np.square(grades[:, None] - grades[None])
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    apart = float((weights * expected).sum())
    return 1.0 - float((weights * counts).sum()) / apart if apart else float("nan")

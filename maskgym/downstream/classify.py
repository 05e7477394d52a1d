"""Fine-tuning to grade whole images, as those of Messidor-2: a pre-trained encoder and one linear layer."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym import files
from maskgym.data.cases import Cases, Frames
from maskgym.data.loader import Batch
from maskgym.downstream.data import Labelled
from maskgym.downstream.grades import MEASURES, confusion, measure_grades
from maskgym.downstream.network import load_segmenter
from maskgym.downstream.segment import Segmentation
from maskgym.downstream.settings import FineTune
from maskgym.masking.layout import channels_last

_BATCH = 16  # images at once


class Grading(Segmentation):
    """A network that learns to grade images from few labels."""

    measure = "kappa"

    def __init__(self, settings: FineTune, data: Labelled, network: nn.Module, about: dict[str, Any], fabric: Any):
        super().__init__(settings, data, network, about, fabric)
        told: Any = self.loader.source
        grades = torch.from_numpy(np.asarray(told.images.grades, np.int64))  # (images,)
        self.grades = (grades >= settings.present).long() if settings.present else grades
        self.grades = self.grades.to(fabric.device)

    def gradients(self, batch: Batch) -> Tensor:
        """Compute cross-entropy and its gradients."""
        batch = batch.to(self.fabric.device)
        with self.fabric.autocast():
            logits = self.network(channels_last(batch.images))
        loss = F.cross_entropy(logits.float(), self.grades[batch.which])
        self.fabric.backward(loss)
        return loss

    def on_val(self) -> dict[str, float]:
        """Kappa of the val images; 0 where they are too few to say."""
        with self.fabric.autocast():
            _, shares, truth = grade(self.segmenter, self.data.val, self.settings.size, self.fabric.device)
        if self.settings.freeze_encoder:
            self.freeze()
        found = measure_grades(shares, truth)[self.measure]
        return {self.measure: found if found == found else 0.0}


def grade(
    network: nn.Module, cases: Cases, size: tuple[int, ...], device: Any = "cpu"
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Grade images: their ids, how likely each is of each grade (n, K), and what they are (n,), -1 = nobody says."""
    frames, learning = Frames(cases, cases.view(size)), network.training
    shares = []
    network.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(frames), _BATCH):
                rows = range(start, min(start + _BATCH, len(frames)))
                images = torch.from_numpy(np.stack([frames.load(row) for row in rows])).to(device)
                shares.append(network(channels_last(images)).float().softmax(1).cpu().numpy())
    finally:
        network.train(learning)
    return frames.ids, np.concatenate(shares), np.array([case.grade for case, _ in frames.items])


def measure_test(settings: FineTune, data: Labelled, fabric: Any, run: Segmentation) -> dict[str, Any]:
    """Grade the test images with the network that was kept; scores.json, written last, says that all is done."""
    network, about = load_segmenter(settings.out)
    with fabric.autocast():
        ids, shares, truth = grade(network.to(fabric.device), data.test, settings.size, fabric.device)
    files.write_text(settings.out / "grades.csv", to_csv(ids, shares, truth, data.grades))
    told: dict[str, Any] = run.told(about) | {
        "grades": list(data.grades),
        "images": len(ids),
        "measures": measure_grades(shares, truth),
        "confusion": confusion(shares.argmax(1), truth, len(data.grades)).tolist(),
    }
    files.write_text(settings.out / "scores.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return told


def mean_measures(draws: list[dict[str, Any]]) -> dict[str, float]:
    """Measures averaged over draws of labelled patients."""
    return {name: float(np.mean([told["measures"][name] for told in draws])) for name in MEASURES}


def to_csv(ids: tuple[str, ...], shares: np.ndarray, truth: np.ndarray, grades: tuple[str, ...]) -> str:
    """Write a line an image: what it is, what it was said to be, how likely each grade is."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["image", "grade", "said", *grades])
    for name, row, true in zip(ids, shares, truth, strict=True):
        lines.writerow([name, grades[true] if true >= 0 else "", grades[row.argmax()], *(f"{x:.5f}" for x in row)])
    return text.getvalue()

"""Fine-tuning from the first step to the scores: train, look at val, measure on test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskgym import files
from maskgym.data.case import Case
from maskgym.data.loader import Batch
from maskgym.downstream import pictures
from maskgym.downstream.data import Labelled, make_loader, read
from maskgym.downstream.losses import dice_ce
from maskgym.downstream.network import build, freeze_encoder, load_segmenter, save_segmenter
from maskgym.downstream.predict import predict
from maskgym.downstream.probe import Probe, patch_auroc
from maskgym.downstream.recipes import optimiser
from maskgym.downstream.scores import Scores, dice, score, to_csv
from maskgym.downstream.settings import FineTune
from maskgym.errors import BadInput
from maskgym.masking.layout import channels_last, convolutions_last
from maskgym.training.devices import make_fabric
from maskgym.training.fit import Job, fit
from maskgym.training.folder import Folder
from maskgym.training.journal import Journal

MODEL, SCORES = "model.safetensors", "scores.json"
LEAVES = (MODEL, SCORES, "patients.csv", "predictions.png", "labels-*")


def finetune(settings: FineTune) -> dict[str, Any] | None:
    """Do what the settings say; returns what is written to scores.json, or None if it was interrupted."""
    settings = replace(settings, out=Path(settings.out).expanduser())
    settings.check()
    if len(settings.label_seeds) == 1:
        return _run(settings)
    Folder(settings.out, settings.resolved(), settings.fresh, LEAVES)
    draws = []
    for seed in settings.label_seeds:
        told = _run(replace(settings, out=settings.out / f"labels-{seed}", label_seed=str(seed), fresh=False))
        if told is None:
            return None
        draws.append(told)
    told = {"draws": draws, "pooled_DSC": {key: _mean(draws, key) for key in draws[0]["pooled_DSC"]}}
    files.write_text(settings.out / SCORES, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return told


def _run(settings: FineTune) -> dict[str, Any] | None:
    """Fine-tune with one choice of labelled patients."""
    fabric = make_fabric(settings.device, settings.precision)
    data = read(settings)
    network, coverage, about = build(
        settings.network,
        settings.weights,
        len(data.train.channels),
        data.outputs,
        settings.crop,
        settings.seed,
        settings.chosen.drop_path,
        settings.allow_partial,
        settings.handover == "all",
    )
    _check_runs(network, data, settings.crop)
    if settings.probe:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = Probe(network, about["network"], data.outputs, settings.crop)
    if coverage is not None:
        print(f"weights from {settings.weights}: {coverage}")
    about |= {"classes": list(data.train.classes), "channel_names": list(data.train.channels), "data": settings.data}
    about |= {"window": bool(settings.window), "split_file": settings.split_file, "image_size": list(settings.size)}
    about |= {"probe": settings.probe}
    run = Segmentation(settings, data, network, about, fabric)  # refuses what does not fit before anything is written
    made_of = settings.resolved() | {"network": about["network"], "network_settings": _plain(about["settings"])}
    Folder(settings.out, made_of, settings.fresh, LEAVES)
    if (settings.out / SCORES).exists():
        return dict(json.loads((settings.out / SCORES).read_text()))
    if not fit(run, settings.plan, settings.out):
        return None
    return _measure(settings, data, fabric, run)


class Segmentation(Job):
    """A segmenter that learns from few labels.

    Args:
        settings: of the run.
        data: who has labels.
        network: to be trained.
        about: what is told of the network in its file.
        fabric: from `make_fabric`.
    """

    def __init__(self, settings: FineTune, data: Labelled, network: nn.Module, about: dict[str, Any], fabric: Any):
        self.settings, self.data, self.about, self.fabric = settings, data, about, fabric
        self.loader = make_loader(data, settings)
        self.segmenter = convolutions_last(network.to(fabric.device)).train()
        if settings.freeze_encoder:
            freeze_encoder(self.segmenter, about["network"])
        made = optimiser(settings.chosen, self.segmenter, about["network"], settings.plan.lr)
        self.network, self.optimiser = fabric.setup(self.segmenter, made)
        self.best, self.looks, self.val_dsc = -1.0, 0, -1.0  # on val: the best, looks since, the one that is kept
        self.kept = 0  # step of the network that is kept
        self.journal: Journal
        self._told = ""

    def begin(self) -> Any:
        """Open the journal."""
        classes = self.data.train.classes
        columns = ["seconds", "loss", "learning rate", "waiting", "val DSC", *(f"val DSC {name}" for name in classes)]
        out, total = self.settings.out, self.settings.plan.steps
        self.journal = Journal(out, "fine-tuning", total, self.done, columns, self.settings.quiet, self.settings.log)
        return closing(self.journal)

    def make(self, step: int) -> Batch:
        """Draw images and labels of a step."""
        return self.loader.make(step)

    def gradients(self, batch: Batch) -> Tensor:
        """Compute cross-entropy and Dice, and their gradients."""
        batch = batch.to(self.fabric.device)
        assert batch.labels is not None
        with self.fabric.autocast():
            logits = self.network(channels_last(batch.images))
        loss = dice_ce(logits.float(), batch.labels)
        self.fabric.backward(loss)
        return loss

    def tell(self, metrics: dict[str, float]) -> None:
        """Write down what the last steps were like."""
        self.journal.note(self.done, metrics, {"seconds": round(self.seconds, 2)})
        self.journal.show(self.done, f"loss {metrics['loss']:.3f}{self._told}")

    def look(self) -> None:
        """Measure val; where it is as good as ever, or the last is wanted, keep the network."""
        found = dice(self.answers(), self.data.val)
        known = {name: value for name, value in found.items() if value is not None}
        mean = float(np.mean(list(known.values()))) if known else 0.0
        self.looks = 0 if mean > self.best else self.looks + 1
        better, self.best = mean >= self.best, max(mean, self.best)
        if better or self.settings.keep == "last":
            self.kept, self.val_dsc = self.done, mean
            about = {**self.about, "step": self.done, "val DSC": mean}
            save_segmenter(self.segmenter, about, self.settings.out / MODEL)
        row = {"val DSC": mean, **{f"val DSC {name}": value for name, value in known.items()}}
        self.journal.note(self.done, row, {"seconds": round(self.seconds, 2)}, "val")
        self._told = f", val DSC {mean:.3f}"

    def answers(self) -> Iterator[tuple[Case, np.ndarray]]:
        """Label the val cases with the network as it is; leaves no trace in the training."""
        settings = self.settings
        with self.fabric.autocast():
            yield from predict(self.segmenter, self.data.val, settings.crop, bool(settings.window), self.fabric.device)
        if settings.freeze_encoder:
            freeze_encoder(self.segmenter, self.about["network"])  # its norms went back into training

    def enough(self) -> bool:
        """End where val has not become better for a while."""
        return 0 < self.settings.patience <= self.looks

    def state(self) -> dict[str, Any]:
        """Add what val said."""
        told = {"best": self.best, "looks": self.looks, "kept": self.kept, "val_dsc": self.val_dsc}
        return super().state() | told

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load(state)
        self.best, self.val_dsc = float(state["best"]), float(state["val_dsc"])
        self.looks, self.kept = int(state["looks"]), int(state["kept"])


def _measure(settings: FineTune, data: Labelled, fabric: Any, run: Segmentation) -> dict[str, Any]:
    """Score the network that was kept on the test patients; the last file written says that all is done."""
    from PIL import Image

    network, about = load_segmenter(settings.out)
    with fabric.autocast():
        network, window = network.to(fabric.device), bool(settings.window)
        answers = list(predict(network, data.test, settings.crop, window, fabric.device))
    scores = score(answers, data.test, settings.tolerance, settings.metrics == "all")
    shown, dsc = pictures.most_marked(answers), pictures.of_scores(scores)
    Image.fromarray(pictures.draw(shown, data.test.classes, dsc)).save(settings.out / "predictions.png")
    files.write_text(settings.out / "patients.csv", to_csv(scores))
    told = _told(settings, data, scores, run, about)
    if settings.probe:
        side = min(settings.crop) // 8
        told["patch_AUROC"] = patch_auroc(network, data.test, settings.crop, side, fabric.device)
    files.write_text(settings.out / SCORES, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return told


def _told(
    settings: FineTune, data: Labelled, scores: Scores, run: Segmentation, about: dict[str, Any]
) -> dict[str, Any]:
    unit = "mm" if all(case.spacing is not None for case in data.test) else "pixels"
    told: dict[str, Any] = {
        "data": settings.data,
        "label_share": settings.label_share,
        "label_seed": settings.label_seeds[0],
        "seed": settings.seed,
        "weights": settings.weights,
        "handover": settings.handover,
        "network": about["network"],
        "recipe": settings.recipe,
        "split": data.split,
        "labelled": list(data.patients),
        "seconds": round(run.seconds, 2),
        "waiting": round(run.waited / max(run.seconds, 1e-9), 4),
        "steps": settings.steps,
        "measured_step": about["step"],
        "val_DSC": about["val DSC"],
        "tolerance": f"{settings.tolerance:g} {unit}",
        "distances_in": unit,
        "patients": scores.patients,
        "mean": scores.mean,
        "pooled_DSC": scores.pooled,
        "left_out": scores.left_out,
    }
    return told | ({"per_slice": scores.per_slice} if scores.per_slice is not None else {})


def _check_runs(network: nn.Module, data: Labelled, crop: tuple[int, ...]) -> None:
    """Refuse a size that does not pass through the network before anything is written."""
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, len(data.train.channels), *crop))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:80]
        raise BadInput(
            f"images of {crop} do not suit this network ({reason}): choose another size or --window"
        ) from None


def _mean(draws: list[dict[str, Any]], key: str) -> float | None:
    known = [told["pooled_DSC"][key] for told in draws if told["pooled_DSC"][key] is not None]
    return float(np.mean(known)) if known else None


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}

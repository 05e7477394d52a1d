"""Fine-tuning from the first step to the scores: train, look at val, measure on test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from maskgym import files
from maskgym.downstream import pictures
from maskgym.downstream.classifier import Classifier
from maskgym.downstream.classify import Grading, mean_measures, measure_test
from maskgym.downstream.data import Labelled, read
from maskgym.downstream.network import build, load_segmenter
from maskgym.downstream.predict import predict
from maskgym.downstream.probe import PROBED, Probe, patch_auroc, patch_side
from maskgym.downstream.scores import Scores, score, to_csv
from maskgym.downstream.segment import MODEL, Segmentation
from maskgym.downstream.settings import FineTune
from maskgym.errors import BadInput
from maskgym.training.devices import make_fabric
from maskgym.training.fit import fit
from maskgym.training.folder import Folder

SCORES = "scores.json"
LEAVES = (MODEL, SCORES, "patients.csv", "grades.csv", "predictions.png", "labels-*")


def finetune(settings: FineTune) -> dict[str, Any] | None:
    """Do what the settings say; returns what is written to scores.json, or None if it was interrupted."""
    settings = replace(settings, out=Path(settings.out).expanduser())
    settings.check()
    if len(settings.label_seeds) == 1:
        return _run(settings)
    Folder(settings.out, settings.resolved(), settings.fresh, LEAVES)
    draws = []
    for seed in settings.label_seeds:
        draw = _run(replace(settings, out=settings.out / f"labels-{seed}", label_seed=str(seed), fresh=False))
        if draw is None:
            return None
        draws.append(draw)
    told: dict[str, Any] = {"draws": draws}
    if settings.task == "classify":
        told["measures"] = mean_measures(draws)
    else:
        told["pooled_DSC"] = {key: _mean(draws, key) for key in draws[0]["pooled_DSC"]}
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
    if settings.task == "classify":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = Classifier(network, about["network"], data.outputs, settings.size, len(data.train.channels))
    if coverage is not None:
        print(f"weights from {settings.weights}: {coverage}")
    about |= {"classes": list(data.train.classes), "channel_names": list(data.train.channels), "data": settings.data}
    about |= {"window": bool(settings.window), "split_file": settings.split_file, "image_size": list(settings.size)}
    about |= {"probe": settings.probe, "task": settings.task, "grades": list(data.grades), "present": settings.present}
    job = Grading if settings.task == "classify" else Segmentation
    run = job(settings, data, network, about, fabric)  # refuses what does not fit before anything is written
    made_of = settings.resolved() | {"network": about["network"], "network_settings": _plain(about["settings"])}
    Folder(settings.out, made_of, settings.fresh, LEAVES)
    if (settings.out / SCORES).exists():
        return dict(json.loads((settings.out / SCORES).read_text()))
    if not fit(run, settings.plan, settings.out):
        return None
    return (measure_test if settings.task == "classify" else _measure)(settings, data, fabric, run)


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
    told = run.told(about) | _told(settings, data, scores)
    if settings.probe:
        told[PROBED] = patch_auroc(network, data.test, settings.crop, patch_side(settings.crop), fabric.device)
    files.write_text(settings.out / SCORES, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return told


def _told(settings: FineTune, data: Labelled, scores: Scores) -> dict[str, Any]:
    unit = "mm" if all(case.spacing is not None for case in data.test) else "pixels"
    told: dict[str, Any] = {
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

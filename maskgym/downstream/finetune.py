"""Fine-tuning from the first step to the scores: train, keep what is best on val, measure on test.

All chance of step s is drawn from (seed, s), so a run that was killed and resumed ends on a CPU with the weights of one
that was not.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskgym import checkpoint
from maskgym.data.cache import write_atomically
from maskgym.downstream import pictures
from maskgym.downstream.data import Labelled, draw, read
from maskgym.downstream.network import build, load_segmenter, save_segmenter
from maskgym.downstream.predict import segment
from maskgym.downstream.recipes import optimiser, share_of_peak
from maskgym.downstream.scores import Scores, dice, score, to_csv
from maskgym.downstream.settings import FineTune
from maskgym.downstream.watch import Watch
from maskgym.errors import BadInput
from maskgym.training.folder import Folder

_MODEL, _SCORES = "model.safetensors", "scores.json"


def finetune(settings: FineTune) -> dict[str, Any]:
    """Do what the settings say; returns what is written to scores.json."""
    settings = replace(settings, out=Path(settings.out).expanduser())
    settings.check()
    crop, fabric = settings.crop, _fabric(settings)
    data = read(settings.data, settings.size, settings.label_share, settings.split_file, settings.label_seed)
    network, coverage, about = build(
        settings.network,
        settings.weights,
        len(data.train.channels),
        data.outputs,
        crop,
        settings.seed,
        settings.chosen.drop_path,
        settings.allow_partial,
    )
    _check_runs(network, data, crop)
    if coverage is not None:
        print(f"weights from {settings.weights}: {coverage}")
    folder = Folder(settings.out, settings.resolved() | {"network_settings": _plain(about["settings"])})
    if (settings.out / _SCORES).exists():
        return dict(json.loads((settings.out / _SCORES).read_text()))
    run = _Run(
        settings, data, network, {**about, "classes": data.train.classes, "data": settings.data}, folder.path, fabric
    )
    seconds = run.train()
    return _measure(settings, data, folder.path, fabric, seconds)


class _Run:
    """A training in progress."""

    def __init__(
        self,
        settings: FineTune,
        data: Labelled,
        network: nn.Module,
        about: dict[str, Any],
        folder: Path,
        fabric: Any,
    ):
        from monai.losses.dice import DiceCELoss

        self.settings, self.data, self.about, self.folder = settings, data, about, folder
        self.batch, self.lr = settings.batch or settings.chosen.batch, settings.lr or settings.chosen.lr
        self.fabric = fabric
        made = optimiser(settings.chosen, network.to(self.fabric.device), about["network"], self.lr)
        self.network, self.optimiser = self.fabric.setup(network, made)
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)
        self.step, self.best, self.looks, self.seconds = 0, -1.0, 0, 0.0

    def train(self) -> float:
        """Train to the end, or until val stops it; returns the seconds it took, also those of earlier starts."""
        settings = self.settings
        self._resume()
        before, started = self.seconds, time.monotonic()
        watch = Watch(self.folder, settings.steps, self.step, tuple(self.data.train.classes), settings.quiet)
        self.network.train()
        with closing(watch):
            while self.step < settings.steps and not self._enough():
                loss = self._turn()
                self.step += 1
                self.seconds = before + time.monotonic() - started
                if self.step % 10 == 0 or self.step == settings.steps:
                    watch.hear(self.step, _finite(loss, self.step, self.lr), self._rate(self.step - 1), self.seconds)
                if self.step % settings.look_every == 0 or self.step == settings.steps:
                    _finite(loss, self.step, self.lr)
                    self._look(watch)
                    self._save()
        return self.seconds

    def _turn(self) -> Tensor:
        """One step of the optimiser; the loss stays where it was computed."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(self.step) * group["scale"]
        settings = self.settings
        images, labels = draw(self.data, self.batch, settings.crop, settings.seed, self.step, settings.flips)
        device = self.fabric.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(settings.seed, self.step))  # of branches left out
            loss = self.loss(self.network(images.to(device)).float(), labels.to(device)[:, None])
            self.optimiser.zero_grad()
            self.fabric.backward(loss)
        if settings.chosen.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.chosen.clip)
        self.optimiser.step()
        return loss.detach()

    def _rate(self, step: int) -> float:
        return self.lr * share_of_peak(self.settings.chosen, step, self.settings.steps)

    def _enough(self) -> bool:
        return 0 < self.settings.patience <= self.looks

    def _look(self, watch: Watch) -> None:
        """Measure val; where it is as good as ever, or the last is wanted, keep the network."""
        val = self.data.val
        with self.fabric.autocast():
            maps = segment(self.network, val.images, self.settings.crop, 16, self.fabric.device)
        found = dice(maps, val)
        known = [value for value in found.values() if value is not None]
        mean = float(np.mean(known)) if known else 0.0
        self.looks = 0 if mean > self.best else self.looks + 1
        better, self.best = mean >= self.best, max(mean, self.best)
        if better or self.settings.keep == "last":
            about = {**self.about, "step": self.step, "val DSC": mean}
            save_segmenter(self.network.module, about, self.folder / _MODEL)
        watch.judged(self.step, found, mean, pictures.draw(maps, val, pictures.quick(maps, val), 3), self.seconds)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "best": self.best,
            "looks": self.looks,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        checkpoint.write(self.folder, state)

    def _resume(self) -> None:
        checkpoint.read(self.folder, self.fabric.device, self._take)

    def _take(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.looks = int(state["step"]), int(state["looks"])
        self.best, self.seconds = float(state["best"]), float(state["seconds"])


def _measure(settings: FineTune, data: Labelled, folder: Path, fabric: Any, seconds: float) -> dict[str, Any]:
    """Score the best network on the test patients; the last file written says that all is done."""
    from PIL import Image

    network, about = load_segmenter(folder)
    with fabric.autocast():
        maps = segment(network.to(fabric.device), data.test.images, settings.crop, 16, fabric.device)
    scores = score(maps, data.test, settings.tolerance)
    Image.fromarray(pictures.draw(maps, data.test, pictures.of_scores(scores))).save(folder / "predictions.png")
    (folder / "patients.csv").write_text(to_csv(scores))
    told = _told(settings, data, scores, seconds, about)
    write_atomically(folder / _SCORES, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return told


def _told(settings: FineTune, data: Labelled, scores: Scores, seconds: float, about: dict[str, Any]) -> dict[str, Any]:
    unit = "mm" if data.test.spacing is not None else "pixels"
    told: dict[str, Any] = {
        "data": settings.data,
        "label_share": settings.label_share,
        "seed": settings.seed,
        "weights": settings.weights,
        "network": settings.network,
        "recipe": settings.recipe,
        "split": data.split,
        "labelled": list(data.patients),
        "seconds": round(seconds, 2),
        "steps": settings.steps,
        "measured_step": about["step"],
        "val_DSC": about["val DSC"],
        "tolerance": f"{settings.tolerance:g} {unit}",
        "distances_in": unit,
        "patients": scores.patients,
        "mean": scores.mean,
        "left_out": scores.left_out,
    }
    return told | ({"per_slice": scores.per_slice} if scores.per_slice is not None else {})


def _fabric(settings: FineTune) -> Any:
    from lightning_fabric import Fabric

    kind, _, number = settings.device.partition(":")
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise BadInput(f"device {settings.device!r} is not here: choose cpu" + (" or cuda" if kind != "cuda" else ""))
    devices: Any = [int(number)] if number else 1
    precision: Any = {"32": "32-true", "bf16": "bf16-mixed"}[settings.precision]
    return Fabric(accelerator=kind, devices=devices, precision=precision)


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


def _finite(loss: Tensor, step: int, lr: float) -> float:
    value = float(loss)
    if not np.isfinite(value):
        raise BadInput(f"the loss is {value} at step {step}: lower --lr {lr:g}; the last checkpoint stands")
    return value


def _mixed(seed: int, step: int) -> int:
    return int(np.random.default_rng((seed, step, 1)).integers(2**63))


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}

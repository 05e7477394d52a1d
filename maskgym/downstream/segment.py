"""The network that learns to segment from few labels: how it takes a step, how it looks at val, what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
from torch import Tensor, nn

from maskgym.data.case import Case
from maskgym.data.loader import Batch
from maskgym.downstream.data import Labelled, make_loader
from maskgym.downstream.losses import dice_ce
from maskgym.downstream.network import freeze_encoder, save_segmenter
from maskgym.downstream.predict import predict
from maskgym.downstream.recipes import optimiser
from maskgym.downstream.scores import dice
from maskgym.downstream.settings import FineTune
from maskgym.masking.layout import channels_last, convolutions_last
from maskgym.training.fit import Job
from maskgym.training.journal import Journal

MODEL = "model.safetensors"


class Segmentation(Job):
    """A segmenter that learns from few labels.

    Args:
        settings: of the run.
        data: who has labels.
        network: to be trained.
        about: what is told of the network in its file.
        fabric: from `make_fabric`.
    """

    measure = "DSC"  # what val is looked at by

    def __init__(self, settings: FineTune, data: Labelled, network: nn.Module, about: dict[str, Any], fabric: Any):
        self.settings, self.data, self.about, self.fabric = settings, data, about, fabric
        self.loader = make_loader(data, settings)
        self.segmenter = convolutions_last(network.to(fabric.device)).train()
        if settings.freeze_encoder:
            self.freeze()
        made = optimiser(settings.chosen, self.segmenter, about["network"], settings.plan.lr)
        self.network, self.optimiser = fabric.setup(self.segmenter, made)
        self.best, self.since_best, self.val_mean = -1.0, 0, -1.0  # on val: the best, evaluations since, the one kept
        self.kept = 0  # step of the network that is kept
        self.journal: Journal
        self._told = ""

    def freeze(self) -> None:
        """Let the encoder stand still."""
        freeze_encoder(getattr(self.segmenter, "network", self.segmenter), self.about["network"])

    def begin(self) -> Any:
        """Open the journal."""
        val = f"val {self.measure}"
        columns = ["seconds", "loss", "learning rate", "waiting", val]
        columns += [f"{val} {name}" for name in self.data.train.classes] if self.measure == "DSC" else []
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

    def evaluate(self) -> None:
        """Measure val; where it is as good as ever, or the last is wanted, keep the network."""
        known = self.on_val()
        mean = float(np.mean(list(known.values()))) if known else 0.0
        self.since_best = 0 if mean > self.best else self.since_best + 1
        better, self.best = mean >= self.best, max(mean, self.best)
        if better or self.settings.keep == "last":
            self.kept, self.val_mean = self.done, mean
            about = {**self.about, "step": self.done, "val": mean}
            save_segmenter(self.segmenter, about, self.settings.out / MODEL)
        val = f"val {self.measure}"
        row = {val: mean} | ({f"{val} {name}": value for name, value in known.items()} if self.measure == "DSC" else {})
        self.journal.note(self.done, row, {"seconds": round(self.seconds, 2)}, "val")
        self._told = f", {val} {mean:.3f}"

    def on_val(self) -> dict[str, float]:
        """Dice of every region that some val patient has."""
        found = dice(self.answers(), self.data.val)
        return {name: value for name, value in found.items() if value is not None}

    def answers(self) -> Iterator[tuple[Case, np.ndarray]]:
        """Label the val cases with the network as it is; leaves no trace in the training."""
        settings = self.settings
        with self.fabric.autocast():
            yield from predict(self.segmenter, self.data.val, settings.crop, bool(settings.window), self.fabric.device)
        if settings.freeze_encoder:
            self.freeze()  # its norms went back into training

    def enough(self) -> bool:
        """End where val has not become better for a while."""
        return 0 < self.settings.patience <= self.since_best

    def state(self) -> dict[str, Any]:
        """Add what val said."""
        told = {"best": self.best, "since_best": self.since_best, "kept": self.kept, "val_mean": self.val_mean}
        return super().state() | told

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load(state)
        self.best, self.val_mean = float(state["best"]), float(state["val_mean"])
        self.since_best, self.kept = int(state["since_best"]), int(state["kept"])

    def told(self, about: dict[str, Any]) -> dict[str, Any]:
        """What scores.json says of the run; `about` is that of the network that was kept."""
        settings = self.settings
        return {
            "data": settings.data,
            "label_share": settings.label_share,
            "label_seed": settings.label_seeds[0],
            "seed": settings.seed,
            "weights": settings.weights,
            "handover": settings.handover,
            "network": about["network"],
            "recipe": settings.recipe,
            "split": self.data.split,
            "labelled": list(self.data.patients),
            "seconds": round(self.seconds, 2),
            "waiting": round(self.waited / max(self.seconds, 1e-9), 4),
            "steps": settings.steps,
            "measured_step": about["step"],
            f"val_{self.measure}": about["val"],
        }

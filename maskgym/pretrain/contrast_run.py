"""A contrastive pre-training in its folder (SimCLR, BYOL): the rows that masked methods are held against."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskgym.data.loader import Batch, Loader
from maskgym.errors import BadInput
from maskgym.masking.layout import channels_last, convolutions_last
from maskgym.networks import store
from maskgym.networks.features import Features, kind_of_student
from maskgym.networks.students import make_student
from maskgym.pretrain import contrast, passes
from maskgym.pretrain.data import make_loader, open_split
from maskgym.pretrain.held_out import watching
from maskgym.pretrain.loop import make_optimiser, plan_of
from maskgym.pretrain.settings import PretrainSettings, student_settings
from maskgym.pretrain.teacher import parse_teacher
from maskgym.training.devices import make_fabric
from maskgym.training.fit import Job, fit
from maskgym.training.folder import Folder
from maskgym.training.journal import Journal

MODEL = "model.safetensors"
_OUT, _INSIDE = 128, 512  # features of a projection, and inside its perceptron
_LOOKED = 64  # images of the val split
_COLUMNS = ("epoch", "seconds", "loss", "learning rate", "waiting", "held-out loss", "told apart", passes.COLUMN)


class Projected(nn.Module):
    """A student's encoder, a projection of its features and, for BYOL, a prediction of the other view's projection."""

    def __init__(self, student: nn.Module, grid: tuple[int, ...], size: tuple[int, ...], predicts: bool):
        super().__init__()
        self.student, self.grid = student, grid
        self.features = Features(student, kind_of_student(student))
        channels: Any = student.settings
        with torch.no_grad(), watching(student):
            width = self._seen(torch.zeros(1, channels["channels"], *size)).shape[1]
        self.project = _perceptron(width)
        self.predict = _perceptron(_OUT) if predicts else nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give projection and prediction of (B, C, *size), (B, 128) each."""
        projected = self.project(self._seen(images))
        return projected, self.predict(projected)

    def _seen(self, images: Tensor) -> Tensor:
        nothing = torch.zeros(len(images), *self.grid, dtype=torch.bool, device=images.device)
        return self.features(channels_last(images), nothing)


class Contrast(Job):
    """Student, heads and, for BYOL, the slow network that gives the targets."""

    def __init__(self, settings: PretrainSettings, student: nn.Module, loader: Loader, fabric: Any, val: Tensor):
        self.settings, self.student, self.loader, self.fabric = settings, student, loader, fabric
        self.steps, self.plan, self.val = loader.steps, plan_of(settings, loader.steps), val
        patches = settings.patches
        projected = Projected(student, patches.grid, patches.size, settings.loss == "byol")
        convolutions_last(projected.to(fabric.device)).train()
        self.teacher = parse_teacher(settings.teacher, projected) if settings.loss == "byol" else None
        if self.teacher is not None:
            self.teacher.network.train()  # its norms see the batch, as the student's do
        self.projected = projected
        self.network, self.optimiser = fabric.setup(projected, make_optimiser(settings, projected))
        self.journal: Journal
        self._told = ""

    def make(self, step: int) -> Batch:
        """Prepare the images of a step."""
        return self.loader.make(step)

    def begin(self) -> Any:
        """Open the journal."""
        settings = self.settings
        self.journal = Journal(
            settings.out, "pre-training", self.plan.steps, self.done, _COLUMNS, settings.quiet, settings.log
        )
        return closing(self.journal)

    def gradients(self, batch: Batch) -> Tensor:
        """Draw two views of each image, compare them, and compute the gradients."""
        images = batch.to(self.fabric.device).images
        loss, _ = self._compare(contrast.view(images), contrast.view(images))
        self.fabric.backward(loss)
        return loss

    def _compare(self, first: Tensor, second: Tensor) -> tuple[Tensor, float]:
        """Loss of two views (B, C, *size) of the same images, and the share of these told apart."""
        with self.fabric.autocast():
            (one, predicted), (other, again) = self.network(first), self.network(second)
            if self.teacher is None:
                return contrast.nt_xent(one, other), contrast.told_apart(one, other)
            with torch.no_grad():
                (target, _), (opposite, _) = self.teacher.network(first), self.teacher.network(second)
        loss = contrast.byol(predicted, opposite) + contrast.byol(again, target)
        return loss, contrast.told_apart(predicted, opposite)

    def stepped(self, batch: Batch) -> None:
        """Let the slow network follow."""
        if self.teacher is not None:
            self.teacher.follow(self.projected, self.done - 1, self.plan.steps)

    def tell(self, metrics: dict[str, float]) -> None:
        """Write down what the last steps were like."""
        epoch = (self.done - 1) // self.steps + 1
        spent = {passes.COLUMN: passes.of_run(self.settings, self.done, 0).total}
        self.journal.note(self.done, metrics | spent, {"epoch": epoch, "seconds": round(self.seconds, 2)})
        self.journal.show(self.done, f"epoch {epoch}, loss {metrics['loss']:.3f}{self._told}")

    def evaluate(self) -> None:
        """Compare two views of val images, the same in every look."""
        networks = [self.network, *([] if self.teacher is None else [self.teacher.network])]
        with torch.random.fork_rng(devices=[]), torch.no_grad(), watching(nn.ModuleList(networks)):
            torch.manual_seed(self.settings.seed)
            images = self.val.to(self.fabric.device)
            loss, share = self._compare(contrast.view(images), contrast.view(images))
        found = {"held-out loss": float(loss), "told apart": share}
        self.journal.note(self.done, found, {"seconds": round(self.seconds, 2)}, "val")
        self._told = f", {share:.0%} of held-out images told apart"

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to go on as if nothing had happened."""
        return super().state() | {"teacher": self.teacher.network.state_dict() if self.teacher else {}}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load(state)
        if self.teacher is not None:
            self.teacher.network.load_state_dict(state["teacher"])

    def keep(self) -> None:
        """Write the student for others, at whole epochs and at the end."""
        if self.done % self.steps and self.done < self.plan.steps:
            return
        about = self.settings.about_student(self.done, self.steps) | {"agent": ""}
        store.save(self.student, self.settings.out / MODEL, about)
        passes.write(self.settings.out, passes.of_run(self.settings, self.done, 0))


def run(settings: PretrainSettings) -> Path | None:
    """Pre-train; returns the student's file, or None if it was interrupted and can be gone on with."""
    fabric = make_fabric(settings.device, settings.precision)
    train, val = (open_split(settings, split) for split in ("train", "val"))
    loader, patches = make_loader(settings, train), settings.patches
    if settings.batch < 2:
        raise BadInput(f"batch {settings.batch} leaves nothing to tell an image from: take 2 or more")
    torch.manual_seed(settings.seed)
    student = make_student(settings.student, train.channels, patches, student_settings(settings.student_settings))
    looked = val.middle(np.linspace(0, len(val) - 1, min(_LOOKED, len(val))).astype(int))
    job = Contrast(passes.lengthened(settings, 0.0), student, loader, fabric, looked)
    Folder(settings.out, settings.of_the_run(), settings.fresh, (MODEL, passes.FILE))
    return settings.out / MODEL if fit(job, job.plan, settings.out) else None


def _perceptron(inside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inside, _INSIDE), nn.BatchNorm1d(_INSIDE), nn.ReLU(inplace=True), nn.Linear(_INSIDE, _OUT)
    )

"""How a network is fine-tuned: one dataclass, of which the command line, the saved run and the docs are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from maskgym.downstream.recipes import Recipe, recipe
from maskgym.errors import BadInput
from maskgym.sizes import read_size
from maskgym.training.board import Log
from maskgym.training.fit import Plan

_ABOUT_THIS_START = ("out", "fresh", "log", "quiet", "device", "workers", "save_every")  # may differ when a run goes on


@dataclass(frozen=True)
class FineTune:
    """Fine-tune a network to segment, or to grade, with few labels and measure it on the test patients."""

    out: Path
    """Folder of the run; scores.json is written last."""
    task: Literal["segment", "classify"] = "segment"
    """What is learned: every pixel's class, or the grade of the whole image (data sets with grades: messidor2, busi,
    brats2018)."""
    present: int = 0
    """Tell images below this grade from the others, as disease or none on messidor2 with 1; 0 = tell every grade."""
    weights: str = "none"
    """Where to start: the folder of a pre-training run, a .safetensors file, or none for a random start."""
    network: str = ""
    """The network: basicunet, unet, nnunet, small-unet, unetr or stunet, with settings as in unet?widths=16,32,64;
    empty = the one that the weights are for, basicunet without weights."""
    handover: Literal["encoder", "all"] = "all"
    """Which weights are taken over: the encoder's, as in the papers, or all that both networks share."""
    freeze_encoder: bool = False
    """Train the decoder alone, or the linear layer that grades; needs --weights."""
    probe: bool = False
    """Train a linear head on the frozen encoder's features instead, and measure how well it finds lesion patches."""
    data: str = "phantoms"
    """The images: phantoms, or LAYOUT:FOLDER as in lgg:/data/kaggle_3m."""
    image_size: str = "128x128"
    """Pixels along each axis."""
    split_file: str = ""
    """A split saved by `maskgym data split`; empty = the data set's own."""
    labels: int = 0
    """Training patients whose labels may be used; 0 = as --label-share says."""
    label_share: float = 1.0
    """Share of the training patients whose labels may be used; smaller shares lie within larger ones."""
    label_seed: str = ""
    """Seed of the draw of these patients, or several as 0,1,2 for a run with each; empty = as the split says."""
    recipe: str = "default"
    """Optimiser, schedule and augmentation: default, tunnel, ahm, amlp, mps-ams, selfmedhpm or anatomask."""
    steps: int = 1000
    """Optimiser steps, however many labels there are."""
    batch: int = 0
    """Images in an optimiser step; 0 = the recipe's."""
    lr: float = 0.0
    """Peak learning rate; 0 = the recipe's."""
    augment: Literal["", "none", "flips", "light", "full"] = ""
    """What training images go through: nothing, flips, flips with a little change of intensities (light), or nnU-Net's
    rotation, scale, noise, blur, gamma and flips (full); empty = as the recipe says."""
    flips: Literal["last", "all", "none"] = "last"
    """Axes along which training images are flipped: the last (left and right), all, or none."""
    window: str = ""
    """Train on random crops of this size from the native images, every third over a labelled pixel, and slide the
    window over native images in prediction; empty = whole images, brought to --image-size."""
    eval_every: int = 0
    """Steps between two evaluations on the val patients; 0 = a tenth of all steps."""
    patience: int = 0
    """Evaluations without a better val Dice after which training ends; 0 = never."""
    keep: Literal["last", "best"] = "last"
    """Which network is measured: the last, or the best on val, which then uses the labels of val."""
    metrics: Literal["all", "overlap"] = "all"
    """What is measured: overlap and surface distances, or overlap alone, which is faster."""
    tolerance: float = 1.0
    """How far apart surfaces may be in NSD, in mm, or in pixels where the spacing is unknown."""
    allow_partial: bool = False
    """Go on even if the weights fill less than 90 % of the encoder."""
    precision: str = "32"
    """Precision of the forward and backward pass: 32 or bf16."""
    seed: int = 0
    """Seed of the weights and of all randomness."""
    device: str = "cpu"
    """Where to train: cpu, cuda or cuda:1."""
    workers: int = 1
    """Threads that prepare batches ahead."""
    save_every: int = 200
    """Steps between two checkpoints."""
    fresh: bool = False
    """Delete the run that is in --out and start over; without it, the same command again goes on."""
    log: Log = "tensorboard"
    """Where curves go besides TensorBoard; wandb and mlflow stay offline unless their own variables say otherwise."""
    quiet: bool = False
    """Print no progress."""

    def check(self) -> None:
        """Refuse what cannot be meant, in one line; at construction the command line would wrap it in many."""
        least = {"steps": 1, "save_every": 1, "batch": 0, "lr": 0, "eval_every": 0, "patience": 0, "tolerance": 0}
        for name, low in (least | {"labels": 0, "workers": 0}).items():
            if not getattr(self, name) >= low:
                raise BadInput(f"{name} {getattr(self, name)} must be at least {low}")
        if not 0 < self.label_share <= 1:
            raise BadInput(f"a label share of {self.label_share} leaves no patient: it lies above 0 and is at most 1")
        for name, known in (("keep", ("best", "last")), ("flips", ("last", "all", "none"))):
            if getattr(self, name) not in known:
                raise BadInput(f"{name} {getattr(self, name)!r} is unknown: choose {' or '.join(known)}")
        if self.task == "classify" and self.batch == 1:
            raise BadInput("batch 1 leaves --task classify nothing to norm features by: take 2 or more")
        if self.task != "classify" and self.present:
            raise BadInput(f"present {self.present} parts the grades of images: add --task classify")
        if self.task == "classify" and (self.window or self.probe):
            raise BadInput(
                "--task classify grades whole images: leave --window and --probe away (--freeze-encoder probes)"
            )
        if self.freeze_encoder and self.weights == "none":
            raise BadInput("--freeze-encoder would freeze a random start: give --weights")
        if self.probe and self.window:
            raise BadInput("--probe looks at whole images: leave --window away")
        if self.precision not in ("32", "bf16"):
            raise BadInput(f"unknown precision {self.precision!r}: choose 32 or bf16")
        recipe(self.recipe)
        _ = self.label_seeds

    @property
    def chosen(self) -> Recipe:
        """The recipe."""
        return recipe(self.recipe)

    @property
    def label_seeds(self) -> tuple[int | None, ...]:
        """One for each run; None = as the split says."""
        try:
            return tuple(int(seed) for seed in self.label_seed.split(",")) if self.label_seed else (None,)
        except ValueError:
            raise BadInput(f"label_seed {self.label_seed!r} is no number: write 0, or 0,1,2") from None

    @property
    def size(self) -> tuple[int, ...]:
        """Of the images."""
        return read_size(self.image_size, "image_size")

    @property
    def crop(self) -> tuple[int, ...]:
        """What the network takes: the window, or the whole image."""
        if not self.window:
            return self.size
        return read_size(self.window, "window")

    @property
    def plan(self) -> Plan:
        """The recipe laid over the steps."""
        chosen = self.chosen
        return Plan(
            steps=self.steps,
            lr=self.lr or chosen.lr,
            decay=chosen.decay,
            warm_up=chosen.warm_up,
            clip=chosen.clip,
            seed=self.seed,
            save_every=self.save_every,
            eval_every=self.eval_every or max(1, self.steps // 10),
            workers=self.workers,
        )

    def resolved(self) -> dict[str, Any]:
        """Everything that makes the run what it is, for settings.json."""
        told = {name: value for name, value in asdict(self).items() if name not in _ABOUT_THIS_START}
        chosen = self.chosen
        return told | {
            "batch": self.batch or chosen.batch,
            "lr": self.lr or chosen.lr,
            "augment": self.augment or chosen.augment,
            "eval_every": self.plan.eval_every,
        }

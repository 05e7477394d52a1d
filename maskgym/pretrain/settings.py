"""Everything a pre-training is made from: one dataclass, of which command line, saved run and docs are made."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.pretrain import contrast
from maskgym.sizes import read_size
from maskgym.training.board import Log

# What may differ when a run goes on: none of it changes what is learned.
NOT_OF_THE_RUN = (
    "out",
    "settings",
    "fresh",
    "log",
    "quiet",
    "device",
    "processes",
    "workers",
    "save_every",
    "eval_every",
)


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of a pre-training run."""

    out: Path
    """Folder of the run: weights, checkpoint, TensorBoard, metrics, pictures."""
    recipe: str = "random"
    """Whose values are the defaults: random, ahm, amlp, anatomask, selfmedhpm, snapshots, mps-ams, simclr or byol."""
    settings: str = ""
    """A TOML or JSON file of settings, such as the settings.json of another run; it overrides the recipe."""
    data: str = "phantoms"
    """The images: phantoms, or LAYOUT:FOLDER as in lgg:/data/kaggle_3m."""
    image_size: str = "128x128"
    """Pixels along each axis, as 128x128 or 96x96x96."""
    patch_size: str = "16"
    """Pixels of a patch along each axis."""
    crop: str = ""
    """Train on random crops of this size, cut from the native images; empty = whole images, brought to image_size."""
    flips: Literal["all", "last", "none"] = "all"
    """Axes along which each image is flipped at even odds: all, the last (left and right), or none."""
    split_file: str = ""
    """A split saved by `maskgym data split`; empty = the data set's own."""
    images: int = 0
    """Use so many images of the train split, spread evenly over patients; 0 = all."""
    abnormal_only: bool = False
    """Use only images with a lesion, as AHM does; this lets labels into pre-training."""
    agent: str = "random"
    """Who says what to hide: NAME, NAME?setting=value, or NAME:FOLDER. An agent that learns in an environment (a3c)
    and has no folder is trained first."""
    student: str = "basicunet"
    """The network that learns: basicunet, unet, nnunet, small-unet, vit-mae, stunet-s, stunet-b or stunet-l."""
    student_settings: str = ""
    """The network's own settings, as widths=16,32,64,128 or depth=6&heads=4."""
    target: Literal["raw", "normalised"] = "raw"
    """What is rebuilt: the pixels, or every patch brought to mean 0 and variance 1."""
    loss: str = "hidden-mean"
    """What is minimised: hidden-mean, hidden-sum, whole, rrl or rrl-literal, or several as hidden-mean+0.5*rrl; or
    nt-xent or byol, which compare two views of an image and hide nothing."""
    ratio: str = "0.75"
    """Share of the patches that is hidden, by epoch: a number, linear:FROM:TO or adaptive:FROM:TAU:CAP."""
    hard_share: str = "1"
    """Share of the hidden patches that the agent chooses, the rest being random; a schedule as for --ratio."""
    temperature: float = 0.0
    """How softly the agent's scores choose: 0 = the highest; T = a draw by exp(score / T), scores of an image having
    deviation 1, anew in every epoch."""
    teacher: str = ""
    """Over what share of the run the teacher averages, as FROM:TO:RISE; so-far:0.5 is half of the steps taken so far,
    momentum:0.999:0.9999:0.25 is as papers print it; empty = no teacher."""
    fast: str = ""
    """A second, faster average, written as --teacher is, which agents that compare two networks see in place of the
    student; empty = the student itself."""
    score_every: int = 1
    """Epochs for which the scores of an image are kept before the agent is asked again."""
    optimiser: Literal["adamw", "adam"] = "adamw"
    """The optimiser."""
    lr: float = 1e-3
    """Peak learning rate."""
    decay: Literal["cosine", "constant"] = "cosine"
    """What the learning rate does after the warm-up: fall to zero along a cosine, or stay."""
    warm_up: float = 10.0
    """Epochs in which the learning rate rises, at most a tenth of all."""
    beta1: float = 0.9
    """The optimiser's decay rate of the first moment."""
    beta2: float = 0.95
    """The optimiser's decay rate of the second moment."""
    weight_decay: float = 0.05
    """Weight decay; biases and norms have none."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 = no clipping."""
    epochs: int = 100
    """Passes over the train split."""
    steps: int = 0
    """Optimiser steps, in place of --epochs; 0 = as --epochs says."""
    passes: int = 0
    """Image passes in all, those of agent, policy and reconstructor included, in place of --steps; 0 = any number."""
    batch: int = 16
    """Images in an optimiser step, over all processes and parts."""
    accumulate: int = 1
    """Parts in which a step's images go through the network, to save memory."""
    precision: Literal["32", "bf16"] = "32"
    """Precision of the forward and backward pass."""
    compile: bool = False
    """Compile the student with torch.compile."""
    seed: int = 0
    """Seed of the weights and of all randomness."""
    device: str = "cpu"
    """Where to train: cpu, cuda or cuda:1."""
    processes: int = 1
    """Processes on this machine; torchrun and fabric run set it themselves."""
    workers: int = 2
    """Threads that prepare batches ahead."""
    save_every: int = 200
    """Steps between two checkpoints."""
    eval_every: int = 5
    """Epochs between two evaluations on the val split, held-out loss and pictures; 0 = only at the end."""
    report: bool = False
    """Count how many of the hidden patches were lesion, epoch by epoch; nothing else sees a label."""
    reconstructor: str = ""
    """For an agent that is trained first: the frozen network to play against, in place of training one."""
    reconstructor_steps: int = 6000
    """For an agent that is trained first: steps of the reconstructor's training."""
    policy: str = ""
    """For an agent that is trained first: the folder of a trained one to use instead."""
    policy_masks: int = 200_000
    """For an agent that is trained first: env steps of its training."""
    policy_workers: int = 2
    """For an agent that is trained first: processes that train side by side."""
    fresh: bool = False
    """Delete the run that is in --out and start over; without it, the same command again goes on."""
    log: Log = "tensorboard"
    """Where curves go besides TensorBoard; wandb and mlflow stay offline unless their own variables say otherwise."""
    quiet: bool = False
    """Print no progress."""

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch": 1, "accumulate": 1, "processes": 1, "workers": 0, "save_every": 1}
        least |= {
            "score_every": 1,
            "eval_every": 0,
            "images": 0,
            "temperature": 0,
            "steps": 0,
            "passes": 0,
            "clip": 0,
            "warm_up": 0,
            "weight_decay": 0,
        }
        for name, low in least.items():
            if not getattr(self, name) >= low:
                raise BadInput(f"{name} {getattr(self, name)} must be at least {low}")
        if not self.lr > 0:
            raise BadInput(f"lr {self.lr} must be above 0")
        if self.passes and self.steps:
            raise BadInput(f"passes {self.passes} say how many steps there are: leave --steps {self.steps} away")
        if self.contrastive:
            self._check_contrastive()
        if self.batch % (self.accumulate * self.processes):
            raise BadInput(
                f"batch {self.batch} does not fall into {self.accumulate} parts for {self.processes} processes: "
                "choose a multiple"
            )

    def _check_contrastive(self) -> None:
        if self.agent != "random" or self.report:
            raise BadInput(f"loss {self.loss!r} compares views and hides nothing: leave --agent and --report away")
        if self.processes > 1 or self.accumulate > 1:
            raise BadInput(
                f"loss {self.loss!r} compares all images of a batch: leave --processes and --accumulate away"
            )
        if self.loss == "byol" and not self.teacher:
            raise BadInput("loss 'byol' needs a slow network to give targets: add --teacher momentum:0.99:1:1")

    @property
    def contrastive(self) -> bool:
        """Whether views of images are compared (SimCLR, BYOL), and nothing is hidden."""
        return self.loss in contrast.LOSSES

    @property
    def size(self) -> tuple[int, ...]:
        """Of the images as they are read."""
        return read_size(self.image_size, "image_size")

    @property
    def patches(self) -> Patches:
        """The grid over what the student sees: whole images, or crops."""
        size = read_size(self.crop, "crop") if self.crop else self.size
        return Patches(size, read_size(self.patch_size, "patch_size", len(size)))

    def about_student(self, steps: int, epoch: int) -> dict[str, Any]:
        """What is told of a student in its file, after so many steps; `epoch` is the number of steps of one."""
        return {
            "recipe": self.recipe,
            "data": self.data if self.data.startswith("phantoms") else self.data.partition(":")[0],
            "image_size": "x".join(map(str, self.patches.size)),
            "patch_size": "x".join(map(str, self.patches.patch)),
            "target": self.target,
            "student": self.student,
            "epochs": steps // epoch,
            "steps": steps,
            "seed": self.seed,
        }

    def of_the_run(self) -> dict[str, Any]:
        """What makes the run what it is, for settings.json: it can be given back by --settings."""
        return {name: value for name, value in asdict(self).items() if name not in NOT_OF_THE_RUN}


def read_file(path: Path | str) -> dict[str, Any]:
    """Read a file of settings: TOML, or JSON where its name ends so; an unknown key is refused by the nearest name."""
    path = Path(path).expanduser()
    try:
        text = path.read_text()
        told = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise BadInput(f"the settings file {path} cannot be read ({error.strerror}): give another") from None
    except ValueError as error:
        raise BadInput(f"the settings file {path} is damaged ({error}): it must be TOML or JSON") from None
    if not isinstance(told, dict):
        raise BadInput(f"the settings file {path} holds no table: write name = value, a line each")
    return check_names(told, str(path))


def check_names(told: dict[str, Any], where: str) -> dict[str, Any]:
    """Refuse what is no setting, and values of another type than the setting's."""
    known = get_type_hints(PretrainSettings)
    for name in told:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`maskgym pretrain --help` lists them"
            raise BadInput(f"{where} has an unknown setting {name!r}: {hint}")
    return {name: _typed(name, value, known[name], where) for name, value in told.items()}


def _typed(name: str, value: Any, kind: Any, where: str) -> Any:
    if name == "student_settings" and isinstance(value, dict):  # a TOML table
        return "&".join(f"{key}={_listed(entry)}" for key, entry in value.items())
    if get_origin(kind) is Literal:
        if str(value) not in get_args(kind):
            raise BadInput(f"{where} says {name} = {value!r}: choose {' or '.join(get_args(kind))}")
        return str(value)
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path:
        return Path(value)
    if type(value) is not kind:
        raise BadInput(f"{where} says {name} = {value!r}: it must be of type {kind.__name__}")
    return value


def _listed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def student_settings(text: str) -> dict[str, Any]:
    """Read the settings of a student.

    >>> student_settings("widths=16,32&depth=2")
    {'widths': (16, 32), 'depth': 2}
    """
    told = {}
    for part in filter(None, text.replace(" ", "").split("&")):
        name, _, value = part.partition("=")
        try:
            numbers = tuple(float(number) if "." in number else int(number) for number in value.split(","))
        except ValueError:
            raise BadInput(
                f"student_settings {text!r} cannot be read: write widths=16,32,64 or depth=6&heads=4"
            ) from None
        told[name] = numbers if "," in value else numbers[0]
    return told


NAMES = tuple(field.name for field in fields(PretrainSettings))

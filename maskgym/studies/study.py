"""What a study is: data sets, methods, label shares and seeds, and the stages that several methods share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maskgym.agent_spec import AgentSpec
from maskgym.masking import schedules
from maskgym.pretrain import contrast
from maskgym.pretrain.recipes import make_settings, recipe

Options = dict[str, Any]  # of a command, with _ for -


@dataclass(frozen=True)
class Stage:
    """A reconstructor or a policy: trained once for each data set, used by many jobs."""

    name: str
    on: int | None = None
    """Place of the one data set it is trained on, to be carried to all; None: on each."""
    agent: str = ""
    """Whose policy it is; a reconstructor has none."""
    reconstructor: str = ""
    """The reconstructor that a policy plays against."""
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to start fine-tuning: a recipe of pre-training with its own options, or no recipe for a random start."""

    name: str
    recipe: str = ""
    pretrain: Options = field(default_factory=dict)
    finetune: Options = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    """Options of pre-training in which it may differ from the others although the study says otherwise."""
    against: tuple[str, ...] = ()
    """The methods its worth is measured against; empty: random masks."""
    pretrained: str = ""
    """The method whose pre-trained networks it fine-tunes in its own way; empty: it pre-trains itself."""

    @property
    def home(self) -> str:
        """The method in whose folder its pre-training lies."""
        return self.pretrained or self.name


@dataclass(frozen=True)
class Control:
    """The positive control: what must be seen before anything else is run."""

    method: str = "random"
    """Who must be better..."""
    over: str = "scratch"
    """... than whom ..."""
    errors: float = 2.0
    """... by how many standard errors on the first share of labels, with the pre-training seed as the unit."""
    measure: str = ""
    """By what both are measured: as worth is, or `patch_AUROC`, how well linear probes tell patches of each class."""


@dataclass(frozen=True)
class Study:
    """What a study file says."""

    data: tuple[str, ...]
    methods: tuple[Method, ...]
    shares: tuple[float, ...] = (0.1,)
    seeds: tuple[int, ...] = (0,)
    label_seeds: tuple[int | None, ...] = (None,)
    """Draws of the labelled patients, one fine-tuning each; None: the split's own."""
    pretrain: Options = field(default_factory=dict)
    finetune: Options = field(default_factory=dict)
    reconstructors: tuple[Stage, ...] = ()
    policies: tuple[Stage, ...] = ()
    scores: dict[str, Options] = field(default_factory=dict)
    """What is played, by name: score, or score-NAME."""
    differ: tuple[str, ...] | None = None
    """The options of pre-training in which methods may differ; None: in all."""
    passes: int = 0
    """Image passes that the pre-training of every arm gets, all told; 0 = each as its options say."""
    control: Control | None = None
    measure: str = "patients"
    """What worth is counted in: DSC of each patient, or pooled over the pixels of all, the background a class; or
    where images are graded accuracy, F1, AUROC, kappa."""
    folds: int = 0
    """Splits by patient in which every patient is tested once, one for each seed; 0 = one split for all seeds."""

    @property
    def sources(self) -> tuple[str, ...]:
        """All data sets: those to fine-tune on, then those that are only pre-trained on."""
        more = [str(told["data"]) for told in map(self.pretrain_options, self.methods) if "data" in told]
        return tuple(dict.fromkeys((*self.data, *more)))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Reconstructors, then policies."""
        return (*self.reconstructors, *self.policies)

    def fold(self, seed: int) -> int:
        """The fold that a seed keeps to, from 1, one after another; 0 in a study of one split."""
        return seed % self.folds + 1 if self.folds else 0

    def pretrain_options(self, method: Method) -> Options:
        """Options of a method's pre-training: its own over the study's; none where it does not pre-train."""
        equal = {"passes": self.passes} if self.passes else {}
        return self.pretrain | equal | method.pretrain if method.recipe else {}

    def agent_of(self, method: Method) -> str:
        """Who masks when a method pre-trains: as it says, as the study says, as the recipe says."""
        return str((recipe(method.recipe) | self.pretrain_options(method)).get("agent", "random"))

    def hard_share_of(self, method: Method) -> float:
        """Share of the hidden patches that is taken by score when a method pre-trains, on average over its epochs."""
        settings = make_settings("x", method.recipe, **self.pretrain_options(method))
        share, epochs = schedules.parse(settings.hard_share), settings.epochs
        return round(sum(share(epoch, epochs) for epoch in range(1, epochs + 1)) / epochs, 4)

    def masks(self, method: Method) -> bool:
        """Whether a method pre-trains under masks; contrastive ones hide nothing."""
        told = recipe(method.recipe) | self.pretrain_options(method) if method.recipe else {}
        return bool(method.recipe) and str(told.get("loss", "")) not in contrast.LOSSES

    def plays(self, method: Method) -> bool:
        """Whether the masks of a method can be played in a game of frozen networks by its agent's scores alone.

        Not those by averages of its own student, and not those drawn at a temperature.
        """
        told = self.pretrain_options(method)
        return self.masks(method) and not method.pretrained and not told.get("fast") and not told.get("temperature")

    def stage(self, name: Any) -> Stage | None:
        """Find a stage by name."""
        return next((stage for stage in self.stages if stage.name == name), None)


def can_be_trained(spec: str) -> bool:
    """Whether an agent learns in an environment, and is not loaded from a folder."""
    from maskgym.learner import Learner
    from maskgym.registry import agent_class

    name, folder, _ = AgentSpec.read(spec)
    return not folder and issubclass(agent_class(name), Learner)


def trained_first(spec: str) -> bool:
    """Whether an agent is trained in an environment before it masks, and is not loaded from a folder."""
    from maskgym import learner
    from maskgym.registry import agent_class

    name, folder, _ = AgentSpec.read(spec)
    return not folder and learner.trained_first(agent_class(name))

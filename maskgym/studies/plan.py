"""The plan of a study: data sets x methods x label shares x seeds, as command lines that need each other's results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Needs = tuple[str, ...]
PAR = ("queries",)  # of [score], what only the search for par is told
BOTH = ("ratio", "images", "split", "device")  # what par and score are told alike


@dataclass(frozen=True)
class Cell:
    """One command of a study: it is finished when it ended well and the file it leaves last is there."""

    name: str
    kind: str
    words: tuple[str, ...]
    leaves: Path
    needs: Needs = ()


@dataclass(frozen=True)
class Stage:
    """A reconstructor or a policy: trained once for each data set, used by many cells."""

    name: str
    on: int | None = None
    """Place of the one data set it is trained on, to be carried to all; None: on each."""
    agent: str = ""
    """Whose policy it is; a reconstructor has none."""
    reconstructor: str = ""
    """The reconstructor that a policy plays against."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to start fine-tuning: a recipe of pre-training with its own settings, or no recipe for a random start."""

    name: str
    recipe: str = ""
    pretrain: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """What a study file says."""

    data: tuple[str, ...]
    methods: tuple[Method, ...]
    shares: tuple[float, ...] = (0.1,)
    seeds: tuple[int, ...] = (0,)
    pretrain: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)
    reconstructors: tuple[Stage, ...] = ()
    policies: tuple[Stage, ...] = ()
    score: dict[str, Any] | None = None

    def cells(self, out: Path) -> list[Cell]:
        """Write down every command and what it needs before it; what several cells use is made once."""
        return [cell for place in range(len(self.data)) for cell in _Place(self, out, place).cells()]


@dataclass(frozen=True)
class _Place:
    """The cells of one data set."""

    study: Study
    out: Path
    place: int

    @property
    def name(self) -> str:
        return f"data{self.place}"

    @property
    def phantoms(self) -> bool:
        """Phantoms bring their own split."""
        return self.study.data[self.place].split("?")[0] == "phantoms"

    @property
    def split(self) -> Needs:
        return () if self.phantoms else (f"{self.name}/split",)

    def cells(self) -> Iterator[Cell]:
        if not self.phantoms:
            file = self.out / self.name / "split.json"
            words = ("data", "split", self.study.data[self.place], "--out", str(file))
            yield Cell(f"{self.name}/split", "split", words, file)
        for stage in (*self.study.reconstructors, *self.study.policies):
            if stage.on in (None, self.place):
                yield self._policy(stage) if stage.agent else self._reconstructor(stage)
        if self.study.score is not None:
            yield self._par(self.study.score)
        for method in self.study.methods:
            for seed in self.study.seeds:
                if method.recipe:
                    yield self._pretrain(method, seed)
                for share in self.study.shares:
                    yield self._finetune(method, seed, share)
            if method.recipe and self.study.score is not None and self._same_game(method):
                yield self._score(method, self.study.score)

    def _reconstructor(self, stage: Stage) -> Cell:
        own = {key if key in ("image_size", "patch_size") else f"train.{key}": x for key, x in stage.options.items()}
        words = (
            "reconstructor",
            "train",
            "--out",
            str(self._folder(stage)),
            *self._data(),
            *_options(self._sizes | own),
        )
        return Cell(
            f"{self.name}/{stage.name}", "reconstructor", words, self._folder(stage) / "held_out.png", self.split
        )

    def _policy(self, stage: Stage) -> Cell:
        network = self._stage(stage.reconstructor)
        words = ("train", stage.agent, "--out", str(self._folder(stage)), *self._game(network, stage.options))
        needs = (*self.split, self._named(network))
        return Cell(f"{self.name}/{stage.name}", "policy", words, self._folder(stage) / "agent.json", needs)

    def _par(self, told: dict[str, Any]) -> Cell:
        network, file = self.study.reconstructors[0], self.out / self.name / "par.safetensors"
        own = {key: value for key, value in told.items() if key in (*PAR, *BOTH)}
        words = ("par", "--out", str(file), *self._game(network, own))
        return Cell(f"{self.name}/par", "par", words, file, (*self.split, self._named(network)))

    def _score(self, method: Method, told: dict[str, Any]) -> Cell:
        network, name = self.study.reconstructors[0], f"{self.name}/{method.name}/score"
        agent, seeds, needs = self._player(method)
        own = {"seeds": seeds} | {key: value for key, value in told.items() if key not in PAR}
        folder, par = self.out / name, str(self.out / self.name / "par.safetensors")
        words = ("score", agent, "--out", str(folder), "--par", par, *self._game(network, own))
        before = (*self.split, self._named(network), f"{self.name}/par", *needs)
        return Cell(name, "score", words, folder / "score.json", before)

    def _pretrain(self, method: Method, seed: int) -> Cell:
        name = f"{self.name}/{method.name}/seed{seed}/pretrain"
        told, needs = self.study.pretrain | method.pretrain, self.split
        for option in ("agent", "reconstructor"):
            if stage := self._stage(told.get(option, "")):
                told = told | {option: _player(stage, self._folder(stage)) if stage.agent else str(self._folder(stage))}
                needs = (*needs, self._named(stage))
        words = (
            "pretrain",
            "--recipe",
            method.recipe,
            *self._data(),
            "--seed",
            str(seed),
            "--out",
            str(self.out / name),
        )
        return Cell(name, "pretrain", (*words, *_options(told)), self.out / name / "model.safetensors", needs)

    def _finetune(self, method: Method, seed: int, share: float) -> Cell:
        before, name = f"{self.name}/{method.name}/seed{seed}", f"share{share:g}"
        folder, needs = self.out / before / name, self.split
        weights = "none"
        if method.recipe:
            weights, needs = str(self.out / before / "pretrain"), (*needs, f"{before}/pretrain")
        words = ("finetune", "--weights", weights, *self._data(), "--label-share", f"{share:g}", "--seed", str(seed))
        own = _options(self.study.finetune | method.finetune)
        return Cell(f"{before}/{name}", "finetune", (*words, "--out", str(folder), *own), folder / "scores.json", needs)

    def _player(self, method: Method) -> tuple[str, int, Needs]:
        """Who plays for a method, in how many runs, and which cells make it: its policy, else its agent by name."""
        spec = agent_of(self.study, method)
        if stage := self._stage(spec):
            return _player(stage, self._folder(stage)), 1, (self._named(stage),)
        seeds = self.study.seeds
        if not trained_first(spec):
            return spec, len(seeds), ()
        folder, counted = self.out / self.name / method.name, seeds == tuple(range(len(seeds)))
        needs = tuple(f"{self.name}/{method.name}/seed{seed}/pretrain" for seed in seeds)
        where = folder / ("seed{seed}" if counted else f"seed{seeds[0]}") / "pretrain" / "policy"
        return f"{spec.partition('?')[0]}:{where}", len(seeds) if counted else 1, needs if counted else needs[:1]

    def _same_game(self, method: Method) -> bool:
        """Points are of one game: methods with patches or images of another size are not scored."""
        return all(method.pretrain.get(key, value) == value for key, value in self._sizes.items())

    @property
    def _sizes(self) -> dict[str, Any]:
        return {key: self.study.pretrain[key] for key in ("image_size", "patch_size") if key in self.study.pretrain}

    def _game(self, network: Stage | None, own: dict[str, Any]) -> tuple[str, ...]:
        """The options by which train, par and score know the game."""
        assert network is not None
        told = self._sizes | own
        env = "MaskMIM3D-v0" if str(told["image_size"]).count("x") == 2 else "MaskMIM-v0"
        split = () if self.phantoms else ("--split-file", str(self.out / self.name / "split.json"))
        words = ("--env", env, "--data", self.study.data[self.place], "--reconstructor", str(self._folder(network)))
        return (*words, *split, *_options(told))

    def _data(self) -> tuple[str, ...]:
        split = () if self.phantoms else ("--split-file", str(self.out / self.name / "split.json"))
        return ("--data", self.study.data[self.place], *split)

    def _stage(self, name: str) -> Stage | None:
        return next((one for one in (*self.study.reconstructors, *self.study.policies) if one.name == name), None)

    def _named(self, stage: Stage | None) -> str:
        assert stage is not None
        return f"data{self.place if stage.on is None else stage.on}/{stage.name}"

    def _folder(self, stage: Stage) -> Path:
        return self.out / self._named(stage)


def agent_of(study: Study, method: Method) -> str:
    """Who masks when a method pre-trains: as it says, as the study says, as the recipe says."""
    from maskgym.pretrain.recipes import recipe

    return str((recipe(method.recipe) | study.pretrain | method.pretrain).get("agent", "random"))


def trained_first(spec: str) -> bool:
    """Whether an agent is trained in an environment before it masks, and is not loaded from a folder."""
    from maskgym import learner
    from maskgym.registry import agent_class

    name, _, folder = spec.partition("?")[0].partition(":")
    return not folder and learner.trained_first(agent_class(name))


def _player(stage: Stage, folder: Path) -> str:
    return f"{stage.agent.partition('?')[0]}:{folder}"


def _options(told: dict[str, Any]) -> tuple[str, ...]:
    """Settings as words of a command line."""
    words: list[str] = []
    for key, value in told.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return tuple(words)

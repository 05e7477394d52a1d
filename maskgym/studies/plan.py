"""The plan of a study: a graph of command lines, each with the file it leaves last and the jobs it needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from maskgym.studies.study import Control, Method, Options, Stage, Study, trained_first

Needs = tuple[str, ...]
PAR = ("queries",)  # of [score], what only the search for par is told
BOTH = ("ratio", "images", "split", "device", "reward", "reference")  # what par and score are told alike
_SIZES = ("image_size", "patch_size")
_RESULTS = ("finetune", "score", "control")  # what a study is run for; other jobs are there for these


@dataclass(frozen=True)
class Job:
    """One command of a study: it is finished when it ended well and the file it leaves last is there."""

    name: str
    """Its folder inside the study's, or its file there without the ending."""
    kind: str
    words: tuple[str, ...]
    """What `maskgym` is told."""
    leaves: Path
    needs: Needs = ()
    place: str = ""
    """The folder of its data set, as data0."""
    method: str = ""
    seed: int = -1
    share: float = 0.0
    label_seeds: tuple[int | None, ...] = (None,)
    """Draws of the labelled patients, one fine-tuning each; None: the split's own."""

    @property
    def needs_gpu(self) -> bool:
        """Whether its command asks for one."""
        return any(a == "--device" and b.startswith("cuda") for a, b in pairwise(self.words))

    @property
    def folders(self) -> dict[int | None, Path]:
        """Where the fine-tuning on each draw of labels lies."""
        home, seeds = self.leaves.parent, self.label_seeds
        return {seed: home / f"labels-{seed}" if len(seeds) > 1 else home for seed in seeds}


def plan(study: Study, out: Path) -> list[Job]:
    """Write down every command after those it needs; what several need is made once, what nobody needs not at all."""
    jobs: dict[str, Job] = {}
    for job in _all_jobs(study, out):
        jobs.setdefault(job.name, job)
    return _with_needs(list(jobs.values()), lambda job: job.kind in _RESULTS)


def only(jobs: list[Job], methods: tuple[str, ...]) -> list[Job]:
    """The jobs of some methods, the control, and whatever these need."""
    return _with_needs(jobs, lambda job: job.method in methods or job.kind == "control")


def _with_needs(jobs: list[Job], chosen: Callable[[Job], bool]) -> list[Job]:
    wanted: set[str] = set()
    for job in reversed(jobs):
        if chosen(job) or job.name in wanted:
            wanted.update((job.name, *job.needs))
    return [job for job in jobs if job.name in wanted]


def _all_jobs(study: Study, out: Path) -> Iterator[Job]:
    """The control, then seed by seed, so that a study stopped anywhere has held all methods against each other."""
    sources = [_Source(study, out, spec, place) for place, spec in enumerate(study.sources)]
    for source in sources:
        yield from source.split_once()
        for fold in dict.fromkeys(map(study.fold, study.seeds)):
            yield from replace(source, fold=fold).stages()
    for source in sources[: len(study.data)]:
        if study.control:
            yield from source.control(study.control, sources)
    for share, seed in product(study.shares, study.seeds):
        for source, method in product(sources[: len(study.data)], study.methods):
            for job in source.of(seed).method(method, seed, share, sources):
                yield replace(job, needs=(*job.needs, f"{source.name}/control")) if study.control else job
    for source, (game, told) in product(sources[: len(study.data)], study.scores.items()):
        yield source.par(game, told)
        for method in study.methods:
            if study.plays(method) and source.same_game(method):
                yield source.score(method, game, told)


@dataclass(frozen=True)
class _Source:
    """The jobs of one data set."""

    study: Study
    out: Path
    spec: str
    place: int
    fold: int = 0
    """Whose split it keeps to, in a study in folds; 0: there is one split."""

    def of(self, seed: int) -> _Source:
        """Its jobs of one seed: those on the seed's fold, in a study in folds."""
        return replace(self, fold=self.study.fold(seed))

    @property
    def name(self) -> str:
        """The folder of the data set: data0 to fine-tune on, extra0 only to pre-train on."""
        count = len(self.study.data)
        return f"data{self.place}" if self.place < count else f"extra{self.place - count}"

    @property
    def split(self) -> tuple[Needs, tuple[str, ...]]:
        """The job that splits it by patient, and the words that say so; phantoms bring their own split."""
        if self.spec.partition("?")[0] == "phantoms":
            return (), ()
        return (f"{self.name}/split",), ("--split-file", str(self._split_file(self.fold)))

    def _split_file(self, fold: int) -> Path:
        return self.out / self.name / (f"split-{fold}.json" if fold else "split.json")

    def split_once(self) -> Iterator[Job]:
        """The split by patient, or into folds all at once."""
        for name in self.split[0]:
            count = self.study.folds
            words = ("data", "split", "--data", self.spec, "--out", str(self._split_file(0)))
            folds = ("--folds", str(count)) if count else ()
            yield Job(name, "split", (*words, *folds), self._split_file(count), place=self.name)

    def stages(self) -> Iterator[Job]:
        """Reconstructors and policies."""
        for stage in self.study.stages:
            if stage.on in (None, self.place):
                yield self._policy(stage) if stage.agent else self._reconstructor(stage)

    def control(self, asked: Control, sources: list[_Source]) -> Iterator[Job]:
        """The positive control: both its methods on all seeds with the first share of labels, and what they say."""
        both = [method for method in self.study.methods if method.name in (asked.method, asked.over)]
        share, needs = self.study.shares[0], []
        for seed, method in product(self.study.seeds, both):
            yield from self.of(seed).method(method, seed, share, sources)
            needs.append(self._finetune_name(method, seed, share))
        file = self.out / self.name / "control.json"
        told = ("--place", self.name, "--runs", str(len(needs) * len(self.study.label_seeds)), "--out", str(file))
        words = ("study", "control", str(self.out), *told, *_options(asdict(asked)))
        yield Job(f"{self.name}/control", "control", words, file, tuple(needs), self.name)

    def method(self, method: Method, seed: int, share: float, sources: list[_Source]) -> Iterator[Job]:
        """Pre-training under one method and seed, and fine-tuning on one share of the labels."""
        before: tuple[Job, ...] = ()
        if method.recipe:
            told = self.study.pretrain_options(method)
            home = next((one for one in sources if one.spec == told.get("data")), self)
            before = (home.of(seed).pretrain(method, seed, told),)
            yield from before
        yield self._finetune(method, seed, share, before)

    def pretrain(self, method: Method, seed: int, told: Options) -> Job:
        """Pre-training under one method and seed."""
        name = f"{self.name}/{method.home}/seed{seed}/pretrain"
        own, needs = self._resolved({key: value for key, value in told.items() if key != "data"})
        words = ("pretrain", "--recipe", method.recipe, *self._data(), "--seed", str(seed))
        words = (*words, "--out", str(self.out / name), *_options(own))
        leaves = self.out / name / "model.safetensors"
        return Job(name, "pretrain", words, leaves, (*self.split[0], *needs), self.name, method.home, seed)

    def _finetune_name(self, method: Method, seed: int, share: float) -> str:
        return f"{self.name}/{method.name}/seed{seed}/share{share:g}"

    def _finetune(self, method: Method, seed: int, share: float, before: tuple[Job, ...]) -> Job:
        name, needs, draws = self._finetune_name(method, seed, share), self.split[0], self.study.label_seeds
        weights = "none"
        for job in before:
            weights, needs = str(job.leaves.parent), (*needs, job.name)
        own = self.study.finetune | method.finetune
        own |= {} if draws == (None,) else {"label_seed": ",".join(map(str, draws))}
        words = ("finetune", "--weights", weights, *self._data(), "--label-share", f"{share:g}", "--seed", str(seed))
        words, folder = (*words, "--out", str(self.out / name), *_options(own)), self.out / name
        leaves = folder / "scores.json"
        return Job(name, "finetune", words, leaves, needs, self.name, method.name, seed, share, draws)

    def par(self, game: str, told: Options) -> Job:
        """The search for the par of a game."""
        name = f"{self.name}/{_par_of(game)}"
        own = {key: value for key, value in told.items() if key in (*PAR, *BOTH)}
        words, needs = self._game(self._played_on(told), own)
        file = self.out / f"{name}.safetensors"
        return Job(name, "par", ("par", "--out", str(file), *words), file, needs, self.name)

    def score(self, method: Method, game: str, told: Options) -> Job:
        """A method's agent plays the game that all share, hiding by score the share it does in pre-training."""
        name = f"{self.name}/{method.name}/{game}"
        agent, runs, needs = self._player(method)
        own = {"seeds": runs, "hard_share": self.study.hard_share_of(method)}
        own |= {key: x for key, x in told.items() if key not in (*PAR, "reconstructor")}
        words, before = self._game(self._played_on(told), own)
        par = str(self.out / self.name / f"{_par_of(game)}.safetensors")
        words = ("score", agent, "--out", str(self.out / name), "--par", par, *words)
        needs = tuple(dict.fromkeys((*before, f"{self.name}/{_par_of(game)}", *needs)))
        return Job(name, "score", words, self.out / name / "score.json", needs, self.name, method.name)

    def _played_on(self, told: Options) -> Stage:
        """The frozen network of a game: the one it names, else the first."""
        named = self.study.stage(told.get("reconstructor"))
        return named or self.study.reconstructors[0]

    def same_game(self, method: Method) -> bool:
        """Points are of one game: methods with other patches, images or data are not scored."""
        told = self.study.pretrain_options(method)
        own, usual = told | {"data": told.get("data", self.spec)}, self.study.pretrain | {"data": self.spec}
        return all(own.get(key) == usual.get(key) for key in (*_SIZES, "data"))

    def _reconstructor(self, stage: Stage) -> Job:
        folder = self._folder(stage)
        words = ("reconstructor", "train", "--out", str(folder), *self._data(), *_options(self._sizes | stage.options))
        return Job(self._named(stage), "reconstructor", words, folder / "held_out.png", self.split[0], self.name)

    def _policy(self, stage: Stage) -> Job:
        network = self.study.stage(stage.reconstructor)
        assert network is not None
        own, more = self._resolved(stage.options)
        words, needs = self._game(network, own)
        words = ("train", stage.agent, "--out", str(self._folder(stage)), *words)
        needs = tuple(dict.fromkeys((*needs, *more)))
        return Job(self._named(stage), "policy", words, self._folder(stage) / "agent.json", needs, self.name)

    def _player(self, method: Method) -> tuple[str, int, Needs]:
        """Who plays for a method, in how many runs, and which jobs make it: its policy, else its agent by name."""
        spec, seeds = self.study.agent_of(method), self.study.seeds
        if self.study.stage(spec) or "{" in spec:
            told, needs = self._resolved({"agent": spec})
            return told["agent"], 1, needs
        if not trained_first(spec):
            return spec, len(seeds), ()
        folder, counted = self.out / self.name / method.home, seeds == tuple(range(len(seeds)))
        needs = tuple(f"{self.name}/{method.home}/seed{seed}/pretrain" for seed in seeds)
        where = folder / ("seed{seed}" if counted else f"seed{seeds[0]}") / "pretrain" / "policy"
        return f"{spec.partition('?')[0]}:{where}", len(seeds) if counted else 1, needs if counted else needs[:1]

    def _resolved(self, told: Options) -> tuple[Options, Needs]:
        """Put the folder of a stage where it is named: as a whole value, or as {NAME} inside one."""
        resolved, needs = {}, []
        for key, value in told.items():
            for stage in self.study.stages if isinstance(value, str) else ():
                folder, name = str(self._folder(stage)), f"{{{stage.name}}}"
                if value == stage.name and key in ("agent", "reconstructor", "reference"):
                    value, named = f"{stage.agent.partition('?')[0]}:{folder}" if stage.agent else folder, True
                else:
                    value, named = value.replace(name, folder), name in value
                needs += [self._named(stage)] if named else []
            resolved[key] = value
        return resolved, tuple(dict.fromkeys(needs))

    def _game(self, network: Stage, own: Options) -> tuple[tuple[str, ...], Needs]:
        """The options by which train, par and score know the game, and the jobs that it stands on."""
        own, needs = self._resolved(own)
        told = self._sizes | own
        env = "MaskMIM3D-v0" if str(told["image_size"]).count("x") == 2 else "MaskMIM-v0"
        needs_split, words = self.split
        words = ("--env", env, "--data", self.spec, "--reconstructor", str(self._folder(network)), *words)
        return (*words, *_options(told)), (*needs_split, self._named(network), *needs)

    @property
    def _sizes(self) -> Options:
        return {key: self.study.pretrain[key] for key in _SIZES if key in self.study.pretrain}

    def _data(self) -> tuple[str, ...]:
        return ("--data", self.spec, *self.split[1])

    def _named(self, stage: Stage) -> str:
        fold = f"-fold{self.fold}" if self.fold else ""
        return f"{self.name if stage.on is None else f'data{stage.on}'}/{stage.name}{fold}"

    def _folder(self, stage: Stage) -> Path:
        return self.out / self._named(stage)


def at_home(words: tuple[str, ...], out: Path) -> list[str]:
    """The words of a job without the place of the study's folder, which may be moved, or named otherwise."""
    return [word.replace(f"{out}{os.sep}", "") for word in words]


def _par_of(game: str) -> str:
    """What the par of a score is called: par of score, par-relative of score-relative."""
    return f"par{game.removeprefix('score')}"


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

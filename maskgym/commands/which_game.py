"""The options by which train, par, score, gallery and render say which game they mean, and the game made from them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from maskgym.agent_spec import AgentSpec
from maskgym.envs.registry import IDS, QUERY_IDS
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.envs.task import Task


@dataclass(frozen=True, kw_only=True)
class Game:
    """An environment id, and what differs from its defaults."""

    env: str = "MaskMIM-v0"
    """A registered id, see `maskgym envs`."""
    data: str = ""
    """The images: phantoms, or LAYOUT:FOLDER as in lgg:/data/kaggle_3m; empty = the id's own."""
    reconstructor: str = ""
    """The frozen network: a bundled name, a file, or the folder of its training; empty = the id's own."""
    reward: str = "loss"
    """What a mask is worth: loss, reducible, relative, band, or one of your own."""
    reference: str = ""
    """The second network, for rewards that compare two; empty = the reconstructor, with its early snapshot first."""
    image_size: str = ""
    """Pixels along each axis, as 128x128; empty = the id's own."""
    patch_size: str = ""
    """Pixels of a patch along each axis; empty = the id's own."""
    split_file: str = ""
    """A split saved by `maskgym data split`; empty = the data set's own."""
    device: str = "cpu"
    """Where the game is played: cpu, cuda or cuda:1."""

    @property
    def name(self) -> str:
        """The id as `gymnasium.make` takes it everywhere."""
        return f"maskgym:{self.env.removeprefix('maskgym:')}"

    def keywords(self) -> dict[str, Any]:
        """What an environment of this game is made with, but for the split."""
        name = self.env.removeprefix("maskgym:")
        if name in QUERY_IDS:
            game = next(id for id, keywords in IDS.items() if keywords.items() <= QUERY_IDS[name].items())
            raise BadInput(
                f"{self.env!r} is {game} in several steps: name {game}, and the queries by the agent's settings"
            )
        if name not in IDS:
            near = get_close_matches(name, IDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"registered are {', '.join(IDS)}"
            raise BadInput(f"unknown environment {self.env!r}: {hint}")
        given = ("reconstructor", "reward", "reference", "image_size", "patch_size", "split_file", "device")
        own = {option: getattr(self, option) for option in given if getattr(self, option)}
        return {**IDS[name], **own, **({"dataset": self.data} if self.data else {})}


@dataclass(frozen=True, kw_only=True)
class WhichGame(Game):
    """A game on the images of one split."""

    split: str = "test"
    """Which images: train, val or test."""
    images: int = 0
    """Use only the first images of the split, so many; 0 = all."""

    def task(self) -> Task:
        """The game itself, on the split asked for."""
        from maskgym.envs.task import Settings, Task

        return Task(Settings.of({**self.keywords(), "split": self.split}))


def tell_untrained(specs: Iterable[str]) -> None:
    """Say on stderr which agents play with the weights they start with, so that nobody takes them for trained ones."""
    from maskgym.learner import Learner
    from maskgym.registry import agent_class

    for spec in specs:
        name, folder, _ = AgentSpec.read(spec)
        if not folder and issubclass(agent_class(name), Learner):
            how = f"`maskgym train {name}` trains one, {name}:FOLDER loads it"
            print(f"maskgym: {spec} plays untrained: {how}", file=sys.stderr)


def check_ratios(ratios: tuple[float, ...], task: Task) -> tuple[float, ...]:
    """Refuse ratios that hide nothing or all, and leave out what is said twice."""
    from maskgym.masking.select import budget

    for ratio in ratios:
        budget(ratio, task.patches.count)
    if not ratios:
        raise BadInput("no --ratio is given: choose for example 0.25 0.5 0.75")
    return tuple(dict.fromkeys(ratios))

"""`maskgym view`: a page to play on, in a browser on this machine."""

from __future__ import annotations

import importlib.util
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from typing import Any

from tyro.conf import UseAppendAction

from maskgym.commands.which_game import Game, tell_untrained
from maskgym.envs.registry import IDS, QUERY_IDS
from maskgym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class View(Game):
    """Open a page on which you hide patches yourself, and see what agents and par hide.

    The page is served on 127.0.0.1 alone, loads nothing from the network, and stops with Ctrl-C.
    """

    env: str = "MaskMIMSmall-v0"
    """A registered id, see `maskgym envs`; with MaskMIMQuery-v0 or MaskMIMQuerySmall-v0 the page begins with the query
    game."""
    agent: UseAppendAction[tuple[str, ...]] = ()
    """An agent to compare with, as a3c:runs/a3c; may be given several times. Agents that need no training
    are on the page anyway."""
    more_data: UseAppendAction[tuple[str, ...]] = ()
    """Another data set to choose from on the page, as lgg:/data/kaggle_3m; may be given several times."""
    split: str = "test"
    """Which images: train, val or test."""
    ratio: float = 0.75
    """Share of the patches that is hidden at the start; the page changes it."""
    queries: int = 16
    """Masks that may be tried in an episode of the query game."""
    par: Path | None = None
    """A par file of your own; left out: the par that ships, and no points where none does."""
    port: int = 8000
    """Port of the page on 127.0.0.1; 0 = any that is free."""
    no_browser: bool = False
    """Print the address and open no browser."""

    def __call__(self) -> None:
        """Check, serve, open."""
        missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
        if missing:
            raise BadInput(f'the page needs {" and ".join(missing)}: pip install "maskgym[view]"')
        from maskgym.view.server import bind, serve

        session = self.session()
        place = bind(self.port)
        address = f"http://127.0.0.1:{place.getsockname()[1]}/"
        print(f"{address} (Ctrl-C stops it)", flush=True)
        if not self.no_browser:
            Timer(0.5, webbrowser.open, (address,)).start()
        serve(session, place)

    def session(self) -> Any:
        """Make the games, and try the first with every agent, so that bad input is told before a browser opens."""
        from maskgym.benchmark.par import find
        from maskgym.registry import make_agent
        from maskgym.view.session import RATIOS, Session

        if self.ratio not in RATIOS:
            raise BadInput(f"ratio {self.ratio} is none of the page's: choose a multiple of 0.05 from 0.05 to 0.95")
        if self.queries < 1:
            raise BadInput(f"queries {self.queries} must be at least 1")
        one, several = self._one_mask()
        games = {_title(game): game.maker() for game in (one, *(replace(one, data=data) for data in self.more_data))}
        first = next(iter(games.values()))(self.ratio, 0)
        for spec in self.agent:
            make_agent(spec, first, seed=0)
        tell_untrained(self.agent)
        if self.par is not None:
            find(first.unwrapped.task, self.ratio, 1, self.par)  # refused now if it is of another game
        return Session(games, self.agent, self.ratio, self.queries, several, self.par)

    def _one_mask(self) -> tuple[View, bool]:
        """The same with the environment of one step, and whether that of several was named."""
        name = self.env.removeprefix("maskgym:")
        if name not in QUERY_IDS:
            return self, False
        keywords = {key: value for key, value in QUERY_IDS[name].items() if key != "queries"}
        return replace(self, env=next(other for other in IDS if IDS[other] == keywords)), True

    def maker(self) -> Callable[[float, int], Any]:
        """How this game's environment is made at a ratio, with so many queries; 0 = one mask."""
        import gymnasium as gym

        keywords = {**self.keywords(), "split": self.split}

        def make(ratio: float, queries: int) -> Any:
            if queries:
                return gym.make("maskgym:MaskMIMQuery-v0", **keywords, ratio=ratio, queries=queries)
            return gym.make(self.name, **keywords, ratio=ratio)

        return make


def _title(game: View) -> str:
    """Name a game without this machine's folders."""
    layout, colon, rest = (game.data or "phantoms").partition(":")
    folder = rest.rstrip("/").rpartition("/")[2]
    return f"{game.env.removeprefix('maskgym:')}, {layout}{colon}{folder}"

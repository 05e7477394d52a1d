"""`maskgym view`: a page to play on, in a browser on this machine."""

from __future__ import annotations

import importlib.util
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Timer
from typing import Any

from tyro.conf import UseAppendAction

from maskgym.commands.which_game import Game
from maskgym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class View(Game):
    """Open a page on which you hide patches yourself, and see what agents and par hide.

    The page is served on 127.0.0.1 alone, loads nothing from the network, and stops with Ctrl-C.
    """

    env: str = "MaskMIMSmall-v0"
    """A registered id, see `maskgym envs`."""
    agent: UseAppendAction[tuple[str, ...]] = ()
    """An agent to compare with, as a3c:runs/a3c; may be given several times. Those that need no training are there."""
    more_data: UseAppendAction[tuple[str, ...]] = ()
    """Another data set to choose on the page, as lgg:/data/kaggle_3m; may be given several times."""
    split: str = "test"
    """Which images: train, val or test."""
    ratio: float = 0.75
    """Share of the patches that is hidden at the start; the page changes it."""
    port: int = 8000
    """Port of the page on 127.0.0.1; 0 = any that is free."""
    no_browser: bool = False
    """Only print the address."""

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
        from maskgym.registry import make_agent
        from maskgym.view.session import RATIOS, Session

        if self.ratio not in RATIOS:
            raise BadInput(f"ratio {self.ratio} is none of the page's: choose a multiple of 0.05 from 0.05 to 0.95")
        every = (self, *(replace(self, data=data) for data in self.more_data))
        games = {_title(game): game.maker() for game in every}
        first = next(iter(games.values()))(self.ratio)
        for spec in self.agent:
            make_agent(spec, first, seed=0)
        return Session(games, self.agent, self.ratio)

    def maker(self) -> Callable[[float], Any]:
        """How this game's environment is made at a ratio."""
        import gymnasium as gym

        keywords = {**self.keywords(), "split": self.split}
        env_id = f"maskgym:{self.env.removeprefix('maskgym:')}"
        return lambda ratio: gym.make(env_id, **{**keywords, "ratio": ratio})


def _title(game: View) -> str:
    """Name a game without this machine's folders."""
    layout, colon, rest = (game.data or "phantoms").partition(":")
    folder = rest.rstrip("/").rpartition("/")[2]
    return f"{game.env.removeprefix('maskgym:')}, {layout}{colon}{folder}"

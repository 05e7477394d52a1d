"""How fast the page answers: a painted mask, another image, an agent's button."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any

import gymnasium as gym

from benchmarks.timing import Row, race
from maskgym.view.session import Session


def answers(env_ids: tuple[str, ...], device: str, repeats: int) -> Iterator[Row]:
    """Time what the page asks for, pictures included; another image and mask at every repeat."""
    for env_id in env_ids:

        def make(ratio: float, queries: int, env_id: str = env_id) -> Any:
            return gym.make(f"maskgym:{env_id}", split="test", ratio=ratio, device=device)

        session, number = Session({"game": make}), 0
        shown = session.image("game", 0.75, 0)
        patches = list(range(prod(shown["grid"])))

        def index() -> int:
            nonlocal number
            number = (number + 1) % 64
            return number

        def score(session: Session = session, shown: dict[str, Any] = shown, patches: list[int] = patches) -> None:
            at = index()
            mask = (patches[at % len(patches) :] + patches)[: shown["budget"]]
            session.score("game", 0.75, at, mask)

        def image(session: Session = session) -> None:
            session.image("game", 0.75, index())

        def play(agent: str, session: Session = session) -> None:
            session.play("game", 0.75, index(), agent)

        contestants: dict[str, Callable[[], object]] = {"a painted mask": score, "another image": image}
        contestants |= {agent: partial(play, agent) for agent in ("variance", "loss-map")}
        for name, times in race(contestants, repeats).items():
            what = f"the page: {name} ({env_id}, {device})"
            yield Row(what, f"{1e3 * times.median:.1f} ms", times.spread, "under 100 ms")

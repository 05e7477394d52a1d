"""What the page asks for, as plain dictionaries: an image, what a mask comes to, what an agent or par hides."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import torch

from maskgym import drawing
from maskgym.agent import Agent
from maskgym.benchmark import par as pars
from maskgym.benchmark.points import points_of_each
from maskgym.errors import BadInput
from maskgym.masking import rng
from maskgym.masking.select import select
from maskgym.registry import agent_class, make_agent, names

RATIOS = tuple(round(0.05 * n, 2) for n in range(1, 20))
_RANDOM_MASKS = 32  # their mean reward is an image's zero where no par file tells it


@dataclass
class Round:
    """One environment at one ratio, and what has been worked out for its images so far."""

    env: Any
    agents: dict[str, Agent] = field(default_factory=dict)
    tables: dict[int, pars.Table | None] = field(default_factory=dict)
    zeros: dict[int, tuple[float, float]] = field(default_factory=dict)  # image -> mean random reward, top of the heat

    @property
    def task(self) -> Any:
        """Images, network and rules."""
        return self.env.unwrapped.task

    def par(self, index: int) -> pars.Table | None:
        """Find a par file that knows this image."""
        if index not in self.tables:
            self.tables[index] = None
            for images in (len(self.task.images), index + 1):
                try:
                    self.tables[index] = pars.find(self.task, self.task.game.ratio, images)[0]
                    break
                except BadInput:  # nobody has searched that far
                    continue
        return self.tables[index]

    def zero(self, index: int) -> tuple[float, float]:
        """Mean reward of random masks, and the loss at the bright end of the heat, so that pictures can be compared."""
        if index not in self.zeros:
            task = self.task
            keys = rng.keys(torch.arange(_RANDOM_MASKS, device=task.device), task.patches.count)  # (32, N)
            masks = select(torch.zeros(keys.shape, device=task.device), task.game.budget, keys)
            images = task.fetch(np.full(_RANDOM_MASKS, index))
            with torch.inference_mode():
                outcome = task.game.evaluate(images, masks.view(-1, *task.patches.grid))
            par, losses = self.par(index), outcome.patch_loss[outcome.mask].float().cpu().numpy()
            zero = float(outcome.reward.mean()) if par is None else float(par.random[index])
            self.zeros[index] = zero, float(np.quantile(losses, 0.98))
        return self.zeros[index]


class Session:
    """The games of one page; a game is an environment on a data set.

    Args:
        games: what each is called, and how its environment is made at a ratio.
        agents: specs of agents that play besides those that need no training.
        ratio: that the page begins with.
    """

    def __init__(self, games: dict[str, Callable[[float], Any]], agents: tuple[str, ...] = (), ratio: float = 0.75):
        self.games, self.given, self.ratio = games, agents, ratio
        self._rounds: dict[tuple[str, float], Round] = {}
        self._lock = Lock()  # requests come in threads, the games are played one at a time

    @cached_property
    def players(self) -> tuple[str, ...]:
        """Those given, and all installed ones that can play untrained."""
        able = [name for name in names() if _plays_untrained(name)]
        return tuple(dict.fromkeys((*self.given, *able)))

    def about(self) -> dict[str, Any]:
        """What there is to choose from."""
        return {"games": list(self.games), "agents": list(self.players), "ratios": RATIOS, "ratio": self.ratio}

    def image(self, game: str, ratio: float, index: int, plane: int | None = None) -> dict[str, Any]:
        """Show one image and what is known of it."""
        with self._lock:
            one = self._round(game, ratio)
            task, index = one.task, index % len(one.task.images)
            labels = task.images.labels
            depth = task.patches.size[0] if task.patches.dims == 3 else 1
            label = None if labels is None else np.asarray(labels[index])
            if task.patches.dims == 2:
                plane = 0
            elif plane is None:
                plane = drawing.busiest(label, depth)
            plane = min(max(plane, 0), depth - 1)
            par, (zero, _) = one.par(index), one.zero(index)
            return {
                "index": index,
                "images": len(task.images),
                "name": task.images.ids[index],
                "size": task.patches.size,
                "patch": task.patches.patch,
                "grid": task.patches.grid,
                "budget": task.game.budget,
                "plane": plane,
                "random": zero,
                "par": None if par is None else float(par.reward[index]),
                "image": _url(drawing.grey(_plane(self._pixels(one, index), plane))),
                "classes": list(task.images.classes),
                "colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in drawing.CLASSES],
                "labels": None if label is None else _bytes(label if label.ndim == 2 else label[plane]),
            }

    def score(self, game: str, ratio: float, index: int, mask: list[int], plane: int = 0) -> dict[str, Any]:
        """Say what hiding these patches comes to; a reward only where exactly K are hidden."""
        with self._lock:
            one = self._round(game, ratio)
            hidden = torch.zeros(one.task.patches.count, dtype=torch.bool)
            if any(not 0 <= patch < len(hidden) for patch in mask):
                raise BadInput(f"a patch is out of range: there are {len(hidden)}, counted from 0")
            hidden[torch.tensor(mask, dtype=torch.int64)] = True
            return self._outcome(one, index, hidden, plane)

    def play(self, game: str, ratio: float, index: int, agent: str, plane: int = 0) -> dict[str, Any]:
        """Say what an agent, or par, hides and what that comes to."""
        with self._lock:
            one = self._round(game, ratio)
            if agent == "par":
                table = one.par(index)
                if table is None:
                    raise BadInput(f"no par is known for this image at ratio {ratio:g}: `maskgym par` searches for it")
                hidden = torch.from_numpy(np.asarray(table.mask[index], bool))
            else:
                hidden = torch.as_tensor(self._player(one, agent).act(_view(one.task, index))).flatten().bool()
            return self._outcome(one, index, hidden, plane)

    def _round(self, game: str, ratio: float) -> Round:
        if game not in self.games:
            raise BadInput(f"there is no game {game!r} on this page")
        if ratio not in RATIOS:
            raise BadInput(f"ratio {ratio} is none of this page's")
        if (game, ratio) not in self._rounds:
            self._rounds[game, ratio] = Round(self.games[game](ratio))
        return self._rounds[game, ratio]

    def _player(self, one: Round, spec: str) -> Agent:
        if spec not in self.players:
            raise BadInput(f"agent {spec!r} is not on this page: start it with --agent {spec}")
        if spec not in one.agents:
            one.agents[spec] = make_agent(spec, one.env, seed=0)
        return one.agents[spec]

    def _outcome(self, one: Round, index: int, hidden: torch.Tensor, plane: int) -> dict[str, Any]:
        task, mask = one.task, hidden.to(one.task.device).view(1, *one.task.patches.grid)
        images = task.fetch(np.array([index]))
        with torch.inference_mode():
            outcome = task.game.evaluate(images, mask)
            rebuilt = task.game.rebuild(images, mask)[0].float().cpu().numpy()
        pixels, loss = self._pixels(one, index), outcome.patch_loss[0].float().cpu().numpy()
        between = drawing.window(_plane(pixels, plane))
        zero, top = one.zero(index)
        whole = int(hidden.sum()) == task.game.budget
        par, reward = one.par(index), float(outcome.reward[0])
        points = None
        if whole and par is not None:
            points = float(points_of_each(np.array([reward]), np.array([zero]), par.reward[index : index + 1])[0])
        cover = task.lesion_cover(np.array([index]), mask.cpu().numpy())
        return {
            "mask": torch.nonzero(hidden).flatten().tolist(),
            "reward": reward if whole else None,
            "points": None if points is None or np.isnan(points) else points,
            "lesion": None if cover is None or np.isnan(cover[0]) else float(cover[0]),
            "loss": np.round(loss.flatten().astype(float), 4).tolist(),
            "reconstruction": _url(drawing.grey(_plane(rebuilt, plane), between)),
            "losses": _url(drawing.heat(loss if loss.ndim == 2 else loss[plane // task.patches.patch[0]], top)),
            "top": top,
        }

    def _pixels(self, one: Round, index: int) -> np.ndarray:
        return np.asarray(one.task.images.images[index])  # (C, *size)


def _plays_untrained(name: str) -> bool:
    try:
        return not agent_class(name).learns
    except BadInput:  # somebody's broken package
        return False


def _view(task: Any, index: int) -> np.ndarray:
    return np.asarray(task.view(np.array([index]))[0].cpu())


def _plane(image: np.ndarray, plane: int) -> np.ndarray:
    """Cut (C, H, W) out of (C, H, W) or (C, D, H, W)."""
    return image if image.ndim == 3 else image[:, plane]


def _url(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(drawing.png(picture)).decode()


def _bytes(labels: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(labels, np.uint8).tobytes()).decode()

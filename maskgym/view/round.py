"""One environment at one ratio, asked by the page: what an image shows, what a mask comes to, what an agent hides."""

from __future__ import annotations

import base64
from functools import cached_property
from pathlib import Path
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
from maskgym.registry import make_agent

_RANDOM_MASKS = 32  # their mean reward is an image's zero where no par file tells it


class Round:
    """An environment of one step, and what has been worked out for its images so far."""

    def __init__(self, env: Any, par: Path | None = None):
        self.env, self.task, self._file = env, env.unwrapped.task, par
        self._agents: dict[str, Agent] = {}
        self._pars: dict[int, pars.Table | None] = {}
        self._zeros: dict[int, tuple[float, float]] = {}

    @cached_property
    def _whole_par(self) -> pars.Table | None:
        return self._find(len(self.task.images))

    def par(self, index: int) -> pars.Table | None:
        """Find a par file that knows this image; most know all of a split, some its first images."""
        if self._whole_par is not None:
            return self._whole_par
        if index not in self._pars:
            self._pars[index] = self._find(index + 1)
        return self._pars[index]

    def _find(self, images: int) -> pars.Table | None:
        try:
            return pars.find(self.task, self.task.game.ratio, images, self._file).table
        except BadInput:  # nobody has searched that far
            return None

    def zero(self, index: int) -> tuple[float, float]:
        """Mean reward of random masks, and the loss at the bright end of the heat, so that pictures can be compared."""
        if index not in self._zeros:
            task, par = self.task, self.par(index)
            masks = _RANDOM_MASKS if par is None else _RANDOM_MASKS // 4  # of which then only the heat's end is needed
            keys = rng.keys(torch.arange(masks, device=task.device), task.patches.count)  # (M, N)
            hidden = select(torch.zeros(keys.shape, device=task.device), task.game.budget, keys)
            with torch.inference_mode():
                images = task.fetch(np.full(masks, index))
                outcome = task.game.evaluate(images, hidden.view(-1, *task.patches.grid))
            losses = outcome.patch_loss[outcome.mask].float().cpu().numpy()
            zero = float(outcome.reward.mean()) if par is None else float(par.random[index])
            self._zeros[index] = zero, float(np.quantile(losses, 0.98))
        return self._zeros[index]

    def points(self, index: int, reward: float) -> float | None:
        """Points of a reward on an image, where its par is known."""
        par = self.par(index)
        if par is None:
            return None
        points = points_of_each(np.array([reward]), np.array([self.zero(index)[0]]), par.reward[index : index + 1])
        return None if np.isnan(points[0]) else float(points[0])

    def show(self, index: int, plane: int | None) -> dict[str, Any]:
        """Show an image, its par and what random masks get on it."""
        task = self.task
        label = None if task.images.labels is None else np.asarray(task.images.labels[index])
        depth = task.patches.size[0] if task.patches.dims == 3 else 1
        if depth > 1 and plane is None:
            plane = drawing.busiest(label, depth)
        plane = min(max(plane or 0, 0), depth - 1)
        par, (zero, _) = self.par(index), self.zero(index)
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
            "image": _url(drawing.grey(_cut(self._pixels(index), plane))),
            "colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in drawing.CLASSES],
            "labels": None if label is None else _bytes(label if label.ndim == 2 else label[plane]),
        }

    def mask(self, patches: list[int]) -> torch.Tensor:
        """Make the mask (N,) bool that hides these patches."""
        count = self.task.patches.count
        hidden = torch.zeros(count, dtype=torch.bool)
        if any(not 0 <= patch < count for patch in patches):
            raise BadInput(f"a patch is out of range: there are {count}, counted from 0")
        hidden[torch.tensor(patches, dtype=torch.int64)] = True
        return hidden

    def masked_by(self, index: int, agent: str) -> torch.Tensor:
        """Let an agent, or par, hide what it would: (N,) bool."""
        if agent == "par":
            par = self.par(index)
            if par is None:
                raise BadInput("no par has been searched for this image at this ratio: `maskgym par` does that")
            return torch.from_numpy(np.asarray(par.mask[index], bool))
        if agent not in self._agents:
            self._agents[agent] = make_agent(agent, self.env, seed=0)
        view = np.asarray(self.task.view(np.array([index]))[0].cpu())
        return torch.as_tensor(self._agents[agent].act(view)).flatten().bool()

    def outcome(self, index: int, hidden: torch.Tensor, plane: int) -> dict[str, Any]:
        """Say what a mask (N,) comes to; a reward only where exactly K patches are hidden."""
        task, mask = self.task, hidden.to(self.task.device).view(1, *self.task.patches.grid)
        images = task.fetch(np.array([index]))
        with torch.inference_mode():
            outcome = task.game.evaluate(images, mask)
            rebuilt = task.game.rebuild(images, mask)[0].float().cpu().numpy()
        loss, reward = outcome.patch_loss[0].float().cpu().numpy(), float(outcome.reward[0])
        between, (_, top) = drawing.window(_cut(self._pixels(index), plane)), self.zero(index)
        whole = int(hidden.sum()) == task.game.budget
        cover = task.lesion_cover(np.array([index]), mask.cpu().numpy())
        return {
            "mask": torch.nonzero(hidden).flatten().tolist(),
            "reward": reward if whole else None,
            "points": self.points(index, reward) if whole else None,
            "lesion": None if cover is None or np.isnan(cover[0]) else float(cover[0]),
            "loss": np.round(loss.flatten().astype(float), 4).tolist(),
            "reconstruction": _url(drawing.grey(_cut(rebuilt, plane), between)),
            "losses": _url(drawing.heat(loss if loss.ndim == 2 else loss[plane // task.patches.patch[0]], top)),
            "top": top,
        }

    def _pixels(self, index: int) -> np.ndarray:
        return np.asarray(self.task.images.images[index])  # (C, *size)


def _cut(image: np.ndarray, plane: int) -> np.ndarray:
    """Cut (C, H, W) out of (C, H, W) or (C, D, H, W)."""
    return image if image.ndim == 3 else image[:, plane]


def _url(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(drawing.png(picture)).decode()


def _bytes(labels: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(labels, np.uint8).tobytes()).decode()

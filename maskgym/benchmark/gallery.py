"""The gallery: images down, agents across; hidden patches glow in the colour of what they bring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from maskgym import drawing
from maskgym.benchmark.par import NamedPar
from maskgym.benchmark.points import points_of_each
from maskgym.drawing import Panel

if TYPE_CHECKING:
    from maskgym.envs.task import Task

_GLOW = 0.7  # weight of a hidden patch's colour over the image


@dataclass(frozen=True)
class Column:
    """One agent's masks of all images of the gallery."""

    title: str
    mask: np.ndarray  # (n, N) bool, True = hidden
    patch_reward: np.ndarray  # (n, N)
    notes: tuple[str, ...]  # one line below each picture


def column(task: Task, ratio: float, index: np.ndarray, title: str, mask: torch.Tensor, par: NamedPar | None) -> Column:
    """Play masks (n, N) of images `index` (n,), and note what they bring."""
    images = task.fetch(index)
    with torch.inference_mode():
        outcome = task.game_at(ratio).evaluate(images, mask.bool().to(task.device).view(-1, *task.patches.grid))
    reward = outcome.reward.double().cpu().numpy()
    notes = [f"reward {value:.3f}" for value in reward]
    if par is not None and title != "par":
        each = points_of_each(reward, par.table.random[index], par.table.reward[index])
        notes = [f"{note}, {value:.0f} points" for note, value in zip(notes, each, strict=True)]
    hidden, brought = (part.flatten(1).cpu().numpy() for part in (outcome.mask, outcome.patch_reward))
    return Column(title, hidden, brought, tuple(notes))


def draw(task: Task, index: np.ndarray, columns: list[Column], title: str, path: Path) -> None:
    """Draw images `index` (n,) and the columns beside them as a PNG; volumes show the slice with most lesion."""
    # One scale for the whole picture, so that colours can be compared across agents and images.
    top = float(np.quantile(np.concatenate([one.patch_reward[one.mask] for one in columns]), 0.98))
    rows = []
    for row, number in enumerate(index):
        lesions = task.images.lesion(slice(number, number + 1))
        labels = None if lesions is None else lesions[0]
        deep = len(task.patches.size) == 3
        plane = (drawing.busiest(labels, task.patches.size[0]),) if deep else ()
        image = drawing.grey(task.fetch(np.array([number]))[(0, slice(None), *plane)].cpu().numpy())
        lesion = None if labels is None else labels[plane] if deep else labels
        panels = [Panel(image, "image", str(task.images.ids[number]), lesion)]
        for one in columns:
            glow = drawing.heat(_pixels(task, one.patch_reward[row])[plane], top)
            picture = drawing.veil(image, _pixels(task, one.mask[row])[plane] > 0.5, glow, _GLOW)
            panels.append(Panel(picture, one.title, one.notes[row], lesion))
        rows.append(panels)
    sheet = drawing.sheet(rows, title, scale=(f"reward of a hidden patch ({task.settings.reward})", top))
    drawing.save(sheet, path)


def _pixels(task: Task, values: np.ndarray) -> np.ndarray:
    """Blow one number a patch (N,) up to the pixels (*size) of an image."""
    grid = torch.from_numpy(np.asarray(values, np.float32)).view(1, *task.patches.grid)
    return np.asarray(task.patches.spread(grid)[0, 0].numpy())

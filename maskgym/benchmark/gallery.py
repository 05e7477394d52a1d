"""The gallery: images down, agents across. Hidden patches glow in the colour of their cost, lesions are outlined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from maskgym.envs.rendering import grey, heat
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.envs.task import Task

_INK, _QUIET, _LESION, _EDGE = "#1f2430", "#6b7080", "#35e0d0", "#fdfdfd"
_CELL = 1.75  # inches of one picture
_SHOWN = 0.30  # how much of the image shines through a hidden patch


@dataclass(frozen=True)
class Column:
    """One agent's masks of all images of the gallery."""

    title: str
    mask: np.ndarray  # (n, N) bool, True = hidden
    patch_loss: np.ndarray  # (n, N)
    notes: tuple[str, ...]  # one line below each picture


def draw(task: Task, index: np.ndarray, columns: list[Column], title: str, path: Path) -> None:
    """Draw images `index` (n,) and the columns beside them as a PNG; volumes show the slice with most lesion."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tall, wide = len(index), len(columns) + 1
    height, width = task.patches.size[-2:]
    cell = _CELL * height / width
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.02, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=(_CELL * wide + 0.9, (cell + 0.22) * tall + 0.6), layout=layout)
    FigureCanvasAgg(figure)
    panels = figure.subplots(tall, wide, squeeze=False)
    # One scale for the whole picture, so that colours can be compared across agents and images.
    top = float(np.quantile(np.concatenate([column.patch_loss[column.mask] for column in columns]), 0.98))
    for row, number in enumerate(index):
        plane = _plane(task, int(number))
        image = grey(_slice(task, task.fetch(np.array([number])), plane))
        lesion = _lesion(task, int(number), plane)
        _show(panels[row, 0], image, lesion, f"{task.images.ids[int(number)]}", "image" if row == 0 else "")
        for place, column in enumerate(columns, start=1):
            mask = _spread(task, column.mask[row], plane) > 0.5
            colours = heat(_spread(task, column.patch_loss[row], plane), top)
            glow = (1 - _SHOWN) * colours + _SHOWN * image
            picture = np.where(mask[..., None], glow, image).astype(np.uint8)
            _show(panels[row, place], picture, lesion, column.notes[row], column.title if row == 0 else "")
    _scale(figure, panels, top)
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=_INK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", dpi=170, facecolor="white")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; choose another --out") from error


def _show(panel: Any, picture: np.ndarray, lesion: np.ndarray | None, note: str, title: str) -> None:
    panel.imshow(picture, interpolation="nearest")
    if lesion is not None and lesion.any():
        panel.contour(lesion, levels=[0.5], colors=_INK, linewidths=2.2)
        panel.contour(lesion, levels=[0.5], colors=_LESION, linewidths=1.1)
    panel.set_xticks([])
    panel.set_yticks([])
    for side in panel.spines.values():
        side.set_visible(False)
    panel.set_xlabel(note, fontsize=7.5, color=_QUIET, labelpad=2)
    if title:
        panel.set_title(title, fontsize=10, color=_INK, fontweight="bold", pad=4)


def _scale(figure: Any, panels: np.ndarray, top: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = ListedColormap(heat(np.linspace(0, 1, 256)[None], 1.0)[0] / 255.0)
    bar = figure.colorbar(ScalarMappable(Normalize(0, top), colours), ax=panels, fraction=0.02, aspect=30, pad=0.01)
    bar.set_label("what a hidden patch costs (mean squared error)", fontsize=8, color=_QUIET)
    bar.ax.tick_params(labelsize=7, colors=_QUIET, length=2)
    bar.outline.set_visible(False)


def _plane(task: Task, number: int) -> int | None:
    """Which slice of a volume is drawn: the one with most lesion, else the middle."""
    if len(task.patches.size) == 2:
        return None
    labels = task.images.labels
    if labels is None or not (labels[number] > 0).any():
        return task.patches.size[0] // 2
    return int((labels[number] > 0).sum((1, 2)).argmax())


def _slice(task: Task, images: torch.Tensor, plane: int | None) -> torch.Tensor:
    return images if plane is None else images[:, :, plane]


def _spread(task: Task, values: np.ndarray, plane: int | None) -> np.ndarray:
    """Blow one number a patch (N,) up to the pixels of the picture (H, W)."""
    grid = torch.from_numpy(np.asarray(values, np.float32)).view(1, *task.patches.grid)
    pixels = task.patches.spread(grid)
    return _slice(task, pixels, plane)[0, 0].numpy()


def _lesion(task: Task, number: int, plane: int | None) -> np.ndarray | None:
    labels = task.images.labels
    if labels is None:
        return None
    label = labels[number] > 0
    return np.asarray(label if plane is None else label[plane], float)

"""A sheet of images with the outlines of their labels, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from maskgym import drawing
from maskgym.data.images import Images
from maskgym.drawing import Panel

_LONGEST = 30  # letters of a name


def draw(images: Images, title: str, count: int = 24, columns: int = 6) -> Image.Image:
    """Images spread evenly over the set, half of them with labels where there are enough; a volume in three planes."""
    panels = [panel for index in choose(images, count) for panel in _panels(images, index)]
    if len(images.size) == 3:
        columns = max(3, columns // 3 * 3)  # the planes of a volume stay side by side
    several = len(images.channels) > 1 and images.channels != drawing.COLOURED
    shown = f"{images.channels[0]} (of {len(images.channels)} channels)" if several else ", ".join(images.channels)
    told = f"{len(images)} images of {len(set(images.patients))} patients, shown: {shown}"
    colours = drawing.CLASSES
    legend = [(name, colours[place % len(colours)]) for place, name in enumerate(images.classes)]
    return drawing.sheet([panels[i : i + columns] for i in range(0, len(panels), columns)], title, told, legend)


def write(images: Images, out: Path, title: str, count: int = 24) -> None:
    """Draw the sheet and save it as PNG."""
    drawing.save(draw(images, title, count), out)


def choose(images: Images, count: int) -> list[int]:
    """Which images to show."""
    count = min(count, len(images))
    everyone = np.arange(len(images))
    if images.labels is None:
        return _spread(everyone, count)
    labelled = np.array([bool(label.any()) for label in images.labels])
    with_label = _spread(everyone[labelled], max(count // 2, count - int((~labelled).sum())))
    without = _spread(everyone[~labelled], count - len(with_label))
    return sorted(with_label + without)


def _spread(of: np.ndarray, count: int) -> list[int]:
    if len(of) == 0 or count <= 0:
        return []
    return of[np.linspace(0, len(of) - 1, min(count, len(of))).round().astype(int)].tolist()


def _panels(images: Images, index: int) -> list[Panel]:
    image = np.asarray(images.images[index])
    label = None if images.labels is None else np.asarray(images.labels[index])
    name = images.ids[index]
    between, short = drawing.window(image), name if len(name) <= _LONGEST else "..." + name[3 - _LONGEST :]
    if image.ndim == 3:
        return [Panel(drawing.grey(image, between), short, "", label)]
    centre = [side // 2 for side in image.shape[1:]]
    if label is not None and label.any():
        centre = [int(np.median(places)) for places in np.nonzero(label)]
    panels = []
    for axis, plane in enumerate(("axial", "coronal", "sagittal")):
        cut = np.take(image, centre[axis], axis + 1)
        flat = None if label is None else np.take(label, centre[axis], axis)
        if axis > 0:  # the head up
            cut, flat = cut[:, ::-1], None if flat is None else flat[::-1]
        panels.append(Panel(drawing.grey(cut, between), plane, short, flat))
    return panels

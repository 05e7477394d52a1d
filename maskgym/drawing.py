"""The one drawer of pictures: greys, heat, outlines, and sheets of panels with a heading over each and a note below.

Everything here is NumPy and Pillow. Colours are told apart by colour-blind eyes (after Okabe and Ito), and the heat
runs from dark to bright in equal steps, so that it also reads in grey.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskgym.errors import BadInput
from maskgym.files import replacing

Colour = tuple[int, int, int]
PAPER, INK, FAINT = (255, 255, 255), (24, 28, 36), (92, 98, 110)
HIDDEN, LESION = (213, 94, 0), (0, 158, 215)  # laid over hidden patches; drawn round lesions
CLASSES: tuple[Colour, ...] = (
    (0, 158, 215), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0), (0, 114, 178),
    (140, 210, 250), (160, 220, 60), (200, 170, 130),
)  # fmt: skip
RULE, RANDOM, SCRATCH = (223, 226, 234), FAINT, (150, 111, 72)  # of charts: grid, random masks, a random start
LINES: tuple[Colour, ...] = (  # of charts: everybody else, dark enough for paper and bright enough for a dark page
    (0, 124, 189), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (0, 158, 215), (138, 99, 182),
    (124, 146, 26),
)  # fmt: skip
COLOURED = ("red", "green", "blue")  # channels of a picture that is shown as it is
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float32)
_TILE, _GAP, _MARGIN, _LINE = 208, 10, 18, 18  # pixels of a sheet


def web(colour: Colour) -> str:
    """Write a colour as pages and charts do.

    >>> web((213, 94, 0))
    '#d55e00'
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)


def window(image: np.ndarray) -> tuple[float, float]:
    """Give the values of (C, H, W) that are shown black and white; what is compared must share them."""
    low, high = np.percentile(_shown(image), (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def grey(image: np.ndarray, between: tuple[float, float] | None = None) -> np.ndarray:
    """Show (C, H, W) as (H, W, 3) uint8: three channels as colours, else the first; `between` is black and white."""
    low, high = window(image) if between is None else between
    pixels = (((_shown(image).astype(np.float32) - low) / (high - low)).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(pixels, (3, *pixels.shape[1:])), 0, -1))


def heat(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """Colour (H, W) values from 0 to `top` (their own 99.5th percentile): (H, W, 3) uint8."""
    top = float(np.quantile(values, 0.995)) if top is None else top
    place = np.clip(np.nan_to_num(values) / max(top, 1e-9), 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    part = (place - low)[..., None]
    return (_HEAT[low] * (1 - part) + _HEAT[low + 1] * part).astype(np.uint8)


def veil(picture: np.ndarray, mask: np.ndarray, over: np.ndarray | Colour = HIDDEN, weight: float = 0.65) -> np.ndarray:
    """Lay a colour, or another picture, over the masked pixels (H, W) bool of a picture (H, W, 3)."""
    mixed = picture * (1 - weight) + np.asarray(over, np.float32) * weight
    return np.where(mask[..., None], mixed, picture).astype(np.uint8)


def edge(inside: np.ndarray, width: int = 1) -> np.ndarray:
    """Find the inner edge of a region (H, W) bool, so many pixels wide."""
    core = np.pad(inside, 1)
    for _ in range(width):
        core[1:-1, 1:-1] &= core[:-2, 1:-1] & core[2:, 1:-1] & core[1:-1, :-2] & core[1:-1, 2:]
    return inside & ~core[1:-1, 1:-1]


def outlined(picture: np.ndarray, labels: np.ndarray, colours: Sequence[Colour] = CLASSES) -> np.ndarray:
    """Draw the outline of each label 1, 2, ... of (H, W) into a picture that shows it larger by any factor."""
    drawn = picture.copy()
    large = np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(picture.shape[1::-1], Image.Resampling.NEAREST))
    for value in np.unique(large[large > 0]).tolist():
        drawn[edge(large == value, max(1, picture.shape[0] // 128))] = colours[(value - 1) % len(colours)]
    return drawn


def busiest(labels: np.ndarray | None, depth: int) -> int:
    """Choose the plane of a volume that is drawn: the one with most label, else the middle; labels (D, H, W)."""
    if labels is None or not labels.any():
        return depth // 2
    return int((labels > 0).sum((1, 2)).argmax())


def middle(image: np.ndarray) -> np.ndarray:
    """Cut the middle plane (C, H, W) out of a volume (C, D, H, W); a picture stays as it is."""
    return image if image.ndim == 3 else image[:, image.shape[1] // 2]


def png(picture: np.ndarray | Image.Image) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def save(picture: np.ndarray | Image.Image, path: Path) -> None:
    """Write a PNG whole or not at all, or say in one line why it cannot be written."""
    if path.suffix.lower() != ".png":
        raise BadInput(f"the picture is a PNG: name it {path.with_suffix('.png')} instead of {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(png(picture))
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; choose another --out") from error


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet."""

    picture: np.ndarray  # (H, W, 3) uint8
    heading: str = ""
    note: str = ""
    labels: np.ndarray | None = None  # (H, W): outlined


def sheet(
    rows: Sequence[Sequence[Panel]],
    title: str = "",
    told: str = "",
    legend: Sequence[tuple[str, Colour]] = (),
    scale: tuple[str, float] | None = None,
) -> Image.Image:
    """Set panels out in rows on white paper.

    Args:
        rows: of panels; rows may differ in length.
        title: over all.
        told: a line below the title.
        legend: names and colours of outlines.
        scale: what the heat shows, and the value of its bright end: a bar below.
    """
    shapes = [panel.picture.shape for row in rows for panel in row]
    tall = round(_TILE * min(2.0, max(height / width for height, width, _ in shapes)))
    above = _LINE if any(panel.heading for row in rows for panel in row) else 0
    below = _LINE if any(panel.note for row in rows for panel in row) else 0
    wide = max(len(row) for row in rows)
    head = (26 if title else 0) + (_LINE + 2 if told else 0) + (_LINE + 4 if legend else 0)
    width = 2 * _MARGIN + wide * (_TILE + _GAP) - _GAP
    width = max(width, *(round(_length(text, size)) + 2 * _MARGIN for text, size in ((title, 17), (told, 12))))
    cell = above + tall + below + _GAP
    height = 2 * _MARGIN + head + len(rows) * cell - _GAP + (44 if scale else 0)
    paper = Image.new("RGB", (width, height), PAPER)
    pen, y = ImageDraw.Draw(paper), _MARGIN
    if title:
        pen.text((_MARGIN, y - 4), title, INK, _font(17))
        y += 26
    if told:
        pen.text((_MARGIN, y - 2), told, FAINT, _font(12))
        y += _LINE + 2
    if legend:
        _legend(pen, legend, y, width - _MARGIN)
        y += _LINE + 4
    for row in rows:
        for place, panel in enumerate(row):
            x = _MARGIN + place * (_TILE + _GAP)
            pen.text((x, y - 1), _fitting(panel.heading, 13), INK, _font(13))
            paper.paste(_tile(panel, tall), (x, y + above))
            pen.text((x, y + above + tall + 2), _fitting(panel.note, 11), FAINT, _font(11))
        y += cell
    if scale:
        _bar(paper, scale, y + 4)
    return paper


def across(place: int) -> slice:
    """Say where in a row its panel number `place` lies, counted from 0."""
    left = _MARGIN + place * (_TILE + _GAP)
    return slice(left, left + _TILE)


def row(panels: Sequence[Panel]) -> np.ndarray:
    """Set panels out beside each other: (H, W, 3) uint8, with even sides, as encoders of videos like them."""
    picture = np.asarray(sheet([panels]))
    odd = [(0, side % 2) for side in picture.shape[:2]]
    return np.pad(picture, (*odd, (0, 0)), constant_values=255)


def _tile(panel: Panel, tall: int) -> Image.Image:
    """Fit a picture into its place: enlarged pixel by pixel, as the game is played on them, or shrunk smoothly."""
    height, width, _ = panel.picture.shape
    scale = min(_TILE / width, tall / height)
    how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.asarray(Image.fromarray(panel.picture).resize(size, how))
    tile = Image.new("RGB", (_TILE, tall), PAPER)
    shown = Image.fromarray(picture if panel.labels is None else outlined(picture, panel.labels))
    tile.paste(shown, ((_TILE - size[0]) // 2, (tall - size[1]) // 2))
    return tile


def _legend(pen: ImageDraw.ImageDraw, legend: Sequence[tuple[str, Colour]], y: int, end: int) -> None:
    x = _MARGIN
    for number, (name, colour) in enumerate(legend):
        wide = round(_length(name, 12)) + 32
        if x + wide > end - 60:
            pen.text((x, y), f"and {len(legend) - number} more", FAINT, _font(12))
            return
        pen.rectangle((x, y + 2, x + 11, y + 13), outline=colour, width=3)
        pen.text((x + 17, y), name, INK, _font(12))
        x += wide


def _bar(paper: Image.Image, scale: tuple[str, float], y: int) -> None:
    what, top = scale
    colours = heat(np.linspace(0, 1, 160)[None].repeat(10, 0), 1.0)
    pen = ImageDraw.Draw(paper)
    paper.paste(Image.fromarray(colours), (_MARGIN, y))
    pen.text((_MARGIN, y + 13), "0", FAINT, _font(11))
    high = f"{top:.3g}"
    pen.text((_MARGIN + 160 - _length(high, 11), y + 13), high, FAINT, _font(11))
    pen.text((_MARGIN + 172, y - 2), what, FAINT, _font(12))


def _shown(image: np.ndarray) -> np.ndarray:
    return image if len(image) == 3 else image[:1]


def _fitting(text: str, size: int) -> str:
    """Shorten a text to the width of a panel."""
    if _length(text, size) <= _TILE:
        return text
    while text and _length(text + "...", size) > _TILE:
        text = text[:-1]
    return text + "..."


def _length(text: str, size: int) -> float:
    return float(_font(size).getlength(text))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

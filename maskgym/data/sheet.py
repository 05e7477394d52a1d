"""A sheet of images with the outlines of their labels, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskgym.data.source import Images
from maskgym.errors import BadInput

PAPER, INK, FAINT = (18, 19, 22), (236, 238, 240), (150, 154, 160)
COLOURS = [  # tell apart on grey, and for most colour-blind eyes (after Okabe and Ito)
    (255, 176, 0), (86, 190, 255), (0, 200, 140), (255, 110, 90), (220, 130, 255), (245, 235, 80), (120, 140, 255),
    (255, 150, 200), (160, 220, 60), (200, 170, 130),
]  # fmt: skip
COLOUR = ("red", "green", "blue")  # channels of a picture that is shown as it is
TILE, GAP, MARGIN, LINE = 192, 10, 24, 18


def draw(images: Images, title: str, count: int = 24, columns: int = 6) -> Image.Image:
    """Images spread evenly over the set, half of them with labels where there are enough; a volume in three planes."""
    chosen = choose(images, count)
    tiles = [tile for index in chosen for tile in _tiles(images, index)]
    if len(images.size) == 3:
        columns = max(3, columns // 3 * 3)  # the planes of a volume stay side by side
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    head = 3 * LINE + GAP
    width = 2 * MARGIN + columns * (TILE + GAP) - GAP
    sheet = Image.new("RGB", (max(width, 640), 2 * MARGIN + head + rows * (TILE + LINE + GAP) - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 4), title, INK, _font(17))
    several = len(images.channels) > 1 and images.channels != COLOUR
    shown = f"{images.channels[0]} (of {len(images.channels)} channels)" if several else ", ".join(images.channels)
    told = f"{len(images)} images of {len(set(images.patients))} patients, shown: {shown}"
    pen.text((MARGIN, MARGIN + LINE + 4), told, FAINT, _font(12))
    _legend(pen, images, MARGIN + 2 * LINE + 6, sheet.width - MARGIN)
    for place, (tile, name) in enumerate(tiles):
        x = MARGIN + place % columns * (TILE + GAP)
        y = MARGIN + head + place // columns * (TILE + LINE + GAP)
        sheet.paste(tile, (x + (TILE - tile.width) // 2, y + (TILE - tile.height) // 2))
        pen.text((x, y + TILE + 2), _shortened(name), FAINT, _font(11))
    return sheet


def write(images: Images, out: Path, title: str, count: int = 24) -> None:
    """Draw the sheet and save it as PNG."""
    if out.suffix.lower() != ".png":
        raise BadInput(f"the sheet is a PNG: name it {out.with_suffix('.png')} instead of {out}")
    sheet = draw(images, title, count)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out, optimize=True)
    except OSError as error:
        raise BadInput(f"{out} cannot be written ({error.strerror}): choose another --out") from None


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


def _tiles(images: Images, index: int) -> list[tuple[Image.Image, str]]:
    image = np.asarray(images.images[index])
    label = None if images.labels is None else np.asarray(images.labels[index])
    name = images.ids[index]
    if image.ndim == 3:
        return [(_tile(image, label, images), name)]
    centre = [side // 2 for side in image.shape[1:]]
    if label is not None and label.any():
        centre = [int(np.median(places)) for places in np.nonzero(label)]
    tiles = []
    for axis, plane in enumerate(("axial", "coronal", "sagittal")):
        cut = np.take(image, centre[axis], axis + 1)
        flat = None if label is None else np.take(label, centre[axis], axis)
        if axis > 0:  # the head up
            cut, flat = cut[:, ::-1], None if flat is None else flat[::-1]
        tiles.append((_tile(cut, flat, images), f"{plane} {name}"))
    return tiles


def _tile(image: np.ndarray, label: np.ndarray | None, images: Images) -> Image.Image:
    shown = image if images.channels == COLOUR else image[:1]
    low, high = np.percentile(shown, (0.5, 99.5))
    grey = ((shown - low) / max(high - low, 1e-6)).clip(0, 1) * 255
    pixels = np.moveaxis(np.broadcast_to(grey, (3, *image.shape[1:])), 0, -1).astype(np.uint8)
    height, width = image.shape[1:]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tile = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    if label is None or not label.any():
        return tile
    large = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    canvas = np.array(tile)
    for value in np.unique(large[large > 0]).tolist():
        canvas[_outline(large == value)] = COLOURS[(value - 1) % len(COLOURS)]
    return Image.fromarray(canvas)


def _outline(inside: np.ndarray) -> np.ndarray:
    """The inner edge of a region, one pixel wide."""
    padded = np.pad(inside, 1)
    kept = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~kept


def _legend(pen: ImageDraw.ImageDraw, images: Images, y: int, end: int) -> None:
    x = MARGIN
    for value, name in enumerate(images.classes):
        width = pen.textlength(name, _font(12)) + 30
        if x + width > end:
            pen.text((x, y), f"and {len(images.classes) - value} more", FAINT, _font(12))
            return
        pen.rectangle((x, y + 3, x + 10, y + 13), outline=COLOURS[value % len(COLOURS)], width=2)
        pen.text((x + 16, y), name, INK, _font(12))
        x += round(width)


def _shortened(name: str) -> str:
    longest = 30
    return name if len(name) <= longest else "..." + name[-longest + 3 :]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

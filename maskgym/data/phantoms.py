"""Phantoms: made-up slices and volumes with organs and lesions, the data every registered environment starts from.

A picture looks like an axial slice cut from a trunk: a muscular wall round a cavity of fat, a dozen organs with soft,
irregular borders, vessels, a smooth shading over everything, noise, and one to three small lesions. Nothing in it is
there for show; every ingredient gives a masking agent something to weigh:

- an organ's brightness is drawn afresh for every picture, and inside it is nearly flat: one visible patch tells it
  all, and only hiding the *whole* organ costs the reconstructor much, so a patch's worth depends on its neighbours;
- the wall is striped by fibres that run alike in every picture: as busy as anything, yet known by heart, so hiding it
  spends the budget for nothing;
- fibrous organs carry stripes whose phase is one for the picture: hard to guess until any of them is seen;
- speckled organs carry a grain that nobody can guess: hiding them costs the same whatever else is hidden;
- borders, vessels and lesions are small surprises, worth hiding each by itself.

Anatomy scales with the frame; texture is measured in pixels, as it is when a scanner's matrix grows.
"""

from __future__ import annotations

import numpy as np

VERSION = 3  # raise it when pictures change: caches, bundled networks and par depend on it

AIR, WALL, CAVITY, FIRST = range(4)  # parts of a picture: these, then organs from FIRST on, then vessels
ORGANS = 14
VESSELS = 8
LESIONS = 3  # at most
ANATOMY = ("wall", "cavity", "organ_flat", "organ_fibrous", "organ_speckled", "vessel", "lesion")  # labels 1 to 7
CHUNK = 16  # pictures worked on at once: more would fall out of the processor's cache

Array = np.ndarray


def make(seed: int, indices: np.ndarray, size: tuple[int, ...], anatomy: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw the pictures `indices` of the endless series `seed`.

    Returns images (n, 1, *size) float32, each of mean 0 and variance 1, and labels (n, *size) uint8: 1 = lesion, or
    0 = air and the classes of `ANATOMY`. A picture depends on seed, index and size alone, never on the batch it is
    made in or on the labels asked for.
    """
    indices = np.asarray(indices, np.int64).reshape(-1)
    images = np.empty((len(indices), 1, *size), np.float32)
    labels = np.empty((len(indices), *size), np.uint8)
    for start in range(0, len(indices), CHUNK):
        part = slice(start, start + CHUNK)
        draws = [_draw(np.random.default_rng((seed, int(index))), size) for index in indices[part]]
        images[part, 0], classes = _paint({name: np.stack([d[name] for d in draws]) for name in draws[0]}, size)
        labels[part] = classes if anatomy else classes == len(ANATOMY)
    return images, labels


def _draw(rng: np.random.Generator, size: tuple[int, ...]) -> dict[str, Array]:
    """What is random of one picture. Lengths are in half frames, textures in pixels, brightness in arbitrary units."""
    axes, parts, uniform = len(size), FIRST + ORGANS + VESSELS, rng.uniform
    angle = (np.arange(ORGANS) + uniform(-0.3, 0.3, ORGANS)) * 2.4 + uniform(0, 2 * np.pi)  # sunflower: spread evenly
    away = 0.72 * np.sqrt((np.arange(ORGANS) + 0.5) / ORGANS)
    organ_at = np.stack([away * np.sin(angle), away * np.cos(angle)], -1)
    if axes == 3:
        organ_at = np.concatenate([uniform(-0.9, 0.9, (ORGANS, 1)), organ_at], -1)
    grow = 1.0 if axes == 2 else 1.5  # a ball fills less of a cube than a disc of a square
    lesions = np.arange(LESIONS) < rng.integers(1, LESIONS + 1)
    value = uniform(-1.6, 1.6, parts)
    kind = rng.choice(3, parts, p=(0.6, 0.2, 0.2))  # 0 flat, 1 fibrous, 2 speckled
    value[AIR], kind[AIR] = -2.0, 0
    value[WALL], kind[WALL] = -0.3, 1
    value[CAVITY], kind[CAVITY] = 0.2 * value[CAVITY], 0
    value[FIRST + ORGANS :], kind[FIRST + ORGANS :] = 1.5, 0
    tissue = FIRST + kind  # what a part is called in `ANATOMY`
    tissue[:FIRST], tissue[FIRST + ORGANS :] = np.arange(FIRST), ANATOMY.index("vessel") + 1
    wave, phase = np.full(parts, rng.integers(0, 2)), np.full(parts, uniform(0, 2 * np.pi))
    wave[WALL], phase[WALL] = 2, np.pi * 5 / 8  # the same in a mirror, so that flips keep it known
    return {
        "warp": rng.standard_normal((axes + 1, *(5,) * axes)).astype(np.float32),
        "ripple": rng.standard_normal((11,) * axes).astype(np.float32),
        "noise": rng.standard_normal(size, np.float32),
        "body": uniform(0.98, 1.08, axes),
        "organ_at": organ_at,
        "organ_radius": grow * uniform(0.11, 0.27, (ORGANS, axes)),
        "vessel_at": uniform(-0.7, 0.7, (VESSELS, axes)),
        "vessel_radius": uniform(0.05, 0.09, (VESSELS, 1)),
        "lesion_at": uniform(-0.42, 0.42, (LESIONS, axes)),
        "lesion_radius": grow * uniform(0.08, 0.14, (LESIONS, 1)) * lesions[:, None],
        "value": value,
        "stripe": np.where(kind == 1, 0.8, 0.0),
        "grain": np.where(kind == 2, 0.2, 0.08),
        "wave": np.array([[0.25, 0.0], [0.0, 0.25], [0.125, 0.0]])[wave],  # turns a pixel
        "phase": phase,
        "tissue": tissue.astype(np.uint8),
    }


def _paint(draw: dict[str, Array], size: tuple[int, ...]) -> tuple[Array, Array]:
    """Turn the draws of a few pictures into images (b, *size) and labels (b, *size) uint8: the classes of `ANATOMY`."""
    axes, batch = len(size), len(draw["body"])
    whole = (slice(None), *(None,) * axes)  # one number a picture -> broadcasts over its pixels
    grid = np.meshgrid(*((np.arange(n, dtype=np.float32) + 0.5) * (2 / n) - 1 for n in size), indexing="ij")
    *bend, shade = np.moveaxis(_smooth(draw["warp"], size), 1, 0)
    ripple = _smooth(draw["ripple"][:, None], size)[:, 0]
    at = [g + np.float32(0.09) * b for g, b in zip(grid, bend, strict=True)]

    def inside(centre: Array, radius: Array, rough: float = 0.0) -> Array:
        centre, radius = np.broadcast_arrays(centre.astype(np.float32), radius.astype(np.float32))
        far = sum(((at[i] - centre[:, i][whole]) / np.maximum(radius[:, i], 1e-6)[whole]) ** 2 for i in range(axes))
        return far < (np.maximum(1 + np.float32(rough) * ripple, 0.5) if rough else 1)

    part = np.zeros((batch, *size), np.intp)
    across = sum((at[i] / draw["body"][:, i].astype(np.float32)[whole]) ** 2 for i in (-2, -1))
    part[across < 1] = WALL  # a trunk goes on above and below the frame: only the last two axes bound it
    cavity = across < np.float32(0.6)
    part[cavity] = CAVITY
    for k in range(ORGANS):
        part[inside(draw["organ_at"][:, k], draw["organ_radius"][:, k]) & cavity] = FIRST + k
    for k in range(VESSELS):
        part[inside(draw["vessel_at"][:, k], draw["vessel_radius"][:, k]) & cavity] = FIRST + ORGANS + k
    lesion = np.zeros((batch, *size), bool)
    for k in range(LESIONS):
        lesion |= inside(draw["lesion_at"][:, k], draw["lesion_radius"][:, k], rough=0.4)
    lesion &= cavity

    def of_part(name: str) -> Array:
        flat = np.take_along_axis(draw[name].astype(np.float32), part.reshape(batch, -1), 1)
        return flat.reshape(part.shape)

    turns = of_part("phase")
    for i in (-2, -1):
        steps = np.arange(size[i], dtype=np.float32).reshape((-1,) + (1,) * (-1 - i))
        draw["step"] = 2 * np.pi * draw["wave"][..., i]
        turns += of_part("step") * steps
    image = of_part("value") + of_part("stripe") * np.sin(turns) + of_part("grain") * draw["noise"]
    image += lesion * np.float32(1.0)
    image += np.float32(0.3) * shade
    flat = image.reshape(batch, -1)
    flat -= flat.mean(1, keepdims=True)
    flat /= flat.std(1, keepdims=True)
    classes = np.take_along_axis(draw["tissue"], part.reshape(batch, -1), 1).reshape(part.shape)
    classes[lesion] = len(ANATOMY)
    return image, classes


def _smooth(coarse: Array, size: tuple[int, ...]) -> Array:
    """Blow random numbers on a coarse grid (b, c, *coarse) up to smooth fields (b, c, *size)."""
    field = coarse
    for axis, n in enumerate(size, start=2):
        knots = coarse.shape[axis]
        where = (np.arange(n, dtype=np.float32) + 0.5)[:, None] * ((knots - 1) / n) - np.arange(knots, dtype=np.float32)
        weights = np.where(np.abs(where) < 1, 0.5 + 0.5 * np.cos(np.pi * where), 0).astype(np.float32)  # (n, knots)
        field = np.moveaxis(np.moveaxis(field, axis, -1) @ weights.T, -1, axis)
    return np.ascontiguousarray(field)

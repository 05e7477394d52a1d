"""Phantoms: made-up slices and volumes with organs and lesions, the data every registered environment starts from.

A picture looks like an axial slice cut from a trunk: a wall of fat round a body that fills most of the frame, about ten
organs with soft, irregular borders, vessels, a smooth shading over everything, noise, and one to three small lesions.
Nothing in it is there for show; every ingredient gives a masking agent something to weigh:

- an organ's brightness is drawn afresh for every picture, and inside it is nearly flat: one visible patch tells it
  all, and only hiding the *whole* organ costs the reconstructor much, so a patch's worth depends on its neighbours;
- fibrous organs carry stripes whose phase is one for the organ: busy to look at, easy to continue from any part;
- speckled organs carry a grain that nobody can guess: hiding them costs the same whatever else is hidden;
- borders, vessels and lesions are small surprises, worth hiding each by itself.

Anatomy scales with the frame; texture is measured in pixels, as it is when a scanner's matrix grows.
"""

from __future__ import annotations

import numpy as np

VERSION = 1  # raise it when pictures change: caches, bundled networks and par depend on it

ORGANS = 10
VESSELS = 5
LESIONS = 3  # at most
CHUNK = 16  # pictures worked on at once: more would fall out of the processor's cache

Array = np.ndarray


def make(seed: int, indices: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the pictures `indices` of the endless series `seed`.

    Returns images (n, 1, *size) float32, each of mean 0 and variance 1, and labels (n, *size) uint8, 1 = lesion.
    A picture depends on seed, index and size alone, never on the batch it is made in.
    """
    indices = np.asarray(indices, np.int64).reshape(-1)
    images = np.empty((len(indices), 1, *size), np.float32)
    labels = np.empty((len(indices), *size), np.uint8)
    for start in range(0, len(indices), CHUNK):
        part = slice(start, start + CHUNK)
        draws = [_draw(np.random.default_rng((seed, int(index))), size) for index in indices[part]]
        images[part, 0], labels[part] = _paint({name: np.stack([d[name] for d in draws]) for name in draws[0]}, size)
    return images, labels


def _draw(rng: np.random.Generator, size: tuple[int, ...]) -> dict[str, Array]:
    """All chance of one picture. Lengths are in half frames, textures in pixels, brightness in arbitrary units."""
    axes = len(size)
    uniform, parts = rng.uniform, 2 + ORGANS + VESSELS  # air, fat, organs, vessels
    angle = (np.arange(ORGANS) + uniform(-0.3, 0.3, ORGANS)) * 2.4 + uniform(0, 2 * np.pi)  # sunflower: spread evenly
    away = 0.85 * np.sqrt((np.arange(ORGANS) + 0.5) / ORGANS)
    organ_at = np.stack([away * np.sin(angle), away * np.cos(angle)], -1)
    if axes == 3:
        organ_at = np.concatenate([uniform(-0.9, 0.9, (ORGANS, 1)), organ_at], -1)
    lesions = np.arange(LESIONS) < rng.integers(1, LESIONS + 1)
    value = rng.standard_normal(parts)
    kind = rng.integers(0, 3, parts)  # 0 flat, 1 fibrous, 2 speckled
    value[0], kind[:2] = -2.0, 0  # air and fat are flat,
    value[2 + ORGANS :], kind[2 + ORGANS :] = 2.0, 0  # and so are vessels
    wave = rng.integers(0, 4, parts)
    return {
        "warp": rng.standard_normal((axes + 1, *(5,) * axes)).astype(np.float32),
        "ripple": rng.standard_normal((11,) * axes).astype(np.float32),
        "noise": rng.standard_normal(size, np.float32),
        "body": uniform(0.98, 1.08, axes),
        "organ_at": organ_at,
        "organ_radius": uniform(0.26, 0.48, (ORGANS, axes)),
        "vessel_at": uniform(-0.7, 0.7, (VESSELS, axes)),
        "vessel_radius": uniform(0.04, 0.09, (VESSELS, 1)),
        "lesion_at": uniform(-0.55, 0.55, (LESIONS, axes)),
        "lesion_radius": uniform(0.09, 0.15, (LESIONS, 1)) * lesions[:, None],
        "value": value,
        "stripe": np.where(kind == 1, 0.6, 0.0),
        "grain": np.where(kind == 2, 0.35, 0.1),
        "wave": np.array([[0.25, 0.0], [0.0, 0.25], [0.125, 0.125], [0.125, -0.125]])[wave],
        "phase": uniform(0, 2 * np.pi, parts),
    }


def _paint(draw: dict[str, Array], size: tuple[int, ...]) -> tuple[Array, Array]:
    """Turn the draws of a few pictures into images (b, *size) and lesion labels (b, *size)."""
    axes, batch = len(size), len(draw["body"])
    whole = (slice(None), *(None,) * axes)  # one number a picture -> broadcasts over its pixels
    grid = np.meshgrid(*((np.arange(n, dtype=np.float32) + 0.5) * (2 / n) - 1 for n in size), indexing="ij")
    *bend, shade = np.moveaxis(_smooth(draw["warp"], size), 1, 0)
    ripple = _smooth(draw["ripple"][:, None], size)[:, 0]
    at = [g + np.float32(0.09) * b for g, b in zip(grid, bend, strict=True)]

    def inside(centre: Array, radius: Array, rough: float = 0.0) -> Array:
        centre, radius = np.broadcast_arrays(centre.astype(np.float32), radius.astype(np.float32))
        far = sum(((at[i] - centre[:, i][whole]) / np.maximum(radius[:, i], 1e-6)[whole]) ** 2 for i in range(axes))
        return far < (1 + np.float32(rough) * ripple if rough else 1)

    part = np.zeros((batch, *size), np.intp)
    across = sum((at[i] / draw["body"][:, i].astype(np.float32)[whole]) ** 2 for i in (-2, -1))
    part[across < 1] = 1  # a trunk goes on above and below the frame: only the last two axes bound it
    trunk = across < 0.86
    for k in range(ORGANS):
        part[inside(draw["organ_at"][:, k], draw["organ_radius"][:, k]) & trunk] = 2 + k
    for k in range(VESSELS):
        part[inside(draw["vessel_at"][:, k], draw["vessel_radius"][:, k])] = 2 + ORGANS + k
    lesion = np.zeros((batch, *size), bool)
    for k in range(LESIONS):
        lesion |= inside(draw["lesion_at"][:, k], draw["lesion_radius"][:, k], rough=0.4)
    lesion &= trunk

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
    return image, lesion.astype(np.uint8)


def _smooth(coarse: Array, size: tuple[int, ...]) -> Array:
    """Blow random numbers on a coarse grid (b, c, *coarse) up to smooth fields (b, c, *size)."""
    field = coarse
    for axis, n in enumerate(size, start=2):
        knots = coarse.shape[axis]
        where = (np.arange(n, dtype=np.float32) + 0.5)[:, None] * ((knots - 1) / n) - np.arange(knots, dtype=np.float32)
        weights = np.where(np.abs(where) < 1, 0.5 + 0.5 * np.cos(np.pi * where), 0).astype(np.float32)  # (n, knots)
        field = np.moveaxis(np.moveaxis(field, axis, -1) @ weights.T, -1, axis)
    return np.ascontiguousarray(field)

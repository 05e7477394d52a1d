"""What fine-tuning sees: the labelled share of the training patients, batches of it, light augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskgym.data import splits
from maskgym.data.source import SPLITS, Images, load
from maskgym.data.spec import parse
from maskgym.errors import BadInput

_ON_LABEL = 3  # with a window, every third crop is laid over a labelled pixel


@dataclass(frozen=True)
class Labelled:
    """A data set of which only some training patients have labels."""

    train: Images
    val: Images
    test: Images
    patients: tuple[str, ...]  # of train, whose labels may be used
    rows: np.ndarray  # (n,) int64, their images in train
    split: str  # fingerprint of who is where

    @property
    def outputs(self) -> int:
        """Classes and the background."""
        return 1 + len(self.train.classes)


def read(
    dataset: str,
    size: tuple[int, ...],
    share: float,
    split_file: str = "",
    label_seed: int | None = None,
    labels: int = 0,
) -> Labelled:
    """Load all three splits and choose who has labels: few lie within many.

    Args:
        dataset: `phantoms`, or LAYOUT:FOLDER.
        size: of the images.
        share: of the training patients.
        split_file: a split saved by `maskgym data split`; where it lists this share, those patients are taken.
        label_seed: of the choice; None = the split's own.
        labels: how many patients, whatever the share says; 0 = as it says.
    """
    train, val, test = (load(dataset, size=size, split=name, split_file=split_file or None) for name in SPLITS)
    if train.labels is None or val.labels is None or test.labels is None:
        raise BadInput(f"{dataset} has no labels to learn from: choose a data set that has")
    split = _split(dataset, split_file, train, val, test)
    if labels > len(split.train):
        raise BadInput(f"labels {labels} is more than the {len(split.train)} training patients: choose fewer")
    share = labels / len(split.train) if labels else share
    listed = {float(name.rstrip("%")) / 100: patients for name, patients in split.labelled.items()}
    near = [patients for each, patients in listed.items() if abs(each - share) < 1e-6]
    if near and label_seed is None:
        chosen = near[0]
    else:
        chosen = splits.labelled(split.train, share, split.seed if label_seed is None else label_seed)
    rows = np.flatnonzero(np.isin(np.array(train.patients), np.array(chosen, dtype=str)))
    if not len(rows):
        raise BadInput(f"a label share of {share} leaves no patient with images: raise --label-share")
    there = set(np.unique(train.labels[rows]).tolist())
    if absent := [name for place, name in enumerate(train.classes) if place + 1 not in there]:
        raise BadInput(
            f"class {absent[0]!r} is in no label of the {len(chosen)} labelled patients ({', '.join(chosen[:3])}"
            f"{', ...' if len(chosen) > 3 else ''}): raise --label-share or choose another --label-seed"
        )
    return Labelled(train, val, test, tuple(chosen), rows, split.hash)


def draw(
    data: Labelled,
    batch: int,
    window: tuple[int, ...] | None,
    seed: int,
    step: int,
    flips: str = "last",
    how: str = "light",
) -> tuple[Tensor, Tensor]:
    """Draw the images (B, C, *size) and labels (B, *size) int64 of one step; all randomness is (seed, step)'s."""
    random = np.random.default_rng((seed, step))
    rows = data.rows[random.integers(len(data.rows), size=batch)]
    assert data.train.labels is not None
    images, labels = np.array(data.train.images[rows]), np.array(data.train.labels[rows])
    if window is not None and window != data.train.size:
        images, labels = _crop(images, labels, window, random)
    return augment(torch.from_numpy(images), torch.from_numpy(labels).long(), random, flips, how)


def augment(
    images: Tensor, labels: Tensor, random: np.random.Generator, flips: str = "last", how: str = "light"
) -> tuple[Tensor, Tensor]:
    """Flip each image at even odds; scale and shift its intensities and add noise, a little.

    Args:
        images: (B, C, *size).
        labels: (B, *size).
        random: where all randomness comes from.
        flips: along the last axis, left and right of a patient; along all, where nothing is told by its place; or none.
        how: none, flips, light (all of the above), or full, which is nnU-Net's.
    """
    if how == "none":
        return images, labels
    count, dims = len(images), images.dim() - 2
    along = {"last": (dims - 1,), "all": tuple(range(dims)), "none": ()}[flips]
    for axis, flip in enumerate(torch.from_numpy(random.random((dims, count)) < 0.5)):
        if axis not in along:
            continue
        here = flip.view(-1, *[1] * dims)
        labels = torch.where(here, labels.flip(axis + 1), labels)
        images = torch.where(here[:, None], images.flip(axis + 2), images)
    if how == "flips":
        return images, labels
    if how == "full":
        from maskgym.downstream.augment import full

        return full(images, labels, random)
    per_channel = (*images.shape[:2], *[1] * dims)
    scale = torch.from_numpy(random.uniform(0.9, 1.1, per_channel).astype(np.float32))
    shift = torch.from_numpy(random.uniform(-0.1, 0.1, per_channel).astype(np.float32))
    noise = torch.from_numpy(random.standard_normal(tuple(images.shape), np.float32))
    strength = torch.from_numpy(random.uniform(0.0, 0.1, (count, *[1] * (dims + 1))).astype(np.float32))
    return images * scale + shift + noise * strength, labels


def _crop(
    images: np.ndarray, labels: np.ndarray, window: tuple[int, ...], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window out of each image at random, of every third one over a labelled pixel."""
    room = np.array(labels.shape[1:]) - np.array(window)
    corners = random.integers(0, room + 1, size=(len(images), len(window)))
    for place in range(0, len(images), _ON_LABEL):
        marked = np.argwhere(labels[place])
        if len(marked):
            centre = marked[random.integers(len(marked))]
            corners[place] = np.clip(centre - np.array(window) // 2, 0, room)
    cuts = [tuple(slice(at, at + side) for at, side in zip(corner, window, strict=True)) for corner in corners]
    return (
        np.stack([image[:, *cut] for image, cut in zip(images, cuts, strict=True)]),
        np.stack([label[cut] for label, cut in zip(labels, cuts, strict=True)]),
    )


def _split(dataset: str, split_file: str, train: Images, val: Images, test: Images) -> splits.Split:
    if split_file:
        return splits.read(Path(split_file).expanduser())
    spec = parse(dataset)
    parts = {name: tuple(sorted(set(part.patients))) for name, part in zip(SPLITS, (train, val, test), strict=True)}
    shares = {f"{share:.0%}": splits.labelled(parts["train"], share, spec.options.seed) for share in splits.SHARES}
    return splits.Split(spec.layout, spec.options.seed, **parts, labelled=shares)

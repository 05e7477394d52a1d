"""A data set as one printable string: `LAYOUT:FOLDER?option=value&option=value`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast, get_args, get_type_hints
from urllib.parse import unquote

from maskgym.errors import BadInput


@dataclass(frozen=True)
class Options:
    """How a data set is turned into images; each field may stand after the `?` of a data set."""

    axis: int = 2
    """Slices of volumes are cut across this axis of the patient: 0 left-right, 1 front-back, 2 foot-head."""
    modality: str = ""
    """Channels to keep, by name and comma-separated (`T1,T2`); `gray` mixes a colour picture. Empty: all."""
    classes: str = ""
    """Label classes to keep, by name and comma-separated; the others become background. Empty: all."""
    spacing: str = ""
    """Resample volumes to this spacing in mm, one number or three (x,y,z), before slicing. Empty: as they are."""
    window: str = ""
    """Clip to LOW,HIGH in the file's own units, as a CT window does (-160,240). Empty: the layout's window, if any."""
    clip: str = "1,99"
    """Where there is no window, clip every file to these percentiles of its intensities."""
    zscore: Literal["all", "nonzero"] = "all"
    """Mean and deviation are taken over all pixels, or over those that are not zero in the file."""
    normalise: Literal["image", "case", "window"] = "image"
    """z-score by mean and deviation of the image itself, or of its whole case; or bring the window to -1..1."""
    fit: Literal["resize", "pad", "crop"] = "resize"
    """To come to the size asked for: resize (linear, nearest for labels); pad and crop about the centre; or crop
    elsewhere in each image, always at the same place."""
    trim: Literal["none", "body"] = "none"
    """Look at the whole case, or only at the box round the body."""
    slices: Literal["body", "labelled", "all"] = "body"
    """Which slices are shown: those with body, those with a label, or all."""
    body: float = 0.1
    """A slice has body if this share of it is brighter than the darkest tenth of its volume's range. 0: all have."""
    patient: str = ""
    """Where a set has no patient ids: an expression whose first group finds them in the image's id (`^([^_]+)_`)."""
    bad: Literal["stop", "skip"] = "stop"
    """At a file that cannot be used: stop with its name, or leave it out and go on."""
    seed: int = 0
    """Of the split by patient; of the generator for `phantoms`."""
    count: int = 0
    """Of `phantoms` alone: how many there are to train on. 0: 2,048 pictures or 1,024 volumes."""
    labels: Literal["lesion", "anatomy"] = "lesion"
    """Of `phantoms` alone: label the lesions, or all there is, from wall and cavity to vessels and lesions."""


@dataclass(frozen=True)
class Spec:
    """What a data-set string says."""

    layout: str
    folder: Path  # Path() for phantoms
    options: Options


def parse(dataset: str) -> Spec:
    """Read a data-set string; whatever is wrong with it is said in one sentence."""
    address, _, tail = dataset.partition("?")
    layout, colon, folder = address.partition(":")
    options = _options(tail, dataset)
    if layout == "phantoms":
        if colon:
            raise BadInput(f"phantoms are made, not read, so {dataset!r} needs no folder: write `phantoms`")
        if options != Options(seed=options.seed, count=options.count, labels=options.labels):
            raise BadInput(f"phantoms take seed, count and labels (`phantoms?seed=3&count=20000`), but got {tail!r}")
        return Spec(layout, Path(), options)
    if not colon or not folder:
        raise BadInput(f"{dataset!r} is not a data set: write `phantoms`, or LAYOUT:FOLDER as in `lgg:/data/kaggle_3m`")
    if (options.count, options.labels) != (0, "lesion"):
        raise BadInput(f"count and labels are options of phantoms, not of {layout}: leave them out of {tail!r}")
    return Spec(layout, Path(folder).expanduser(), options)


def explained() -> list[tuple[str, str, str]]:
    """Name, default and sentence of every option, for help and docs."""
    body = cast(ast.ClassDef, ast.parse(inspect.getsource(Options)).body[0]).body
    sentences: dict[str, str] = {}
    for line, after in pairwise(body):
        if isinstance(line, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            sentences[cast(ast.Name, line.target).id] = " ".join(str(after.value.value).split())
    return [(field.name, str(field.default), sentences[field.name]) for field in fields(Options)]


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error sentence: the known name nearest to `word`, or all of them."""
    known = list(known)
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_lower, n=1)
    return f"did you mean {by_lower[near[0]]!r}?" if near else f"known: {', '.join(known)}"


def numbers(text: str, name: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """Comma-separated numbers of an option, as many as one of `counts` allows."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in counts:
        raise BadInput(f"{name}={text} should be {' or '.join(map(str, counts))} numbers separated by commas")
    return found


def _options(tail: str, dataset: str) -> Options:
    kinds = get_type_hints(Options)
    known = [field.name for field in fields(Options)]
    values: dict[str, object] = {}
    for part in filter(None, tail.split("&")):
        name, equals, text = part.partition("=")
        text = unquote(text)
        if name not in known:
            raise BadInput(f"{dataset!r} has an unknown option {name!r}: {nearest(name, known)}")
        if not equals or not text:
            raise BadInput(f"the option {name!r} of {dataset!r} has no value: write {name}=...")
        choices = get_args(kinds[name])
        if choices and text not in choices:
            raise BadInput(f"{name}={text} in {dataset!r}: {name} is {' or '.join(choices)}")
        try:
            values[name] = text if choices else kinds[name](text)
        except ValueError:
            raise BadInput(f"{name}={text} in {dataset!r}: {name} is a number") from None
    options = Options(**values)  # type: ignore[arg-type]
    _check_values(options)
    return options


def _check_values(options: Options) -> None:
    low, high = numbers(options.clip, "clip", (2,))
    spacing = numbers(options.spacing, "spacing", (1, 3)) if options.spacing else (1.0,)
    bottom, top = numbers(options.window, "window", (2,)) if options.window else (0.0, 1.0)
    for right, sentence in (
        (options.axis in (0, 1, 2), f"axis={options.axis}: a volume has the axes 0, 1 and 2"),
        (options.seed >= 0, f"seed={options.seed}: a seed is 0 or above"),
        (0 <= options.count <= 1_000_000, f"count={options.count}: from 1 to 1000000, or 0 for the usual number"),
        (0 <= options.body <= 1, f"body={options.body}: a share lies between 0 and 1"),
        (0 <= low < high <= 100, f"clip={options.clip}: two percentiles, the lower one first, between 0 and 100"),
        (bottom < top, f"window={options.window}: the lower end stands first"),
        (min(spacing) > 0, f"spacing={options.spacing}: millimetres are above 0"),
    ):
        if not right:
            raise BadInput(sentence)

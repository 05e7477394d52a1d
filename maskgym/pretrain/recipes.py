"""The papers as settings: what each one says, a few lines each; all other values are the dataclass's own."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from maskgym import markdown
from maskgym.errors import BadInput
from maskgym.pretrain.settings import PretrainSettings, check_names, read_file

RECIPES: dict[str, dict[str, Any]] = {
    # Masked autoencoders as all five papers compare with: nobody chooses.
    "random": {"agent": "random", "hard_share": "0"},
    # The text freezes its U-Net while the policy learns; reconstructor, policy and student are our three stages.
    "ahm": {
        "agent": "a3c-paper",
        "image_size": "256x256",
        "loss": "whole",
        "hard_share": "0.7",
        "optimiser": "adam",
        "lr": 2e-4,
        "decay": "constant",
        "warm_up": 0.0,
        "beta2": 0.999,
        "weight_decay": 0.0,
        "epochs": 200,
        "batch": 12,
    },
    # Labels belong to patches of an image: they follow its flips, and it is never cropped. The paper leaves nothing to
    # chance; then an image is all but the same riddle in every epoch, and small data sets are learned by heart.
    "amlp": {
        "agent": "amlp",
        "image_size": "144x144",
        "hard_share": "0.5",
        "loss": "hidden-mean+rrl",
        "ratio": "adaptive:0.25:12:0.8",
        "lr": 1e-4,
        "warm_up": 0.0,
        "epochs": 800,
        "batch": 48,
    },
    # Read at 128 along each axis and cropped as in the paper, the first axis being the paper's last.
    "anatomask": {
        "agent": "anatomask?target=normalised",
        "image_size": "128x112x112",
        "student": "stunet-b",
        "target": "normalised",
        "ratio": "0.6",
        "hard_share": "linear:0:0.5",
        "teacher": "0.02:0.08:0.25",
        "lr": 1e-4,
        "warm_up": 20.0,
        "beta2": 0.999,
        "weight_decay": 1e-5,
        "clip": 12.0,
        "epochs": 1000,
        "batch": 4,
    },
    # Scores are kept for some epochs and the predictor is light: that makes it cheap; the paper asks every time.
    "selfmedhpm": {
        "agent": "hpm",
        "image_size": "96x96x96",
        "student": "vit-mae",
        "student_settings": "width=768&depth=12&heads=12&decoder_width=384&predictor_depth=1",
        "target": "normalised",
        "hard_share": "linear:0:0.5",
        "teacher": "0.02:0.08:0.25",
        "score_every": 4,
        "lr": 1.5e-4,
        "warm_up": 40.0,
        "epochs": 400,
        "batch": 4,
    },
    # Not a paper's: what the student has lately learned, by two averages of its own run; asked once in eight epochs.
    "snapshots": {
        "agent": "snapshots",
        "hard_share": "0.5",
        "teacher": "so-far:0.5",
        "fast": "so-far:0.02",
        "score_every": 8,
    },
    "mps-ams": {
        "agent": "mps-ams",
        "image_size": "144x144",
        "hard_share": "0.5",  # the paper: 1, see amlp
        "loss": "hidden-sum",
        "ratio": "adaptive:0.25:12:0.95",
        "optimiser": "adam",
        "lr": 2e-4,
        "decay": "constant",
        "warm_up": 0.0,
        "beta2": 0.999,
        "weight_decay": 0.0,
        "epochs": 800,
        "batch": 32,
    },
    # The contrastive rows of the papers' tables, which print no settings of theirs.
    "simclr": {"loss": "nt-xent", "lr": 1e-3, "weight_decay": 1e-4, "beta2": 0.999, "batch": 64},
    "byol": {  # the momentum is BYOL's for 300 epochs, rising linearly here
        "loss": "byol",
        "teacher": "momentum:0.99:1:1",
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "beta2": 0.999,
        "batch": 64,
    },
}
_OF_MASKS = ("agent", "target", "ratio", "hard_share")  # say nothing where nothing is hidden


def recipe(name: str) -> dict[str, Any]:
    """Find a recipe by name.

    >>> recipe("anatomask")["ratio"]
    '0.6'
    """
    if name in RECIPES:
        return RECIPES[name]
    near = get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RECIPES)}"
    raise BadInput(f"there is no recipe {name!r}: {hint}")


def make_settings(out: Path | str, recipe: str = "", settings: str = "", **given: Any) -> PretrainSettings:
    """Fill settings: what is given, before what the file says, before what the recipe says, before our own.

    >>> make_settings("runs/x", "amlp", epochs=3).epochs
    3
    """
    given = check_names(given, "the call")
    return PretrainSettings(**{**resolve(recipe, settings), **given, "out": Path(out)})


def resolve(name: str, file: str) -> dict[str, Any]:
    """What recipe and file say together; a recipe named here stands for the one the file names."""
    told = read_file(file) if file else {}
    name = name or told.get("recipe", "random")
    return {**recipe(name), **told, "recipe": name, "settings": file}


def asked_for(arguments: Sequence[str], option: str) -> str:
    """Look up what a command line gives for an option, before anything else of it is read."""
    for place, word in enumerate(arguments):
        if word == option and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return ""


def table() -> str:
    """Write the recipes as the table that the docs show."""
    columns = (
        "agent",
        "student",
        "target",
        "loss",
        "ratio",
        "hard_share",
        "teacher",
        "optimiser",
        "lr",
        "epochs",
        "batch",
    )
    rows = []
    for name in RECIPES:
        filled = make_settings("x", name)
        none = _OF_MASKS if filled.contrastive else ()
        values = ["" if column in none else getattr(filled, column) for column in columns]
        rows.append([f"`{name}`", *(f"{value:g}" if isinstance(value, float) else str(value) for value in values)])
    return markdown.table(["recipe", *(column.replace("_", " ") for column in columns)], rows)

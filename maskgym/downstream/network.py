"""The network that is fine-tuned: built to fit the weights it starts from, and saved so that it can be loaded alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskgym.downstream.classifier import Classifier
from maskgym.downstream.probe import Probe
from maskgym.errors import BadInput
from maskgym.files import replacing
from maskgym.networks.handover import Coverage, kind_for, load_into, settings_of
from maskgym.networks.segmenters import SEGMENTERS, encoder_keys, make_segmenter

DEFAULT = "basicunet"
LEAST = 0.9  # of the encoder's weights must be filled, unless told otherwise


def parse_network(text: str) -> tuple[str, dict[str, Any]]:
    """Read a network and its settings.

    >>> parse_network("unet?widths=16,32,64")
    ('unet', {'widths': (16, 32, 64)})
    """
    kind, _, tail = text.partition("?")
    if kind not in SEGMENTERS:
        make_segmenter(kind, 1, 2, (16, 16))  # says which there are
    settings: dict[str, Any] = {}
    for part in filter(None, tail.split("&")):
        name, _, value = part.partition("=")
        try:
            numbers = tuple(float(number) if "." in number else int(number) for number in value.split(","))
        except ValueError:
            raise BadInput(f"setting {part!r} of network {kind!r} is no number: write widths=16,32,64") from None
        settings[name] = numbers if name == "widths" else numbers[0]
    return kind, settings


def build(
    network: str,
    weights: str,
    channels: int,
    outputs: int,
    size: tuple[int, ...],
    seed: int = 0,
    drop_path: float = 0.0,
    allow_partial: bool = False,
    decoder: bool = False,
) -> tuple[nn.Module, Coverage | None, dict[str, Any]]:
    """Build a network and fill it from weights (a folder, a file, or `none`); returns how much was filled, and about.

    Settings that are not given follow the pre-trained student's, and so does the network itself.
    """
    network = network or (DEFAULT if weights == "none" else kind_for(Path(weights).expanduser()))
    kind, settings = parse_network(network)
    if weights != "none":
        path = Path(weights).expanduser()
        _check(path, channels, len(size))
        settings = {**settings_of(path, kind), **settings}
    if drop_path and kind == "unetr":
        settings.setdefault("drop_path", drop_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        segmenter = make_segmenter(kind, channels, outputs, size, settings)
    about = {
        "network": kind,
        "settings": settings,
        "channels": channels,
        "outputs": outputs,
        "size": list(size),
    }
    if weights == "none":
        return segmenter, None, about
    coverage = load_into(segmenter, kind, path, decoder)
    if not allow_partial:
        _refuse_partial(coverage, weights, kind)
    return segmenter, coverage, about


def freeze_encoder(network: nn.Module, kind: str) -> None:
    """Let the encoder's weights and norms stand still, in training, too."""
    frozen = set(encoder_keys(kind, network))
    for name, weight in network.named_parameters():
        weight.requires_grad_(name not in frozen)
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(weight.requires_grad for weight in own):
            module.eval()


def save_segmenter(network: nn.Module, about: dict[str, Any], path: Path) -> None:
    """Write a fine-tuned network whole or not at all; `about` as `build` gave it, and more if you like."""
    from safetensors.torch import save_file

    weights = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    try:
        with replacing(path) as draft:
            save_file(weights, draft, metadata={"maskgym-segmenter": json.dumps(about, sort_keys=True)})
            draft.chmod(0o644)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; free some space") from error


def load_segmenter(path: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """Load a fine-tuned network from its folder or file, and what is known about it."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    file = Path(path).expanduser()
    file = file / "model.safetensors" if file.is_dir() else file
    try:
        with safe_open(file, framework="pt") as opened:
            about = json.loads((opened.metadata() or {})["maskgym-segmenter"])
        settings = {key: tuple(value) if isinstance(value, list) else value for key, value in about["settings"].items()}
        network = make_segmenter(about["network"], about["channels"], about["outputs"], tuple(about["size"]), settings)
        if about.get("probe"):
            network = Probe(network, about["network"], about["outputs"], tuple(about["size"]))
        if about.get("task") == "classify":
            size = tuple(about["size"])
            network = Classifier(network.eval(), about["network"], about["outputs"], size, about["channels"])
        network.load_state_dict(load_file(file), strict=True)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadInput(
            f"{file} is no fine-tuned network of ours or is damaged ({reason}): fine-tune it again"
        ) from None
    return network.eval(), about


def _check(path: Path, channels: int, dims: int) -> None:
    """Refuse a student of other images before its weights are looked at."""
    from safetensors import SafetensorError, safe_open

    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise BadInput(
            f"no weights in {path}: give --weights the folder of a `maskgym pretrain` run, a .safetensors file or none"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            told = opened.metadata() or {}
            has = json.loads(told["maskgym"])["settings"] if "maskgym" in told else {}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"{file} is damaged or holds no weights ({reason}): copy or train it again") from None
    for what, here in (("channels", channels), ("dims", dims)):
        if has.get(what, here) != here:
            word = {"channels": "channels", "dims": "axes"}[what]
            raise BadInput(
                f"weights in {path} are for images of {has[what]} {word}, these have {here}: "
                "pre-train on images like these"
            )


def _refuse_partial(coverage: Coverage, weights: str, kind: str) -> None:
    if coverage.share < LEAST:
        raise BadInput(
            f"weights in {weights} fill {coverage.share:.1%} of the encoder of {kind!r}, less than {LEAST:.0%}: give "
            "--network the student's settings, or add --allow-partial"
        )
    if coverage.misshaped:
        where = next(iter(coverage.misshaped))
        raise BadInput(
            f"weights in {weights} have another shape at {where}: were they made for other channels or another "
            "size? Pre-train on images like these, or add --allow-partial"
        )

"""`maskgym export`: hand pre-trained weights over to a network of MONAI's, under its own names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from maskgym.commands.options import FILE
from maskgym.errors import BadInput


@dataclass(frozen=True)
class Export:
    """Write a pre-trained student's weights as another network names them, and print what went where."""

    folder: Annotated[Path, tyro.conf.Positional]
    """A `maskgym pretrain` run, or a student's .safetensors file."""
    to: Literal["monai-unet", "monai-basicunet", "nnunet", "small-unet", "unetr", "stunet"]
    """Which network the weights are for."""
    out: Annotated[Path, FILE]
    """The .safetensors file to write."""
    image_size: str = ""
    """Pixels along each axis of the images the network is for, to which UNETR's positions are resampled; empty = the
    student's own."""
    decoder: bool = False
    """Hand over the decoder as well (U-Nets); the papers hand over the encoder alone."""

    def __call__(self) -> None:
        """Translate, write, print."""
        from maskgym.networks import handover, store
        from maskgym.networks.segmenters import make_segmenter
        from maskgym.sizes import read_size

        kind = self.to.removeprefix("monai-")
        settings = handover.settings_of(self.folder, kind)
        if not settings:
            raise BadInput(f"{self.folder} holds no student of ours: export the folder of a `maskgym pretrain` run")
        header = store.header(store.locate(str(self.folder)))
        channels, dims = header["settings"]["channels"], header["settings"]["dims"]
        told = header["settings"].get("size") or header["about"].get("image_size") or (64,) * dims
        told = self.image_size or (told if isinstance(told, str) else "x".join(map(str, told)))
        size = read_size(told, "image_size", dims)
        segmenter = make_segmenter(kind, channels, 2, size, settings)
        weights, coverage = handover.export(self.folder, kind, segmenter, self.out, self.decoder)
        # Plain lines: a table would cut long keys, and nothing may be dropped in silence.
        print(f"{self.folder} -> {self.to}: key of the network <- key of the student, shape")
        for key, source in coverage.filled.items():
            print(f"  {key} <- {source}, {'x'.join(map(str, weights[key].shape))}")
        for name, keys in (("keeps its random start", coverage.left), ("not handed over", coverage.unused)):
            print(f"{name} ({len(keys)}): {', '.join(keys) or 'nothing'}")
        built = {"channels": channels, "size": size, **settings}
        print(f"{coverage}\nfor a network of {', '.join(f'{key} {value}' for key, value in built.items())}: {self.out}")

"""`maskgym export`: hand pre-trained weights over to a network of MONAI's, under its own names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from maskgym.errors import BadInput


@dataclass(frozen=True)
class Export:
    """Write a pre-trained student's weights as another network names them, and print what went where."""

    folder: Annotated[Path, tyro.conf.Positional]
    """A `maskgym pretrain` run, or a student's .safetensors file."""
    to: Literal["monai-unet", "monai-basicunet", "unetr", "stunet"]
    """Which network the weights are for."""
    out: Path
    """The .safetensors file to write."""
    decoder: bool = False
    """Hand the decoder over, too (U-Nets); the papers hand over the encoder."""

    def __call__(self) -> None:
        """Translate, write, print."""
        from rich.console import Console
        from rich.table import Table
        from safetensors.torch import save_file

        from maskgym.reconstructors import handover, store

        kind = self.to.removeprefix("monai-")
        settings = handover.settings_of(self.folder, kind)
        if not settings:
            raise BadInput(f"{self.folder} holds no student of ours: export the folder of a `maskgym pretrain` run")
        header = store.header(store.locate(str(self.folder)))
        about, channels = header["about"], header["settings"]["channels"]
        student, _ = store.load(str(self.folder), channels, header["settings"]["dims"])
        size = tuple(about.get("image_size") or header["settings"].get("size") or (64,) * header["settings"]["dims"])
        segmenter = handover.make_segmenter(kind, channels, 2, size, settings)
        weights, coverage = handover.translate(student, kind, segmenter, self.decoder)
        draft = self.out.with_name(f".{self.out.name}.{os.getpid()}")
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            save_file(weights, draft, metadata={"network": self.to, "settings": str(settings)})
            os.replace(draft, self.out)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise BadInput(f"cannot write {self.out}: {error.strerror or error}; choose another --out") from error
        table = Table("key of the network", "came from", "shape", title=f"{self.folder} -> {self.to}")
        for key, source in coverage.filled.items():
            table.add_row(key, source, "x".join(map(str, weights[key].shape)))
        console = Console()
        console.print(table)
        for name, keys in (("keeps its random start", coverage.left), ("not handed over", coverage.unused)):
            console.print(f"{name} ({len(keys)}): {', '.join(keys)}", markup=False, highlight=False)
        console.print(f"{coverage}\nbuilt with {settings}; wrote {self.out}", markup=False, highlight=False)

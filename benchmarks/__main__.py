"""`python -m benchmarks`: how fast it all is, with repeats and spread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import Row
from maskgym.errors import BadInput
from maskgym.files import write_text


@dataclass(frozen=True)
class Speed:
    """Measure how fast the environment steps and starts, with repeats and spread."""

    device: str = "cpu"
    """Where the game is played: cpu or cuda."""
    repeats: int = 15
    """Timed runs of each contestant; they take turns."""
    seconds: int = 2
    """How long each vector environment is stepped, each of three times."""
    out: Path | None = None
    """A JSON file to write the table to."""
    only: str = ""
    """A part: step, query, vectors, selection, kmeans, start, view, workers, pretrain, asking, visible; empty: all."""

    def __call__(self) -> None:
        """Measure and print."""
        import torch
        from rich.console import Console
        from rich.table import Table

        from maskgym.envs.task import choose_device

        choose_device(self.device)
        if self.repeats < 1 or self.seconds < 1:
            raise BadInput(f"repeats {self.repeats} and seconds {self.seconds} must be at least 1")
        parts = self.parts()
        if self.only and self.only not in parts:
            raise BadInput(f"there is no part {self.only!r}: choose one of {', '.join(parts)}")
        table = Table(title=f"torch {torch.__version__}, {torch.get_num_threads()} threads, {self.device}")
        for heading in ("what", "median", "spread", "target"):
            table.add_column(heading)
        console, rows = Console(), []
        for name, part in parts.items():
            if self.only in ("", name):
                with console.status(f"measuring: {name}"):
                    for row in part:
                        rows.append(row)
                        table.add_row(row.what, row.figure, row.spread, row.target)
        console.print(table)
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.out, json.dumps([asdict(row) for row in rows], indent=2))

    def parts(self) -> dict[str, Iterator[Row]]:
        """Name what is measured; nothing runs before it is asked for."""
        from benchmarks import speed, speed_kmeans, speed_pretrain, speed_view, speed_workers
        from maskgym.commands.train import Games
        from maskgym.envs.registry import IDS

        small = Games("MaskMIMSmall-v0", {**IDS["MaskMIMSmall-v0"], "device": self.device}, choosing=True)
        many = 64 if self.device == "cpu" else 1024
        return {
            "step": speed.step_share("maskgym:MaskMIM-v0", many, self.device, self.repeats),
            "query": speed.query_cost("maskgym:MaskMIMQuery-v0", many, self.device, self.repeats),
            "vectors": speed.vector_environments("maskgym:MaskMIM-v0", 64, self.seconds, repeats=3),
            "selection": speed.selection(self.repeats),
            "kmeans": _kmeans(speed_kmeans.rows),
            "start": speed.start(repeats=5),
            "view": speed_view.answers(("MaskMIMSmall-v0", "MaskMIM-v0", "MaskMIM3D-v0"), self.device, self.repeats),
            "workers": speed_workers.workers(small, "a3c"),
            "pretrain": speed_pretrain.agents(self.device, self.repeats),
            "asking": speed_pretrain.asking(self.device, self.repeats),
            "visible": speed_pretrain.visible_only(self.device, self.repeats),
        }


def _kmeans(measure: Callable[[], list[dict[str, Any]]]) -> Iterator[Row]:
    """Bring what the k-means race says into the form of the table."""
    for told in measure():
        faster = f", {told['times faster']:.1f}x scikit-learn's" if told.get("times faster") else ""
        yield Row(told["name"], f"{1e3 * told['seconds']:.2f} ms{faster}", str(told["spread"]))


if __name__ == "__main__":
    import sys

    import tyro

    from maskgym.commands.options import CONFIG, REGISTRY

    try:
        tyro.cli(Speed, prog="python -m benchmarks", config=CONFIG, registry=REGISTRY)()
    except BadInput as error:
        sys.exit(f"benchmarks: {error}")

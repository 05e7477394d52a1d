"""`maskgym study`: run every cell of a study, or show its plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from maskgym.errors import BadInput


@dataclass(frozen=True)
class Study:
    """Run data sets x methods x label shares x seeds; started again, it goes on where it stopped."""

    study: Annotated[Path, tyro.conf.Positional]
    """The study file (TOML)."""
    out: Path | None = None
    """Folder of the study; left out: study/ and the file's name."""
    workers: int = 1
    """Cells that run at once, each with one thread."""
    dry_run: bool = False
    """Print the cells and where each stands; run nothing."""

    def __call__(self) -> None:
        """Read, plan, run."""
        from maskgym.bench.cells import run_all, state
        from maskgym.bench.study import keep, read_study

        if self.workers < 1:
            raise BadInput(f"workers {self.workers} must be at least 1")
        out = self.out or Path("study") / self.study.stem
        if self.dry_run:
            cells = read_study(self.study).cells(out)
            for cell in cells:
                print(f"{state(out, cell)['state']:<9} {cell.name}: maskgym {' '.join(cell.words)}")
            print(f"{len(cells)} cells")
            return
        cells = keep(self.study, out)
        wrong = run_all(out, cells, self.workers)
        if wrong:
            print("\n".join(f"{name}: {why}" for name, why in wrong.items()))
            raise SystemExit(1)
        print(f"all {len(cells)} cells finished: {out}")

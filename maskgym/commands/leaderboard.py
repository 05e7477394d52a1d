"""`maskgym submit` and `maskgym leaderboard`: write an entry, check entries, build the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from maskgym.commands.options import FILE, FOLDER
from maskgym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Write the leaderboard entry of one agent from what `maskgym score` wrote: masks, manifest, one line on it."""

    folder: Positional[Path]
    """The --out of `maskgym score`, against the par that ships, with 5 seeds or more."""
    out: Annotated[Path, FILE]
    """The entry to write, a JSON file."""
    method: str
    """One line about how the agent works."""
    agent: str = ""
    """Which agent of the scoring, named as it was there; empty = the first."""
    name: str = ""
    """Its name on the leaderboard; empty = as it was scored."""

    def __call__(self) -> None:
        """Check and write."""
        from maskgym.benchmark.leaderboard import submit

        entry = submit(self.folder, self.agent, self.method, self.name, self.out)
        ratios = ", ".join(f"{result.ratio:g}" for result in entry.results)
        print(f"wrote {self.out}: {entry.name} on {entry.env}, ratio {ratios}, {len(entry.results[0].seeds)} seeds")


@dataclass(frozen=True)
class Check:
    """Play the masks of entries again and refuse what does not reproduce."""

    entries: Positional[tuple[Path, ...]]
    """Entries, the files that `maskgym submit` wrote."""

    def __call__(self) -> int:
        """Say of each whether it reproduces."""
        from maskgym.benchmark import leaderboard, par
        from maskgym.benchmark.tables import line

        failed = 0
        for path in self.entries:
            try:
                entry = leaderboard.read(path)
                for result in leaderboard.check(entry):
                    known = par.shipped(leaderboard.task(entry.env), result.ratio, result.reward.shape[1])
                    told = line(result, known)
                    print(f"{path}: {entry.name} on {entry.env}, ratio {result.ratio:g}: {told.points} points, {known}")
            except BadInput as error:
                failed += 1
                print(f"{path}: refused: {error}")
        return 2 if failed else 0


@dataclass(frozen=True, kw_only=True)
class Build:
    """Check all entries of a folder and write the page: tables by track, intervals, every agent against every other."""

    entries: Annotated[Path, FOLDER] = Path("leaderboard")
    """Folder of entries."""
    out: Annotated[Path, FILE] = Path("docs/leaderboard.md")
    """The page to write; what stands above its line `<!-- tables -->` is kept."""

    def __call__(self) -> None:
        """Write the page."""
        from maskgym.benchmark.leaderboard import build
        from maskgym.benchmark.results import write_out

        paths = sorted(self.entries.glob("*.json"))
        if not paths:
            raise BadInput(f"there are no entries in {self.entries}: write them with `maskgym submit`")
        page = build(paths)
        mark = "<!-- tables -->"
        head = self.out.read_text().partition(mark)[0] if self.out.exists() else "# Leaderboard\n\n"
        write_out(self.out, f"{head}{mark}\n\n{page}")
        print(f"wrote {self.out}: {len(paths)} {'entry' if len(paths) == 1 else 'entries'}")

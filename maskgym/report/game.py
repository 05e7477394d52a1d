"""Does winning the game help? Points of the agents against DSC of the networks that were pre-trained under them."""

from __future__ import annotations

import numpy as np

from maskgym.report import charts
from maskgym.report.blocks import Block, Cell, Gallery, Picture, Section, Table, figure, text
from maskgym.report.compare import FEWEST, gather, mean, over_regions, rank_correlation
from maskgym.report.data_set import per_cent
from maskgym.report.read import Study


def winning(study: Study, palette: dict[str, str]) -> Section:
    """Set points beside DSC for each data set and share; say how far their ranks agree, or that it is too little."""
    section = Section("Does winning the game help?", 2)
    if not study.points:
        return section
    pictures, rows, said = [], [], []
    for place in study.data:
        for share in study.shares:
            spots = {
                method: (study.points[place, method][0], mean(gather(runs, over_regions())))
                for method in study.methods
                if (place, method) in study.points and (runs := study.chosen(place, method, share))
            }
            spots = {name: spot for name, spot in spots.items() if not np.isnan([spot[0].value, spot[1].value]).any()}
            if not spots:
                continue
            where = f"{study.names[place]}, {per_cent(share)} of the labels"
            chart = charts.scatter(where, spots, palette, "DSC of the test patients")
            pictures.append(Picture(f"points-{place}-{share:g}", f"{where}: points against DSC", chart))
            rows += [
                (Cell(name), Cell(where), figure(won, 1), Cell(f"{study.points[place, name][1]:g}"), figure(dsc))
                for name, (won, dsc) in spots.items()
            ]
            points, reached = ([spot[side].value for spot in spots.values()] for side in (0, 1))
            said.append(f"{where}: {_ranks(points, reached)}")
    headings = ("method", "data", "points", "hidden", "DSC")
    blocks: list[Block] = [text(*said), Gallery("Points against DSC, with 95 % intervals.", tuple(pictures))]
    blocks += [Table("Points (0 = chance, 100 = par) and DSC of every method that played.", headings, tuple(rows))]
    section.blocks = blocks if rows else []
    return section


def _ranks(points: list[float], reached: list[float]) -> str:
    """Say what the ranks tell."""
    if len(points) < FEWEST:
        return f"{len(points)} methods have points, too few to say whether more points mean a higher DSC."
    interval, chance = rank_correlation(np.array(points), np.array(reached))
    if np.isnan(interval.value):
        return "all methods have the same points or the same DSC: there are no ranks to compare."
    told = (
        f"rank correlation (Spearman) of points and DSC over {len(points)} methods: {interval.value:+.2f} "
        f"[{interval.low:+.2f}, {interval.high:+.2f}]; methods in a random order agree or disagree as much with "
        f"probability {f'{chance:.3f}' if chance >= 0.001 else 'below 0.001'}."
    )
    unsettled = interval.low <= 0 <= interval.high or chance > 0.05
    return told + (" That settles nothing." if unsettled else "")

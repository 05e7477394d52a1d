"""What a scoring comes to: a line for each agent and ratio by track, comparisons, and the files a reader opens."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskgym import markdown
from maskgym.benchmark.par import NamedPar
from maskgym.benchmark.players import labels
from maskgym.benchmark.points import agreement, points_of_each
from maskgym.benchmark.protocol import FEWEST_SEEDS, in_order, track
from maskgym.benchmark.results import MODES, Result
from maskgym.benchmark.statistics import (
    FEWEST,
    UNKNOWN,
    Interval,
    difference,
    interquartile_mean,
    mean,
    probability_of_improvement,
)
from maskgym.files import write_text

Pars = Mapping[float, NamedPar]


@dataclass(frozen=True)
class Line:
    """One agent at one ratio, played in one way."""

    agent: str
    ratio: float
    mode: str
    track: str
    runs: int
    trained_at: float | None
    """The ratio a learner was trained at."""
    points: Interval
    points_iqm: Interval
    """Inter-quartile mean of the points of every run on every image."""
    reward: float
    lesion_cover: float
    agreement: float
    """Share of par's hidden patches that are hidden."""
    random_agreement: float
    """The share that random masks would hide: K / N."""
    queries: float
    """An image."""
    seconds: float
    """An image."""


@dataclass(frozen=True)
class Comparison:
    """One agent against another at one ratio, both deterministic."""

    agent: str
    other: str
    ratio: float
    difference: Interval
    """In points, paired by image."""
    improvement: Interval
    """Probability that a run of the one beats a run of the other on an image."""


@dataclass(frozen=True)
class Scores:
    """All figures of a scoring."""

    lines: list[Line]
    comparisons: list[Comparison]
    pars: dict[float, dict[str, Any]]
    """By ratio: what par is called, how hard it was searched, and what it and random masks get."""
    manifest: dict[str, Any]

    def of(self, ratio: float, mode: str = MODES[0]) -> list[Line]:
        """The lines of one ratio, best first."""
        lines = [line for line in self.lines if (line.ratio, line.mode) == (ratio, mode)]
        return sorted(lines, key=lambda line: -np.nan_to_num(line.points.value, nan=-1e9))


def summarise(results: Sequence[Result], pars: Pars, manifest: dict[str, Any]) -> Scores:
    """Work lines and comparisons out."""
    best = [result for result in results if result.mode == MODES[0]]
    comparisons = [
        compare(one, other, pars[one.ratio])
        for one in best
        for other in best
        if one.ratio == other.ratio and one.agent != other.agent
    ]
    told = {
        ratio: {
            "name": str(par),
            "queries": par.table.queries,
            "agents": par.table.sources,
            "reward": _mean(par.table.reward),
            "random": _mean(par.table.random),
            "hidden": int(par.table.mask[0].sum()),
            "images": len(par.table),
        }
        for ratio, par in pars.items()
    }
    return Scores([line(result, pars[result.ratio]) for result in results], comparisons, told, manifest)


def line(result: Result, known: NamedPar) -> Line:
    """Put one result into figures."""
    par = known.table
    random, highest = par.random.astype(float), par.reward.astype(float)  # (n,)
    cover = result.lesion_cover
    return Line(
        agent=result.agent,
        ratio=result.ratio,
        mode=result.mode,
        track=track(float(result.queries.max()), result.white_box),
        runs=len(result.seeds),
        trained_at=result.manifest.get("trained_at"),
        points=mean(100 * (result.reward - random), highest - random),
        points_iqm=interquartile_mean(points_of_each(result.reward, random, highest)),
        reward=_mean(result.reward),
        lesion_cover=float(np.nanmean(cover)) if not np.isnan(cover).all() else float("nan"),
        agreement=_mean(agreement(result.mask, par.mask)),
        random_agreement=_mean(par.mask),
        queries=_mean(result.queries),
        seconds=_mean(result.seconds),
    )


def compare(one: Result, other: Result, known: NamedPar) -> Comparison:
    """Put one result against another of the same game; the seeds of both are drawn by themselves."""
    gap = known.table.reward.astype(float) - known.table.random.astype(float)
    points = difference(100 * one.reward, 100 * other.reward, gap)
    improvement = probability_of_improvement(one.reward, other.reward)
    return Comparison(one.agent, other.agent, one.ratio, points, improvement)


def write(scores: Scores, results: Sequence[Result], pars: Pars, out: Path) -> None:
    """Write score.json, score.csv (a row an image) and score.md."""
    told = asdict(scores) | {"pars": {f"{ratio:g}": known for ratio, known in scores.pars.items()}}
    write_text(out / "score.json", json.dumps(plain(told), indent=2))
    write_text(out / "score.csv", _csv(results, pars))
    write_text(out / "score.md", to_markdown(scores))


def _csv(results: Sequence[Result], pars: Pars) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    head = ("agent", "ratio", "mode", "seed", "image", "reward", "random", "par", "points")
    rows.writerow((*head, "hidden", "lesion_cover", "agreement", "queries", "seconds"))
    for result in results:
        par = pars[result.ratio].table
        random, highest = par.random.astype(float), par.reward.astype(float)
        each, agree = points_of_each(result.reward, random, highest), agreement(result.mask, par.mask)
        columns = (result.reward, random, highest, each, result.mask.sum(2), result.lesion_cover, agree)
        numbers = np.stack(np.broadcast_arrays(*columns, result.queries, result.seconds), 2)  # (S, n, columns)
        for (row, image), _ in np.ndenumerate(result.reward):
            cells = ("" if np.isnan(value) else f"{value:.6g}" for value in numbers[row, image])
            rows.writerow((result.agent, f"{result.ratio:g}", result.mode, result.seeds[row], image, *cells))
    return text.getvalue()


HEADINGS = ("agent", "runs", "trained at", "points", "sampled", "IQM", "reward", "lesion", "agrees", "queries", "ms")
NARROW = ("agent", "runs", "points", "sampled", "IQM", "agrees", "queries", "ms")  # fits 80 columns


def by_track(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Group lines by track, those that may ask least first."""
    return {name: [one for one in lines if one.track == name] for name in in_order({one.track for one in lines})}


def row(best: Line, sampled: Line | None) -> dict[str, str]:
    """One agent's row: both ways to play beside each other."""
    other = UNKNOWN if sampled is None else sampled.points
    return {
        "agent": best.agent,
        "runs": str(best.runs),
        "trained at": "" if best.trained_at is None else f"{best.trained_at:.0%}",
        "points": str(best.points),
        "sampled": str(other),
        "IQM": str(best.points_iqm),
        "reward": f"{best.reward:.4f}",
        "lesion": "" if np.isnan(best.lesion_cover) else f"{best.lesion_cover:.0%}",
        "agrees": f"{100 * best.agreement:.0f} / {best.random_agreement:.0%}",
        "queries": f"{best.queries:.0f}",
        "ms": f"{1000 * best.seconds:.2f}",
    }


def rows(scores: Scores, ratio: float, headings: Sequence[str] = HEADINGS) -> dict[str, list[list[str]]]:
    """The table of one ratio by track, best first."""
    sampled = {one.agent: one for one in scores.of(ratio, MODES[1])}
    return {
        name: [[row(one, sampled.get(one.agent))[heading] for heading in headings] for one in lines]
        for name, lines in by_track(scores.of(ratio)).items()
    }


def narrow(scores: Scores, ratio: float) -> dict[str, list[list[str]]]:
    """The same for 80 columns: short names, of sampled play and the inter-quartile mean only the value."""
    told = rows(scores, ratio, NARROW)
    names = labels([one.agent for one in scores.of(ratio)], brief=True)
    for cells in (cells for lines in told.values() for cells in lines):
        cells[NARROW.index("agent")] = names[cells[NARROW.index("agent")]]
        for heading in ("sampled", "IQM"):
            cells[NARROW.index(heading)] = cells[NARROW.index(heading)].partition(" ")[0]
    return told


def caption(scores: Scores, ratio: float) -> str:
    """What is hidden, on what, and against which par."""
    par, game = scores.pars[ratio], scores.manifest["game"]
    share = scores.manifest.get("hard_share", 1.0)
    hard = "" if share == 1 else f", {share:.0%} of them by score and the rest at random (hard share {share:g})"
    also = f", also from {', '.join(par['agents'])}" if par["agents"] else ""
    return (
        f"{game['env']}, {par['images']} {game['split']} images, ratio {ratio:g}: "
        f"{par['hidden']} of {game['patches']} patches hidden in every mask{hard}. "
        f"Random masks {par['random']:.4f}, {par['name']} {par['reward']:.4f} "
        f"by {par['queries']} queries an image{also}."
    )


def remarks(scores: Scores, ratio: float) -> list[str]:
    """What a reader must know before quoting a figure."""
    lines, told = scores.of(ratio), []
    names = labels([one.agent for one in lines])
    few = [one for one in lines if one.runs < FEWEST_SEEDS and one.points.error != 0]
    for runs in sorted({one.runs for one in few}):
        who = ", ".join(names[one.agent] for one in few if one.runs == runs)
        what = "no interval, only the range of the runs" if runs < FEWEST else "fewer than a claim needs"
        told.append(f"{runs} run{'s' * (runs > 1)} of {who}: {what} (a claim needs {FEWEST_SEEDS}).")
    elsewhere = [one for one in lines if one.trained_at is not None and abs(one.trained_at - ratio) > 1e-9]
    for at in sorted({one.trained_at for one in elsewhere if one.trained_at is not None}):
        who = ", ".join(names[one.agent] for one in elsewhere if one.trained_at == at)
        told.append(f"Trained at {at:.0%} and scored at {ratio:.0%}: {who} (--train-at each trains at every ratio).")
    return told


NOTE = (
    "Points: 0 = random masks, 100 = par, ratio of means over images; in brackets the 95 % interval over seeds and "
    f"images, below {FEWEST} runs their range. IQM: inter-quartile mean of the points of every run on every image. "
    "Lesion: share of lesion patches hidden. Agrees: share of par's hidden patches that are hidden, too (random masks' "
    "behind it). Queries: forwards of the network an image, a backward counts 2; ms: time an image."
)


def matrix(scores: Scores, ratio: float) -> str:
    """Every agent against every other, as Markdown: difference in points, and probability of improvement."""
    order = [one.agent for one in scores.of(ratio)]
    names = labels(order)
    found = {(one.agent, one.other): one for one in scores.comparisons if one.ratio == ratio}
    cells = [
        (
            names[agent],
            *(f"{found[agent, other].difference}; {found[agent, other].improvement.text(2)}" if other != agent else ""
              for other in order),
        )
        for agent in order
    ]  # fmt: skip
    return markdown.table(("", *names.values()), cells)


def to_markdown(scores: Scores) -> str:
    """The tables as Markdown, below the command that wrote them."""
    parts = [f"```\n{scores.manifest['command']}\n```"]
    for ratio in scores.pars:
        parts.append(caption(scores, ratio))
        parts += [f"Track {name}:\n\n{markdown.table(HEADINGS, lines)}" for name, lines in rows(scores, ratio).items()]
        parts += remarks(scores, ratio)
        parts += ["Row minus column in points; probability that a run of the row beats one of the column on an image:"]
        parts += [matrix(scores, ratio)]
    return "\n\n".join([*parts, NOTE]) + "\n"


def plain(told: Any) -> Any:
    """JSON knows no NaN: nothing stands in its place."""
    if isinstance(told, dict):
        return {name: plain(value) for name, value in told.items()}
    if isinstance(told, Interval):
        return {name: plain(value) for name, value in told._asdict().items()}
    if isinstance(told, list | tuple):
        return [plain(value) for value in told]
    return None if isinstance(told, float) and np.isnan(told) else told


def _mean(values: np.ndarray) -> float:
    return float(np.asarray(values, float).mean())

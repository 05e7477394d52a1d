"""What a scoring comes to: a line for each agent and ratio, comparisons, and the files a reader opens."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.benchmark.par import Table
from maskgym.benchmark.points import Played, agreement, points_of_each
from maskgym.benchmark.score import MODES, Cell, Plan
from maskgym.benchmark.statistics import (
    Interval,
    difference_of_ratios,
    interquartile_mean,
    probability_of_improvement,
    ratio_of_means,
)
from maskgym.data.cache import write_atomically


@dataclass(frozen=True)
class Line:
    """One agent at one ratio, played in one way."""

    agent: str
    ratio: float
    mode: str
    runs: int
    points: Interval
    points_iqm: Interval
    """Inter-quartile mean of the points of every run on every image."""
    reward: float
    lesion_cover: float
    agreement: float
    """Share of par's hidden patches that are hidden."""
    seconds: float
    """An image."""


@dataclass(frozen=True)
class Duel:
    """One agent against another at one ratio, both deterministic."""

    agent: str
    other: str
    ratio: float
    difference: Interval
    """In points, paired by image."""
    probability: float
    """That a run of the one beats a run of the other on an image."""


@dataclass(frozen=True)
class Scores:
    """All figures of a scoring."""

    lines: list[Line]
    duels: list[Duel]
    about: dict[str, Any]
    pars: dict[float, dict[str, Any]]
    """By ratio: where par is from and how hard it was searched."""


def summarise(
    plan: Plan, played: dict[Cell, Played], pars: dict[float, tuple[Table, str]], about: dict[str, Any]
) -> Scores:
    """Work the lines and duels out."""
    lines: list[Line] = []
    duels: list[Duel] = []
    for ratio in plan.ratios:
        table = pars[ratio][0]
        rewards: dict[str, np.ndarray] = {}
        for spec in plan.specs:
            for mode in MODES:
                runs = [played[cell] for cell in played if (cell.spec, cell.ratio, cell.mode) == (spec, ratio, mode)]
                reward = np.stack([run.reward for run in runs])  # (S, n)
                if mode == MODES[0]:
                    rewards[spec] = reward
                elif np.array_equal(reward, rewards[spec]):  # it does not explore
                    lines.append(replace(lines[-1], mode=mode))
                    continue
                lines.append(_line(spec, ratio, mode, runs, reward, table))
        duels += [
            _duel(spec, other, ratio, rewards, table) for spec in plan.specs for other in plan.specs if spec != other
        ]
    known: dict[float, dict[str, Any]] = {
        ratio: {
            "from": source,
            "evaluations": table.evaluations,
            "agents": table.sources,
            "reward": _mean(table.reward),
            "random": _mean(table.random),
        }
        for ratio, (table, source) in pars.items()
    }
    return Scores(lines, duels, about, known)


def _line(spec: str, ratio: float, mode: str, runs: list[Played], reward: np.ndarray, table: Table) -> Line:
    random, par = (np.broadcast_to(values.astype(float), reward.shape) for values in (table.random, table.reward))
    each = points_of_each(reward, random, par)
    cover = np.stack([run.lesion_cover for run in runs])
    return Line(
        agent=spec,
        ratio=ratio,
        mode=mode,
        runs=len(runs),
        points=ratio_of_means(100 * (reward - random), (par - random)[0]),
        points_iqm=interquartile_mean(each),
        reward=_mean(reward),
        lesion_cover=float(np.nanmean(cover)) if not np.isnan(cover).all() else float("nan"),
        agreement=_mean(np.stack([agreement(run.mask, table.mask) for run in runs])),
        seconds=_mean(np.stack([run.seconds for run in runs])),
    )


def _duel(spec: str, other: str, ratio: float, rewards: dict[str, np.ndarray], table: Table) -> Duel:
    ours, theirs = rewards[spec], rewards[other]
    gap = table.reward.astype(float) - table.random.astype(float)
    difference = difference_of_ratios(100 * ours, 100 * theirs, gap)
    return Duel(spec, other, ratio, difference, probability_of_improvement(ours, theirs).value)


def write(
    scores: Scores, plan: Plan, played: dict[Cell, Played], pars: dict[float, tuple[Table, str]], out: Path
) -> None:
    """Write score.json, score.csv (a row an image) and score.md."""
    told = asdict(scores)
    told["pars"] = {f"{ratio:g}": known for ratio, known in scores.pars.items()}
    write_atomically(out / "score.json", json.dumps(_plain(told), indent=2))
    write_atomically(out / "score.csv", _csv(plan, played, pars))
    write_atomically(out / "score.md", markdown(scores))


def _csv(plan: Plan, played: dict[Cell, Played], pars: dict[float, tuple[Table, str]]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    head = ("agent", "ratio", "mode", "seed", "image", "reward", "random", "par", "points")
    rows.writerow((*head, "hidden", "lesion_cover", "agreement", "seconds"))
    for cell, run in played.items():
        table = pars[cell.ratio][0]
        each = points_of_each(run.reward, table.random.astype(float), table.reward.astype(float))
        agree, hidden = agreement(run.mask, table.mask), run.mask.sum(1)
        for i in range(plan.images):
            figures = (run.reward[i], table.random[i], table.reward[i], each[i])
            more = (hidden[i], run.lesion_cover[i], agree[i], run.seconds[i])
            numbers = ("" if np.isnan(value) else f"{value:.6g}" for value in (*figures, *more))
            rows.writerow((cell.spec, f"{cell.ratio:g}", cell.mode, cell.seed, i, *numbers))
    return text.getvalue()


HEADINGS = ("agent", "runs", "points", "points, sampled", "IQM", "reward", "lesion", "agrees", "ms")


def rows(scores: Scores, ratio: float) -> list[tuple[str, ...]]:
    """The printed table of one ratio, best first: both ways to play in one row."""
    best = [line for line in scores.lines if line.ratio == ratio and line.mode == MODES[0]]
    sampled = {line.agent: line for line in scores.lines if line.ratio == ratio and line.mode == MODES[1]}
    return [
        (
            line.agent,
            str(line.runs),
            str(line.points),
            str(sampled[line.agent].points),
            f"{line.points_iqm.value:.1f}",
            f"{line.reward:.4f}",
            "" if np.isnan(line.lesion_cover) else f"{line.lesion_cover:.0%}",
            f"{line.agreement:.0%}",
            f"{1000 * line.seconds:.2f}",
        )
        for line in sorted(best, key=lambda line: -line.points.value)
    ]


def caption(scores: Scores, ratio: float) -> str:
    """What is hidden, on what, and whose par it is."""
    about, par = scores.about, scores.pars[ratio]
    also = f", also from {', '.join(par['agents'])}" if par["agents"] else ""
    return (
        f"{about['env']}, {about['images']} images of {about['dataset']} ({about['split']}), ratio {ratio:g}: "
        f"{about['hidden'][f'{ratio:g}']} of {about['patches']} patches hidden in every mask. "
        f"Chance {par['random']:.4f}, par {par['reward']:.4f} by {par['evaluations']} evaluations an image{also} "
        f"({par['from']})."
    )


NOTE = (
    "Points: 0 = chance, 100 = par, ratio of means over images; in brackets the 95 % interval over "
    "seeds and images, or the range of the runs where there are fewer than 3. "
    "IQM: inter-quartile mean of the points of every run on every image. Lesion: "
    "share of lesion patches hidden. Agrees: share of par's hidden patches that are hidden, too. ms: thinking time "
    "an image."
)


def narrow(scores: Scores, ratio: float) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows that fit a terminal of 80 columns: of sampled play only the value."""
    headings = ("agent", "points", "sampled", *HEADINGS[4:])
    return headings, [
        (_short(agent), told, sampled.partition(" ")[0], *rest)
        for agent, _, told, sampled, *rest in rows(scores, ratio)
    ]


def _short(spec: str, most: int = 16) -> str:
    """A spec without its folder, cut where it is long."""
    where, mark, options = spec.partition("?")
    plain = where.partition(":")[0] + mark + options
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def markdown(scores: Scores) -> str:
    """The tables as Markdown, below the command that wrote them."""
    parts = [f"```\n{scores.about['command']}\n```"]
    for ratio in scores.pars:
        parts += [caption(scores, ratio), _grid(HEADINGS, rows(scores, ratio))]
        duels = [duel for duel in scores.duels if duel.ratio == ratio]
        order = [row[0] for row in rows(scores, ratio)]
        told = {(duel.agent, duel.other): f"{duel.probability:.2f}" for duel in duels}
        beaten = [(agent, *(told.get((agent, other), "") for other in order)) for agent in order]
        parts += ["Probability that the agent of the row beats that of the column on an image:"]
        parts += [_grid(("", *order), beaten)]
    return "\n\n".join([*parts, NOTE]) + "\n"


def _grid(headings: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rule = "|".join(["---", *["---:"] * (len(headings) - 1)])
    return "\n".join([f"| {' | '.join(headings)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])


def _mean(values: np.ndarray) -> float:
    return float(np.asarray(values, float).mean())


def _plain(told: Any) -> Any:
    """JSON knows no NaN: nothing stands in its place."""
    if isinstance(told, dict):
        return {name: _plain(value) for name, value in told.items()}
    if isinstance(told, Interval):
        return {name: _plain(value) for name, value in told._asdict().items()}
    if isinstance(told, list | tuple):
        return [_plain(value) for value in told]
    return None if isinstance(told, float) and np.isnan(told) else told

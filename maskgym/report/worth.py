"""What the masks are worth, and whether winning the game, or a reward, says so."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from maskgym.agent_spec import name_of
from maskgym.benchmark.statistics import UNKNOWN, Interval
from maskgym.downstream.probe import PROBED
from maskgym.report import charts
from maskgym.report.load import Findings, Played
from maskgym.report.page import Field, Section, chart, gallery, notes, number, table
from maskgym.report.pictures import Picture
from maskgym.report.summarise import of_all, per_cent, reached
from maskgym.studies.study import Method, Study
from maskgym.studies.worth import FEWEST, Keys, Worth, baselines, chosen, control, measured, rank_correlation, worths

_NAME = "score"  # of the one score of a study that names none


def worth_section(found: Findings, palette: dict[str, str]) -> Section:
    """How far above random masks, with the pre-training seed as the unit, corrected for the number of comparisons."""
    by = found.measured.by
    gaps: dict[str, dict[str, Interval]] = {}
    pictures, rows, said = [], [], []
    elsewhere: list[list[Field | str]] = []
    probed: list[list[Field | str]] = []
    for place, name in found.names.items():
        scores = _scores(found, place)
        every = worths(found.study, scores)
        if not any(one.gap.kind == "interval" and one.gap.error == one.gap.error for one in every):
            continue
        if found.study.control:
            held, sentence, _ = control(found.folder, found.study, place, found.study.control)
            said.append(f"{name}: positive control {'holds' if held else 'FAILS'}: {sentence}.")
        settled = [one for one in every if one.settled]
        listed = ", ".join(f"{one.method} {one.gap.value:+.4f} over {one.over}" for one in settled)
        said.append(f"{name}: of {len(every)} differences {len(settled)} are settled{': ' if settled else ''}{listed}.")
        by_share = [worths(found.study, scores, share) for share in found.shares if len(found.shares) > 1]
        rows += [_row(one, name, by_share) for one in every]
        elsewhere += _chosen_hard_share(found, name, scores)
        probed += _probes(found, name, _scores(found, place, PROBED))
        gaps[name] = _first_gaps(every)
        pictures += _against_hard_share(found, place, gaps[name], palette) + _against_steps(found, place, palette)
    x = charts.limits([gap for of_place in gaps.values() for gap in of_place.values()])
    drawn = [
        chart(f"worth-{place}", f"{name}: worth", charts.forest, name, own, palette, f"{by} above its baseline", x)
        for place, (name, own) in enumerate(gaps.items())
    ]
    shares = [f"{per_cent(share)} of the labels" for share in found.shares if len(found.shares) > 1]
    caption = (
        f"{by} minus that of the baseline, paired by pre-training seed; label draws and shares of a seed are averaged "
        "first. p: of no difference, corrected for the number of comparisons (Holm). Bold: p below 0.05."
    )
    headings = ("method", "data", "over", "worth", "standard error", "p", "seeds", *shares)
    blocks = notes(*said) + table(caption, headings, rows)
    caption = (
        f"{by} minus that of the baseline on the second half of the seeds, at the hard share whose students were best "
        "on the first half."
    )
    headings = ("agent", "data", "over", "hard share chosen", "worth", "standard error", "seeds")
    blocks += table(caption, headings, elsewhere)
    caption = (
        "Linear probes: how well one layer on the frozen encoder's features tells the patches of each class from the "
        "others (area under the curve, mean over classes), minus that of the baseline, paired by pre-training seed."
    )
    headings = ("method", "data", "patch AUROC", "over", "patch AUROC of that", "difference", "standard error", "seeds")
    blocks += table(caption, headings, probed)
    blocks += gallery("Worth with 95 % intervals (of each by itself).", drawn + pictures)
    return Section("What masks are worth", 2, blocks)


def _scores(found: Findings, place: str, by: str = "") -> dict[str, Keys]:
    return measured(found.study, (run for run in found.tuned if run.job.place == place), by)


def _first_gaps(every: list[Worth]) -> dict[str, Interval]:
    """Of each method, over what it is held against first."""
    gaps: dict[str, Interval] = {}
    for one in every:
        gaps.setdefault(one.method, one.gap)
    return gaps


def _row(one: Worth, name: str, by_share: list[list[Worth]]) -> list[Field | str]:
    p = "-" if np.isnan(one.p) else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}"
    error = "-" if np.isnan(one.gap.error) else f"{one.gap.error:.4f}"
    alike = [[w for w in every if (w.method, w.over) == (one.method, one.over)] for every in by_share]
    shares = [number(own[0].gap, 4, own[0].settled, sign=True) if own else "-" for own in alike]
    worth = number(one.gap, 4, one.settled, sign=True)
    return [one.method, name, one.over, worth, error, p, str(one.gap.runs), *shares]


def _by_hard_share(study: Study) -> dict[str, dict[float, Method]]:
    """Methods of each agent by their hard share; those whose agent the study spells alike belong together."""
    every: dict[str, dict[float, Method]] = {}
    names: dict[tuple[str, Any], str] = {}  # by agent and temperature: its first method's name, without the share
    for method in study.methods:
        if study.masks(method) and name_of(agent := study.agent_of(method)) != "random":
            soft = study.pretrain_options(method).get("temperature", 0)
            name = names.setdefault((agent, soft), re.sub(r"-\d+$", "", method.name))
            every.setdefault(name, {})[study.hard_share_of(method)] = method
    return {name: methods for name, methods in every.items() if len(methods) > 1}


def _against_hard_share(
    found: Findings, place: str, gaps: dict[str, Interval], palette: dict[str, str]
) -> list[Picture]:
    """Worth of each agent by its hard share, a line each."""
    lines: dict[str, dict[float, Interval]] = {}
    colour: dict[str, str] = {}
    for name, methods in _by_hard_share(found.study).items():
        line = {share: gaps[method.name] for share, method in methods.items() if method.name in gaps}
        if len(line) > 1:
            lines[name] = line
            colour[name] = next(palette[method.name] for method in methods.values() if method.name in gaps)
    title = f"{found.names[place]}: worth by hard share"
    x, y = "share of the hidden patches chosen by the agent", f"{found.measured.by} above its baseline"
    told_of = (title, lines, colour, x, y)
    return [chart(f"hard-share-{place}", title, charts.steps, *told_of, zero=True)] if lines else []


def _chosen_hard_share(found: Findings, name: str, scores: dict[str, Keys]) -> list[list[Field | str]]:
    """Worth of each agent at the hard share that the first half of the seeds chose, on the other half."""
    rows: list[list[Field | str]] = []
    for agent, methods in _by_hard_share(found.study).items():
        options = {share: scores[method.name] for share, method in methods.items() if method.name in scores}
        against = [baselines(found.study, method) for method in methods.values()]
        for over in (one for one in against[0] if all(one in every for every in against)):
            share, gap = chosen(options, scores.get(over, {})) if len(options) > 1 else (float("nan"), UNKNOWN)
            if gap.runs:
                error = "-" if np.isnan(gap.error) else f"{gap.error:.4f}"
                rows.append([agent, name, over, f"{share:g}", number(gap, 4, sign=True), error, str(gap.runs)])
    return rows


def _probes(found: Findings, name: str, areas: dict[str, Keys]) -> list[list[Field | str]]:
    rows: list[list[Field | str]] = []
    for one in worths(found.study, areas):
        ours, theirs = (f"{np.nanmean(list(areas[method].values())):.3f}" for method in (one.method, one.over))
        error = "-" if np.isnan(one.gap.error) else f"{one.gap.error:.4f}"
        gap = number(one.gap, 4, one.settled, sign=True)
        rows.append([one.method, name, ours, one.over, theirs, gap, error, str(one.gap.runs)])
    return rows


def _against_steps(found: Findings, place: str, palette: dict[str, str]) -> list[Picture]:
    """What was reached by the length of the fine-tuning; methods that are named alike but for a number are one line."""
    pictures = []
    for share in found.shares:
        lines: dict[str, dict[float, Interval]] = {}
        colour: dict[str, str] = {}
        for method in found.study.methods:
            runs = found.chosen(place, method.name, share)
            if runs and (steps := runs[0].settings.get("steps")):
                name = re.sub(r"-\d+$", "", method.name)
                lines.setdefault(name, {})[float(steps)] = reached(runs, of_all(found.measured.by))
                colour.setdefault(name, palette[method.name])
        lines = {name: line for name, line in lines.items() if len(line) > 1}
        title, by = f"{found.names[place]}, {per_cent(share)} of the labels", found.measured.by
        told_of = (title, lines, colour, "steps of fine-tuning", by)
        if lines:
            name = f"{title}: {by} by steps of fine-tuning"
            pictures.append(chart(f"steps-{place}-{share:g}", name, charts.steps, *told_of, per_cent=False))
    return pictures


def winning(found: Findings, palette: dict[str, str]) -> Section:
    """Set points and mean rewards beside what was reached and worth; say how far their ranks agree."""
    pictures, rows, said = [], [], []
    by = found.measured.by
    axis, y_label = "points (0 = random, 100 = par)", f"{by} on test"
    for place, game in dict.fromkeys((place, game) for place, _, game in found.points if place in found.names):
        gaps = _first_gaps(worths(found.study, _scores(found, place)))
        played = {method: told for (at, method, of), told in found.points.items() if (at, of) == (place, game)}
        ranked = _of_one_ratio(found.study, played)
        name = found.names[place] + ("" if game == _NAME else f", {game.removeprefix(f'{_NAME}-')}")
        for share in found.shares:
            came_to = {
                method: reached(runs, of_all(by)) for method in played if (runs := found.chosen(place, method, share))
            }
            where = f"{name}, {per_cent(share)} of the labels"
            said.append(f"{where}: {_ranks({method: told[0] for method, told in ranked.items()}, came_to, 'points')}")
            spots = {method: (played[method][0], value) for method, value in came_to.items()}
            told = (f"{where}: points against {by}", charts.scatter, where, spots, palette, axis, y_label)
            pictures.append(chart(f"points-{place}-{game}-{share:g}", *told))
            for method, value in came_to.items():
                won, reward, hidden = played[method]
                worth = number(gaps[method], 4, sign=True) if method in gaps else "-"
                plain = (number(won, 1), f"{reward.value:.4g}", f"{hidden:g}")
                rows.append([method, where, *plain, number(value), worth])
        ours = {method: gaps[method] for method in played if method in gaps}
        if ours:
            where = f"{name}, worth"
            said.append(f"{where}: {_ranks({method: told[1] for method, told in ranked.items()}, ours, 'mean reward')}")
            spots = {method: (played[method][0], gap) for method, gap in ours.items()}
            told = (where, charts.scatter, where, spots, palette, axis, f"{by} above its baseline")
            pictures.append(chart(f"worth-points-{place}-{game}", *told))
    if not rows:
        return Section("Does winning the game help?", 2, [])
    blocks = notes(*said) + gallery(f"Points against {by} and worth, with 95 % intervals.", pictures)
    caption = f"Points (0 = random, 100 = par), {by} and worth of every method that played."
    headings = ("method", "data", "points", "mean reward", "hidden", by, "worth")
    return Section("Does winning the game help?", 2, blocks + table(caption, headings, rows))


def _of_one_ratio(study: Study, played: dict[str, Played]) -> dict[str, Played]:
    """Leave out methods that pre-train with another share hidden than most: their rewards are of another game."""
    ratios = {method.name: str(study.pretrain_options(method).get("ratio", "0.75")) for method in study.methods}
    usual = Counter(ratios[method] for method in played).most_common(1)[0][0]
    return {method: told for method, told in played.items() if ratios[method] == usual}


def _ranks(won: dict[str, Interval], came: dict[str, Interval], what: str) -> str:
    """Say what the ranks tell; "predicts" only where the interval leaves 0 out.

    Methods that played alike, as random masks of any number of epochs, count once, with the mean of what was reached.
    """
    alike: dict[float, list[float]] = {}
    for name in (name for name in won if name in came):
        alike.setdefault(won[name].value, []).append(came[name].value)
    both = [(one, float(np.mean(values))) for one, values in alike.items()]
    both = [pair for pair in both if not np.isnan(pair).any()]
    if len(both) < FEWEST:
        return f"{len(both)} methods, too few to say whether more {what} means more."
    ranks, p = rank_correlation([pair[0] for pair in both], [pair[1] for pair in both])
    if np.isnan(ranks.value):
        return f"all methods have the same {what} or came to the same: there are no ranks to compare."
    told = (
        f"rank correlation (Spearman) with {what} over {len(both)} methods {ranks.value:+.2f} "
        f"[{ranks.low:+.2f}, {ranks.high:+.2f}], random order: p {f'= {p:.3f}' if p >= 0.001 else '< 0.001'}."
    )
    if ranks.low > 0 or ranks.high < 0:
        return f"{told} The {what} predicts it{'' if ranks.value > 0 else ', the wrong way round'}."
    return f"{told} That settles nothing."

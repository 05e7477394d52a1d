"""What the masks are worth, and whether winning the game, or a reward, says so."""

from __future__ import annotations

import numpy as np

from maskgym.benchmark.statistics import Interval
from maskgym.report import charts
from maskgym.report.load import Findings
from maskgym.report.page import Block, Field, Gallery, Rows, Section, chart, notes, number
from maskgym.report.summarise import per_cent, reached
from maskgym.studies.plan import Job
from maskgym.studies.worth import FEWEST, Worth, control, dsc, rank_correlation, worths

_NAME = "score"  # of the one score of a study that names none


def worth_section(found: Findings, palette: dict[str, str]) -> Section:
    """DSC above random masks with the pre-training seed as the unit, corrected for the number of comparisons."""
    blocks: list[Block] = []
    tables, pictures, rows, said = [], [], [], []
    for place, name in found.names.items():
        scores = dsc(found.study, _of(found, place))
        every = worths(found.study, scores)
        if not any(one.gap.kind == "interval" and one.gap.error == one.gap.error for one in every):
            continue
        if found.study.control:
            held, sentence, _ = control(found.folder, found.study, place)
            said.append(f"{name}: positive control {'holds' if held else 'FAILS'}: {sentence}.")
        settled = [one for one in every if one.settled]
        listed = ", ".join(f"{one.method} {one.gap.value:+.4f} over {one.over}" for one in settled)
        said.append(f"{name}: of {len(every)} differences {len(settled)} are settled{': ' if settled else ''}{listed}.")
        by_share = [{_key(one): one for one in worths(found.study, scores, share)} for share in found.shares]
        rows += [_row(one, name, [of_share.get(_key(one)) for of_share in by_share]) for one in every]
        first = {one.method: one for one in reversed(every)}  # over what each is held against first
        tables.append((name, {method: one.gap for method, one in reversed(first.items())}))
        pictures += _against_hard_share(found, place, list(first.values())[::-1], palette)
    if not tables:
        return Section("What masks are worth", 2)
    x = charts.limits([gap for _, gaps in tables for gap in gaps.values()])
    drawn = [
        chart(f"worth-{number}", f"{name}: worth", charts.forest, name, gaps, palette, "DSC above its baseline", x)
        for number, (name, gaps) in enumerate(tables)
    ]
    shares = tuple(f"{per_cent(share)} of the labels" for share in found.shares) if len(found.shares) > 1 else ()
    caption = (
        "DSC minus that of the baseline, paired by pre-training seed; label draws and shares of a seed are averaged "
        "first. p: of no difference, corrected for the number of comparisons (Holm). Bold: p below 0.05."
    )
    headings = ("method", "data", "over", "worth", "standard error", "p", "seeds", *shares)
    blocks = [notes(*said), Rows(caption, headings, tuple(rows))]
    blocks.append(Gallery("Worth with 95 % intervals (of each by itself).", tuple([*drawn, *pictures])))
    return Section("What masks are worth", 2, blocks)


def _of(found: Findings, place: str) -> list[Job]:
    return [job for job in found.jobs if job.place == place]


def _key(one: Worth) -> tuple[str, str]:
    return one.method, one.over


def _row(one: Worth, name: str, by_share: list[Worth | None]) -> tuple[Field, ...]:
    shares = (
        [number(w.gap, 4, w.settled, sign=True) if w else Field("-") for w in by_share] if len(by_share) > 1 else []
    )
    p = "-" if np.isnan(one.p) else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}"
    error = "-" if np.isnan(one.gap.error) else f"{one.gap.error:.4f}"
    told = (number(one.gap, 4, one.settled, sign=True), Field(error), Field(p), Field(str(one.gap.runs)))
    return (Field(one.method), Field(name), Field(one.over), *told, *shares)


def _against_hard_share(found: Findings, place: str, every: list[Worth], palette: dict[str, str]) -> list[charts.Any]:
    """Worth of each agent by its hard share, a line an agent and reward."""
    lines: dict[str, dict[float, Interval]] = {}
    colour: dict[str, str] = {}
    for one in every:
        runs = found.pretrainings(one.method)
        told = runs[0].settings if runs else {}
        agent, reward = str(told.get("agent", "")), str(told.get("reward") or "loss")
        try:
            share = float(told.get("hard_share", "nan"))
        except ValueError:
            continue
        name = agent.partition("?")[0].partition(":")[0] + ("" if reward == "loss" else f", {reward}")
        name = f"{name}?{agent.partition('?')[2]}" if "?" in agent and ":" not in agent else name
        if share == share and name.partition("?")[0] != "random" and "/" not in name:
            lines.setdefault(name, {})[share] = one.gap
            colour.setdefault(name, palette[one.method])
    lines = {name: line for name, line in lines.items() if len(line) > 1}
    if not lines:
        return []
    title = f"{found.names[place]}: worth by hard share"
    told_of = (title, lines, colour, "share of the hidden patches chosen by the agent", "DSC above its baseline")
    return [chart(f"hard-share-{place}", title, charts.steps, *told_of, zero=True)]


def winning(found: Findings, palette: dict[str, str]) -> Section:
    """Set points and mean rewards beside DSC and worth; say how far their ranks agree, or that it is too little."""
    section = Section("Does winning the game help?", 2)
    pictures, rows, said = [], [], []
    for place, name in found.names.items():
        gaps = {
            one.method: one.gap
            for one in reversed(worths(found.study, dsc(found.study, _of(found, place))))  # over the first baseline
        }
        for game in dict.fromkeys(key[2] for key in found.points if key[0] == place):
            played = {
                method: told for (where, method, of), told in found.points.items() if (where, of) == (place, game)
            }
            of_game = "" if game == _NAME else f", {game.removeprefix(f'{_NAME}-')}"
            for share in found.shares:
                dsc_of = {method: reached(runs) for method in played if (runs := found.chosen(place, method, share))}
                where = f"{name}{of_game}, {per_cent(share)} of the labels"
                said.append(f"{where}: {_ranks({method: played[method][0] for method in dsc_of}, dsc_of, 'points')}")
                spots = {method: (played[method][0], value) for method, value in dsc_of.items()}
                told = (where, spots, palette, "points (0 = random, 100 = par)", "DSC of the test patients")
                alt = f"{where}: points against DSC"
                pictures.append(chart(f"points-{place}-{game}-{share:g}", alt, charts.scatter, *told))
                for method, (won, reward, hidden) in played.items():
                    if method in dsc_of:
                        worth = number(gaps[method], 4, sign=True) if method in gaps else Field("-")
                        plain = (number(won, 1), Field(f"{reward.value:.4g}"), Field(f"{hidden:g}"))
                        rows.append((Field(method), Field(where), *plain, number(dsc_of[method]), worth))
            ours = {method: gaps[method] for method in played if method in gaps}
            if ours:
                where = f"{name}{of_game}, worth"
                said.append(f"{where}: {_ranks({method: played[method][1] for method in ours}, ours, 'mean reward')}")
                spots = {method: (played[method][0], gap) for method, gap in ours.items()}
                told = (where, spots, palette, "points (0 = random, 100 = par)", "DSC above its baseline")
                pictures.append(chart(f"worth-points-{place}-{game}", where, charts.scatter, *told))
    headings = ("method", "data", "points", "mean reward", "hidden", "DSC", "worth")
    if rows:
        gallery = Gallery("Points against DSC and worth, with 95 % intervals.", tuple(pictures))
        caption = "Points (0 = random, 100 = par), DSC and worth of every method that played."
        section.blocks = [notes(*said), gallery, Rows(caption, headings, tuple(rows))]
    return section


def _ranks(won: dict[str, Interval], came: dict[str, Interval], what: str) -> str:
    """Say what the ranks tell; "predicts" only where the interval leaves 0 out."""
    both = [(won[name].value, came[name].value) for name in won if name in came]
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

"""What happened while pre-training: how well held-out patches were rebuilt, and what the masks hid."""

from __future__ import annotations

import numpy as np

from maskgym.errors import BadInput
from maskgym.pretrain.report import read as read_lesions
from maskgym.report import charts
from maskgym.report.blocks import Block, Cell, Gallery, Picture, Section, Table
from maskgym.report.read import Run, Study


def pre_training(study: Study, palette: dict[str, str]) -> Section:
    """Held-out reconstruction, and what it looks like at the end."""
    charts_of, looks = [], []
    for place in study.data:
        lines: dict[str, list[charts.Line]] = {}
        for run in study.pretrained:
            if run.place == place and (line := _held_out(run)):
                lines.setdefault(run.method, []).append(line)
        lines = {method: lines[method] for method in study.methods if method in lines}
        if lines:
            title = f"{study.names[place]}: held-out reconstruction"
            chart = charts.curves(title, lines, palette, "share of the pre-training", "loss / loss of the patch mean")
            charts_of.append(Picture(f"pretraining-{place}", title, chart))
        for method in study.methods:
            for run in [one for one in study.pretrained if (one.place, one.method) == (place, method)][:1]:
                if drawn := sorted((run.folder / "pictures").glob("*.png")):
                    told = f"{study.names[place]}, {method}, seed {run.seed}: image, what is left of it, rebuilt, error"
                    looks.append(Picture(f"rebuilt-{place}-{method}", told, drawn[-1]))
    blocks: list[Block] = []
    if charts_of:
        told = (
            "Loss on hidden patches of val images under random masks, over the loss of guessing each patch's mean: "
            "below 1 is better than that guess. Methods with other targets or ratios are not comparable in height."
        )
        blocks.append(Gallery(told, tuple(charts_of)))
    if looks:
        caption = "Rebuilt val images at the end of pre-training: image, what is left of it, rebuilt, error."
        blocks.append(Gallery(caption, tuple(looks), folded=True))
    return Section("Pre-training", 2, blocks + _lesions(study))


def _held_out(run: Run) -> charts.Line | None:
    rows = [
        (row["step"], row["held-out loss"] / row["patch mean"])
        for row in run.curve
        if row.get("patch mean") and "held-out loss" in row and "step" in row
    ]
    last = max((row.get("step", 0.0) for row in run.curve), default=0.0)
    return (np.array(rows)[:, 0] / last, np.array(rows)[:, 1]) if rows and last else None


def _lesions(study: Study) -> list[Block]:
    """How often the masks hid lesions, where pre-training counted them (`maskgym pretrain --report`)."""
    rows = []
    for place in study.data:
        for method in study.methods:
            counted = [
                one
                for run in study.pretrained
                if (run.place, run.method) == (place, method) and (one := _counted(run)) is not None
            ]
            if counted:
                struck, among, chance = np.mean(counted, 0)
                times = f"{struck / chance:.2f}" if chance else "-"
                told = (f"{100 * struck:.1f} %", f"{100 * chance:.1f} %", times, f"{100 * among:.1f} %")
                rows.append((Cell(method), Cell(study.names[place]), *map(Cell, told), Cell(str(len(counted)))))
    if not rows:
        return []
    caption = (
        "Did the masks hit lesions? All epochs together, mean over seeds. The labels were counted for this table; "
        "no agent saw them."
    )
    headings = ("method", "data", "lesion among hidden", "lesion among all", "times chance", "hidden of all lesion")
    return [Table(caption, (*headings, "seeds"), tuple(rows))]


def _counted(run: Run) -> tuple[float, float, float] | None:
    """Of a run: lesion's share of hidden patches, hidden patches' share of lesion, lesion's share of all patches."""
    try:
        epochs = read_lesions(run.folder)
        hidden, struck, visible, missed = (
            sum(row[name] for row in epochs) for name in ("hidden", "hidden lesion", "visible", "visible lesion")
        )
    except (BadInput, KeyError, ValueError, TypeError):
        return None
    if not hidden or not struck + missed:
        return None
    return struck / hidden, struck / (struck + missed), (struck + missed) / (hidden + visible)

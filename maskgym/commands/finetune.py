"""`maskgym finetune`: fine-tune a segmentation network with few labels and measure it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskgym.downstream.metrics import METRICS
from maskgym.downstream.settings import FineTune


@dataclass(frozen=True)
class Finetune(FineTune):
    """Fine-tune a segmentation network with few labels and measure it on the test patients."""

    def __call__(self) -> int:
        """Train, measure, print the means."""
        from maskgym.benchmark import manifest
        from maskgym.downstream.finetune import finetune

        told = finetune(self)
        manifest.of_run(self.out.expanduser(), self, [self.seed], ("train", "val", "test"))
        if told is None:
            print("interrupted; all is saved: the same command goes on")
            return 130
        for one in told.get("draws", [told]):
            _print_grades(one) if "measures" in one else _print(one)
        print(f"all scores: {self.out / 'scores.json'}")
        return 0


def _print_grades(told: dict[str, Any]) -> None:
    """Print the measures of graded test images."""
    measures = ", ".join(f"{name} {value:.3f}" for name, value in told["measures"].items())
    print(f"{told['images']} test images of {len(told['grades'])} grades, {len(told['labelled'])} patients labelled")
    print(measures)


def _print(told: dict[str, Any]) -> None:
    """Print a line for each region: means over test patients."""
    from rich.console import Console
    from rich.table import Table

    title = f"{len(told['patients'])} test patients, {len(told['labelled'])} labelled, {told['seconds']:.0f} s"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for head in ("", *METRICS, "left out"):
        table.add_column(head, justify="left" if head in ("", "left out") else "right")
    for region, means in told["mean"].items():
        values = ["-" if means[name] is None else f"{means[name]:.3f}" for name in METRICS]
        out = ", ".join(f"{name} {count}" for name, count in told["left_out"][region].items())
        table.add_row(region, *values, out)
    console = Console()
    console.print(table)
    if told.get("patch_AUROC"):
        areas = ", ".join(f"{name} {area:.3f}" for name, area in told["patch_AUROC"].items())
        console.print(f"patches told apart, area under the curve: {areas}")
    pooled = f"Dice of all pixels pooled, background and classes: {told['pooled_DSC']['mean']:.4f}"
    console.print(f"{pooled}; HD95 in {told['distances_in']}, NSD within {told['tolerance']}", style="dim")

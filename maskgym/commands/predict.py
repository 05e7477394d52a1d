"""`maskgym predict`: label cases with a fine-tuned network, each on its own grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from maskgym.errors import BadInput


@dataclass(frozen=True)
class Predict:
    """Label cases with a fine-tuned network and write NIfTI files that lie on their images (pictures: PNG)."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a fine-tuning run, or its .safetensors file."""
    out: Path
    """Folder for the files, one a case."""
    data: str = ""
    """The images: phantoms, or LAYOUT:FOLDER; empty = the run's own."""
    split: str = "test"
    """Which cases: train, val, test or all."""
    split_file: str = ""
    """A split saved by `maskgym data split`; empty = the run's own."""
    images: int = 0
    """Label only the first cases of the split, so many; 0 = all."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda or cuda:1."""

    def __call__(self) -> None:
        """Label and write, case by case."""
        from dataclasses import replace

        from maskgym.data.cases import open_cases
        from maskgym.data.save import save_labels
        from maskgym.data.source import SPLITS
        from maskgym.downstream.classify import grade, to_csv
        from maskgym.downstream.data import graded
        from maskgym.downstream.network import load_segmenter
        from maskgym.downstream.predict import predict
        from maskgym.files import write_text
        from maskgym.training.devices import make_fabric

        if self.split not in (*SPLITS, "all"):
            raise BadInput(f"there is no split {self.split!r}: choose train, val, test or all")
        fabric = make_fabric(self.device)
        network, about = load_segmenter(self.run)
        size, data = tuple(about["size"]), self.data or about["data"]
        split_file = self.split_file or ("" if self.data else about["split_file"])
        cases = open_cases(data, self.split, split_file or None, size=tuple(about["image_size"]))
        if len(cases.channels) != about["channels"]:
            raise BadInput(
                f"the network in {self.run} is for images of {about['channels']} channels, these have "
                f"{len(cases.channels)}: choose others with modality=, as {about['data']} does"
            )
        if self.images:
            cases = replace(cases, cases=cases.cases[: self.images])
        if about.get("task") == "classify":
            cases = graded(cases, data, about["present"])
            ids, shares, truth = grade(network.to(fabric.device), cases, size, fabric.device)
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(self.out / "grades.csv", to_csv(ids, shares, truth, tuple(about["grades"])))
            print(f"{len(ids)} images graded: {self.out / 'grades.csv'}")
            return
        answers = predict(network.to(fabric.device), cases, size, about["window"], fabric.device)
        written = [save_labels(case, labels, self.out) for case, labels in answers]
        names = ", ".join(f"{value} {name}" for value, name in enumerate(about["classes"], 1))
        print(f"{len(written)} cases labelled (0 background, {names}): {self.out}")

"""`maskgym study`: run every job of a study, write it as a Snakefile, show its plan, or say how far it is."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from maskgym.commands.options import FILE, FOLDER
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.studies.job import Record
    from maskgym.studies.plan import Job
    from maskgym.studies.run import Engine
    from maskgym.studies.study import Study


@dataclass(frozen=True)
class RunStudy:
    """Run data sets x methods x label shares x seeds; the same command again goes on where it stopped."""

    study: Annotated[Path, tyro.conf.Positional]
    """The study file (TOML)."""
    out: Path | None = None
    """Folder of the study; left out: study/ and the file's name."""
    data: tuple[str, ...] = ()
    """Data sets in place of those that the file names: phantoms, or LAYOUT:FOLDER as in lgg:/mnt/kaggle_3m."""
    methods: tuple[str, ...] = ()
    """Run these methods only, the control, and what they need; another start may run the rest."""
    engine: Literal["local", "ray"] = "local"
    """Where jobs run: as processes of this machine, or on a Ray cluster."""
    to: Literal["", "snakemake"] = ""
    """Run nothing, but write the plan for another program: a Snakefile."""
    workers: int = 1
    """Jobs that run at once, each with one thread; a cluster runs as many as it has CPUs."""
    address: str = ""
    """Address of a Ray cluster, as 10.0.0.1:6379 or auto; empty = $RAY_ADDRESS, else Ray on this machine alone."""
    fresh: bool = False
    """Start over: what the folder holds of this study is deleted first."""
    dry_run: bool = False
    """Print the jobs, where each stands and how long the rest may take; run nothing."""

    def __call__(self) -> int:
        """Read, check, plan, run."""
        from maskgym.benchmark import manifest
        from maskgym.studies.plan import only, plan
        from maskgym.studies.read import hint, keep, read_study

        if self.workers < 1:
            raise BadInput(f"workers {self.workers} must be at least 1")
        if self.address and self.engine != "ray":
            raise BadInput(f"--address {self.address} is that of a Ray cluster: add --engine ray")
        # Half-done jobs hold this path in their settings: one spelling of it, wherever the next start stands.
        out = (self.out or Path("study") / self.study.stem).absolute()
        study = read_study(self.study, self.data)
        _check(study)
        names = [method.name for method in study.methods]
        for name in self.methods:
            if name not in names:
                raise BadInput(f"--methods names {name!r}, which is no method of the study{hint(name, names)}")
        if self.dry_run:
            jobs = plan(study, out)
            return self._show(out, only(jobs, self.methods) if self.methods else jobs)
        if self.fresh:
            _clear(out)
        jobs = plan(keep(self.study, out, self.data), out)
        jobs = only(jobs, self.methods) if self.methods else jobs
        manifest.of_run(out, study, study.seeds)
        if self.to == "snakemake":
            from maskgym.studies.snakemake import write_snakefile

            file = write_snakefile(jobs, out)
            print(f"wrote {file}: snakemake --snakefile {shlex.quote(str(file))} --cores {self.workers}")
            return 0
        return self._run(out, jobs)

    def _run(self, out: Path, jobs: list[Job]) -> int:
        from maskgym.studies.run import run_all
        from maskgym.studies.status import estimate, span, status

        ended = 0

        def heard(job: Job, told: Record) -> None:
            nonlocal ended
            ended += 1
            statuses = status(out, jobs)
            done = sum(one.state == "finished" for one in statuses)
            rest = estimate(statuses, engine.room)
            print(f"{job.name}: {told['state']}, {span(told['seconds'])}; {done} of {len(jobs)}, {rest}", flush=True)

        try:
            engine = self._engine(out)
            wrong = run_all(out, jobs, engine, heard)
        except KeyboardInterrupt:
            print(f"interrupted; {ended} jobs ended in this start. The same command goes on where it stopped.")
            return 130
        if wrong:
            print("\n".join(f"{name}: {why}" for name, why in wrong.items()))
            print(f"{len(wrong)} of {len(jobs)} jobs are not finished; the same command tries them again")
            return 1
        print(f"all {len(jobs)} jobs finished: {out}")
        return 0

    def _engine(self, out: Path) -> Engine:
        from maskgym.studies.on_ray import OnRay
        from maskgym.studies.run import Local

        return OnRay(out, self.address, self.workers) if self.engine == "ray" else Local(out, self.workers)

    def _show(self, out: Path, jobs: list[Job]) -> int:
        from maskgym.studies.status import estimate, status

        statuses = status(out, jobs)
        for one in statuses:
            print(f"{one.state:<9} {one.job.name}: {shlex.join(['maskgym', *one.job.words])}")
        print(f"{len(jobs)} jobs; {estimate(statuses, self.workers)}")
        return 0


@dataclass(frozen=True)
class StudyStatus:
    """Tell how far a study is: what is finished, what is running, what failed and why, how long the rest may take."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the study."""
    workers: int = 1
    """Jobs that run at once, for the estimate."""

    def __call__(self) -> None:
        """Look, and print a table."""
        from rich.console import Console
        from rich.table import Table

        from maskgym.studies.plan import plan
        from maskgym.studies.status import STATES, estimate, span, status

        statuses = status(self.out, plan(_kept(self.out), self.out))
        table = Table(title=f"{self.out}", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("", *STATES, "time spent", "one takes"):
            table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
        for kind in (*dict.fromkeys(one.job.kind for one in statuses), "all"):
            of_kind = [one for one in statuses if kind in (one.job.kind, "all")]
            counts = [sum(one.state == name for one in of_kind) for name in STATES]
            seconds = [float(one.record["seconds"]) for one in of_kind if one.state == "finished"]
            usual = span(sum(seconds) / len(seconds)) if seconds and kind != "all" else ""
            table.add_row(kind, *(str(count or "") for count in counts), span(sum(seconds)), usual)
        console = Console(highlight=False, soft_wrap=True)
        console.print(table)
        for one in statuses:
            if one.state == "failed":
                console.print(f"failed   {one.job.name}: {one.record['error'][-1]}", style="red", markup=False)
            elif one.state == "running":
                where = f"process {one.record.get('pid')} on {one.record.get('host')}"
                console.print(f"running  {one.job.name}: {where}, for {span(one.record['seconds'])}", markup=False)
        console.print(estimate(statuses, self.workers))


@dataclass(frozen=True)
class StudyControl:
    """Tell whether the positive control of a study holds (random masks beat a random start); exit code 1 if not."""

    study: Annotated[Path, tyro.conf.Positional, FOLDER]
    """Folder of the study."""
    place: str = "data0"
    """Folder of the data set inside that of the study."""
    runs: int = 0
    """Fine-tunings that must be finished before the control is judged."""
    out: Annotated[Path | None, FILE] = None
    """The JSON file to write the metrics to if the control holds; left out: none."""
    method: str | None = None
    """Who must be better ..."""
    over: str | None = None
    """... than whom ..."""
    errors: float | None = None
    """... by how many standard errors ..."""
    measure: Literal["", "patch_AUROC"] | None = None
    """... of what. Left out: as [control] of the study says; "" is what it measures worth by."""

    def __call__(self) -> int:
        """Compare, print, write."""
        import json

        from maskgym.files import write_text
        from maskgym.studies.study import Control
        from maskgym.studies.worth import control

        study = _kept(self.study)
        told = {name: value for name in asdict(Control()) if (value := getattr(self, name)) is not None}
        asked = replace(study.control or Control(), **told)
        for name in (asked.method, asked.over):
            if name not in [one.name for one in study.methods]:
                raise BadInput(f"{self.study} has no method {name!r}: choose one of those that its study names")
        held, sentence, metrics = control(self.study, study, self.place, asked)
        if metrics["runs"] < self.runs:
            raise BadInput(f"{self.study} has {metrics['runs']} of {self.runs} fine-tunings of its control: run them")
        print(sentence)
        if held and self.out:
            write_text(self.out, json.dumps(metrics | {"said": sentence}, indent=1))
        return 0 if held else 1


def _kept(out: Path) -> Study:
    from maskgym.studies.read import KEPT, read_study

    if not (out / KEPT).exists():
        raise BadInput(f"{out} holds no study: give the folder that `maskgym study --out` was given")
    return read_study(out / KEPT)


def _check(study: Study) -> None:
    """Let every command of the study read its words."""
    from maskgym.cli import COMMANDS, parse
    from maskgym.studies.check import check

    def understood(job: Job) -> Any:
        length = 2 if " ".join(job.words[:2]) in COMMANDS else 1
        return parse(" ".join(job.words[:length]), list(job.words[length:]))

    check(study, understood)


def _clear(out: Path) -> None:
    """Delete what a study left in its folder, and nothing else; refused while one of its jobs is at work."""
    import shutil

    from maskgym.studies.plan import plan
    from maskgym.studies.read import KEPT
    from maskgym.studies.status import status

    if not (out / KEPT).exists():
        return
    running = [one.job.name for one in status(out, plan(_kept(out), out)) if one.state == "running"]
    if running:
        raise BadInput(f"{out}: {running[0]} is at work: stop that study before --fresh")
    for entry in [*out.glob("data[0-9]*"), *out.glob("extra[0-9]*"), out / "jobs"]:
        shutil.rmtree(entry, ignore_errors=True)
    (out / KEPT).unlink()

"""How far a study is: what is finished, what runs, what failed, and how long the rest may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from maskgym.studies.job import Record, state
from maskgym.studies.plan import Job

STATES = ("finished", "failed", "running", "waiting")


@dataclass(frozen=True)
class JobStatus:
    """A job, its record, and the seconds it may still take (None: nobody can say yet)."""

    job: Job
    record: Record
    left: float | None

    @property
    def state(self) -> str:
        """One of STATES."""
        return str(self.record["state"])


def status(out: Path, jobs: list[Job]) -> list[JobStatus]:
    """Look at every job; the seconds of one that is not finished are guessed from finished ones most like it."""
    records = [(job, state(out, job)) for job in jobs]
    done = [(job, float(told["seconds"])) for job, told in records if told["state"] == "finished"]
    return [JobStatus(job, told, 0.0 if told["state"] == "finished" else _guess(job, done)) for job, told in records]


def estimate(statuses: list[JobStatus], workers: int) -> str:
    """How long the rest may take, in words."""
    if not any(one.left is None or one.left for one in statuses):
        return "all finished"
    seconds = sum(one.left or 0.0 for one in statuses)
    unknown = sorted({one.job.kind for one in statuses if one.left is None})
    of_kinds = f"unknown for {', '.join(unknown)}, of which none has finished yet"
    if not seconds:
        return f"time: {of_kinds}"
    at_once = f"with {workers} at once" if workers > 1 else "one after another"
    return f"left: about {span(seconds / workers)} {at_once}" + (f", and {of_kinds}" if unknown else "")


def _guess(job: Job, done: list[tuple[Job, float]]) -> float | None:
    """Mean seconds of finished jobs of the same kind: of this method on this data set, else of this data set."""
    alike = [(other, seconds) for other, seconds in done if other.kind == job.kind]
    for same in ((job.place, job.method), (job.place,), ()):
        if near := [seconds for other, seconds in alike if (other.place, other.method)[: len(same)] == same]:
            return fmean(near)
    return None


def span(seconds: float) -> str:
    """Seconds as a person says them.

    >>> span(59), span(150), span(9000), span(200_000)
    ('59 s', '2.5 min', '2.5 h', '2.3 days')
    """
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"

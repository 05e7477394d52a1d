"""Write the plan of a study as a Snakefile, for laboratories whose machines are shared out by Slurm and its like."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from maskgym.errors import BadInput
from maskgym.files import write_text
from maskgym.studies.job import PROGRAM, path
from maskgym.studies.plan import Job

_HEAD = """\
# Written by `maskgym study --to snakemake`. Run it in the folder it was written in, for example:
#   {run}
# Each job runs the `maskgym` command in the comment above it, under a lock of its own.
import os
os.environ["OMP_NUM_THREADS"] = "1"

rule all:
    input:
{results}
"""
_RULE = """
# {command}
rule:
    name: {name!r}
{inputs}    output: {output!r}
    threads: 1
{resources}    retries: 0
    shell: {shell!r}
"""


def write_snakefile(jobs: list[Job], out: Path, program: str = PROGRAM) -> Path:
    """Write OUT/Snakefile: a rule a job."""
    if "{" in str(out) or "}" in str(out):
        raise BadInput(f"{out} cannot stand in a Snakefile, where braces are wildcards: choose another --out")
    file = out / "Snakefile"
    needed = {name for job in jobs for name in job.needs}
    by_name = {job.name: job for job in jobs}
    results = "\n".join(f"        {str(job.leaves)!r}," for job in jobs if job.name not in needed)
    run = shlex.join(["snakemake", "--snakefile", str(file), "--cores", "2", "--keep-going", "--rerun-incomplete"])
    rules = [_HEAD.format(run=run, results=results)]
    for job in jobs:
        inputs = "".join(f"        {str(by_name[name].leaves)!r},\n" for name in job.needs)
        words = [sys.executable, "-m", "maskgym.studies.job", str(out), job.name]
        words += [program] if program != PROGRAM else []
        rules.append(
            _RULE.format(
                command=" ".join(shlex.join(["maskgym", *job.words]).split("\n")),
                name=path(Path(), job, "").name.replace("-", "_").replace(".", "_"),
                inputs=f"    input:\n{inputs}" if inputs else "",
                output=str(job.leaves),
                resources="    resources: gpu=1\n" if job.needs_gpu else "",
                shell=shlex.join(words),
            )
        )
    write_text(file, "".join(rules))
    return file

"""A study as a Snakefile, run by Snakemake itself where that is installed, perhaps for itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maskgym.cli import run
from maskgym.errors import BadInput
from maskgym.studies.job import state
from maskgym.studies.plan import plan
from maskgym.studies.read import read_study
from maskgym.studies.snakemake import write_snakefile
from tests.studies.test_run import TOML

SNAKEMAKE = os.environ.get("SNAKEMAKE") or shutil.which("snakemake")


@pytest.mark.slow
@pytest.mark.skipif(not SNAKEMAKE, reason="Snakemake is not installed")
def test_snakemake_plans_and_runs_every_job_once_and_goes_on_where_one_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(TOML.replace('name = "scratch"', 'name = "scratch.2"'))
    run(["study", "s.toml", "--out", "my out", "--to", "snakemake"])
    out = Path("my out")
    file = out / "Snakefile"
    text = file.read_text()
    with pytest.raises(BadInput, match="braces are wildcards"):
        run(["study", "s.toml", "--out", "my {out}", "--to", "snakemake"])
    assert "# maskgym finetune --weights none" in text, "the command that a rule runs stands above it"
    write_snakefile(plan(read_study(out / "study.json"), out), out, "fake")
    settings = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}

    def snakemake(*more: str) -> subprocess.CompletedProcess[str]:
        words = [str(SNAKEMAKE), "--snakefile", str(file), "--cores", "2", "--keep-going", *more]
        return subprocess.run(words, env=settings, capture_output=True, text=True, timeout=120, check=False)

    dry = snakemake("--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not (tmp_path / "log").exists()
    (tmp_path / "break").touch()
    assert snakemake().returncode != 0
    states = {job.name: state(out, job)["state"] for job in plan(read_study(out / "study.json"), out)}
    assert states.pop("data0/anatomask/seed0/pretrain") == "failed"
    assert sorted(states.values()) == ["finished", "finished", "waiting", "waiting"]
    (tmp_path / "break").unlink()
    done = snakemake()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text().count("end\n") == 5, "each command ended once"
    assert sys.executable in text

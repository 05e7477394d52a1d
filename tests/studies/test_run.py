"""Running a study: failing jobs, records, status; kill -9, Ctrl-C, a scheduler; no command runs twice, none is left."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from maskgym.cli import run
from maskgym.errors import BadInput
from maskgym.studies.job import path, state
from maskgym.studies.plan import Job, at_home, plan
from maskgym.studies.read import keep
from maskgym.studies.run import Local, run_all
from maskgym.studies.status import estimate, status

pytestmark = pytest.mark.slow

TOML = """
data = ["phantoms"]
seeds = [0]
shares = [0.1, 1.0]
[pretrain]
image_size = "32x32"
[[method]]
name = "scratch"
[[method]]
name = "anatomask"
recipe = "anatomask"
"""
START = """
import sys
from pathlib import Path
from maskgym.studies.plan import plan
from maskgym.studies.read import read_study
from maskgym.studies.run import Local, run_all
if __name__ == "__main__":
    out = Path(sys.argv[1])
    print(run_all(out, plan(read_study(out / "study.json"), out)[:2], Local(out, 2, "fake")))
"""


@pytest.fixture
def out(tmp_path, monkeypatch) -> Path:
    """A study's folder, and commands that do nothing."""
    (tmp_path / "s.toml").write_text(TOML)
    keep(tmp_path / "s.toml", tmp_path / "out")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return tmp_path / "out"


def jobs_of(out: Path) -> list[Job]:
    from maskgym.studies.read import read_study

    return plan(read_study(out / "study.json"), out)


def log(out: Path) -> list[str]:
    file = out.parent / "log"
    return file.read_text().splitlines() if file.exists() else []


def begun(out: Path) -> list[int]:
    return [int(line.split()[1]) for line in log(out) if line.startswith("begin")]


def wait_for(what, seconds: float = 60.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def finish(out: Path, job: Job, seconds: float) -> None:
    job.leaves.parent.mkdir(parents=True, exist_ok=True)
    job.leaves.write_text("{}")
    note(out, job, state="finished", seconds=seconds)


def note(out: Path, job: Job, **told) -> None:
    path(out, job).parent.mkdir(parents=True, exist_ok=True)
    path(out, job).write_text(json.dumps({"words": at_home(job.words, out), **told}))


def test_failing_jobs_are_told_and_only_they_run_again(out):
    jobs = jobs_of(out)
    (out.parent / "break").touch()
    assert run_all(out, jobs, Local(out, 2, "fake")) == {
        "data0/anatomask/seed0/pretrain": "it broke",
        "data0/anatomask/seed0/share0.1": "skipped, it needs data0/anatomask/seed0/pretrain",
        "data0/anatomask/seed0/share1": "skipped, it needs data0/anatomask/seed0/pretrain",
    }
    told = state(out, jobs[0])
    assert set(told["versions"]) == {"python", "maskgym", "torch", "monai", "numpy"}
    assert told["started"].endswith("+00:00")
    assert (jobs[0].leaves).read_text() == "1", "each job has one thread"
    (out.parent / "break").unlink()
    (out.parent / "log").unlink()
    assert run_all(out, jobs, Local(out, 2, "fake")) == {}
    assert len(begun(out)) == 3


def test_a_command_that_leaves_nothing_has_failed_whatever_its_exit_code(out):
    """Else Snakemake, which looks at the code, calls it done and wonders where the file is."""
    job = jobs_of(out)[0]
    (out.parent / "leave nothing").touch()
    words = [sys.executable, "-m", "maskgym.studies.job", str(out), job.name, "fake"]
    run = subprocess.run(words, capture_output=True, text=True)
    assert (run.returncode, state(out, job)["state"]) == (1, "failed")
    assert f"no {job.leaves.name}" in run.stderr


def test_jobs_begin_in_the_order_of_the_plan_though_others_are_ready(tmp_path, out):
    """Seed by seed: a fine-tuning does not queue behind the pre-trainings of seeds to come."""
    (tmp_path / "s.toml").write_text(TOML.replace("seeds = [0]", "seeds = [0, 1, 2]"))
    keep(tmp_path / "s.toml", out)
    jobs = jobs_of(out)
    ended = []
    run_all(out, jobs, Local(out, 1, "fake"), lambda job, _: ended.append(job.name))
    assert ended == [job.name for job in jobs]


def test_changed_words_run_again_and_a_study_that_was_moved_is_still_finished(out):
    job = jobs_of(out)[0]
    finish(out, job, 1)
    assert state(out, job)["state"] == "finished"
    note(out, job, state="finished", seconds=1, words=["other"])
    assert state(out, job)["state"] == "waiting"
    finish(out, job, 1)
    out.rename(out.parent / "moved")
    there = jobs_of(out.parent / "moved")[0]
    assert there.words != job.words
    assert state(out.parent / "moved", there)["state"] == "finished"


@pytest.fixture
def start(out):
    """Start the study's first two jobs in a process of its own."""
    (out.parent / "start.py").write_text(START)
    (out.parent / "wait").touch()
    started = []

    def start(*before: str) -> subprocess.Popen[bytes]:
        with (out.parent / f"said{len(started)}").open("w") as said:
            words = [*before, sys.executable, "-u", str(out.parent / "start.py"), str(out)]
            started.append(subprocess.Popen(words, stdout=said, stderr=said, preexec_fn=hear_ctrl_c))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    for pid in begun(out):  # where a test failed
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def hear_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # where the tests run in the background it is ignored


def test_a_study_started_again_after_kill_9_waits_for_commands_still_at_work(out, start):
    first = start()
    wait_for(lambda: len(begun(out)) == 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    job = jobs_of(out)[0]
    assert state(out, job)["state"] == "running"
    second = start()
    wait_for(lambda: (out.parent / "said1").read_text().count("another process is at work") == 2)
    assert len(begun(out)) == 2, "nothing is run twice at once"
    (out.parent / "wait").unlink()
    second.wait(60)
    assert [line for line in log(out) if line == "end"] == ["end", "end"], "nor afterwards: they had finished"
    assert state(out, job)["state"] == "finished"


def test_the_time_of_starts_that_were_killed_counts(out, start):
    study = start()
    wait_for(lambda: len(begun(out)) == 2)
    study.send_signal(signal.SIGKILL)
    for pid in begun(out):
        os.kill(pid, signal.SIGKILL)
    job = jobs_of(out)[0]
    wait_for(lambda: state(out, job)["state"] == "waiting")
    note(out, job, state="running", seconds=100.0)  # as it is noted every few seconds
    (out.parent / "wait").unlink()
    assert run_all(out, [job], Local(out, 1, "fake")) == {}
    assert 100 < state(out, job)["seconds"] < 200


@pytest.mark.parametrize(
    ("number", "before"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ("sh", "-c", "trap '' INT; exec \"$@\"", "sh"))],
    ids=["Ctrl-C", "a scheduler of a job in the background, which ignores Ctrl-C"],
)
def test_a_study_told_to_end_lets_its_commands_save_and_leaves_nothing_behind(out, start, number, before):
    study = start(*before)
    wait_for(lambda: len(begun(out)) == 2)
    study.send_signal(number)
    study.wait(60)
    assert log(out).count("saved") == 2
    assert not any(alive(pid) for pid in begun(out))
    assert {state(out, job)["state"] for job in jobs_of(out)} == {"waiting"}, "they did not fail"


def test_a_command_that_is_killed_alone_has_failed_and_the_study_goes_on(out, start):
    study = start()
    wait_for(lambda: len(begun(out)) == 2)
    os.kill(begun(out)[0], signal.SIGKILL)
    wait_for(lambda: "failed" in {state(out, job)["state"] for job in jobs_of(out)})
    (out.parent / "wait").unlink()
    study.wait(60)
    states = [state(out, job) for job in jobs_of(out)[:2]]
    assert sorted(told["state"] for told in states) == ["failed", "finished"]
    assert next(told for told in states if told["state"] == "failed")["error"][-1] == "it was killed"


def test_a_job_that_another_process_holds_is_not_run_but_waited_for(out):
    job = jobs_of(out)[0]
    path(out, job).parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path(out, job, ".lock")):
        note(out, job, state="running", seconds=1.0)
        assert state(out, job)["state"] == "running"
        words = [sys.executable, "-m", "maskgym.studies.job", str(out), job.name, "fake"]
        other = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert "another process is at work" in other.stdout.readline()
        finish(out, job, 5.0)
    assert other.communicate(timeout=60)[0] == ""
    assert (other.returncode, log(out)) == (0, [])


def test_what_is_left_is_guessed_from_the_jobs_most_alike(out):
    jobs = {job.name: job for job in jobs_of(out)}
    finish(out, jobs["data0/scratch/seed0/share0.1"], 10)
    left = {one.job.name: one.left for one in status(out, list(jobs.values()))}
    assert left == {
        "data0/scratch/seed0/share0.1": 0,
        "data0/scratch/seed0/share1": 10,
        "data0/anatomask/seed0/pretrain": None,
        "data0/anatomask/seed0/share0.1": 10,
        "data0/anatomask/seed0/share1": 10,
    }
    said = estimate(status(out, list(jobs.values())), 2)
    assert said == "left: about 15 s with 2 at once, and unknown for pretrain, of which none has finished yet"


def test_status_counts_and_tells_what_failed_and_what_runs(out, capsys):
    jobs = {job.name: job for job in jobs_of(out)}
    running = jobs["data0/scratch/seed0/share1"]
    finish(out, jobs["data0/scratch/seed0/share0.1"], 90)
    note(out, jobs["data0/anatomask/seed0/pretrain"], state="failed", error=["it", "broke"], seconds=1)
    note(out, running, state="running", pid=7, host="there", seconds=70)
    with FileLock(path(out, running, ".lock")):
        run(["study", "status", str(out)])
    said = capsys.readouterr().out
    row = {words[0]: words[1:] for words in map(str.split, said.splitlines()) if words}
    assert row["finetune"][:3] == ["1", "1", "2"]
    assert "failed   data0/anatomask/seed0/pretrain: broke" in said
    assert "running  data0/scratch/seed0/share1: process 7 on there, for 70 s" in said
    assert re.search(r"left: about 4.5 min one after another, and unknown for pretrain", said)
    with pytest.raises(BadInput, match="holds no study"):
        run(["study", "status", str(out.parent)])


def test_fresh_starts_over_and_touches_nothing_else(out, tmp_path, monkeypatch):
    jobs = jobs_of(out)
    finish(out, jobs[0], 1)
    (out / "notes.txt").write_text("mine")
    (tmp_path / "s.toml").write_text(TOML.replace("[0.1, 1.0]", "[0.5]"))
    words = ["study", str(tmp_path / "s.toml"), "--out", str(out), "--to", "snakemake"]
    with pytest.raises(BadInput, match="another study"):
        run(words)
    with FileLock(path(out, jobs[1], ".lock")):
        note(out, jobs[1], state="running", seconds=1)
        with pytest.raises(BadInput, match="is at work: stop that study before --fresh"):
            run([*words, "--fresh"])
    run([*words, "--fresh"])
    assert not jobs[0].leaves.exists()
    assert (out / "notes.txt").exists()
    assert len(jobs_of(out)) == 3

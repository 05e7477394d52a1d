"""What ends a study before its time: kill -9, Ctrl-C, a scheduler; no command runs twice, none is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskgym.bench.cells import record, running
from maskgym.bench.plan import Cell

# A command that says when it begins and ends, and takes its time in between; told to stop, it does.
SLOW = """
import os, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
def say(what):
    with open(pathlib.Path(__file__).parent / "log", "a") as log:
        log.write(f"{what} {os.getpid()}\\n")
say("begin")
try:
    time.sleep(float(sys.argv[1]))
except KeyboardInterrupt:
    say("saved")
    sys.exit(130)
(out / "scores.json").write_text("{}")
say("end")
"""
STUDY = """
import sys
from pathlib import Path
from maskgym.bench.cells import run_cell
from maskgym.bench.engines import Local, run_all
from maskgym.bench.plan import Cell
home, seconds = Path(sys.argv[1]), sys.argv[2]
out = home / "out"
cells = [Cell(n, "finetune", (seconds, "--out", str(out / n)), out / n / "scores.json") for n in ("one", "two")]
print(run_all(out, cells, Local(out, 2, (sys.executable, str(home / "slow.py")))))
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "study.py").write_text(STUDY)
    begun = []

    def start(seconds: float) -> subprocess.Popen[str]:
        words = [sys.executable, str(tmp_path / "study.py"), str(tmp_path), str(seconds)]
        begun.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def cell(home: Path) -> Cell:
    return Cell("one", "finetune", ("2", "--out", str(home / "out" / "one")), home / "out" / "one" / "scores.json")


def log(home: Path) -> list[list[str]]:
    file = home / "log"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(what, seconds: float = 20.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
        return True
    except ProcessLookupError:
        return False


def test_a_study_started_again_after_kill_9_waits_for_commands_still_at_work(tmp_path, start):
    first = start(2)
    wait_for(lambda: len(log(tmp_path)) == 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert running(tmp_path / "out", cell(tmp_path))["pid"] == first.pid
    said, _ = start(2).communicate(timeout=30)
    assert said.count("still at work") == 2, said
    ends = {pid: at for at, (what, pid) in enumerate(log(tmp_path)) if what == "end"}
    begins = [(at, pid) for at, (what, pid) in enumerate(log(tmp_path)) if what == "begin"]
    assert len(begins) == len(ends) == 4
    assert min(at for at, _ in begins[2:]) > min(ends[pid] for _, pid in begins[:2])  # nothing was run twice at once
    assert running(tmp_path / "out", cell(tmp_path)) is None
    told = json.loads(record(tmp_path / "out", cell(tmp_path)).read_text())
    assert told["state"] == "finished"
    assert told["seconds"] > 3, "what the killed start had spent counts"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a scheduler"])
def test_a_study_told_to_end_lets_its_commands_save_and_leaves_nothing_behind(tmp_path, start, number):
    study = start(60)
    wait_for(lambda: len(log(tmp_path)) == 2)
    study.send_signal(number)
    study.communicate(timeout=20)
    assert [what for what, _ in log(tmp_path)].count("saved") == 2
    assert not any(alive(pid) for _, pid in log(tmp_path))
    assert not record(tmp_path / "out", cell(tmp_path)).exists()  # it did not fail

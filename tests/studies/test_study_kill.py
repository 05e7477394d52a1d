"""What ends a study before its time: kill -9, Ctrl-C, a scheduler; no command runs twice, none is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskgym.studies.cells import record, running
from maskgym.studies.plan import Cell

# A command that says when it begins and ends, and waits in between until it may go on; told to stop, it does.
SLOW = """
import os, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
def say(what):
    with open(pathlib.Path(__file__).parent / "log", "a") as log:
        log.write(f"{what} {os.getpid()}\\n")
say("begin")
try:
    while not (pathlib.Path(__file__).parent / "go").exists():
        time.sleep(0.05)
except KeyboardInterrupt:
    say("saved")
    sys.exit(130)
(out / "scores.json").write_text("{}")
say("end")
"""
STUDY = """
import sys
from pathlib import Path
from maskgym.studies.cells import run_cell
from maskgym.studies.engines import Local, run_all
from maskgym.studies.plan import Cell
home = Path(sys.argv[1])
out = home / "out"
cells = [Cell(n, "finetune", ("--out", str(out / n)), out / n / "scores.json") for n in ("one", "two")]
print(run_all(out, cells, Local(out, 2, (sys.executable, str(home / "slow.py")))))
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "study.py").write_text(STUDY)
    begun = []

    def start(*before: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"said{len(begun)}").open("w") as said:
            words = [*before, sys.executable, "-u", str(tmp_path / "study.py"), str(tmp_path)]
            begun.append(subprocess.Popen(words, stdout=said, stderr=said, preexec_fn=hear_ctrl_c))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()
    for what, pid in log(tmp_path):  # where a test failed
        if what == "begin" and alive(pid):
            os.kill(int(pid), signal.SIGKILL)


def hear_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # where the tests run in the background it is ignored


def cell(home: Path) -> Cell:
    return Cell("one", "finetune", ("--out", str(home / "out" / "one")), home / "out" / "one" / "scores.json")


def log(home: Path) -> list[list[str]]:
    file = home / "log"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(what, seconds: float = 60.0):
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
    first = start()
    wait_for(lambda: len(log(tmp_path)) == 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert running(tmp_path / "out", cell(tmp_path))["pid"] == first.pid
    second = start()
    wait_for(lambda: (tmp_path / "said1").read_text().count("still at work") == 2)
    time.sleep(1.5)
    assert [what for what, _ in log(tmp_path)] == ["begin", "begin"], "nothing is run twice at once"
    (tmp_path / "go").touch()
    second.wait(60)
    assert [what for what, _ in log(tmp_path)].count("end") == 4
    assert running(tmp_path / "out", cell(tmp_path)) is None
    told = json.loads(record(tmp_path / "out", cell(tmp_path)).read_text())
    assert told["state"] == "finished"
    assert told["seconds"] > 1, "what the killed start had spent counts"


@pytest.mark.parametrize(
    ("number", "before"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGTERM, ("sh", "-c", "trap '' INT; exec \"$@\"", "sh"))],
    ids=["Ctrl-C", "a scheduler", "a scheduler of a job in the background, which ignores Ctrl-C"],
)
def test_a_study_told_to_end_lets_its_commands_save_and_leaves_nothing_behind(tmp_path, start, number, before):
    study = start(*before)
    wait_for(lambda: len(log(tmp_path)) == 2)
    study.send_signal(number)
    study.wait(60)
    assert [what for what, _ in log(tmp_path)].count("saved") == 2
    assert not any(alive(pid) for _, pid in log(tmp_path))
    assert not record(tmp_path / "out", cell(tmp_path)).exists()  # it did not fail

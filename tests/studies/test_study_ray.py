"""Studies on a real Ray cluster of this machine: a head and two workers, each a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from maskgym.cli import run
from maskgym.errors import BadInput
from maskgym.studies.cells import record
from maskgym.studies.plan import Cell

pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a-token-of-the-tests-alone-0123456789",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "60",  # where all cores are busy, 30 are too few
    "OMP_NUM_THREADS": "1",
}
FAKE = """
import os, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
if "broken" in sys.argv: sys.exit("it broke")
time.sleep(0.5)
(out / "scores.json").write_text(os.environ["OMP_NUM_THREADS"])
"""
STUDY = """
import sys
from pathlib import Path
from maskgym.studies.cells import record, write
from maskgym.studies.engines import run_all
from maskgym.studies.on_ray import OnRay
from tests_of_ray import cells
home, address = Path(sys.argv[1]), sys.argv[2]
out = home / "out"
write(record(out, cells(out)[0]), {"words": cells(out)[0].words, "state": "finished", "seconds": 9.0})
(out / "done").mkdir()
cells(out)[0].leaves.write_text("")
print(run_all(out, cells(out), OnRay(out, address, command=(sys.executable, str(home / "fake.py")))))
"""


def cells(out: Path) -> list[Cell]:
    """One that is finished, three that end well, one that breaks, and one that needs it."""
    names = {"done": (), "a": ("done",), "b": (), "c": (), "broken": (), "after": ("broken",)}
    return [
        Cell(n, "finetune", (n, "--out", str(out / n)), out / n / "scores.json", needs) for n, needs in names.items()
    ]


@pytest.fixture
def cluster():
    """The address of a head without CPUs and two workers with one each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--object-store-memory=80000000"]
    nodes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as short:  # a socket's path must be short
        settings, log = {**os.environ, **SETTINGS, "RAY_TMPDIR": short}, Path(short) / "log"

        def start(*more):
            """Start a node and wait until it is up; on a busy machine parts of Ray give up waiting for each other."""
            for _ in range(3):
                with log.open("w") as file:
                    node = subprocess.Popen(
                        [*words, *more], env=settings, stdout=file, stderr=file, start_new_session=True
                    )
                nodes.append(node)
                while node.poll() is None:
                    if "runtime started" in log.read_text():
                        return
                    time.sleep(0.1)
                end(node)
            pytest.fail(log.read_text())

        try:
            start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
            for _ in range(2):  # one after the other: at once they would take the same sockets
                start(f"--address=127.0.0.1:{port}", "--num-cpus=1")
            yield f"127.0.0.1:{port}", settings
        finally:
            for node in reversed(nodes):
                node.terminate()
            for node in nodes:
                end(node)


def end(node: subprocess.Popen[bytes]):
    """End a node with all that belongs to it."""
    with suppress(subprocess.TimeoutExpired):
        node.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def test_cells_run_on_the_machines_of_a_cluster_each_once(tmp_path, cluster):
    address, settings = cluster
    (tmp_path / "fake.py").write_text(FAKE)
    (tmp_path / "study.py").write_text(STUDY)
    (tmp_path / "tests_of_ray.py").write_text(Path(__file__).read_text())
    words = [sys.executable, str(tmp_path / "study.py"), str(tmp_path), address]
    done = subprocess.run(words, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "{'broken': 'it broke', 'after': 'skipped, it needs broken'}", done.stderr
    out = tmp_path / "out"
    told = {cell.name: json.loads(record(out, cell).read_text()) for cell in cells(out)[:5]}
    assert told["done"]["seconds"] == 9.0, "what was finished is left alone"
    assert [told[name]["state"] for name in ("a", "b", "c", "broken")] == ["finished"] * 3 + ["failed"]
    assert len({told[name]["node"] for name in ("a", "b", "c")}) == 2
    assert (out / "a" / "scores.json").read_text() == "1"


def test_an_address_that_does_not_answer_is_refused_in_one_line(tmp_path):
    (tmp_path / "s.toml").write_text('data = ["phantoms"]\n[[method]]\nname = "scratch"\n')
    words = ["study", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"), "--engine", "ray", "--address"]
    with pytest.raises(BadInput, match=r"no Ray cluster answers at '127.0.0.1:1' .*refused.*: start one"):
        run([*words, "127.0.0.1:1"])
    with pytest.raises(BadInput, match="no Ray cluster answers at 'nonsense'"):
        run([*words, "nonsense"])


def test_the_clusters_description_is_one_that_ray_understands():
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    told = prepare_config(yaml.safe_load((ROOT / "examples" / "studies" / "cluster.yaml").read_text()))
    validate_config(told)
    assert told["available_node_types"]["local.cluster.node"]["min_workers"] == 2

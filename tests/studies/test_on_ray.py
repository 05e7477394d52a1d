"""Studies on a real Ray cluster of this machine: a head and two workers, each a process of its own."""

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
from maskgym.studies.job import state
from maskgym.studies.plan import plan
from maskgym.studies.read import keep
from tests.studies.test_run import TOML

pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a-token-of-the-tests-alone-0123456789",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "60",  # where all cores are busy, 30 are too few
    "PYTHONPATH": str(Path(__file__).parent),
}
START = """
import sys
from pathlib import Path
from maskgym.studies.on_ray import OnRay
from maskgym.studies.plan import plan
from maskgym.studies.read import read_study
from maskgym.studies.run import run_all
out = Path(sys.argv[1])
jobs = plan(read_study(out / "study.json"), out)
print(run_all(out, jobs, OnRay(out, sys.argv[2], program="fake")))
"""


@pytest.fixture
def cluster():
    """The address of a head without CPUs and two workers with one each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=80000000"]
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


@pytest.mark.slow
def test_jobs_run_on_the_machines_of_a_cluster_each_once(tmp_path, cluster):
    address, settings = cluster
    out = tmp_path / "out"
    (tmp_path / "s.toml").write_text(TOML)
    (tmp_path / "start.py").write_text(START)
    (tmp_path / "break").touch()
    jobs = plan(keep(tmp_path / "s.toml", out), out)

    def start() -> str:
        words = [sys.executable, str(tmp_path / "start.py"), str(out), address]
        done = subprocess.run(words, env=settings, capture_output=True, text=True, timeout=180, check=False)
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr

    name = "data0/anatomask/seed0/pretrain"
    skipped = {f"data0/anatomask/seed0/share{share}": f"skipped, it needs {name}" for share in ("0.1", "1")}
    assert start() == str({name: "it broke", **skipped})
    scratch, rest = {job.name for job in jobs if job.method == "scratch"}, dict.fromkeys(skipped, "waiting")
    states = {job.name: state(out, job)["state"] for job in jobs}
    assert states == dict.fromkeys(scratch, "finished") | {name: "failed"} | rest
    assert jobs[0].leaves.read_text() == "1", "each has one thread"
    (tmp_path / "break").unlink()
    assert start() == "{}"
    assert (tmp_path / "log").read_text().count("end") == 5, "what was finished is left alone"


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

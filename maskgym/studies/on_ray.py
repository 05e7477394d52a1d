"""Run the jobs of a study as tasks of a Ray cluster, on a folder that all its machines share."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from maskgym.errors import BadInput
from maskgym.studies.job import PROGRAM
from maskgym.studies.plan import Job
from maskgym.studies.run import GRACE, end

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # commands that ask for no GPU may see it
    "RAY_raylet_start_wait_time_s": "60",  # where all cores are busy, 30 are too few
}
_CONNECT, _ANSWER = 4.0, 12.0  # seconds that an address is given
_HINT = "start one by `ray start --head`, or leave --address away"


class OnRay:
    """Runs each job as a task that asks for one CPU, and for a GPU where its command does.

    Args:
        out: folder of the study.
        address: of a running cluster, as 10.0.0.1:6379, ray://10.0.0.1:10001 or auto; empty = $RAY_ADDRESS, else a
            cluster of this machine alone that ends with the study.
        workers: CPUs of that cluster of this machine.
        program: module whose main() takes the words of a job.
    """

    def __init__(self, out: Path, address: str = "", workers: int = 1, program: str = PROGRAM):
        for name, value in _SETTINGS.items():  # read by Ray when it is imported
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise BadInput("--engine ray needs Ray: pip install maskgym[ray], or leave --engine away") from None
        address = address or os.environ.get("RAY_ADDRESS", "")
        if address:
            _ask(address)
        own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BadInput(f"Ray does not start ({reason}): try again, or use --engine local") from error
        self.ray, self.own, self.refs = ray, not address, list[Any]()
        self.task = ray.remote(_there)
        self.how = (os.getcwd(), str(out.absolute()), program)
        self.room = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.holds = 2 * self.room  # a cluster that can grow does so for tasks that wait

    def submit(self, job: Job) -> Future[None]:
        """Let the cluster run a job where there is room; a job whose machine is lost is given to another."""
        gpus = int(job.needs_gpu)
        if gpus and not self.ray.cluster_resources().get("GPU"):
            if self.own:  # a cluster may still grow one; this machine will not
                raise BadInput(f"{job.name} says --device cuda and there is no GPU here: give --address of a cluster")
            print(f"{job.name}: waits until the cluster has a GPU", flush=True)
        task = self.task.options(num_cpus=1, num_gpus=gpus, max_retries=3, name=job.name)
        self.refs.append(task.remote(*self.how, job.name))
        future: Future[None] = self.refs[-1].future()
        return future

    def stop(self) -> None:
        """End what runs, wait until it has ended, and leave the cluster."""
        left = self.ray.wait(self.refs, num_returns=len(self.refs), timeout=0)[1] if self.refs else []
        for ref in left:
            self.ray.cancel(ref)
        if left:
            self.ray.wait(left, num_returns=len(left), timeout=GRACE + 10)
        self.ray.shutdown()


def _there(folder: str, out: str, program: str, name: str) -> None:
    """Run a job on whatever machine this is."""
    if not Path(out).is_dir() or not Path(folder).is_dir():
        raise BadInput(f"{socket.gethostname()} does not see {out} or {folder}: all machines must share them")
    words = [sys.executable, "-m", "maskgym.studies.job", out, name, program]
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(words, cwd=folder, env=settings, start_new_session=True)  # paths of data may be relative
    try:
        child.wait()
    except BaseException:
        end(child.pid, lambda: child.poll() is not None, child.wait)
        raise


def _ask(address: str) -> None:
    """Refuse an address that does not answer, in seconds: Ray alone would try for a minute, and then abort."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if address != "auto":
            socket.create_connection((host, int(port)), _CONNECT).close()
        code = f"import ray; ray.init(address={address!r}, log_to_driver=False); print('fine')"
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, capture_output=True, text=True, timeout=_ANSWER, check=False)
        if "fine" in done.stdout:
            return
        reason: Any = ([line for line in done.stderr.splitlines() if "Error" in line] or ["no answer"])[-1][:200]
        if "AuthToken" in done.stderr or "AuthenticationError" in done.stderr:
            reason = "it asks for a token: set RAY_AUTH_MODE=token and bring its token"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_ANSWER:.0f} s"
    raise BadInput(f"no Ray cluster answers at {address!r} ({reason}): {_HINT}") from None

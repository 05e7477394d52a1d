"""Run the cells of a study as tasks of a Ray cluster, on a folder that all its machines share."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

from maskgym.errors import BadInput
from maskgym.studies.cells import GRACE, MASKGYM, run_cell, running
from maskgym.studies.plan import Cell

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # commands that ask for no GPU may see it
    "RAY_raylet_start_wait_time_s": "60",  # where all cores are busy, 30 are too few
}
_TRIES = 3
_CONNECT, _ANSWER = 4.0, 12.0  # seconds that an address is given


class OnRay:
    """Runs each cell as a task that asks for one CPU, and for a GPU where its command does.

    Args:
        out: folder of the study.
        address: of a running cluster, as 10.0.0.1:6379, ray://10.0.0.1:10001 or auto; empty = $RAY_ADDRESS, else a
            cluster of this machine alone that ends with the study.
        workers: CPUs of that cluster of this machine.
        command: what the words of a cell are given to; empty = maskgym.
    """

    def __init__(self, out: Path, address: str = "", workers: int = 1, command: tuple[str, ...] = ()):
        for name, value in _SETTINGS.items():  # read by Ray when it is imported
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise BadInput("--engine ray needs Ray: pip install maskgym[ray], or leave --engine away") from None
        self.ray, self.out, self.command = ray, out.absolute(), command
        address = address or os.environ.get("RAY_ADDRESS", "")
        if address:
            _ask(address)
        own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
        for turn in range(_TRIES):
            try:
                ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
                break
            except Exception as error:  # on a busy machine, parts of Ray give up waiting for each other
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                if turn + 1 == _TRIES:
                    raise BadInput(f"Ray does not start ({reason}): try again, or use --engine local") from error
        self.task, self.own = ray.remote(_there), not address
        self.submitted: list[tuple[Any, Cell]] = []
        self.halt = self.out / "cells" / f".halt-{uuid4().hex}"
        self.room = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def submit(self, cell: Cell) -> Future[dict[str, Any]]:
        """Let the cluster run a cell where there is room; a cell whose machine is lost is given to another."""
        gpus = int(
            any(a == "--device" and b.startswith("cuda") for a, b in zip(cell.words, cell.words[1:], strict=False))
        )
        if gpus and not self.ray.cluster_resources().get("GPU"):
            self._no_gpu(cell)
        task = self.task.options(num_cpus=1, num_gpus=gpus, max_retries=3, name=cell.name)
        ref = task.remote(self.out, cell, self.command, os.getcwd(), self.halt)
        self.submitted.append((ref, cell))
        future: Future[dict[str, Any]] = ref.future()
        return future

    def _no_gpu(self, cell: Cell) -> None:
        """A cluster may still grow one; this machine will not."""
        if self.own:
            raise BadInput(f"{cell.name} says --device cuda and there is no GPU here: give --address of a cluster")
        print(f"{cell.name}: waits until the cluster has a GPU", flush=True)

    def stop(self) -> None:
        """End what runs, wait until it has ended, and leave the cluster."""
        refs = [ref for ref, _ in self.submitted]
        left = self.ray.wait(refs, num_returns=len(refs), timeout=0)[1] if refs else []
        if left:
            self.halt.touch()  # a task that was on its way to a worker is not stopped by being cancelled
            for ref in left:
                self.ray.cancel(ref)
            until = time.monotonic() + GRACE + 10
            self.ray.wait(left, num_returns=len(left), timeout=GRACE + 10)
            while time.monotonic() < until and any(self._at_work()):
                time.sleep(0.2)
        self.ray.shutdown()
        self.halt.unlink(missing_ok=True)

    def _at_work(self) -> Iterator[bool]:
        return (running(self.out, cell) is not None for _, cell in self.submitted)


class _Halted(Event):
    """Set when a file is there."""

    def __init__(self, file: Path):
        super().__init__()
        self.file = file

    def is_set(self) -> bool:
        """Look."""
        return self.file.exists()


def _there(out: Path, cell: Cell, command: tuple[str, ...], folder: str, halt: Path) -> dict[str, Any]:
    """Run a cell on whatever machine this is."""
    if not out.is_dir() or not Path(folder).is_dir():
        raise BadInput(f"{socket.gethostname()} does not see {out} or {folder}: all machines must share them")
    os.chdir(folder)  # paths of data may be relative
    import ray

    node = {"node": ray.get_runtime_context().get_node_id()}
    return run_cell(out, cell, command or MASKGYM, _Halted(halt), node)


def _ask(address: str) -> None:
    """Refuse an address that does not answer, in seconds: Ray alone would try for a minute, and then abort."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto":
        try:
            socket.create_connection((host, int(port)), _CONNECT).close()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BadInput(f"no Ray cluster answers at {address!r} ({reason}): {_HINT}") from None
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False); print('fine')"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_ANSWER, check=False
        )
        said, good = done.stderr, "fine" in done.stdout
    except subprocess.TimeoutExpired as error:
        said, good = (error.stderr or b"").decode(errors="replace"), False  # bytes, whatever text says
    if good:
        return
    if "AuthToken" in said or "AuthenticationError" in said:
        raise BadInput(f"the Ray cluster at {address!r} asks for a token: set RAY_AUTH_MODE=token and bring its token")
    lines = [line for line in said.strip().splitlines() if "Error" in line]
    reason = lines[-1][:200] if lines else f"no answer within {_ANSWER:.0f} s"
    raise BadInput(f"no Ray cluster answers at {address!r} ({reason}): {_HINT}")


_HINT = "start one by `ray start --head`, or leave --address away"

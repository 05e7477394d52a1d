"""Cases prepared for the store by many processes, as far as they are not there yet.

The processes are plain children that are told one case after another, a line each, and answer with a line each. A case
that was written stays, whatever becomes of the rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from maskgym.data.ahead import cores
from maskgym.data.case import StoredCase
from maskgym.data.examine import examine
from maskgym.data.find import CaseFiles, Found, Problem, find
from maskgym.data.measure import Tone, tone_of
from maskgym.data.progress import track
from maskgym.data.spec import Options, Spec
from maskgym.data.store import Page, Store, key_of
from maskgym.errors import BadInput

ALONE = 64 << 20  # bytes of files below which other processes cost more than they save

Answer = list[tuple[str, str, bool]]  # the problems of a case: file, what, fatal


def prepare(found: Found, cases: Sequence[CaseFiles], store: Store, tone: Tone, workers: int = 0) -> list[Problem]:
    """Bring cases into the store, each with what a tone measures; returns what is wrong with those that cannot be.

    Args:
        found: the data set.
        cases: those that are missing.
        store: where they go.
        tone: what is measured.
        workers: processes; 0 = one a core, or this one alone where there is little to do.
    """
    problems: list[Problem] = []
    with store.writing():
        todo = [case for case in cases if is_missing(store.page(key_of(case, found)), tone)]  # others may be faster
        workers = min(workers or _workers(found, todo), len(todo))
        alone = (prepare_one(case, found, store, tone) for case in todo)
        answers = _by_children(found, todo, store, workers) if workers > 1 else alone
        for answer in track(answers, f"preparing {found.spec.layout}", len(todo)):
            problems += [Problem(Path(file), what, fatal) for file, what, fatal in answer]
            if problems and problems[-1].fatal and found.spec.options.bad == "stop":
                kept = "; cases that were prepared are kept" if len(todo) > 1 else ""
                raise BadInput(f"{next(problem for problem in problems if problem.fatal)}{kept}")
    return problems


def prepare_one(case: CaseFiles, found: Found, store: Store, tone: Tone) -> Answer:
    """Bring one case into the store; returns its problems."""
    key = key_of(case, found)
    if (page := store.page(key)) is not None:
        store.measured(key, page, tone)
        return []
    sample, problems = examine(case, found)
    if sample is not None:
        store.write(key, sample, tone)
    return [(str(problem.file), problem.what, problem.fatal) for problem in problems]


def verify(cases: Sequence[StoredCase]) -> list[str]:
    """Compare every case with its hash, take out those that do not agree, and name them."""
    damaged = [case for case in track(cases, "verifying") if not case.store.sound(case.key)]
    for case in damaged:
        with case.store.writing():
            case.store.remove(case.key)
    return [case.id for case in damaged]


def is_missing(page: Page | None, tone: Tone) -> bool:
    """Whether there is something to prepare of a case."""
    return page is None or tone.key not in page["measured"]


def _workers(found: Found, cases: Sequence[CaseFiles]) -> int:
    """How many processes are worth their start."""
    size = 0
    for case in cases:
        for below in case.images:
            with suppress(OSError):
                path = found.spec.folder / below
                size += sum(f.stat().st_size for f in path.iterdir()) if path.is_dir() else path.stat().st_size
    return cores() if size > ALONE else 1


def _by_children(found: Found, cases: Sequence[CaseFiles], store: Store, workers: int) -> Iterator[Answer]:
    """Hand cases to children as they become free; answers come in any order."""
    waiting: SimpleQueue[str] = SimpleQueue()
    for case in cases:
        waiting.put(case.id)
    answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
    told = {
        "layout": found.spec.layout,
        "folder": str(found.spec.folder),
        "options": asdict(found.spec.options),
        "cache": str(store.cache),
    }
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "maskgym.data.prepare", json.dumps(told)]
    pipe = subprocess.PIPE
    children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(workers)]
    threads = [Thread(target=_lead, args=(child, waiting, answers), daemon=True) for child in children]
    try:
        for thread in threads:
            thread.start()
        for _ in cases:
            answer = answers.get()
            if "error" in answer:
                raise BadInput(str(answer["error"]))
            yield answer["problems"]
    finally:
        for child in children:  # where all went well they have ended by themselves
            child.kill()
            child.wait()
        for thread in threads:
            thread.join()


def _lead(child: subprocess.Popen[str], waiting: SimpleQueue[str], answers: SimpleQueue[dict[str, Any]]) -> None:
    """Feed one child until nothing waits; a child that ends too early is an error."""
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        while True:
            try:
                case = waiting.get_nowait()
            except Empty:
                return
            line = ""
            with suppress(OSError):  # a broken pipe: the child is gone
                child.stdin.write(json.dumps(case) + "\n")
                child.stdin.flush()
                line = child.stdout.readline()
            if not line:
                killed = child.wait() < 0
                why = "memory may have run out: prepare with fewer --workers" if killed else "see the lines above"
                answers.put({"error": f"the process that prepared {case} ended: {why}"})
                return
            answers.put(json.loads(line))


def _work(told: dict[str, Any]) -> None:
    """Be a child: prepare the cases named on the lines of standard input."""
    found = find(Spec(told["layout"], Path(told["folder"]), Options(**told["options"])))
    store, tone = Store(told["layout"], Path(told["cache"])), tone_of(found.spec.options, found.layout)
    cases = {case.id: case for case in found.cases}
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"problems": prepare_one(cases[json.loads(line)], found, store, tone)}
        except OSError as error:
            answer = {"error": f"{store.folder} cannot be written ({error.strerror}): set MASKGYM_CACHE elsewhere"}
        except MemoryError:
            answer = {"error": f"{json.loads(line)} does not fit in memory: prepare with fewer --workers"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    try:
        _work(json.loads(sys.argv[1]))
    except (KeyboardInterrupt, BrokenPipeError):  # who asked is gone
        os._exit(1)

"""A training from the first mask to the last: workers or one process, checkpoints, figures, a clean end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from types import FrameType
from typing import Any, Literal

from maskgym.errors import BadInput
from maskgym.training.folder import Folder
from maskgym.training.learner import copy_weights, is_learner, train_alone
from maskgym.training.watch import Judge, Watch
from maskgym.training.worker_pool import Death, News, WorkerPool

MakeEnv = Callable[[int], Any]  # (num_envs) -> vector environment; picklable where workers are spawned


@dataclass(frozen=True)
class Plan:
    """How an agent is trained."""

    steps: int = 200_000
    """Masks to be paid for in all."""
    workers: int = 2
    """Processes that train side by side."""
    synchronous: bool = False
    """One process with the batches of all workers in one (A2C) instead of workers that do not wait (A3C)."""
    save_every: int = 10_000
    """Masks between two checkpoints."""
    judge_every: int = 10_000
    """Masks between two looks at the val split; 0 = only at the end."""
    on_worker_death: Literal["go-on", "stop"] = "go-on"
    """What the other workers do when one dies."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.workers < 1 or self.save_every < 1 or self.judge_every < 0:
            raise BadInput(
                f"steps {self.steps}, workers {self.workers} and save_every {self.save_every} must be at least 1, "
                f"judge_every {self.judge_every} at least 0"
            )


class Run:
    """One training.

    Args:
        agent: to be trained; its weights are changed in place.
        make_env: makes a vector environment of so many games with `output="torch"`.
        plan: how.
        folder: where it is kept.
        judge: says how good the agent is.
        quiet: no line of progress.
    """

    def __init__(
        self, agent: Any, make_env: MakeEnv, plan: Plan, folder: Folder, judge: Judge | None = None, quiet: bool = False
    ):
        self.agent, self.make_env, self.plan, self.folder = agent, make_env, plan, folder
        self.judge, self.quiet = judge, quiet
        self.masks = 0
        self._saved = self._judged = 0
        self._seen: Any = None  # a copy of the agent that stands still while it is judged
        self._waiting = False  # is there a copy that was not judged yet?

    def __call__(self) -> int:
        """Train; returns the masks paid for: fewer than planned if it was interrupted."""
        if not is_learner(self.agent):
            self._by_itself()
        elif self.plan.synchronous:
            self._in_one_process()
        else:
            self._by_workers()
        return self.masks

    def _by_workers(self) -> None:
        optimiser = self.agent.optimiser()
        turns = self.folder.load(self.agent, optimiser)
        batch, count = self.agent.games(), self.plan.workers
        if turns and len(turns) != count:
            turns = [sum(turns) // count + (i < sum(turns) % count) for i in range(count)]
        pool = WorkerPool(
            self.agent,
            optimiser,
            _Bound(self.make_env, batch),
            self.plan.steps,
            count,
            turns or None,
            self.plan.on_worker_death,
        )
        self._begin(pool.masks)
        with interrupts() as asked, closing(pool.run()) as told:
            first = next(told, None)  # the workers are there: from here on this process may have threads
            with closing(Watch(self.folder.path, self.plan.steps, pool.masks, count, self.quiet)) as watch:
                for news in chain([first], told):
                    self.masks = pool.masks
                    if isinstance(news, Death):
                        watch.say(news.reason)
                    elif isinstance(news, News):
                        own = int(pool.signals.turns[news.worker]) * batch
                        watch.hear(news.masks, news.figures, news.worker, own)
                    else:
                        watch.advance(self.masks)
                    if asked():
                        break
                    with pool.rest() if self._due() else nullcontext():
                        turns = pool.signals.turns.tolist()
                        self.masks = pool.masks
                        if self._time_to_judge():
                            self._look()
                        if self._time_to_save():
                            self._keep(optimiser, turns)
                    self._say(watch)
                told.close()  # all workers have ended
                self.masks = pool.masks
                self._keep(optimiser, pool.signals.turns.tolist())
                self._look()
                self._say(watch)
        if pool.deaths and (self.masks < self.plan.steps) and not asked():
            why = pool.deaths[-1].reason.strip().splitlines()[-1]
            raise BadInput(f"stopped after {self.masks} masks, which are saved ({why}): repair it and add --resume")

    def _in_one_process(self) -> None:
        optimiser = self.agent.optimiser()
        turns = self.folder.load(self.agent, optimiser)
        env = self.make_env(self.agent.games() * self.plan.workers)
        self._begin(sum(turns) * env.num_envs)
        with interrupts() as asked, closing(self._watch()) as watch:

            def report(masks: int, figures: dict[str, float]) -> None:
                self.masks = masks
                watch.hear(masks, figures)
                done = [masks // env.num_envs]
                if asked():
                    raise _Enough
                self._after(watch, lambda: self._keep(optimiser, done))

            played = sum(turns)
            try:
                played = train_alone(self.agent, env, self.plan.steps, report, optimiser, played)
            except _Enough:
                played = self.masks // env.num_envs
            self._keep(optimiser, [played])
            self._look()
            self._say(watch)

    def _by_itself(self) -> None:
        env = self.make_env(64)
        self._begin(0)
        with interrupts() as asked, closing(self._watch()) as watch:

            def report(masks: int, figures: dict[str, float]) -> None:
                self.masks = masks
                watch.hear(masks, figures)
                if asked():
                    raise _Enough
                self._after(watch, lambda: self._keep())

            with suppress(_Enough):
                self.agent.learn(env, self.plan.steps, report)
            self._keep()
            self._look()
            self._say(watch)

    def _watch(self) -> Watch:
        return Watch(self.folder.path, self.plan.steps, self.masks, 1, self.quiet)

    def _begin(self, masks: int) -> None:
        self.masks = self._saved = self._judged = masks

    def _after(self, watch: Watch, keep: Callable[[], None]) -> None:
        if self._time_to_judge():
            self._look()
        if self._time_to_save():
            keep()
        self._say(watch)

    def _due(self) -> bool:
        return self._time_to_judge() or self._time_to_save()

    def _time_to_save(self) -> bool:
        return self.masks - self._saved >= self.plan.save_every

    def _time_to_judge(self) -> bool:
        every = self.plan.judge_every
        return self.judge is not None and every > 0 and self.masks - self._judged >= every

    def _keep(self, optimiser: Any = None, turns: list[int] | None = None) -> None:
        self.folder.save(self.agent, optimiser, turns)
        self._saved = self.masks

    def _look(self) -> None:
        """Copy the agent as it is now, to be judged when the workers are at it again."""
        if self.judge is None:
            return
        if self._seen is None:
            self._seen = deepcopy(self.agent)
        copy_weights(self.agent, self._seen)
        self._judged, self._waiting = self.masks, True

    def _say(self, watch: Watch) -> None:
        if self.judge is not None and self._waiting:
            watch.judged(self._judged, self.judge(self._seen))
            self._waiting = False


class _Enough(Exception):
    """Thrown out of a loop that is not ours, between two updates."""


@dataclass(frozen=True)
class _Bound:
    """A maker of environments of one size, picklable."""

    make: MakeEnv
    num_envs: int

    def __call__(self) -> Any:
        return self.make(self.num_envs)


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or polite kill into a flag, to be looked at where it is safe to stop; the second stops."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

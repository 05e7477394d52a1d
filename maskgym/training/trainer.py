"""A training from the first mask to the last: workers or one process, checkpoints, metrics, a clean end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from torch import Tensor

from maskgym.errors import BadInput
from maskgym.learner import Learner, OwnLoop
from maskgym.training.devices import compile_networks
from maskgym.training.folder import Folder, alone
from maskgym.training.interrupts import interrupts
from maskgym.training.update import TELL_EVERY, SkipWatch, copy_weights, make_optimizer, updates
from maskgym.training.watch import Evaluate, Watch
from maskgym.training.worker_pool import WorkerFailure, WorkerMetrics, WorkerPool

MakeEnv = Callable[[int], Any]  # (num_envs) -> vector environment; picklable where workers are spawned

_OWN_LOOP = 64  # environments of an agent that brings its own loop
_TRY_AGAIN = 30.0  # seconds until a checkpoint is tried again that found a worker at work


@dataclass(frozen=True)
class TrainerSettings:
    """How a learner is trained."""

    steps: int = 200_000
    """Env steps (masks played) in all."""
    workers: int = 2
    """Processes that train side by side."""
    synchronous: bool = False
    """One process with the batches of all workers in one (A2C) instead of workers that do not wait (A3C)."""
    save_every: int = 10_000
    """Env steps between two checkpoints."""
    eval_every: int = 10_000
    """Env steps between two plays of the val split; 0 = only at the end."""
    on_worker_failure: Literal["go-on", "stop"] = "go-on"
    """What the other workers do when one fails."""
    precision: Literal["32", "bf16"] = "32"
    """In which networks compute while training; weights, masks and rewards are 32 bits wide."""
    compile: bool = False
    """Compile the agent's networks and the frozen one; in one process only, for each would compile for itself."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.workers < 1 or self.save_every < 1 or self.eval_every < 0:
            raise BadInput(
                f"steps {self.steps}, workers {self.workers} and save_every {self.save_every} must be at least 1, "
                f"eval_every {self.eval_every} at least 0"
            )
        if self.compile and not self.synchronous:
            raise BadInput("networks are compiled in one process only: add --mode synchronous, or leave --compile out")


class Trainer:
    """One training; called, it goes on from the folder's last checkpoint.

    Args:
        agent: to be trained; its weights are changed in place.
        make_env: makes a vector environment of so many games.
        settings: how.
        folder: where it is kept.
        evaluate: says how good the agent is.
        quiet: print no progress.
        log: where curves go besides TensorBoard, see `maskgym.training.board`.
    """

    def __init__(
        self,
        agent: Learner,
        make_env: MakeEnv,
        settings: TrainerSettings,
        folder: Folder,
        evaluate: Evaluate | None = None,
        quiet: bool = False,
        log: str = "tensorboard",
    ):
        self.agent, self.make_env, self.settings, self.folder = agent, make_env, settings, folder
        self.evaluate, self.quiet, self.log = evaluate, quiet, log
        self.env_steps = 0
        self._saved = self._evaluated = 0
        self._try_again = 0.0  # when the workers may be asked for rest
        self._copy: Any = None  # of the agent, that stands still while it is evaluated
        self._unevaluated = False  # is there a copy that was not evaluated yet?

    def __call__(self) -> int:
        """Train; returns the env steps: fewer than planned if it was interrupted."""
        with alone(self.folder.path):
            if isinstance(self.agent, OwnLoop):
                self._by_itself(self.agent)
            elif self.settings.synchronous:
                self._in_one_process()
            else:
                self._by_workers()
        return self.env_steps

    def _by_workers(self) -> None:
        optimizer, count = make_optimizer(self.agent), self.settings.workers
        done = self.folder.load(self.agent, optimizer)
        if done and len(done) != count:
            done = [sum(done) // count + (i < sum(done) % count) for i in range(count)]
        batch = self.agent.settings.images * self.agent.settings.masks
        make = _Sized(self.make_env, batch)
        if self.agent.drawn.is_cuda:  # the images are uploaded once, here, and the workers are handed the memory
            make = _Sized(self.make_env, batch, self.make_env(1).task.resident)
        settings = self.settings
        pool = WorkerPool(
            self.agent,
            optimizer,
            make,
            settings.steps,
            count,
            done or None,
            settings.precision,
            settings.on_worker_failure,
        )
        self._begin(pool.env_steps)
        with interrupts() as asked, closing(pool.run()) as messages:
            first = next(messages, None)  # the workers are there: from here on this process may have threads
            with closing(self._watch(count)) as watch:
                for message in chain([first], messages):
                    self.env_steps = pool.env_steps
                    if isinstance(message, WorkerFailure):
                        watch.say(message.reason)
                    elif isinstance(message, WorkerMetrics):
                        own = int(pool.signals.updates[message.worker]) * batch
                        watch.hear(message.env_steps, message.metrics, message.worker, own)
                    else:
                        watch.advance(self.env_steps)
                    if asked():
                        break
                    self._at_rest(pool, optimizer, watch)
                messages.close()  # all workers have ended
                self.env_steps = pool.env_steps
                self._finish(watch, optimizer, pool.signals.updates.tolist())
        if pool.failures and self.env_steps < self.settings.steps and not asked():
            why = pool.failures[-1].reason.strip().splitlines()[-1]
            raise BadInput(
                f"stopped after {self.env_steps} env steps, which are saved ({why}): repair it and start it again"
            )

    def _at_rest(self, pool: WorkerPool, optimizer: Any, watch: Watch) -> None:
        """Take what is due while no worker changes the weights; where one does not rest, say who, and try later."""
        if time.monotonic() < self._try_again:
            return
        due = self._time_to_evaluate() or self._time_to_save()
        resting: AbstractContextManager[list[int]] = pool.rest() if due else nullcontext([])
        with resting as late:
            if late:
                who = " and ".join(f"worker {rank}" for rank in late)
                watch.say(
                    f"no checkpoint at {self.env_steps} env steps: {who} did not come to rest; trying again later"
                )
                self._try_again = time.monotonic() + _TRY_AGAIN
                return
            self.env_steps = pool.env_steps
            self._take(optimizer, pool.signals.updates.tolist())
        self._say(watch)

    def _in_one_process(self) -> None:
        optimizer = make_optimizer(self.agent)
        first = sum(self.folder.load(self.agent, optimizer))
        env = self.make_env(self.agent.settings.images * self.agent.settings.masks * self.settings.workers)
        if self.settings.compile:
            compile_networks(*self.agent.children(), env.task.game.reconstructor)
        self._begin(first * env.num_envs)
        number, skips, told = first, SkipWatch(), time.monotonic()
        metrics: dict[str, Tensor] = {}
        with interrupts() as asked, closing(self._watch()) as watch:
            for number, metrics in updates(
                self.agent, env, self.settings.steps, optimizer, first, self.settings.precision
            ):
                self.env_steps = number * env.num_envs
                skips.add(metrics)
                if time.monotonic() - told > TELL_EVERY:
                    told = time.monotonic()
                    watch.hear(self.env_steps, skips.tell(metrics))
                if asked():
                    break
                self._take(optimizer, [number])
                self._say(watch)
            if metrics:
                watch.hear(self.env_steps, skips.tell(metrics))
            self._finish(watch, optimizer, [number])

    def _by_itself(self, agent: OwnLoop) -> None:
        env = self.make_env(_OWN_LOOP)
        self._begin(0)
        with interrupts() as asked, closing(self._watch()) as watch:

            def report(env_steps: int, metrics: dict[str, float]) -> None:
                self.env_steps = env_steps
                watch.hear(env_steps, metrics)
                if asked():
                    raise _Enough
                self._take()
                self._say(watch)

            with suppress(_Enough):
                agent.learn(env, self.settings.steps, report)
            self._finish(watch)

    def _watch(self, workers: int = 1) -> Watch:
        return Watch(self.folder.path, self.settings.steps, self.env_steps, workers, self.quiet, self.log)

    def _begin(self, env_steps: int) -> None:
        self.env_steps = self._saved = self._evaluated = env_steps

    def _time_to_save(self) -> bool:
        return self.env_steps - self._saved >= self.settings.save_every

    def _time_to_evaluate(self) -> bool:
        every = self.settings.eval_every
        return self.evaluate is not None and every > 0 and self.env_steps - self._evaluated >= every

    def _take(self, optimizer: Any = None, done: list[int] | None = None) -> None:
        """Copy the agent to be evaluated, and save it, where that is due."""
        if self._time_to_evaluate():
            self._keep_copy()
        if self._time_to_save():
            self.folder.save(self.agent, optimizer, done)
            self._saved = self.env_steps

    def _finish(self, watch: Watch, optimizer: Any = None, done: list[int] | None = None) -> None:
        self.folder.save(self.agent, optimizer, done)
        self._keep_copy()
        self._say(watch)

    def _keep_copy(self) -> None:
        """Copy the agent as it is now, to be evaluated when the workers are at it again."""
        if self.evaluate is None:
            return
        if self._copy is None:
            self._copy = deepcopy(self.agent)
        copy_weights(self.agent, self._copy)
        self._evaluated, self._unevaluated = self.env_steps, True

    def _say(self, watch: Watch) -> None:
        if self.evaluate is not None and self._unevaluated:
            watch.evaluated(self._evaluated, self.evaluate(self._copy))
            self._unevaluated = False


class _Enough(Exception):
    """Thrown out of a loop that is not ours, between two updates."""


@dataclass(frozen=True)
class _Sized:
    """A maker of environments of one size, picklable."""

    make: MakeEnv
    num_envs: int
    resident: Tensor | None = None  # their images, where those are on a GPU already

    def __call__(self) -> Any:
        env = self.make(self.num_envs)
        if self.resident is not None:
            env.task.resident = self.resident
        return env

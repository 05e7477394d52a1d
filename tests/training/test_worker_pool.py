"""Workers over shared weights. No test here waits longer than it must, and none looks at the clock."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from maskgym.errors import BadInput
from maskgym.training.update import make_optimizer, train
from maskgym.training.worker_pool import WorkerFailure, WorkerMetrics, WorkerPool


def finish(pool: WorkerPool) -> list[Any]:
    with closing(pool.run()) as messages:
        return [message for message in messages if message is not None]


def test_two_workers_train_one_agent_with_random_keys_of_their_own(toy: Any, games: Any, tmp_path: Path) -> None:
    agent = toy(log=tmp_path / "log", nap=0.002)
    pool = WorkerPool(agent, make_optimizer(agent), games, 4 * 400, workers=2)
    messages = finish(pool)
    assert 1600 <= pool.env_steps <= 1600 + 4  # a worker in the middle of an update finishes it
    torch.testing.assert_close(agent.weights.detach(), torch.arange(3.0), atol=0.6, rtol=0)
    assert any(isinstance(message, WorkerMetrics) and "reward" in message.metrics for message in messages)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert {seed for seed, _, _ in lines} == {"0", "1000003"}  # a seed each
    assert {threads for _, _, threads in lines} == {"1"}  # and one thread each
    assert int(pool.optimizer.state[agent.weights]["step"]) > 300  # all stepped the same state


def test_one_worker_ends_where_training_alone_does(toy: Any, games: Any) -> None:
    alone, agent = toy(), toy()
    train(alone, games(), 200)
    finish(WorkerPool(agent, make_optimizer(agent), games, 200, workers=1))
    assert torch.equal(alone.weights, agent.weights)


def test_workers_are_forked_on_a_cpu(toy: Any, games: Any) -> None:
    agent = toy()
    pool = WorkerPool(agent, make_optimizer(agent), games, 4, workers=1)
    assert pool._context.get_start_method() == "fork"


def test_a_worker_that_fails_is_named_with_its_traceback_and_the_others_go_on(toy: Any, games: Any) -> None:
    agent = toy(trouble="raises")
    pool = WorkerPool(agent, make_optimizer(agent), games, 400, workers=2)
    failures = [message for message in finish(pool) if isinstance(message, WorkerFailure)]
    assert [failure.worker for failure in failures] == [0]
    assert "Traceback" in failures[0].reason
    assert "the third update is cursed" in failures[0].reason
    assert pool.env_steps >= 400


def test_the_others_stop_if_that_is_wanted(toy: Any, games: Any) -> None:
    agent = toy(trouble="raises", nap=0.01)
    pool = WorkerPool(agent, make_optimizer(agent), games, 40_000, workers=2, on_failure="stop")
    assert any(isinstance(message, WorkerFailure) for message in finish(pool))
    assert pool.env_steps < 40_000


def test_a_worker_that_hangs_says_where_and_is_ended(toy: Any, games: Any) -> None:
    agent = toy(trouble="hangs")
    pool = WorkerPool(agent, make_optimizer(agent), games, 400, workers=1, patience=1.0)
    (failure,) = [message for message in finish(pool) if isinstance(message, WorkerFailure)]
    assert "hung" in failure.reason
    assert "in propose" in failure.reason


@pytest.mark.slow
def test_a_worker_killed_from_outside_is_named(toy: Any, games: Any) -> None:
    agent = toy(nap=0.005)
    pool = WorkerPool(agent, make_optimizer(agent), games, 4 * 300, workers=2)
    failures = []
    with closing(pool.run()) as messages:
        next(messages)
        os.kill(pool._processes[1].pid, signal.SIGKILL)
        failures = [message for message in messages if isinstance(message, WorkerFailure)]
    assert [failure.worker for failure in failures] == [1]
    assert "SIGKILL" in failures[0].reason
    assert pool.env_steps >= 1200


def test_leaving_early_leaves_no_process(toy: Any, games: Any) -> None:
    agent = toy(nap=0.005)
    pool = WorkerPool(agent, make_optimizer(agent), games, 10**6, workers=2)
    with closing(pool.run()) as messages:
        next(messages)
        processes = list(pool._processes.values())
        assert all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)


def test_at_rest_the_weights_stand_still(toy: Any, games: Any) -> None:
    agent = toy(nap=0.001)
    pool = WorkerPool(agent, make_optimizer(agent), games, 10**6, workers=2)
    with closing(pool.run()) as messages:
        while pool.env_steps < 40:
            next(messages)
        with pool.rest() as late:
            assert late == []
            before, env_steps = agent.weights.detach().clone(), pool.env_steps
            time.sleep(0.1)
            assert torch.equal(agent.weights, before)
            assert pool.env_steps == env_steps
        while pool.env_steps == env_steps:
            next(messages)


def test_rest_waits_for_every_worker_or_says_who_is_at_work(toy: Any, games: Any) -> None:
    agent = toy(trouble="hangs")
    pool = WorkerPool(agent, make_optimizer(agent), games, 10**6, workers=2, patience=3.0)
    with closing(pool.run()) as messages:
        while int(pool.signals.updates[0]) < 3 or int(pool.signals.updates[1]) < 3:
            next(messages)
        pool.patience = 0.2
        with pool.rest() as late:
            assert late == [0]
        pool._processes[0].kill()
        pool._processes[0].join()
        for _ in range(20):  # an answer to an earlier request is none to this one
            with pool.rest() as late:
                updates = pool.signals.updates.tolist()
                time.sleep(0.003)
                assert late == []
                assert pool.signals.updates.tolist() == updates


def test_a_first_update_that_takes_long_is_no_hang(toy: Any, games: Any) -> None:
    agent = toy(trouble="starts slowly")
    pool = WorkerPool(agent, make_optimizer(agent), games, 40, workers=1, patience=0.5)
    assert not [message for message in finish(pool) if isinstance(message, WorkerFailure)]
    assert pool.env_steps == 40


def test_a_worker_that_never_comes_to_its_first_update_is_ended(toy: Any, games: Any) -> None:
    agent = toy(nap=1000.0)
    pool = WorkerPool(agent, make_optimizer(agent), games, 40, workers=1, patience=0.2, first_patience=0.8)
    (failure,) = [message for message in finish(pool) if isinstance(message, WorkerFailure)]
    assert "hung" in failure.reason


@pytest.mark.slow
def test_no_worker_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import Toy, Games
from maskgym.training.update import make_optimizer
from maskgym.training.worker_pool import WorkerPool
pool = WorkerPool(agent := Toy(nap=0.01), make_optimizer(agent), Games, 10**9, workers=2)
for i, message in enumerate(pool.run()):
    if i == 0: print(*[process.pid for process in pool._processes.values()], flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(workers) == 2
    for pid in workers:
        while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
            time.sleep(0.02)


def test_no_steps_and_no_workers_are_refused(toy: Any, games: Any) -> None:
    for steps, workers in ((0, 1), (1, 0)):
        with pytest.raises(BadInput, match="at least 1"):
            WorkerPool(toy(), make_optimizer(toy()), games, steps, workers)

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
from maskgym.training.worker_pool import Death, News, WorkerPool


def finish(pool: WorkerPool) -> list[Any]:
    with closing(pool.run()) as told:
        return [news for news in told if news is not None]


def test_two_workers_train_one_agent_with_chance_of_their_own(toy: Any, games: Any, tmp_path: Path) -> None:
    agent = toy(log=tmp_path / "log", nap=0.002)
    pool = WorkerPool(agent, agent.optimiser(), games, 4 * 400, workers=2)
    told = finish(pool)
    assert 1600 <= pool.masks <= 1600 + 4  # a worker in the middle of a turn finishes it
    torch.testing.assert_close(agent.weights.detach(), torch.arange(3.0), atol=0.6, rtol=0)
    assert any(isinstance(news, News) and "reward" in news.figures for news in told)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert {seed for seed, _, _ in lines} == {"0", "1000003"}  # a seed each
    assert {threads for _, _, threads in lines} == {"1"}  # and one thread each
    assert int(pool.optimiser.state[agent.weights]["step"]) > 300  # all stepped the same state


def test_one_worker_ends_where_training_alone_does(toy: Any, games: Any) -> None:
    from maskgym.training.learner import train_alone

    alone, agent = toy(), toy()
    train_alone(alone, games(), 200)
    finish(WorkerPool(agent, agent.optimiser(), games, 200, workers=1))
    assert torch.equal(alone.weights, agent.weights)


def test_workers_are_forked_on_a_cpu(toy: Any, games: Any) -> None:
    pool = WorkerPool(toy(), toy().optimiser(), games, 4, workers=1)
    assert pool._context.get_start_method() == "fork"


def test_a_worker_that_dies_is_named_with_its_traceback_and_the_others_go_on(toy: Any, games: Any) -> None:
    agent = toy(trouble="raises")
    pool = WorkerPool(agent, agent.optimiser(), games, 400, workers=2)
    deaths = [news for news in finish(pool) if isinstance(news, Death)]
    assert [death.worker for death in deaths] == [0]
    assert "Traceback" in deaths[0].reason
    assert "the third turn is cursed" in deaths[0].reason
    assert pool.masks >= 400


def test_the_others_stop_if_that_is_wanted(toy: Any, games: Any) -> None:
    agent = toy(trouble="raises", nap=0.01)
    pool = WorkerPool(agent, agent.optimiser(), games, 40_000, workers=2, on_death="stop")
    assert any(isinstance(news, Death) for news in finish(pool))
    assert pool.masks < 40_000


def test_a_worker_that_hangs_says_where_and_is_ended(toy: Any, games: Any) -> None:
    agent = toy(trouble="hangs")
    pool = WorkerPool(agent, agent.optimiser(), games, 400, workers=1, patience=1.0)
    (death,) = [news for news in finish(pool) if isinstance(news, Death)]
    assert "hung" in death.reason
    assert "in gradients" in death.reason


def test_a_worker_killed_from_outside_is_named(toy: Any, games: Any) -> None:
    agent = toy(nap=0.005)
    pool = WorkerPool(agent, agent.optimiser(), games, 4 * 300, workers=2)
    deaths = []
    with closing(pool.run()) as told:
        next(told)
        os.kill(pool._processes[1].pid, signal.SIGKILL)
        deaths = [news for news in told if isinstance(news, Death)]
    assert [death.worker for death in deaths] == [1]
    assert "SIGKILL" in deaths[0].reason
    assert pool.masks >= 1200


def test_leaving_early_leaves_no_process(toy: Any, games: Any) -> None:
    agent = toy(nap=0.005)
    pool = WorkerPool(agent, agent.optimiser(), games, 10**6, workers=2)
    with closing(pool.run()) as told:
        next(told)
        processes = list(pool._processes.values())
        assert all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)


def test_at_rest_the_weights_stand_still(toy: Any, games: Any) -> None:
    agent = toy(nap=0.001)
    pool = WorkerPool(agent, agent.optimiser(), games, 10**6, workers=2)
    with closing(pool.run()) as told:
        while pool.masks < 40:
            next(told)
        with pool.rest():
            before, masks = agent.weights.detach().clone(), pool.masks
            time.sleep(0.1)
            assert torch.equal(agent.weights, before)
            assert pool.masks == masks
        while pool.masks == masks:
            next(told)


def test_no_worker_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import Toy, Games
from maskgym.training.worker_pool import WorkerPool
pool = WorkerPool(agent := Toy(nap=0.01), agent.optimiser(), Games, 10**9, workers=2)
for i, news in enumerate(pool.run()):
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
            WorkerPool(toy(), toy().optimiser(), games, steps, workers)

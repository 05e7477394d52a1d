"""How fast the environment is: against the bare network, against other vector environments, and to start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils.performance import benchmark_vector_step
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from benchmarks.timing import Row, race, ratio
from maskgym.masking import rng
from maskgym.masking.layout import channels_last
from maskgym.masking.patches import Patches
from maskgym.masking.select import budget, select


def step_share(env_id: str, num_envs: int, device: str, repeats: int) -> Iterator[Row]:
    """Share of the bare frozen forward's throughput that a vector step reaches, same batch, pieces and device."""
    env, bare, step, where = _bare_and_step(env_id, num_envs, device)
    times = race({"bare": bare, "step": step}, repeats, _wait(device))
    share, spread = ratio(times["bare"], times["step"])
    target = "0.90 or more" if device == "cpu" else "0.95 or more at 1024"
    piece = env.task.game.piece or num_envs
    yield Row(
        f"bare frozen forward ({where}, pieces of {piece})", _rate(num_envs, times["bare"].median), times["bare"].spread
    )
    yield Row(f"vector step ({where})", _rate(num_envs, times["step"].median), times["step"].spread)
    yield Row("vector step / bare forward, throughput", f"{share:.3f}", spread, target)


def query_cost(env_id: str, num_envs: int, device: str, repeats: int) -> Iterator[Row]:
    """What a query costs on the native path, in bare forwards: a step of the query game, resets included."""
    env, bare, step, where = _bare_and_step(env_id, num_envs, device)
    rounds = env.task.settings.queries  # one episode, and the reset after it

    def many(run: Callable[[], object]) -> Callable[[], None]:
        def episode() -> None:
            for _ in range(rounds):
                run()

        return episode

    times = race({"bare": many(bare), "query": many(step)}, repeats, _wait(device))
    cost, spread = ratio(times["query"], times["bare"])
    yield Row(f"query / bare forward, time ({where})", f"{cost:.3f}", spread, "1.10 or less")


def _bare_and_step(
    env_id: str, num_envs: int, device: str
) -> tuple[Any, Callable[[], None], Callable[[], object], str]:
    """Make a vector environment that has met all its images, the bare forward of as many, and a step."""
    output = "numpy" if device == "cpu" else "torch"
    env: Any = gym.make_vec(env_id, num_envs=num_envs, device=device, output=output)
    env.reset(seed=0)
    actions = env.action_space.sample()
    actions = actions if output == "numpy" else torch.from_numpy(actions).to(device)
    task = env.task
    everything = np.arange(len(task.images))  # a training meets every image many times: first meetings are not timed
    task.view(everything)
    task.lesion_cover(everything, np.zeros((len(everything), *task.patches.grid), bool))
    env.episodes.meet(everything)
    images = channels_last(task.fetch(np.arange(num_envs) % len(task.images)))
    keys = _keys(num_envs, task.patches.count, device)
    mask = task.game.select(torch.zeros(num_envs, task.patches.count, device=device), keys)
    piece = task.game.piece or num_envs

    def bare() -> None:
        with torch.no_grad():
            for i in range(0, num_envs, piece):
                task.game.reconstructor(images[i : i + piece], mask[i : i + piece])

    return env, bare, lambda: env.step(actions), f"{env_id.rpartition(':')[2]}, {num_envs} images, {device}"


def vector_environments(env_id: str, num_envs: int, seconds: int, repeats: int) -> Iterator[Row]:
    """Steps per second of the native vector environment beside Gymnasium's and SB3's, useful steps only."""
    contestants: dict[str, Callable[[], float]] = {
        "native": lambda: _steps(gym.make_vec(env_id, num_envs=num_envs), seconds),
        "SyncVectorEnv": lambda: _steps(
            SyncVectorEnv(_makers(env_id, num_envs), autoreset_mode=AutoresetMode.SAME_STEP), seconds
        ),
        "AsyncVectorEnv": lambda: _steps(
            AsyncVectorEnv(_makers(env_id, num_envs), autoreset_mode=AutoresetMode.SAME_STEP), seconds
        ),
        "SB3 DummyVecEnv": lambda: _sb3_steps(env_id, num_envs, seconds),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, measure in contestants.items():
            rates[name].append(measure())
    native = float(np.median(rates["native"]))
    for name, runs in rates.items():
        middle = float(np.median(runs))
        target = "native is 2x or more of it" if name == "SyncVectorEnv" else ""
        times = "" if name == "native" else f", native is {native / middle:.2f}x"
        yield Row(
            f"{name}, {num_envs} environments",
            f"{middle:.0f} steps/s{times}",
            f"{min(runs):.0f} to {max(runs):.0f}",
            target,
        )


def selection(repeats: int) -> Iterator[Row]:
    """Choosing and spreading the masks of 64 images, from 64 to 4,096 patches."""
    for side in (8, 16, 32, 64):
        patches = Patches((side * 8, side * 8), (8, 8))
        scores, keys = torch.rand(64, patches.count), _keys(64, patches.count, "cpu")
        hidden = budget(0.75, patches.count)

        def run(scores: torch.Tensor = scores, keys: torch.Tensor = keys, hidden: int = hidden) -> None:
            select(scores, hidden, keys)

        times = race({"select": run}, repeats)["select"]
        yield Row(f"selection, 64 images x {patches.count} patches", f"{1e3 * times.median:.2f} ms", times.spread)


def start(repeats: int) -> Iterator[Row]:
    """Import time over torch and gymnasium, and first make + reset with a warm cache, each in fresh processes."""
    gym.make("maskgym:MaskMIM-v0").reset(seed=0)  # the cache is warm from here on
    both = "import time; t = time.perf_counter(); import torch, gymnasium; "
    tell = "print(time.perf_counter() - t)"
    programs = {
        "others": both + tell,
        "maskgym": both + "import maskgym; " + tell,
        "make": both + "import maskgym; t = time.perf_counter(); "
        "gymnasium.make('maskgym:MaskMIM-v0').reset(seed=0); " + tell,
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
            seconds[name].append(float(said))
    middle = {name: float(np.median(runs)) for name, runs in seconds.items()}
    spread = {name: f"{min(runs):.2f} to {max(runs):.2f} s" for name, runs in seconds.items()}
    yield Row("import torch, gymnasium", f"{middle['others']:.2f} s", spread["others"])
    share = middle["maskgym"] / middle["others"]
    yield Row(
        "the same and import maskgym", f"{middle['maskgym']:.2f} s, {share:.3f}x", spread["maskgym"], "1.10x at most"
    )
    yield Row("first make + reset, warm cache", f"{middle['make']:.2f} s", spread["make"], "under 1.5 s")


def _steps(env: Any, seconds: int) -> float:
    rate = benchmark_vector_step(env, target_duration=seconds, seed=0)
    env.close()
    return float(rate)


def _sb3_steps(env_id: str, num_envs: int, seconds: int) -> float:
    """What `benchmark_vector_step` does, for SB3's own interface."""
    import time

    from stable_baselines3.common.vec_env import DummyVecEnv

    env = DummyVecEnv(_makers(env_id, num_envs))
    env.seed(0)
    env.reset()
    sample = lambda: np.stack([env.action_space.sample() for _ in range(num_envs)])  # noqa: E731
    env.step(sample())
    steps, begin = 0, time.time()
    while time.time() - begin <= seconds:
        env.step(sample())
        steps += num_envs
    rate = steps / (time.time() - begin)
    env.close()
    return rate


def _makers(env_id: str, num_envs: int) -> list[Callable[[], gym.Env[Any, Any]]]:
    return [lambda: gym.make(env_id)] * num_envs


def _keys(batch: int, count: int, device: str) -> torch.Tensor:
    return rng.keys(torch.arange(batch, device=device), count)


def _rate(images: int, seconds: float) -> str:
    return f"{images / seconds:.0f} images/s"


def _wait(device: str) -> Callable[[], object]:
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None

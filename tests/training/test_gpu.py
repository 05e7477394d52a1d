"""What only a GPU can show: `pytest -m gpu`."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

from maskgym.registry import make_agent
from maskgym.training.folder import Folder
from maskgym.training.rollout import Rollout
from maskgym.training.trainer import Trainer, TrainerSettings
from maskgym.training.update import make_optimizer, update

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

LEARNERS = ["a3c", "a3c-paper", "pathwise", "hpm"]


class MakeSmall:
    """Makes vector environments on the GPU; picklable, for workers are spawned there."""

    def __call__(self, num_envs: int) -> Any:
        return gym.make_vec(
            "maskgym:MaskMIMSmall-v0", num_envs=num_envs, split="val", device="cuda", output="torch",
            autoreset_mode="Disabled",
        )  # fmt: skip


def made(name: str, masks: int = 8) -> tuple[Any, Any]:
    env = MakeSmall()(masks)
    return env, make_agent(f"{name}?width=16&images={masks // (4 if name == 'a3c' else 1)}", env, seed=3)


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_in_an_update_waits_for_the_device(name: str) -> None:
    env, agent = made(name)
    rollout, optimizer = Rollout(env, agent), make_optimizer(agent)
    for number in range(2):  # kernels are chosen, the order of the images is uploaded
        update(agent, agent, optimizer, rollout, number, 0.0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        metrics = update(agent, agent, optimizer, rollout, 2, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value.is_cuda for value in metrics.values())


@pytest.mark.parametrize("name", LEARNERS)
def test_an_update_moves_the_weights_as_on_a_cpu(name: str) -> None:
    moved = []
    for device in ("cpu", "cuda"):
        env: Any = gym.make_vec(
            "maskgym:MaskMIMSmall-v0", num_envs=8, split="val", device=device, output="torch", piece=8
        )
        agent: Any = make_agent(f"{name}?width=16&images={2 if name == 'a3c' else 8}", env, seed=3)
        metrics = update(agent, agent, make_optimizer(agent), Rollout(env, agent), 0, 0.0)
        moved.append(float(metrics["loss"]))
    assert moved[1] == pytest.approx(moved[0], rel=0.02, abs=1e-3)


def test_a_gradient_that_is_not_finite_is_skipped_on_the_device() -> None:
    env, agent = made("a3c")
    rollout, optimizer = Rollout(env, agent), make_optimizer(agent)
    update(agent, agent, optimizer, rollout, 0, 0.0)
    weights = {name: value.clone() for name, value in agent.named_parameters()}
    loss = agent.loss
    agent.loss = lambda *what: {name: value * float("nan") for name, value in loss(*what).items()}
    assert float(update(agent, agent, optimizer, rollout, 1, 0.0)["skipped"]) == 1
    assert all(torch.equal(value, weights[name]) for name, value in agent.named_parameters())


def test_a_resumed_run_keeps_adams_step_where_it_was(tmp_path: Path) -> None:
    env, agent = made("a3c")
    optimizer = make_optimizer(agent)
    update(agent, agent, optimizer, Rollout(env, agent), 0, 0.0)
    folder = Folder(tmp_path / "run", {"agent": "a3c"})
    folder.save(agent, optimizer, [1])
    _, other = made("a3c")
    again = make_optimizer(other)
    assert folder.load(other, again) == [1]
    for ours, theirs in zip(agent.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        for name, value in optimizer.state[ours].items():
            assert again.state[theirs][name].device == value.device
            assert torch.equal(again.state[theirs][name], value)


@pytest.mark.parametrize("synchronous", [True, False])
def test_a_run_is_trained_and_saved(tmp_path: Path, synchronous: bool) -> None:
    _, agent = made("a3c")
    settings = TrainerSettings(steps=160, workers=2, synchronous=synchronous, save_every=64, eval_every=0)
    assert Trainer(agent, MakeSmall(), settings, Folder(tmp_path / "run", {"agent": "a3c"}), quiet=True)() >= 160
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert all(bool(value.isfinite().all()) for value in state["weights"].values())


def test_workers_are_handed_the_images_that_were_uploaded_once() -> None:
    env, _ = made("a3c")
    task = MakeSmall()(8).task
    task.resident = env.task.resident
    assert task.fetch(torch.arange(3, device="cuda")).equal(env.task.fetch(torch.arange(3, device="cuda")))
    assert task.resident.data_ptr() == env.task.resident.data_ptr()

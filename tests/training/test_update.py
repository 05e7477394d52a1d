from copy import deepcopy
from typing import Any

import pytest
import torch

from maskgym.errors import BadInput
from maskgym.learner import OwnLoop
from maskgym.training.devices import native_precision
from maskgym.training.rollout import Rollout
from maskgym.training.update import SkipWatch, make_optimizer, rate, train, update, updates
from maskgym.training.worker import own_copy, share


def test_gradients_are_cleared_from_update_to_update(toy: Any, games: Any) -> None:
    shared = toy()
    local, rollout = deepcopy(shared), Rollout(games(), shared)
    optimizer = torch.optim.Adam(shared.parameters(), fused=True)
    shared.settings = local.settings = type(shared.settings)(lr=0.0)  # the weights stand still
    met = []
    for _ in range(4):
        update(shared, local, optimizer, rollout, 0, 0.0)
        met.append(shared.weights.grad.clone())
    assert all(torch.equal(gradient, met[0]) for gradient in met)


def test_a_gradient_that_is_not_finite_is_not_stepped_and_counted(toy: Any, games: Any) -> None:
    shared = toy(trouble="NaN")
    local, optimizer, rollout = deepcopy(shared), make_optimizer(shared), Rollout(games(), shared)
    skipped = []
    for number in range(5):
        weights, steps = shared.weights.detach().clone(), shared.met.clone()
        skipped.append(float(update(shared, local, optimizer, rollout, number, 0.0)["skipped"]))
        moved = not torch.equal(weights, shared.weights)
        assert moved == (number != 3)
        assert torch.equal(steps, shared.met) == (number == 3)  # what a norm has seen of NaN is not kept either
    assert skipped == [0, 0, 0, 1, 0]
    assert int(optimizer.state[shared.weights]["step"]) == 4
    assert all(bool(value.isfinite().all()) for value in optimizer.state[shared.weights].values())


def test_where_every_update_is_skipped_training_says_so(toy: Any, games: Any) -> None:
    watch = SkipWatch()
    watch.add({"skipped": torch.tensor(0.0)})
    assert watch.tell({"reward": torch.tensor(2.0)}) == {"reward": 2.0, "skipped": 0.0}
    for updates_lost in (60, 120):
        for _ in range(60):
            watch.add({"skipped": torch.tensor(1.0)})
        if updates_lost == 60:
            assert watch.tell({}) == {"skipped": 60.0}
    with pytest.raises(BadInput, match="120 updates in a row"):
        watch.tell({})


def test_the_workers_copy_shares_no_memory_with_the_weights_that_are_trained(toy: Any) -> None:
    agent = toy()
    share(agent, make_optimizer(agent))
    local = own_copy(agent, 1)
    assert agent.weights.is_shared()
    assert not local.weights.is_shared()
    assert local.weights.data_ptr() != agent.weights.data_ptr()
    assert local.seed != agent.seed


def test_the_optimizers_state_is_there_and_shared_before_the_first_step(toy: Any, games: Any) -> None:
    agent, plain = toy(), toy()
    optimizer, stock = make_optimizer(agent), torch.optim.Adam(plain.parameters(), lr=0.05, fused=True)
    share(agent, optimizer)
    state = optimizer.state[agent.weights]
    assert set(state) == {"step", "exp_avg", "exp_avg_sq"}
    assert all(value.is_shared() for value in state.values())
    for number in range(3):  # made beforehand, it must still be the stock optimizer
        update(agent, agent, optimizer, Rollout(games(), agent), number, 0.0)
        update(plain, plain, stock, Rollout(games(), plain), number, 0.0)
    assert torch.equal(agent.weights, plain.weights)
    assert all(value.is_shared() for value in optimizer.state[agent.weights].values())


def test_a_gradient_is_cut_to_the_length_that_the_learner_names(toy: Any, games: Any) -> None:
    agent = toy()
    agent.optimization = lambda: type(toy().optimization())(lr=0.05, clip=0.01)
    metrics = update(agent, agent, make_optimizer(agent), Rollout(games(), agent), 0, 0.0)
    assert float(metrics["gradient norm"]) > 1
    assert float(agent.weights.grad.norm()) == pytest.approx(0.01, rel=1e-3)


def test_the_rate_falls_as_the_learner_says(toy: Any, games: Any) -> None:
    how = toy().optimization()
    assert [rate(how, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.05, 0.025, 0.0])
    steps, constant = (type(how)(lr=1.0, schedule=schedule) for schedule in ("steps", "constant"))
    assert [rate(steps, done) for done in (0.1, 0.2, 0.99)] == pytest.approx([1.0, 0.9, 0.9**7])
    assert rate(constant, 0.9) == 1.0
    agent = toy()
    optimizer = make_optimizer(agent)
    for number, _ in updates(agent, games(), 40, optimizer):
        assert optimizer.param_groups[0]["lr"] == rate(how, (number - 1) / 10)


def test_networks_compute_in_the_precision_asked_for_and_weights_stay_as_they_are(toy: Any, games: Any) -> None:
    for precision, bits in (("32", 32), ("bf16", 16)):
        agent = toy()
        metrics = update(agent, agent, make_optimizer(agent), Rollout(games(), agent, precision), 0, 0.0)
        assert int(metrics["bits"]) == bits
        assert agent.weights.dtype == agent.weights.grad.dtype == metrics["reward"].dtype == torch.float32
        assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(BadInput, match="precision '16': choose 32 or bf16"):
        Rollout(games(), toy(), "16")


def test_the_precision_asked_for_is_native_to_the_device() -> None:
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert native_precision(torch.device("cpu")) == ("bf16" if native else "32")


def test_what_a_norm_has_seen_reaches_the_shared_agent(toy: Any, games: Any) -> None:
    shared = toy()
    update(shared, deepcopy(shared), make_optimizer(shared), Rollout(games(), shared), 0, 0.0)
    assert float(shared.met) == 1


def test_training_in_one_process_learns_and_reports_where_it_ends(toy: Any, games: Any) -> None:
    agent, told = toy(), []
    assert train(agent, games(), 4 * 300, lambda env_steps, metrics: told.append((env_steps, metrics))) is agent
    assert told[-1][0] == 1200
    assert {"loss", "reward", "skipped"} <= told[-1][1].keys()
    torch.testing.assert_close(agent.weights.detach(), torch.arange(3.0), atol=0.5, rtol=0)


def test_soft_masks_are_for_learners_that_are_allowed_gradients(toy: Any, games: Any) -> None:
    agent = toy()
    propose = agent.propose
    agent.propose = lambda images, masks: propose(images, masks)._replace(mask=torch.rand(2, 2, 4))
    with pytest.raises(BadInput, match="allowed gradients"):
        train(agent, games(), 4)


def test_an_agent_with_a_loop_of_its_own_is_trained_by_it_and_one_that_does_not_learn_is_refused(games: Any) -> None:
    class Own(OwnLoop):
        def learn(self, env: Any, steps: int, report: Any = None) -> None:
            report(steps, {"reward": 0.1})

    told: list[int] = []
    from maskgym.agent import Agent, GameSpec

    spec = GameSpec(games().task.patches, ratio=0.5)
    train(Own(spec), games(), 64, lambda env_steps, metrics: told.append(env_steps))
    assert told == [64]
    with pytest.raises(BadInput, match="does not learn"):
        train(Agent(spec), games(), 64)  # type: ignore[arg-type]

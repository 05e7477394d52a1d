from copy import deepcopy
from typing import Any

import pytest
import torch

from maskgym.errors import BadInput
from maskgym.training.learner import is_learner, numbers, train_alone, update
from maskgym.training.worker import own_copy, share


def test_gradients_are_cleared_from_turn_to_turn(toy: Any, games: Any) -> None:
    shared = toy()
    optimiser = torch.optim.SGD(shared.parameters(), lr=0.0)
    shared.rate = lambda share: 0.0
    local = deepcopy(shared)
    local.rate = shared.rate
    met = []
    for _ in range(4):
        update(shared, local, optimiser, games(), 0, 0.0)
        met.append(shared.weights.grad.clone())
    assert all(torch.equal(gradient, met[0]) for gradient in met)


def test_the_workers_copy_shares_no_memory_with_the_weights_that_are_trained(toy: Any) -> None:
    agent = toy()
    share(agent, agent.optimiser())
    local = own_copy(agent, 1)
    assert agent.weights.is_shared()
    assert not local.weights.is_shared()
    assert local.weights.data_ptr() != agent.weights.data_ptr()
    assert local.seed != agent.seed


def test_the_optimisers_state_is_there_and_shared_before_the_first_step(toy: Any, games: Any) -> None:
    agent, plain = toy(), toy()
    optimiser, stock = agent.optimiser(), plain.optimiser()
    share(agent, optimiser)
    state = optimiser.state[agent.weights]
    assert set(state) == {"step", "exp_avg", "exp_avg_sq"}
    assert all(value.is_shared() for value in state.values())
    for turn in range(3):  # made beforehand, it must still be the stock optimiser
        update(agent, agent, optimiser, games(), turn, 0.0)
        update(plain, plain, stock, games(), turn, 0.0)
    assert torch.equal(agent.weights, plain.weights)
    assert all(value.is_shared() for value in optimiser.state[agent.weights].values())


def test_what_a_norm_has_seen_reaches_the_shared_agent(toy: Any, games: Any) -> None:
    shared = toy()
    local = deepcopy(shared)
    update(shared, local, shared.optimiser(), games(), 0, 0.0)
    assert float(shared.met) == 1


def test_training_alone_learns_and_tells(toy: Any, games: Any) -> None:
    agent, told = toy(), []
    turns = train_alone(agent, games(), 4 * 300, lambda masks, figures: told.append(masks))
    assert turns == 300
    assert told == list(range(4, 1201, 4))
    torch.testing.assert_close(agent.weights.detach(), torch.arange(3.0), atol=0.5, rtol=0)


def test_lost_weights_are_told_in_one_line() -> None:
    with pytest.raises(BadInput, match="policy loss became NaN"):
        numbers({"reward": torch.tensor(1.0), "policy loss": torch.tensor(float("nan"))})


def test_knows_who_can_be_trained_update_by_update(toy: Any) -> None:
    assert is_learner(toy())
    assert not is_learner(torch.nn.Identity())

import gymnasium as gym
import numpy as np
import pytest

import maskgym
from maskgym.envs.registry import IDS
from maskgym.errors import BadInput

pettingzoo = pytest.importorskip("pettingzoo")


def make(env_id: str = "maskgym:MaskMIMSmall-v0", **keywords):
    return maskgym.parallel_env(env_id, **{"split": "val", **keywords})


@pytest.mark.parametrize("env_id", IDS)
def test_pettingzoos_own_checks_pass_without_a_warning(env_id, capsys):
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    parallel_api_test(make(f"maskgym:{env_id}"), num_cycles=10)
    parallel_seed_test(lambda: make(f"maskgym:{env_id}"), num_cycles=10)
    assert "Passed" in capsys.readouterr().out


def test_every_patch_is_an_agent_and_sees_the_whole_image():
    env = make()
    assert env.possible_agents == [f"patch_{number}" for number in range(64)]
    assert env.agents == []
    observations, infos = env.reset(seed=0)
    assert env.agents == env.possible_agents == list(observations) == list(infos)
    assert len({id(env.observation_space(agent)) for agent in env.agents}) == 1
    assert all(env.observation_space(agent).contains(observations[agent]) for agent in env.agents)
    assert env.action_space("patch_3") == gym.spaces.Discrete(2)
    assert env.max_num_agents == 64
    assert np.array_equal(env.state(), observations["patch_9"])


@pytest.mark.parametrize("rewards", ["own", "team"])
def test_it_plays_the_game_of_the_single_environment(rewards):
    env, single = make(rewards=rewards), gym.make("maskgym:MaskMIMSmall-v0", split="val")
    asked = np.random.default_rng(0).integers(0, 2, 64)
    for seed in (3, None):
        observations, infos = env.reset(seed=seed)
        seen, info = single.reset(seed=seed)
        assert np.array_equal(observations["patch_0"], seen)
        assert infos["patch_0"] == info
        _, each, terminated, truncated, told = env.step({f"patch_{i}": one for i, one in enumerate(asked)})
        _, reward, _, _, info = single.step(asked)
        expected, mask = np.full(64, reward), info["mask"].ravel() == 1
        if rewards == "own":
            expected = info["patch_reward"].ravel()
            expected = np.where(mask, expected - expected[mask].mean(), expected)
        assert np.array_equal(list(each.values()), expected)
        assert all(type(one) is float for one in each.values())
        assert all(terminated.values())
        assert not any(truncated.values())
        assert [told[agent]["hidden"] for agent in each] == info["mask"].ravel().astype(bool).tolist()
        assert env.agents == []


def test_the_team_is_rewarded_together_unless_told_otherwise():
    env = make()
    env.reset(seed=0)
    assert len(set(env.step(dict.fromkeys(env.agents, 1))[1].values())) == 1
    assert (env.budget, env.ratio, env.grid) == (48, 0.75, (8, 8))


def test_under_own_rewards_asking_to_be_hidden_is_not_worth_it_by_itself():
    env = make(rewards="own")
    asked = np.random.default_rng(0).integers(0, 2, (40, 64))
    worth = {True: [], False: []}
    for row in asked:
        env.reset()
        _, each, _, _, told = env.step({f"patch_{i}": one for i, one in enumerate(row)})
        for agent, reward in each.items():
            worth[told[agent]["hidden"]].append(reward)
    assert abs(np.mean(worth[True])) < 1e-6 < np.mean(worth[False])


def test_options_and_pictures_are_those_of_the_single_environment():
    env = make(render_mode="rgb_array")
    assert env.reset(options={"index": 5})[1]["patch_0"] == {"index": 5}
    env.step(dict.fromkeys(env.agents, 1))
    assert env.render().shape[1] > 4 * 200
    env.close()


def test_misuse_is_refused_in_one_line():
    env = make()
    with pytest.raises(gym.error.ResetNeeded):
        env.step({})
    env.reset(seed=0)
    for actions, said in (
        ({}, "64 agents such as 'patch_0' are missing or unknown"),
        (dict.fromkeys([*env.agents, "patch_64"], 1), "1 agents such as 'patch_64'"),
    ):
        with pytest.raises(BadInput, match=said):
            env.step(actions)
    for keywords, said in (
        ({"rewards": "mine"}, "unknown rewards 'mine': choose one of team, own"),
        ({"action_type": "score"}, "action_type 'score': patch agents say 0 or 1"),
        ({"env_id": "CartPole-v1"}, "'CartPole-v1' is no masking game"),
        ({"rato": 0.5}, "did you mean 'ratio'"),
    ):
        with pytest.raises(BadInput, match=said):
            maskgym.parallel_env(**keywords)


def test_where_pettingzoo_is_missing_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("maskgym.envs.parallel.ParallelEnv", None)
    with pytest.raises(BadInput, match=r"parallel_env needs PettingZoo: pip install maskgym\[pettingzoo\]"):
        make()

"""What the games of several queries promise beyond those of one step."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import maskgym
from maskgym.drawing import HIDDEN, across
from maskgym.envs.registry import QUERY_IDS
from maskgym.errors import BadInput

SMALL = "maskgym:MaskMIMQuerySmall-v0"
modes = pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.value)
forms = pytest.mark.parametrize("observation", ["dict", "channels"])


def make(**keywords) -> gym.Env:
    return gym.make(SMALL, **{"split": "val", "queries": 5, **keywords})


def make_vec(num_envs: int = 4, **keywords) -> gym.vector.VectorEnv:
    return gym.make_vec(SMALL, num_envs=num_envs, **{"split": "val", "queries": 3, **keywords})


@forms
@pytest.mark.parametrize("env_id", QUERY_IDS)
def test_the_checkers_pass_without_a_warning(env_id, observation):
    from stable_baselines3.common.env_checker import check_env as check

    env = gym.make(f"maskgym:{env_id}", split="val", observation=observation, render_mode="rgb_array")
    check_env(env.unwrapped)
    check(env)


def test_the_return_is_the_best_reward_found_minus_that_of_the_baseline():
    env = make(queries=8)
    for seed in range(6):
        _, info = env.reset(seed=seed)
        rewards, found, ended = [], [info["baseline"]], False
        while not ended:
            _, reward, ended, truncated, told = env.step(env.action_space.sample())
            rewards.append(reward)
            found.append(float(told["patch_reward"].mean()))
            assert reward == pytest.approx(max(0.0, found[-1] - max(found[:-1])), abs=1e-6)
            assert told["best"] == pytest.approx(max(found), abs=1e-6)
            assert not truncated
        assert len(rewards) == told["queries"] == 8
        assert sum(rewards) == pytest.approx(max(found) - info["baseline"], abs=1e-6)


def test_a_step_shows_what_was_tried_and_the_best_so_far():
    env = make()
    seen, info = env.reset(seed=1)
    assert (seen["best_mask"] == seen["last_mask"]).all()
    assert seen["best_mask"].sum() == env.unwrapped.budget
    assert seen["best_reward"].mean() == pytest.approx(info["baseline"], rel=1e-5)
    assert seen["left"] == 1
    best = seen
    for step in range(4):
        after, reward, _, _, told = env.step(env.action_space.sample())
        np.testing.assert_array_equal(after["image"], seen["image"])
        np.testing.assert_array_equal(after["last_mask"], told["mask"].ravel())
        np.testing.assert_array_equal(after["last_reward"], told["patch_reward"].ravel())
        if reward > 0:
            best = {"best_mask": after["last_mask"], "best_reward": after["last_reward"]}
        np.testing.assert_array_equal(after["best_mask"], best["best_mask"])
        np.testing.assert_array_equal(after["best_reward"], best["best_reward"])
        assert after["left"] == pytest.approx(1 - (step + 1) / 5)


def test_channels_hold_what_the_dictionary_holds():
    named, stacked = make(), make(observation="channels")
    for env in (named, stacked):
        env.action_space.seed(0)
        env.reset(seed=3)
    for _ in range(2):
        seen, pixels = named.step(named.action_space.sample())[0], stacked.step(stacked.action_space.sample())[0]
    assert pixels.shape == (64, 64, 6)
    np.testing.assert_array_equal(pixels[..., :1], seen["image"])
    cells = pixels[::8, ::8].reshape(64, 6).astype(float)
    np.testing.assert_array_equal(cells[:, 1], 255 * seen["best_mask"].astype(int))
    np.testing.assert_array_equal(cells[:, 3], 255 * seen["last_mask"].astype(int))
    np.testing.assert_allclose(((cells[:, 2] - 128) / 64) ** 2, seen["best_reward"], atol=0.06)
    np.testing.assert_allclose(((cells[:, 4] - 128) / 64) ** 2, seen["last_reward"], atol=0.06)
    assert (pixels[..., 5] == int(255 * 0.6)).all()


def test_trying_the_best_mask_again_ends_the_episode_and_costs_nothing():
    env = make()
    seen, _ = env.reset(seed=0)
    seen, _, ended, _, _ = env.step(env.action_space.sample())
    assert not ended
    _, reward, ended, truncated, told = env.step(seen["best_mask"])
    assert (reward, ended, truncated, told["queries"]) == (0.0, True, False, 1)
    with pytest.raises(gym.error.ResetNeeded):
        env.unwrapped.step(seen["best_mask"])


def test_an_image_has_one_baseline_and_an_episode_random_numbers_of_its_own():
    env = make()
    runs = []
    for seed in (1, 2, 1):
        seen, info = env.reset(seed=seed, options={"index": 7})
        masks = [env.step(np.zeros(64))[4]["mask"] for _ in range(2)]  # completed at random
        assert (masks[0] != masks[1]).any()
        runs.append((seen["best_mask"], info["baseline"], masks[0]))
    assert (runs[0][0] == runs[1][0]).all()
    assert runs[0][1] == runs[1][1]
    assert (runs[0][2] != runs[1][2]).any()
    assert (runs[0][2] == runs[2][2]).all()


def agree(ours, theirs, key="") -> None:
    """Everything in Gymnasium's infos is in ours, for the sub-environments that have it there."""
    for name, value in theirs.items():
        if name.startswith("_"):
            assert not (value & ~ours[name]).any(), name
        elif isinstance(value, dict):
            agree(ours[name], value)
        elif name == "final_obs":
            for i in np.flatnonzero(theirs["_final_obs"]):
                same(ours[name][i], value[i])
        else:
            has = theirs[f"_{name}"]
            np.testing.assert_allclose(ours[name][has], value[has], atol=1e-4, err_msg=name)


def same(ours, theirs) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            same(ours[name], theirs[name])
    elif theirs.dtype == np.float32:
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    else:
        assert ours.dtype == theirs.dtype
        assert np.abs(ours.astype(int) - theirs).max() <= (theirs.ndim == 4)  # a patch reward near a grey's edge


@modes
@forms
def test_the_vector_plays_as_gymnasiums_own_of_single_environments(mode, observation):
    keywords = {"split": "val", "queries": 3, "observation": observation}
    ours = make_vec(observation=observation, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: gym.make(SMALL, **keywords)] * 4, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    (seen, told), (seen_there, told_there) = ours.reset(seed=11), theirs.reset(seed=11)
    same(seen, seen_there)
    agree(told, told_there)
    ours.action_space.seed(0)
    over = np.zeros(4, bool)
    for step in range(9):
        if mode is AutoresetMode.DISABLED and over.any():
            (seen, told), (seen_there, told_there) = (
                envs.reset(options={"reset_mask": over}) for envs in (ours, theirs)
            )
            same(seen, seen_there)
            agree(told, told_there)
        action = ours.action_space.sample()
        if step == 1:  # one of them stops here, and ends out of step with the others from now on
            best = seen["best_mask"] if observation == "dict" else (seen[:, ::8, ::8, 1] > 0).reshape(4, 64)
            action[2] = best[2]
        got, expected = ours.step(action), theirs.step(action)
        same(got[0], expected[0])
        np.testing.assert_allclose(got[1], expected[1], atol=1e-4)
        for part in (2, 3):
            np.testing.assert_array_equal(got[part], expected[part])
        agree(got[4], expected[4])
        seen, over = got[0], got[2]
        if step == 1:
            assert over.tolist() == [False, False, True, False]


def test_a_step_is_one_forward_for_all(monkeypatch):
    envs = make_vec(num_envs=6, queries=4, piece=64)
    envs.reset(seed=0, options={"index": np.arange(6)})
    calls = []
    network = envs.task.game.reconstructor
    network.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        envs.step(envs.action_space.sample())
    assert len(calls) == 3
    envs.reset(options={"index": np.arange(6)})  # met before: their baselines are known
    assert len(calls) == 3


def test_output_torch_and_repeat_work_here_too():
    envs = make_vec(num_envs=6, repeat=3, output="torch")
    seen, told = envs.reset(seed=0)
    assert all(isinstance(part, torch.Tensor) for part in seen.values())
    assert (told["index"].view(2, 3) == told["index"].view(2, 3)[:, :1]).all()
    best = told["baseline"]
    for _ in range(3):
        seen, _, ended, _, told = envs.step(torch.from_numpy(envs.action_space.sample()))
    assert ended.all()
    assert isinstance(told["final_info"]["best"], torch.Tensor)
    assert (told["final_info"]["best"] >= best - 1e-6).all()


def test_a_reward_that_compares_two_networks_costs_two_queries_a_mask():
    env = make(reward="relative")
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[4]["queries"] for _ in range(2)] == [2, 4]


def test_patches_play_it_as_agents():
    from pettingzoo.test import parallel_api_test

    env = maskgym.parallel_env(SMALL, split="val", queries=3)
    parallel_api_test(env, num_cycles=10)
    env.reset(seed=0)
    lengths = 0
    while env.agents:
        _, each, _, _, _ = env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        assert len(set(each.values())) == 1
        lengths += 1
    assert lengths == 3


def test_an_agent_that_sees_only_the_image_plays_it_and_stops_with_its_second_try():
    env = make()
    agent = maskgym.make_agent("variance", env)
    seen, info = env.reset(seed=0)
    seen, reward, ended, _, told = env.step(agent.act(seen))
    assert not ended
    assert reward == pytest.approx(told["best"] - info["baseline"], abs=1e-6)
    assert env.step(agent.act(seen))[2]


def test_pictures_show_the_search():
    env, envs = make(render_mode="rgb_array"), make_vec(2, queries=5, render_mode="rgb_array")
    env.reset(seed=1)
    envs.reset(seed=0)
    begun = env.render()
    assert [begun[60:160, across(place)].max() for place in range(1, 5)] == [0] * 4  # nothing but the image yet
    for _ in range(5):
        action = envs.action_space.sample()
        envs.step(action)
        env.step(action[1])
    picture = env.render()
    assert picture.shape == begun.shape
    assert (picture[:, across(4)] == HIDDEN).all(-1).any()  # the line of the best so far
    assert np.abs(envs.render()[1].astype(int) - picture).mean() < 0.5  # the finished search, not the next image


@pytest.mark.parametrize(
    ("policy", "observation"), [("MultiInputPolicy", "dict"), ("CnnPolicy", "channels"), ("patch", "channels")]
)
def test_stable_baselines_plays_it_with_every_policy(policy, observation):
    from stable_baselines3 import PPO

    from maskgym.envs.sb3 import PatchPolicy, make_sb3

    chosen = PatchPolicy if policy == "patch" else policy
    kwargs = {"width": 8, "dilations": (1,)} if policy == "patch" else {}
    for env in (
        make(observation=observation, queries=2),
        make_sb3(SMALL, 4, split="val", queries=2, observation=observation),
    ):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*truncated mini-batch")
            model = PPO(chosen, env, n_steps=8, batch_size=8, n_epochs=1, policy_kwargs=kwargs, device="cpu").learn(16)
    assert [episode["l"] for episode in model.ep_info_buffer] == [2] * 16
    assert all(episode["r"] >= 0 for episode in model.ep_info_buffer)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"queries": 0}, "queries 0 must be at least 1: an episode tries masks"),
        ({"queries": 2.5}, "queries 2.5 is of type float: give int"),
        ({"observation": "list"}, "unknown observation 'list': choose one of dict, channels"),
        ({"querys": 3}, "unknown keyword 'querys': did you mean 'queries'"),
    ],
)
def test_wrong_keywords_are_refused_in_one_line(keywords, said):
    for attempt in (make, make_vec):
        with pytest.raises(BadInput, match=said) as caught:
            attempt(**keywords)
        assert "\n" not in str(caught.value)

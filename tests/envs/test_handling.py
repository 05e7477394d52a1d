"""Environments in other hands: copied, pickled, recorded, drawn, run in child processes."""

import copy
import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo

from maskgym.drawing import across
from maskgym.envs.registry import IDS
from tests.envs.registered import ids, make, same


@ids
def test_nothing_handed_out_shares_memory_with_anything_else(env_id):
    env = make(env_id).unwrapped
    first, _ = env.reset(seed=0)
    after, _, _, _, told = env.step(np.ones(env.action_space.n))
    env.reset(seed=0)
    again, _, _, _, told_again = env.step(np.ones(env.action_space.n))
    arrays = [first, after, again, *(told[key] for key in ("mask", "patch_reward"))]
    arrays += [told_again[key] for key in ("mask", "patch_reward")]
    for i, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[i + 1 :])
        one[...] = 0  # and may be written into
    assert np.array_equal(env.reset(seed=0)[0], make(env_id).reset(seed=0)[0])


@ids
def test_a_deep_copy_plays_on_as_the_original_does(env_id):
    env = make(env_id)
    env.reset(seed=4)
    twin = copy.deepcopy(env)
    for one in (env, twin):
        one.action_space.seed(0)
    for _ in range(2):
        assert all(same(a, b) for a, b in zip(env.step(env.action_space.sample()),
                                              twin.step(twin.action_space.sample()), strict=True))  # fmt: skip
        assert same(env.reset()[1], twin.reset()[1])


@ids
def test_pictures_show_four_panels_and_after_a_reset_the_new_image(env_id):
    env = make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(env.action_space.sample())
    after = env.render()
    assert before.dtype == after.dtype == np.uint8
    assert before.shape == after.shape
    assert np.array_equal(before[:, across(0)], after[:, across(0)])
    assert before[60:160, across(1)].max() == 0 < after[60:160, across(1)].max()
    env.reset(options={"index": 3})
    following = env.render()
    assert following[60:160, across(1)].max() == 0
    assert not np.array_equal(following[:, across(0)], after[:, across(0)])
    assert make(env_id).unwrapped.render() is None


@ids
def test_a_spec_is_small_and_goes_through_pickle_and_json(env_id):
    spec = make(env_id, ratio=0.5, patch_size=8).spec
    assert len(pickle.dumps(spec)) < 2000
    for copied in (pickle.loads(pickle.dumps(spec)), EnvSpec.from_json(spec.to_json())):
        assert copied.kwargs == spec.kwargs
        env = gym.make(copied)
        assert env.unwrapped.task.settings == make(env_id, ratio=0.5).unwrapped.task.settings
    assert all(isinstance(value, str | int | float) for value in json.loads(spec.to_json())["kwargs"].values())


@ids
def test_statistics_and_videos_are_recorded(env_id, tmp_path):
    env = RecordEpisodeStatistics(make(env_id, render_mode="rgb_array"))
    env = RecordVideo(env, str(tmp_path / "videos"), episode_trigger=lambda episode: episode == 0, disable_logger=True)
    for episode in range(2):
        env.reset(seed=episode)
        _, reward, _, _, told = env.step(env.action_space.sample())
        assert told["episode"]["r"] == pytest.approx(reward)
        assert told["episode"]["l"] == 1
    env.close()
    assert [video.stat().st_size > 0 for video in tmp_path.glob("videos/*.mp4")] == [True]


def play_in_a_child(env_id: str) -> float:
    env = gym.make(f"maskgym:{env_id}", split="val")
    env.reset(seed=5)
    return env.step(np.ones(env.action_space.shape))[1]


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.slow
def test_a_child_process_finds_the_prefixed_ids(method):
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:  # raises if a child dies; a Pool waits
        rewards = list(pool.map(play_in_a_child, IDS))
    assert rewards == pytest.approx([play_in_a_child(env_id) for env_id in IDS], rel=1e-4)


@pytest.mark.slow
def test_environments_step_in_forked_children_of_a_process_that_computes_with_several_threads():
    program = """
import gymnasium as gym, torch
torch.set_num_threads(2)
make = lambda: gym.make("maskgym:MaskMIM-v0", split="val")
torch.rand(10**7).half().float()  # the threads are at work before the fork
env = gym.vector.AsyncVectorEnv([make, make], context="fork")
env.reset(seed=0)
print(env.step(env.action_space.sample())[1].min() > 0)
env.close()
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (told.stdout, told.returncode) == ("True\n", 0), told.stderr


def test_the_bare_id_is_known_after_importing_the_package():
    assert all(name in gym.registry for name in IDS)
    assert gym.make("MaskMIMSmall-v0", split="val").unwrapped.spec.id == "MaskMIMSmall-v0"

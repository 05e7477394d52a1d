"""What every registered environment promises, checked for each id."""

import copy
import json
import multiprocessing
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo

from maskgym.drawing import across
from maskgym.envs.registry import IDS
from maskgym.errors import BadInput

ids = pytest.mark.parametrize("env_id", IDS)


def make(env_id: str, **keywords) -> gym.Env:
    """The smallest split, which is made fastest; nothing here depends on which one it is."""
    return gym.make(f"maskgym:{env_id}", **{"split": "val", **keywords})


def same(first, second) -> bool:
    """Whether two observations or infos agree bit for bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return type(first) is type(second) and first == second


@ids
@pytest.mark.parametrize("action_type", ["mask", "score"])
def test_gymnasiums_checker_passes_without_a_warning(env_id, action_type):
    check_env(make(env_id, action_type=action_type).unwrapped)
    check_env(make(env_id, action_type=action_type, render_mode="rgb_array").unwrapped)
    with warnings.catch_warnings():  # of a wrapped environment it says that it had rather have a bare one
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version")
        check_env(make(env_id, action_type=action_type, render_mode="rgb_array"))


@ids
def test_the_checker_of_stable_baselines_passes_without_a_warning(env_id):
    from stable_baselines3.common.env_checker import check_env as check

    with warnings.catch_warnings():
        if len(make(env_id).observation_space.shape) == 4:  # of a volume it says that CnnPolicy cannot read it
            warnings.filterwarnings("ignore", message=".*unconventional shape")
        check(make(env_id))
        check(make(env_id).unwrapped)


@ids
def test_spaces_are_those_of_the_image_and_its_grid(env_id):
    env = make(env_id)
    patches = env.unwrapped.task.patches
    assert env.observation_space == gym.spaces.Box(0, 255, (*patches.size, 1), np.uint8)
    assert env.action_space == gym.spaces.MultiBinary(patches.count)
    assert make(env_id, action_type="score").action_space == gym.spaces.Box(-1, 1, (patches.count,), np.float32)


@ids
def test_a_game_is_one_step_and_tells_what_happened(env_id):
    env = make(env_id)
    grid = env.unwrapped.task.patches.grid
    observation, info = env.reset(seed=1)
    assert list(info) == ["index"]
    assert type(info["index"]) is int
    after, reward, terminated, truncated, told = env.step(env.action_space.sample())
    assert np.array_equal(after, observation)
    assert (terminated, truncated) == (True, False)
    assert type(reward) is float
    assert told["index"] == info["index"]
    assert (told["mask"].shape, told["mask"].dtype) == (grid, np.int8)
    assert told["mask"].sum() == env.unwrapped.task.game.budget == int(0.75 * np.prod(grid))
    assert (told["patch_reward"].shape, told["patch_reward"].dtype) == (grid, np.float32)
    assert reward == pytest.approx(told["patch_reward"].mean(), rel=1e-5)
    assert 0 <= told["lesion_cover"] <= 1
    assert set(told) == {"index", "mask", "patch_reward", "requested", "queries", "lesion_cover"}
    assert (type(told["requested"]), told["queries"]) == (int, 0)
    with pytest.raises(gym.error.ResetNeeded, match="the episode is over: call reset"):
        env.unwrapped.step(env.action_space.sample())
    assert (env.unwrapped.budget, env.unwrapped.ratio, env.unwrapped.grid) == (told["mask"].sum(), 0.75, grid)


@ids
def test_the_reward_is_the_loss_of_the_reconstruction_from_what_is_left(env_id):
    env = make(env_id)
    task = env.unwrapped.task
    _, info = env.reset(seed=1)
    asked = np.zeros(task.patches.count)
    asked[: task.game.budget] = 1
    reward = env.step(asked)[1]
    image = torch.tensor(np.array(task.images.images[info["index"]]))[None]
    mask = torch.tensor(asked.reshape(1, *task.patches.grid) > 0)
    seen = torch.where(task.patches.spread(mask), image.mean(), image)
    with torch.no_grad():
        error = (task.game.reconstructor(seen, mask) - image).square().mean()
    assert reward == pytest.approx(float(error), rel=1e-4)


@ids
def test_the_lesion_cover_is_the_share_of_lesion_patches_that_are_hidden(env_id):
    env = make(env_id, ratio=0.5)
    task = env.unwrapped.task
    for index in range(5):
        env.reset(seed=index, options={"index": index})
        told = env.step(env.action_space.sample())[4]
        label = torch.tensor(np.array(task.images.labels[index] > 0))[None].float()
        lesion = task.patches.mean(label)[0].numpy() > 0
        assert told["lesion_cover"] == pytest.approx((told["mask"][lesion] == 1).mean())


@ids
def test_the_same_seed_gives_the_same_run_bit_for_bit(env_id):
    runs = []
    for _ in range(2):
        env = make(env_id)
        env.action_space.seed(3)
        run = [env.reset(seed=7), env.step(env.action_space.sample())]
        for _ in range(3):
            run += [env.reset(), env.step(env.action_space.sample())]
        runs.append(run)
    for first, second in zip(*runs, strict=True):
        assert all(same(a, b) for a, b in zip(first, second, strict=True))


@ids
def test_other_seeds_show_other_images_and_resets_go_on(env_id):
    env = make(env_id)
    shown = [env.reset(seed=seed)[1]["index"] for seed in range(8)]
    assert len(set(shown)) > 4
    following = [env.reset()[1]["index"] for _ in range(8)]
    assert len(set(following)) > 4


@ids
def test_options_choose_the_image_and_random_numbers_go_on(env_id):
    env = make(env_id)
    images = env.unwrapped.task.images.images
    for index in (0, 7, np.int64(3), len(images) - 1):
        observation, info = env.reset(seed=0, options={"index": index})
        assert info["index"] == index
        assert np.abs(observation[..., 0].astype(float) - np.clip(images[index][0] * 32 + 128, 0, 255)).max() <= 1
    env.reset(seed=0, options={"index": 5})
    nobody = np.zeros(env.action_space.n)
    first = env.step(nobody)[4]["mask"]
    env.reset(options={"index": 5})
    assert not np.array_equal(env.step(nobody)[4]["mask"], first)


@ids
def test_an_action_may_be_flat_or_a_grid_of_any_type(env_id):
    env = make(env_id)
    task = env.unwrapped.task
    asked = np.zeros(task.patches.count, np.int8)
    asked[3 : 3 + task.game.budget] = 1
    grid = asked.reshape(task.patches.grid)
    forms = [asked, asked.astype(bool), asked.astype(np.float32), grid, grid.astype(np.float64), asked.tolist()]
    forms += [grid.tolist(), torch.tensor(asked), torch.tensor(grid, dtype=torch.bool), asked[::-1][::-1]]
    for form in forms:
        env.unwrapped.reset(seed=1)
        assert np.array_equal(env.unwrapped.step(form)[4]["mask"], grid)


def test_infos_say_how_many_patches_were_requested():
    env = make("MaskMIMSmall-v0")
    for number in (0, 5, 48, 64):
        env.reset(seed=0)
        told = env.step(np.arange(64) < number)[4]
        assert (told["requested"], told["mask"].sum()) == (number, 48)
    scored = make("MaskMIMSmall-v0", action_type="score")
    scored.reset(seed=0)
    assert scored.step(scored.action_space.sample())[4]["requested"] == 48


def test_what_an_agent_asks_between_reset_and_step_is_told_as_queries():
    env = make("MaskMIMSmall-v0")
    lent = env.unwrapped.task.lent
    images = env.unwrapped.task.fetch(np.array([0]))
    mask = torch.zeros(1, 5, 64, dtype=torch.bool)
    with torch.no_grad():
        lent.evaluate(images, mask)
        env.reset(seed=0)
        lent.evaluate(images, mask)
        lent.evaluate(images, mask[:, :2])
    assert env.step(env.action_space.sample())[4]["queries"] == 7
    env.reset()
    assert env.step(env.action_space.sample())[4]["queries"] == 0


@ids
def test_scores_hide_the_highest(env_id):
    env = make(env_id, action_type="score")
    env.reset(seed=0)
    scores = np.random.default_rng(0).permutation(env.action_space.shape[0]).astype(np.float32) / 1000
    mask = env.step(scores)[4]["mask"].ravel().astype(bool)
    assert scores[mask].min() > scores[~mask].max()


@ids
def test_the_hint_share_is_chosen_at_random(env_id):
    asked = np.zeros(make(env_id).action_space.n)
    asked[: int(0.75 * len(asked))] = 1
    granted = []
    for hint_share in (0.0, 0.5, 1.0):
        env = make(env_id, hint_share=hint_share)
        env.reset(seed=0)
        mask = env.step(asked)[4]["mask"].ravel()
        assert mask.sum() == asked.sum()
        granted.append(mask[asked == 1].mean())
    assert granted[0] == 1 > granted[1] > granted[2]


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
def test_a_child_process_finds_the_prefixed_ids(method):
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:  # raises if a child dies; a Pool waits
        rewards = list(pool.map(play_in_a_child, IDS))
    assert rewards == pytest.approx([play_in_a_child(env_id) for env_id in IDS], rel=1e-4)


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


def test_stepping_before_reset_is_refused():
    env = make("MaskMIMSmall-v0")
    with pytest.raises(gym.error.ResetNeeded):
        env.step(env.action_space.sample())
    with pytest.raises(gym.error.ResetNeeded):
        make("MaskMIMSmall-v0").unwrapped.step(env.action_space.sample())
    with pytest.raises(gym.error.ResetNeeded):
        make("MaskMIMSmall-v0", render_mode="rgb_array").unwrapped.render()


def test_images_of_other_shapes_work_where_the_reconstructor_takes_them():
    env = gym.make("maskgym:MaskMIM-v0", split="val", image_size="32x64", patch_size="8x16", ratio=0.4)
    observation, _ = env.reset(seed=0)
    assert observation.shape == (32, 64, 1)
    assert env.step(env.action_space.sample())[4]["mask"].sum() == int(0.4 * 16)


def test_keywords_are_checked_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("maskgym.envs.task.load", lambda *_a, **_k: pytest.fail("loaded"))
    with pytest.raises(BadInput, match="ratio"):
        make("MaskMIM-v0", ratio=2.0)

"""What every registered environment promises, checked for each id."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from maskgym.envs.registry import IDS
from maskgym.errors import BadInput
from tests.envs.registered import ids, make, same


@pytest.mark.parametrize(("env_id", "action_type"), [*((name, "mask") for name in IDS), ("MaskMIMSmall-v0", "score")])
def test_gymnasiums_checker_passes_without_a_warning(env_id, action_type):
    check_env(make(env_id, action_type=action_type).unwrapped)
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

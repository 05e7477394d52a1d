import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from maskgym.envs.registry import IDS
from maskgym.errors import BadInput

MODES = list(AutoresetMode)
modes = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)


def make_vec(env_id: str = "MaskMIMSmall-v0", num_envs: int = 6, **keywords) -> gym.vector.VectorEnv:
    return gym.make_vec(f"maskgym:{env_id}", num_envs=num_envs, **{"split": "val", **keywords})


def make_sync(env_id: str, num_envs: int, mode: AutoresetMode, **keywords) -> SyncVectorEnv:
    keywords = {"split": "val", **keywords}
    return SyncVectorEnv([lambda: gym.make(f"maskgym:{env_id}", **keywords)] * num_envs, autoreset_mode=mode)


def agree(ours, theirs) -> None:
    """Everything Gymnasium's infos hold is in ours: integers and booleans exactly, floats to 1e-4."""
    for key, value in theirs.items():
        if isinstance(value, dict):
            agree(ours[key], value)
        elif value.dtype == object:
            assert all(np.array_equal(a, b) for a, b in zip(ours[key], value, strict=True)), key
        elif value.dtype.kind == "f":
            np.testing.assert_allclose(ours[key], value, atol=1e-4, err_msg=key)
        else:
            np.testing.assert_array_equal(ours[key], value, err_msg=key)


@modes
@pytest.mark.parametrize("env_id", IDS)
def test_it_plays_as_gymnasiums_own_vector_of_single_environments(env_id, mode):
    ours, theirs = make_vec(env_id, 4, autoreset_mode=mode, piece=3), make_sync(env_id, 4, mode)  # 3 at once, then 1
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] is mode
    (seen, told), (seen_there, told_there) = ours.reset(seed=11), theirs.reset(seed=11)
    np.testing.assert_array_equal(seen, seen_there)
    agree(told, told_there)
    ours.action_space.seed(0)
    for step in range(5):
        if mode is AutoresetMode.DISABLED and step:
            everyone = np.ones(4, bool)
            seen, told = ours.reset(options={"reset_mask": everyone})
            seen_there, told_there = theirs.reset(options={"reset_mask": everyone})
            np.testing.assert_array_equal(seen, seen_there)
            agree(told, told_there)
        action = ours.action_space.sample()
        got, expected = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_allclose(got[1], expected[1], atol=1e-4)
        assert got[1].dtype == expected[1].dtype
        for part in (2, 3):
            np.testing.assert_array_equal(got[part], expected[part])
        agree(got[4], expected[4])


@modes
def test_a_part_can_be_reset_as_gymnasium_does(mode):
    ours, theirs = make_vec(autoreset_mode=mode), make_sync("MaskMIMSmall-v0", 6, mode)
    ours.reset(seed=2)
    theirs.reset(seed=2)
    ours.action_space.seed(0)
    some = np.array([True, False, True, True, False, False])
    ours.step(action := ours.action_space.sample())
    theirs.step(action)
    seeds = [90, None, None, 91, 92, 93]
    seen, told = ours.reset(seed=seeds, options={"reset_mask": some})
    seen_there, told_there = theirs.reset(seed=seeds, options={"reset_mask": some})
    np.testing.assert_array_equal(seen, seen_there)
    np.testing.assert_array_equal(told["_index"], told_there["_index"])
    np.testing.assert_array_equal(told["index"][some], told_there["index"][some])
    if mode is AutoresetMode.DISABLED:
        with pytest.raises(gym.error.ResetNeeded, match="reset finished sub-environments"):
            ours.step(action)
        return
    got, expected = ours.step(action), theirs.step(action)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_allclose(got[1], expected[1], atol=1e-4)
    np.testing.assert_array_equal(got[2], expected[2])
    if mode is AutoresetMode.NEXT_STEP:
        assert (got[1][~some] == 0).all()
        np.testing.assert_array_equal(got[4]["_patch_reward"], some)


@modes
def test_seeds_may_be_a_list(mode):
    seeds = [5, 1, 5, 8, 1, 0]
    seen, told = make_vec(autoreset_mode=mode).reset(seed=seeds)
    seen_there, told_there = make_sync("MaskMIMSmall-v0", 6, mode).reset(seed=seeds)
    np.testing.assert_array_equal(seen, seen_there)
    np.testing.assert_array_equal(told["index"], told_there["index"])
    assert told["index"][0] == told["index"][2]


@modes
def test_what_a_step_came_to_stands_at_the_top_of_infos_in_every_mode(mode):
    envs = make_vec(autoreset_mode=mode)
    _, shown = envs.reset(seed=0)
    _, reward, _, _, told = envs.step(envs.action_space.sample())
    assert told["patch_reward"].shape == told["mask"].shape == (6, 8, 8)
    assert told["_patch_reward"].all()
    np.testing.assert_allclose(told["patch_reward"].mean((1, 2)), reward, rtol=1e-5)
    np.testing.assert_array_equal(told["played"], shown["index"])
    assert (told["mask"].sum((1, 2)) == 48).all()


def test_the_same_seed_gives_the_same_run_bit_for_bit():
    runs = []
    for _ in range(2):
        envs = make_vec()
        envs.action_space.seed(1)
        run = [envs.reset(seed=3)[0]]
        for _ in range(3):
            seen, reward, _, _, told = envs.step(envs.action_space.sample())
            run += [seen, reward, told["patch_reward"], told["mask"], told["index"]]
        runs.append(run)
    assert all(np.array_equal(first, second) for first, second in zip(*runs, strict=True))


def test_random_numbers_go_on_for_longer_than_is_drawn_ahead():
    ours, lone = make_vec(num_envs=2), gym.make("maskgym:MaskMIMSmall-v0", split="val")
    _, told = ours.reset(seed=20)
    _, told_there = lone.reset(seed=21)
    for _ in range(70):
        assert told["index"][1] == told_there["index"]
        told = ours.step(np.zeros((2, 64)))[4]
        lone.step(np.zeros(64))
        _, told_there = lone.reset()


@modes
def test_repeat_shows_each_image_to_neighbours_with_random_numbers_of_their_own(mode):
    envs = make_vec(num_envs=12, repeat=4, autoreset_mode=mode)
    seen, told = envs.reset(seed=0)
    for _ in range(3):
        groups = told["index"].reshape(3, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) > 1
        assert (seen.reshape(3, 4, -1) == seen.reshape(3, 4, -1)[:, :1]).all()
        seen, _, _, _, told = envs.step(np.zeros((12, 64)))
        masks = told["mask"].reshape(3, 4, 64)
        assert (masks[:, 0] != masks[:, 1]).any(-1).all()
        if mode is AutoresetMode.DISABLED:
            seen, told = envs.reset()
        elif mode is AutoresetMode.NEXT_STEP:
            seen, _, _, _, told = envs.step(np.zeros((12, 64)))


@modes
def test_output_torch_gives_tensors_of_the_same_values(mode):
    here, there = make_vec(autoreset_mode=mode), make_vec(autoreset_mode=mode, output="torch")
    (seen, told), (tensor, told_there) = here.reset(seed=1), there.reset(seed=1)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(seen, tensor)
    np.testing.assert_array_equal(told["index"], told_there["index"])
    here.action_space.seed(0)
    action = here.action_space.sample()
    ours, theirs = here.step(action), there.step(torch.tensor(action))
    for one, other in zip(ours[:4], theirs[:4], strict=True):
        assert isinstance(other, torch.Tensor)
        np.testing.assert_allclose(one, other, rtol=1e-6)
    for key, value in ours[4].items():
        if key not in ("final_obs", "final_info"):
            assert isinstance(theirs[4][key], torch.Tensor), key
            np.testing.assert_allclose(value, theirs[4][key], rtol=1e-6)


def test_options_choose_one_image_for_all_or_one_for_each():
    envs = make_vec()
    assert (envs.reset(seed=0, options={"index": 9})[1]["index"] == 9).all()
    asked = [3, 1, 4, 1, 5, 9]
    np.testing.assert_array_equal(envs.reset(options={"index": asked})[1]["index"], asked)


def test_scores_and_grids_are_actions_too():
    envs = make_vec(action_type="score")
    envs.reset(seed=0)
    scores = np.random.default_rng(0).random((6, 8, 8), np.float32)
    mask = envs.step(scores)[4]["mask"].astype(bool)
    for i in range(6):
        assert scores[i][mask[i]].min() > scores[i][~mask[i]].max()


def test_it_draws_the_last_step_and_after_a_reset_the_new_image():
    envs = make_vec(num_envs=2, render_mode="rgb_array")
    single = gym.make("maskgym:MaskMIMSmall-v0", split="val", render_mode="rgb_array")
    envs.reset(seed=6)
    single.reset(seed=7)
    action = envs.action_space.sample()
    envs.step(action)
    single.step(action[1])
    first, second = envs.render()
    assert np.abs(second.astype(int) - single.render().astype(int)).max() <= 2
    envs.reset(options={"reset_mask": np.array([False, True]), "index": 3})
    single.reset(options={"index": 3})
    pictures = envs.render()
    assert np.array_equal(pictures[0], first)
    assert np.array_equal(pictures[1], single.render())


@modes
def test_a_part_of_a_group_that_is_reset_alone_is_shown_the_groups_image_again(mode):
    envs = make_vec(num_envs=6, repeat=3, autoreset_mode=mode)
    index = envs.reset(seed=0)[1]["index"]
    told = envs.reset(options={"reset_mask": np.array([True, False, False, True, True, True])})[1]
    assert told["index"][:3].tolist() == index[:3].tolist()
    assert len(set(told["index"][3:])) == 1
    assert told["index"][3] != index[3]


def test_what_is_handed_out_stays_as_it_was():
    envs = make_vec()
    seen, _ = envs.reset(seed=0)
    kept = seen.copy()
    first = envs.step(np.ones((6, 64)))
    rewards = first[4]["patch_reward"].copy()
    envs.step(np.ones((6, 64)))
    np.testing.assert_array_equal(seen, kept)
    np.testing.assert_array_equal(first[4]["patch_reward"], rewards)
    seen[:] = 0
    np.testing.assert_array_equal(envs.reset(seed=0)[0], kept)


def test_episode_statistics_are_recorded():
    envs = RecordEpisodeStatistics(make_vec())
    envs.reset(seed=0)
    for _ in range(2):
        _, reward, _, _, told = envs.step(envs.action_space.sample())
        np.testing.assert_allclose(told["episode"]["r"], reward, rtol=1e-6)
        assert (told["episode"]["l"] == 1).all()


def test_stepping_before_reset_is_refused():
    with pytest.raises(gym.error.ResetNeeded):
        make_vec().step(np.zeros((6, 64)))


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"num_envs": 0}, "num_envs 0 and repeat 1 must be positive"),
        ({"num_envs": 6, "repeat": 4}, "repeat must divide num_envs"),
        ({"output": "jax"}, "unknown output 'jax': choose one of numpy, torch"),
        ({"autoreset_mode": "Never"}, "unknown autoreset_mode 'Never': choose one of"),
        ({"render_mode": "human"}, "unknown render_mode 'human'"),
        ({"rato": 0.5}, "did you mean 'ratio'"),
    ],
)
def test_bad_keywords_are_refused_in_one_line(keywords, said):
    with pytest.raises(BadInput, match=said) as caught:
        make_vec(**keywords)
    assert "\n" not in str(caught.value)


def test_bad_seeds_masks_indices_and_actions_are_refused_in_one_line():
    envs = make_vec()
    for said, attempt in {
        "2 seeds for 6 sub-environments": lambda: envs.reset(seed=[1, 2]),
        "reset_mask must be 6 booleans": lambda: envs.reset(options={"reset_mask": np.ones(5, bool)}),
        "with at least one True": lambda: envs.reset(options={"reset_mask": np.zeros(6, bool)}),
        "out of range: the split has images 0 to 127": lambda: envs.reset(options={"index": [0, 1, 2, 3, 4, 128]}),
        "must be one number, or 6 of them": lambda: envs.reset(options={"index": [0, 1]}),
    }.items():
        with pytest.raises(BadInput, match=said) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    envs.reset(seed=0)
    with pytest.raises(BadInput, match=r"must be 6 times \(64,\) or \(8, 8\)"):
        envs.step(np.zeros((6, 63)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_plays_the_same_games():
    here, there = make_vec(), make_vec(device="cuda", output="torch")
    seen, _ = here.reset(seed=1)
    tensor, _ = there.reset(seed=1)
    assert tensor.device.type == "cuda"
    np.testing.assert_array_equal(seen, tensor.cpu())
    action = here.action_space.sample()
    ours, theirs = here.step(action), there.step(torch.tensor(action).cuda())
    np.testing.assert_allclose(ours[1], theirs[1].cpu(), atol=5e-3)
    np.testing.assert_array_equal(ours[4]["mask"], theirs[4]["mask"].cpu())

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from maskgym.envs.sb3 import PatchPolicy, PatchVecEnv, SB3VecEnv, make_sb3
from maskgym.errors import BadInput

SMALL = "maskgym:MaskMIMSmall-v0"
TINY = {"width": 8, "dilations": (1,)}  # a policy that is made and taught in no time


def native(env_id: str = SMALL, num_envs: int = 4, **keywords) -> gym.vector.VectorEnv:
    return gym.make_vec(env_id, num_envs=num_envs, **{"split": "val", **keywords})


def adapted(**keywords) -> SB3VecEnv:
    return make_sb3(**{"env_id": SMALL, "num_envs": 4, "split": "val", **keywords})


@pytest.mark.slow
def test_ppo_and_a2c_with_a_cnn_policy_play_the_id_as_it_is():
    PPO("CnnPolicy", "maskgym:MaskMIM-v0", n_steps=64, device="cpu").learn(128)
    A2C("CnnPolicy", "maskgym:MaskMIM-v0", device="cpu").learn(10)


def test_the_adapter_plays_as_sb3s_own_vector_of_single_environments():
    ours = adapted()
    theirs = DummyVecEnv([lambda: Monitor(gym.make(SMALL, split="val"))] * 4)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.seed(3) == theirs.seed(3)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    assert ours.reset_infos == theirs.reset_infos
    ours.action_space.seed(0)
    for _ in range(3):
        actions = np.stack([ours.action_space.sample() for _ in range(4)])
        got, expected = ours.step(actions), theirs.step(actions)
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_allclose(got[1], expected[1], atol=1e-4)
        assert got[1].dtype == expected[1].dtype == np.float32
        np.testing.assert_array_equal(got[2], expected[2])
        for info, info_there in zip(got[3], expected[3], strict=True):
            assert set(info) == set(info_there) - {"mask", "patch_reward"}
            np.testing.assert_array_equal(info["terminal_observation"], info_there["terminal_observation"])
            assert info["index"] == info_there["index"]
            assert info["TimeLimit.truncated"] == info_there["TimeLimit.truncated"]
            assert info["episode"]["r"] == pytest.approx(info_there["episode"]["r"], abs=1e-4)
            assert info["episode"]["l"] == 1
            assert info["lesion_cover"] == pytest.approx(info_there["lesion_cover"])


def test_arrays_come_into_the_infos_on_demand():
    env = adapted(arrays=True)
    env.reset()
    _, reward, _, infos = env.step(np.ones((4, 64)))
    assert [info["mask"].sum() for info in infos] == [48] * 4
    np.testing.assert_allclose([info["patch_reward"].mean() for info in infos], reward, rtol=1e-5)


def test_seeds_and_options_count_for_one_reset():
    env = adapted()
    env.seed(5)
    first = env.reset()
    assert not np.array_equal(env.reset(), first)
    env.seed(5)
    np.testing.assert_array_equal(env.reset(), first)
    env.set_options({"index": 7})
    env.reset()
    assert env.reset_infos == [{"index": 7}] * 4
    env.set_options([{"index": i} for i in (3, 1, 4, 1)])
    env.reset()
    assert [info["index"] for info in env.reset_infos] == [3, 1, 4, 1]
    env.reset()
    assert [info["index"] for info in env.reset_infos] != [3, 1, 4, 1]
    env.set_options([{"index": 3}, {}, {}, {}])
    with pytest.raises(BadInput, match="only some sub-environments have an index"):
        env.reset()


def test_attributes_methods_and_pictures_are_reached_through_the_adapter():
    env = adapted(render_mode="rgb_array")
    assert env.get_attr("render_mode", [0, 2]) == ["rgb_array"] * 2
    assert env.get_attr("repeat", 1) == [1]
    assert not env.has_attr("nonsense")
    env.set_attr("flag", 3)
    assert env.get_attr("flag") == [3] * 4
    with pytest.raises(BadInput, match="set it for all"):
        env.set_attr("flag", 4, indices=[0])
    assert env.env_is_wrapped(Monitor) == [True] * 4
    assert env.env_is_wrapped(gym.wrappers.TimeLimit, indices=0) == [False]
    env.reset()
    env.step(np.ones((4, 64)))
    (height, width, _), (tall, wide, _) = env.get_images()[0].shape, env.render().shape
    assert (tall, wide) == (2 * height, 2 * width)
    assert len(env.env_method("render", indices=[1, 2])) == 2
    env.close()


def test_learning_on_the_adapter_logs_episode_rewards_and_evaluates_without_a_warning():
    env = adapted()
    model = PPO("CnnPolicy", env, n_steps=4, batch_size=16, n_epochs=1, device="cpu", seed=0).learn(16)
    assert len(model.ep_info_buffer) == 16
    assert 0 < np.mean([info["r"] for info in model.ep_info_buffer]) < 5
    mean, _ = evaluate_policy(model, env, n_eval_episodes=8)
    assert mean > 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SB3VecEnv(native(autoreset_mode="NextStep")), "autoreset_mode NextStep: SB3 resets in the same step"),
        (lambda: SB3VecEnv(native(output="torch")), "output 'torch': SB3 works on numpy arrays"),
        (lambda: SB3VecEnv(gym.make(SMALL, split="val")), "is no native vector environment: make it with"),
        (lambda: make_sb3("CartPole-v1", 2), "is no native vector environment"),
        (lambda: PatchVecEnv(native("maskgym:MaskMIM3D-v0")), "this environment has volumes: use SB3VecEnv"),
        (lambda: PatchVecEnv(native(action_type="score")), "action_type 'score': patches say 0 or 1"),
        (lambda: PatchVecEnv(native(), window=4), "window 4 must be odd .*: take 5"),
        (lambda: PatchVecEnv(native(), window=3), "window 3 must be odd and at least 36 pixels wide .*: take 5"),
        (lambda: PPO(PatchPolicy, gym.make(SMALL, split="val", action_type="score")), "acts in MultiBinary"),
        (lambda: PPO(PatchPolicy, "CartPole-v1"), "acts in MultiBinary"),
        (
            lambda: PPO(PatchPolicy, gym.make(SMALL, split="val"), policy_kwargs={"patch_size": 16}),
            "64 bits do not fit images of 64x64 in patches of 16: pass policy_kwargs=",
        ),
        (
            lambda: PPO(PatchPolicy, gym.make(SMALL, split="val", patch_size="8x16")),
            "32 bits do not fit images of 64x64 in patches of 11: pass policy_kwargs=",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_adapted_is_refused_in_one_line(make, said):
    with pytest.raises(BadInput, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_patch_environment_shows_the_surroundings_of_its_patch():
    env = PatchVecEnv(native(num_envs=2))
    assert env.num_envs == 2 * 64
    assert env.observation_space == spaces.Box(0, 255, (40, 40, 1), np.uint8)
    assert env.action_space == spaces.Discrete(2)
    env.set_options([{"index": i // 64} for i in range(128)])
    windows = env.reset()
    images, _ = native(num_envs=2).reset(options={"index": [0, 1]})
    for image in range(2):
        padded = np.pad(images[image], ((16, 16), (16, 16), (0, 0)), constant_values=128)
        for number in range(64):
            row, column = divmod(number, 8)
            expected = padded[row * 8 : row * 8 + 40, column * 8 : column * 8 + 40]
            assert np.array_equal(windows[image * 64 + number], expected)


def test_a_patch_environment_rewards_every_patch_by_its_own_loss():
    env, vector = PatchVecEnv(native(num_envs=2), price=0.25), native(num_envs=2)
    env.seed(4)
    env.reset()
    vector.reset(seed=4)
    for seed in range(2):
        actions = np.random.default_rng(seed).integers(0, 2, 128)
        _, reward, done, infos = env.step(actions)
        told = vector.step(actions.reshape(2, 64))[4]
        np.testing.assert_allclose(reward, (told["patch_reward"] - 0.25 * told["mask"]).ravel(), rtol=1e-5)
        assert done.all()
        assert [info["index"] for info in infos] == told["played"].repeat(64).tolist()
        assert infos[9]["episode"]["r"] == pytest.approx(reward[9])


def test_ppo_learns_in_patch_environments_of_other_patch_shapes():
    env = PatchVecEnv(native(num_envs=2, patch_size="16x32"), window=3)
    assert env.observation_space.shape == (48, 96, 1)
    model = PPO("CnnPolicy", env, n_steps=2, batch_size=16, n_epochs=1, device="cpu").learn(32)
    assert len(model.ep_info_buffer) == 32


def test_the_patch_policy_takes_an_id_an_environment_a_vector_and_volumes(tmp_path):
    volumes = adapted(env_id="maskgym:MaskMIM3D-v0")
    for env in (SMALL, gym.make(SMALL, split="val", ratio=0.5), adapted(), volumes):
        model = PPO(
            PatchPolicy, env, n_steps=4, batch_size=4, n_epochs=1, policy_kwargs=dict(TINY), device="cpu"
        ).learn(8)
    A2C(PatchPolicy, adapted(), policy_kwargs=dict(TINY), device="cpu").learn(20)
    model.save(tmp_path / "model.zip")
    loaded = PPO.load(tmp_path / "model.zip", env=volumes, device="cpu")
    seen = volumes.reset()
    first, second = (one.predict(seen, deterministic=True)[0] for one in (model, loaded))
    np.testing.assert_array_equal(first, second)
    loaded.learn(8)


def test_a_policy_saved_alone_is_loaded_with_its_settings(tmp_path):
    env = adapted(patch_size=16, ratio=0.5)
    kwargs = {**TINY, "patch_size": 16, "ratio": 0.5}
    policy = PPO(PatchPolicy, env, n_steps=2, batch_size=4, policy_kwargs=kwargs, device="cpu").policy
    policy.save(tmp_path / "policy.pt")
    loaded = PatchPolicy.load(tmp_path / "policy.pt", device="cpu")
    assert (loaded.patch_size, loaded.ratio, loaded.width, loaded.dilations) == (16, 0.5, 8, (1,))
    seen = env.reset()
    np.testing.assert_array_equal(
        policy.predict(seen, deterministic=True)[0], loaded.predict(seen, deterministic=True)[0]
    )


@pytest.mark.parametrize("ratio", [0.75, 0.25])
def test_a_deterministic_action_asks_for_exactly_what_will_be_hidden(ratio):
    env = adapted(ratio=ratio, arrays=True)
    model = PPO(PatchPolicy, env, n_steps=2, batch_size=4, policy_kwargs={**TINY, "ratio": ratio}, device="cpu", seed=0)
    actions, _ = model.predict(env.reset(), deterministic=True)
    infos = env.step(actions)[3]
    assert np.array_equal(actions, np.stack([info["mask"].ravel() for info in infos]))


def test_a_sampled_action_asks_for_about_as_many_as_will_be_hidden_from_the_start():
    env = adapted(num_envs=16)
    model = PPO(PatchPolicy, env, n_steps=2, batch_size=4, device="cpu", seed=0)
    actions, _ = model.predict(env.reset())
    assert abs(actions.mean() - 0.75) < 0.05


class Bright(gym.Env):
    """Eight of sixteen patches are a little brighter; each of them named right is worth a sixteenth."""

    observation_space = spaces.Box(0, 255, (32, 32, 1), np.uint8)
    action_space = spaces.MultiBinary(16)
    render_mode = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bright = self.np_random.permutation(16) < 8
        raised = 36 * self.bright.reshape(4, 4).repeat(8, 0).repeat(8, 1)
        image = self.np_random.normal(110, 20, (32, 32)) + raised
        return image.clip(0, 255).astype(np.uint8)[..., None], {}

    def step(self, action):
        reward = float((action.astype(bool) == self.bright).mean())
        return np.zeros((32, 32, 1), np.uint8), reward, True, False, {}


def test_the_patch_policy_learns_which_patches_are_worth_it():
    env = DummyVecEnv([Bright] * 8)
    kwargs = {"ratio": 0.5, "width": 16, "dilations": (1,)}
    model = PPO(PatchPolicy, env, 2e-3, 32, 128, 4, policy_kwargs=kwargs, seed=0, device="cpu").learn(2048)
    env.seed(100)
    right = []
    for _ in range(8):
        actions, _ = model.predict(env.reset(), deterministic=True)
        right.append(actions == np.stack(env.get_attr("bright")))
    assert np.mean(right) > 0.9


def test_channels_are_found_first_or_last():
    for shape in ((32, 32, 3), (3, 32, 32)):
        policy = PatchPolicy(spaces.Box(0, 255, shape, np.uint8), spaces.MultiBinary(16), lambda _: 1e-3, **TINY)
        assert policy.features_extractor.net.layers[0].in_channels == 3
        with warnings.catch_warnings(), torch.no_grad():
            assert policy(torch.zeros(2, *shape))[0].shape == (2, 16)

import base64
import io
import random

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from maskgym.errors import BadInput


def decoded(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


@pytest.mark.parametrize(("game", "env_id"), [("small", "MaskMIMSmall-v0"), ("volumes", "MaskMIM3D-v0")])
def test_a_mask_of_k_patches_has_the_reward_that_the_environment_gives(session, game, env_id):
    env = gym.make(f"maskgym:{env_id}", split="test", ratio=0.5)
    for index in (0, 9):
        shown = session.image(game, 0.5, index)
        mask = random.Random(index).sample(range(env.action_space.n), shown["budget"])
        told = session.score(game, 0.5, index, mask, shown["plane"])
        env.reset(options={"index": index})
        action = np.zeros(env.action_space.n, np.int8)
        action[mask] = 1
        _, reward, _, _, info = env.step(action)
        assert told["reward"] == pytest.approx(reward, rel=1e-5)
        assert told["loss"] == pytest.approx(info["patch_reward"].flatten().tolist(), abs=1e-3)
        assert sorted(told["mask"]) == sorted(mask)


def test_too_few_patches_show_losses_but_no_reward(session):
    told = session.score("small", 0.75, 0, [1, 2, 3])
    assert told["reward"] is None
    assert told["points"] is None
    assert decoded(told["losses"]).shape[:2] == (8, 8)
    assert decoded(told["reconstruction"]).shape[:2] == (64, 64)


def test_par_has_100_points_and_agents_play_as_they_do_anywhere(session):
    from maskgym import make_agent

    assert session.play("small", 0.75, 3, "par")["points"] == pytest.approx(100, abs=0.5)
    env = gym.make("maskgym:MaskMIMSmall-v0", split="test")
    observation, _ = env.reset(options={"index": 3})
    assert (
        session.play("small", 0.75, 3, "variance")["mask"]
        == np.nonzero(make_agent("variance", env).act(observation))[0].tolist()
    )


def test_where_no_par_is_known_there_are_no_points_and_a_line_says_so(session):
    shown = session.image("small", 0.35, 0)
    assert shown["par"] is None
    assert shown["random"] > 0
    assert session.play("small", 0.35, 0, "random")["points"] is None
    with pytest.raises(BadInput, match="no par has been searched"):
        session.play("small", 0.35, 0, "par")


def test_a_volume_is_shown_slice_by_slice(session):
    shown = [session.image("volumes", 0.75, 2, plane)["image"] for plane in (3, 20)]
    assert shown[0] != shown[1]
    assert session.image("volumes", 0.75, 2, 99)["plane"] == 31


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (lambda s: s.image("nothing", 0.75, 0), "no game 'nothing'"),
        (lambda s: s.score("small", 0.75, 0, [64]), "out of range"),
        (lambda s: s.score("small", 0.75, 0, [-1]), "out of range"),
        (lambda s: s.play("small", 0.75, 0, "a3c:/etc"), "start it with --agent"),
    ],
)
def test_what_the_page_cannot_mean_is_refused(session, question, said):
    with pytest.raises(BadInput, match=said):
        question(session)


def test_the_query_game_is_played_as_the_environment_plays_it(session):
    env = gym.make("maskgym:MaskMIMQuerySmall-v0", split="test", queries=3)
    _, info = env.reset(options={"index": 4})
    begun = session.begin("small", 0.75, 4)
    assert begun["baseline"] == pytest.approx(info["baseline"])
    for step in range(3):
        mask = random.Random(step).sample(range(64), 48)
        action = np.zeros(64, np.int8)
        action[mask] = 1
        _, gain, over, _, info = env.step(action)
        told = session.query(begun["episode"], mask)
        assert (told["gain"], told["best"]) == pytest.approx((gain, info["best"]))
        assert told["left"] == 2 - step
        assert told["over"] == over
    with pytest.raises(BadInput, match="over: begin another"):
        session.query(begun["episode"], mask)
    with pytest.raises(BadInput, match="gone: begin another"):
        session.query("nothing", mask)


def test_only_the_newest_episodes_are_kept(session):
    first = session.begin("small", 0.75, 0)["episode"]
    for _ in range(8):
        session.begin("small", 0.75, 0)
    with pytest.raises(BadInput, match="gone"):
        session.query(first, list(range(48)))

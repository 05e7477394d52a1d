"""`mirror`: another agent's scores, averaged over the image and its mirror images."""

import gymnasium as gym
import pytest
import torch

from maskgym.errors import BadInput
from maskgym.registry import make_agent, within


def test_scores_are_the_mean_over_mirror_images_each_turned_back(make, images, game_spec, tmp_path):
    make("hpm", seed=5).save(tmp_path)
    start = make(f"hpm:{tmp_path}")
    last = game_spec.patches.dims
    across = start.score(images.flip(last + 1)).flip(last)
    told = make("mirror", start=f"hpm:{tmp_path}").score(images)
    torch.testing.assert_close(told, (start.score(images) + across) / 2)
    assert (told - start.score(images)).abs().max() > 1e-3
    every = make("mirror", start=f"hpm:{tmp_path}", flips="all")
    told = every.score(images)
    if last == 2:
        down, both = (start.score(images.flip([axis + 1 for axis in axes])).flip(axes) for axes in ([1], [1, 2]))
        torch.testing.assert_close(told, (start.score(images) + across + down + both) / 4)
    for axis in range(1, last + 1):  # a mirror image is scored alike, mirrored
        torch.testing.assert_close(told, every.score(images.flip(axis + 1)).flip(axis), rtol=1e-3, atol=1e-5)


def test_what_the_agent_asks_is_counted_each_time():
    env = gym.make("maskgym:MaskMIMSmall-v0", split="val", piece=16)
    images = env.unwrapped.task.fetch(torch.arange(3).numpy())
    for flips, images_shown in (("last", 2), ("all", 4)):
        make_agent(f"mirror?flips={flips}&start=loss-map?masks=3", env).score(images)
        assert env.unwrapped.task.meter.per_image(3) == images_shown * 3


@pytest.mark.parametrize("spec", ["mirror?start=loss-map?masks=2", "survey?start=loss-map?masks=2&queries=8"])
def test_the_network_of_a_pretraining_reaches_the_start(make, images, spec):
    assert make(spec).score(images).isfinite().all()  # attached alone, no game is lent


def test_a_search_starts_from_it(make, images, tmp_path):
    make("hpm", seed=5).save(tmp_path)
    spec = f"survey?start=mirror?start=hpm:{tmp_path}&queries=4"
    assert within(spec) == [spec, f"mirror?start=hpm:{tmp_path}", f"hpm:{tmp_path}"]
    first = next(iter(make(spec).anytime(images)))
    mirrored = make("mirror", start=f"hpm:{tmp_path}")
    assert torch.equal(first.mask, mirrored.to_mask(mirrored.score(images)))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mirror?start=random", "mirror.start=random has nothing to average: name an agent"),
        ("mirror?flips=both", "flips=both is unknown: choose last or all"),
        ("mirror?start=a3c", "mirror cannot start from 'a3c', which is untrained: give a3c:FOLDER"),
        ("survey?start=hpm", "survey cannot start from 'hpm', which is untrained: give hpm:FOLDER"),
        ("mirror?start=variences", "unknown agent 'variences': did you mean variance"),
    ],
)
def test_a_start_that_knows_nothing_is_refused(make, spec, says):
    with pytest.raises(BadInput, match=says):
        make(spec)

import numpy as np
import published
import pytest
import torch

from maskgym.data import splits
from maskgym.data.cases import Frames, open_cases
from maskgym.data.loader import Loader
from maskgym.errors import BadInput


@pytest.fixture
def frames(tmp_path):
    cases = open_cases(f"msd:{published.msd(tmp_path / 'set', cases=5)}?clip=0,100", "all")
    return Frames(cases, cases.view((6, 8, 6)))


def equal(one, other):
    return all((a is b is None) or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_depends_on_seed_and_step_alone(frames):
    how = {"crops": True, "foreground": 0.5, "labelled": True, "flips": (0, 2)}
    alone = [Loader(frames, 2, seed=3, workers=0, **how).make(step) for step in range(6)]
    resumed = list(Loader(frames, 2, seed=3, workers=3, **how).batches(2, 6))
    assert all(equal(a, b) for a, b in zip(alone[2:], resumed, strict=True))
    assert not torch.equal(alone[0].images, Loader(frames, 2, seed=4, workers=0, **how).make(0).images)
    again = [image.tobytes() for batch in alone for image in batch.images.numpy()]
    assert len(set(again)) == len(again)  # an image that comes back is cut elsewhere
    assert alone[0].images.shape == (2, 1, 6, 8, 6)
    assert alone[0].labels.shape == (2, 6, 8, 6)


def test_an_epoch_shows_every_image_once_and_flips_can_be_undone(frames):
    loader = Loader(frames, 1, flips=(0, 1, 2))
    batches = list(loader.batches(0, 5))
    assert sorted(int(batch.which) for batch in batches) == [0, 1, 2, 3, 4]
    assert torch.cat([batch.flipped for batch in batches]).any()
    for batch in batches:
        back = torch.flip(batch.images[0], [axis + 1 for axis in range(3) if batch.flipped[0, axis]])
        np.testing.assert_array_equal(back, frames.load(int(batch.which)))


def test_few_images_can_be_drawn_again_and_again(frames):
    loader = Loader(frames, 8, rows=[1, 3], replacing=True, crops=True, labelled=True)
    batch = loader.make(0)
    assert set(batch.which.tolist()) == {1, 3}
    assert len({image.numpy().tobytes() for image in batch.images}) == 8
    with pytest.raises(BadInput, match="batch 8"):
        Loader(frames, 8, rows=[1, 3])


def test_a_transform_gets_image_label_and_its_own_chance(frames):
    def brighter(image, label, rng):
        return image + rng.random(), label

    plain, other = (Loader(frames, 2, labelled=True, transform=how).make(0) for how in (None, brighter))
    change = (other.images - plain.images).flatten(1)
    assert (change.std(1) < 1e-5).all()
    assert change[0, 0] != change[1, 0]
    assert torch.equal(plain.labels, other.labels)


def test_a_crop_larger_than_a_case_is_refused_before_the_first_step(frames):
    large = Frames(frames.cases, frames.cases.view((64, 8, 6)))
    with pytest.raises(BadInput, match="hippocampus_001 is 10 x 16 x 12 and the crop 64 x 8 x 6"):
        Loader(large, 2, crops=True)
    padded = Frames(frames.cases, frames.cases.view((64, 8, 6), fit="pad"))
    assert Loader(padded, 2, crops=True).make(0).images.shape == (2, 1, 64, 8, 6)


def test_crops_are_padded_only_where_the_data_set_says_so(tmp_path):
    data = f"msd:{published.msd(tmp_path / 'set')}"
    with pytest.raises(BadInput, match="crop 64 x 8 x 6"):
        open_cases(data, "all").crops((64, 8, 6))
    crops = open_cases(f"{data}?fit=pad", "all").crops((64, 8, 6))
    assert crops.load(0).shape == (1, 64, 8, 6)
    assert crops.view.normalise == "case"


def test_so_many_images_are_spread_evenly_over_patients():
    patients = ["a"] * 50 + ["b"] * 3 + ["c"] * 40
    rows = splits.spread(patients, 13)
    chosen = [patients[row] for row in rows]
    assert [chosen.count(name) for name in "abc"] == [5, 3, 5]
    assert max(row for row in rows if row < 50) > 40
    assert splits.spread(patients, 1000) == list(range(93))
    assert len(splits.spread(patients, 2)) == 2


def test_phantoms_are_drawn_from_as_they_are(monkeypatch):
    cases = open_cases("phantoms?count=6", size=(32, 32))
    frames = Frames(cases, cases.view((32, 32)))
    np.testing.assert_array_equal(frames.load(4), cases[4].image)
    batch = Loader(frames, 2, crops=False, labelled=True).make(0)
    assert batch.images.shape == (2, 1, 32, 32)
    small = Frames(cases, cases.view((16, 16)))
    assert Loader(small, 2, crops=True, foreground=1.0, labelled=True).make(0).labels.flatten(1).any(1).all()

import json

import numpy as np
import pytest
import torch
from PIL import Image

from maskgym.data import splits
from maskgym.downstream.data import augment, draw, read
from maskgym.errors import BadInput

PEOPLE = [f"p{number:02d}" for number in range(20)]


@pytest.fixture
def folder(tmp_path):
    """Twenty people with three pictures each; classes a and b, of which b only in some."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for person in PEOPLE:
        for number in range(3):
            label = np.zeros((16, 16), np.uint8)
            label[4:9, 2:6] = 1
            label[10:12, 10:12] = 2 if int(person[1:]) % 4 == 0 else 1
            picture = random.integers(0, 255, (16, 16), np.uint8)
            Image.fromarray(picture).save(tmp_path / "set" / "images" / f"{person}_{number}.png")
            Image.fromarray(label).save(tmp_path / "set" / "masks" / f"{person}_{number}.png")
    return f"folder:{tmp_path / 'set'}?patient=^([^_]+)_&classes=a"


def both(folder):
    return folder.replace("classes=a", "classes=a,b")


@pytest.fixture
def one_class(folder, tmp_path):
    for path in (tmp_path / "set" / "masks").iterdir():
        label = np.array(Image.open(path))
        Image.fromarray(np.minimum(label, 1)).save(path)
    return folder


def test_a_small_share_lies_within_a_larger_one_and_no_patient_is_cut_in_two(one_class):
    shares = {share: read(one_class, (16, 16), share) for share in (0.05, 0.1, 0.5, 1.0)}
    people = {share: set(data.patients) for share, data in shares.items()}
    assert people[0.05] <= people[0.1] <= people[0.5] <= people[1.0] == set(shares[1.0].train.patients)
    assert len(people[0.05]) == 1
    assert len(people[0.5]) == 7
    assert all(len(data.rows) == 3 * len(people[share]) for share, data in shares.items())
    assert not people[1.0] & (set(shares[1.0].val.patients) | set(shares[1.0].test.patients))


def test_the_labelled_images_are_those_of_the_labelled_patients(one_class):
    data = read(one_class, (16, 16), 0.5)
    mine = [row for row, patient in enumerate(data.train.patients) if patient in data.patients]
    assert np.array_equal(data.rows, mine)
    images, _ = draw(data, 64, None, 0, 0, how="none")
    theirs = {image.tobytes() for image in data.train.images[mine]}
    assert {image.tobytes() for image in images.numpy()} <= theirs


def test_a_split_file_says_who_has_labels_and_gives_the_same_fingerprint(one_class, tmp_path):
    plain = read(one_class, (16, 16), 0.5)
    split = splits.by_patient(PEOPLE, 0, "folder")
    splits.save(split, tmp_path / "split.json")
    assert read(one_class, (16, 16), 0.5, str(tmp_path / "split.json")).patients == plain.patients
    assert plain.split == split.hash
    told = json.loads((tmp_path / "split.json").read_text())
    told["labelled"]["50%"] = told["train"][:2]
    del told["hash"]
    (tmp_path / "own.json").write_text(json.dumps(told))
    own = read(one_class, (16, 16), 0.5, str(tmp_path / "own.json"))
    assert list(own.patients) == told["train"][:2]


def test_as_many_patients_have_labels_as_are_asked_for(one_class):
    few, more = (read(one_class, (16, 16), 1.0, labels=count).patients for count in (2, 5))
    assert (len(few), len(more)) == (2, 5)
    assert set(few) < set(more)
    with pytest.raises(BadInput, match="labels 99 is more than the 14 training patients"):
        read(one_class, (16, 16), 1.0, labels=99)


def test_a_label_seed_chooses_other_patients(one_class):
    chosen = {read(one_class, (16, 16), 0.2, label_seed=seed).patients for seed in range(5)}
    assert len(chosen) > 1


def test_a_share_whose_patients_have_no_images_is_refused(one_class, tmp_path):
    split = splits.by_patient(PEOPLE, 0, "folder")
    splits.save(splits.Split("folder", 0, split.train, split.val, split.test, {"10%": ()}), tmp_path / "empty.json")
    with pytest.raises(BadInput, match=r"label share of 0\.1 leaves no patient"):
        read(one_class, (16, 16), 0.1, str(tmp_path / "empty.json"))


def test_a_class_that_no_labelled_patient_has_is_named(folder):
    read(both(folder), (16, 16), 1.0)
    with pytest.raises(BadInput, match=r"class 'b' is in no label of the 1 labelled patients \(p\d\d\)"):
        read(both(folder), (16, 16), 0.05, label_seed=first_seed_without_b())


def first_seed_without_b() -> int:
    train = splits.by_patient(PEOPLE, 0, "folder").train
    return next(seed for seed in range(99) if int(splits.labelled(train, 0.05, seed)[0][1:]) % 4)


def test_data_without_labels_is_refused(one_class, tmp_path):
    for path in (tmp_path / "set" / "masks").iterdir():
        path.unlink()
    (tmp_path / "set" / "masks").rmdir()
    with pytest.raises(BadInput, match="has no labels to learn from"):
        read(one_class, (16, 16), 0.5)


def test_a_split_file_of_another_data_set_is_refused(one_class, tmp_path):
    splits.save(splits.by_patient(PEOPLE, 0, "lgg"), tmp_path / "lgg.json")
    with pytest.raises(BadInput, match="was made for lgg, not for folder"):
        read(one_class, (16, 16), 0.5, str(tmp_path / "lgg.json"))


def test_a_batch_depends_on_seed_and_step_alone():
    data = read("phantoms", (32, 32), 0.01)
    first, again, later, other = (draw(data, 4, None, *key) for key in ((0, 3), (0, 3), (0, 4), (1, 3)))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], later[0])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("size", [(6, 8), (4, 6, 8)])
def test_labels_are_flipped_with_their_images(size):
    labels = torch.randint(0, 3, (64, *size), generator=torch.Generator().manual_seed(0))
    images = (labels[:, None] * 10).float()
    random = np.random.default_rng(0)
    for flips, ways in (("none", 1), ("last", 2), ("all", 2 ** len(size))):
        seen, told = augment(images, labels, random, flips)
        assert torch.equal((seen[:, 0] / 10).round().long().clamp(0, 2), told)
        unlike = {
            tuple(axis for axis in range(len(size)) if axis in axes)
            for before, after in zip(labels, told, strict=True)
            for axes in subsets(len(size))
            if torch.equal(before.flip(axes) if axes else before, after)
        }
        assert len(unlike) == ways


def subsets(count: int) -> list[list[int]]:
    return [[axis for axis in range(count) if number >> axis & 1] for number in range(2**count)]


def test_intensities_change_a_little_and_differ_from_image_to_image():
    images = torch.ones(32, 2, 8, 8)
    seen, _ = augment(images, torch.zeros(32, 8, 8, dtype=torch.long), np.random.default_rng(0))
    means = seen.mean((2, 3))
    assert 0.7 < means.min() < means.max() < 1.3
    assert len(means.unique()) == 64


def test_every_third_crop_lies_over_a_label_and_crops_stay_inside():
    data = read("phantoms", (32, 32), 0.01)
    images, labels = draw(data, 30, (8, 16), 0, 0)
    assert images.shape == (30, 1, 8, 16)
    assert labels.shape == (30, 8, 16)
    assert all(bool(label.any()) for label in labels[::3])
    assert not all(bool(label.any()) for label in labels)

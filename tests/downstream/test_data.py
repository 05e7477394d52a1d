import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskgym.data import splits
from maskgym.downstream.augment import Augment
from maskgym.downstream.data import Labelled, make_loader
from maskgym.downstream.data import read as read_labelled
from maskgym.downstream.settings import FineTune
from maskgym.errors import BadInput
from maskgym.training.fit import ahead

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


def settings(data: str, share: float = 1.0, split_file: str = "", **more) -> FineTune:
    size = "x".join(map(str, more.pop("size", (16, 16))))
    seed = more.pop("label_seed", "")
    return FineTune(
        out=Path("nowhere"), data=data, image_size=size, label_share=share, split_file=split_file,
        label_seed=str(seed), **more,
    )  # fmt: skip


def read(data: str, size: tuple[int, ...], share: float, split_file: str = "", **more) -> Labelled:
    return read_labelled(settings(data, share, split_file, size=size, **more))


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
    assert (
        people[0.05] <= people[0.1] <= people[0.5] <= people[1.0] == set(splits.by_patient(PEOPLE, 0, "folder").train)
    )
    assert len(people[0.05]) == 1
    assert len(people[0.5]) == 7
    assert all(len(data.train) == 3 * len(people[share]) for share, data in shares.items())
    others = {case.patient for part in (shares[1.0].val, shares[1.0].test) for case in part}
    assert not people[1.0] & others


@pytest.mark.parametrize("window", ["", "8x8"])
def test_batches_hold_images_of_the_labelled_patients_alone(one_class, window):
    chosen = settings(one_class, 0.3, batch=16, window=window, augment="none")
    data = read_labelled(chosen)
    loader = make_loader(data, chosen)
    shown = {loader.source.patients[row] for step in range(8) for row in loader.make(step).which.tolist()}
    assert shown == set(data.patients)
    assert len(shown) == 4


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


def test_augmentation_is_that_of_seed_and_step_alone_in_any_thread(one_class):
    for how in ("light", "full"):
        chosen = settings(one_class, batch=4, augment=how, seed=3)
        data = read_labelled(chosen)
        alone = [make_loader(data, chosen).make(step) for step in range(6)]
        together = list(ahead(make_loader(data, chosen).make, 2, 6, workers=3))
        for first, second in zip(alone[2:], together, strict=True):
            assert torch.equal(first.images, second.images)
            assert torch.equal(first.labels, second.labels)
        assert not torch.equal(alone[0].images, alone[1].images)


def pair(size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A block that is brighter than what is round it, with its label."""
    label = np.zeros(size, np.uint8)
    label[tuple(slice(side // 4, side // 2) for side in size)] = 1
    return np.stack([4.0 * label, -4.0 * label]).astype(np.float32), label


@pytest.mark.parametrize("how", ["light", "full"])
@pytest.mark.parametrize("size", [(24, 32), (16, 20, 24)])
def test_labels_stay_on_what_they_label(how, size):
    image, label = pair(size)
    changed, kept, moved = Augment(how, len(size)), [], 0
    for seed in range(20):
        seen, told = changed(image, label, np.random.default_rng(seed))
        assert seen.shape == image.shape
        assert told.shape == label.shape
        assert told.dtype == label.dtype
        bright = seen[0] > (seen[0].max() + seen[0].min()) / 2
        kept.append(2 * (bright & (told > 0)).sum() / (bright.sum() + (told > 0).sum()))
        moved += not np.array_equal(told, label)
    assert np.median(kept) > 0.9
    assert (moved > 2) == (how == "full")


def test_light_changes_are_small_and_differ_from_channel_to_channel():
    images = [Augment("light", 2)(np.ones((2, 8, 8), np.float32), None, np.random.default_rng(n))[0] for n in range(32)]
    means = np.stack(images).mean((2, 3))
    assert 0.7 < means.min() < means.max() < 1.3
    assert len(np.unique(means)) == 64


def test_every_third_crop_of_a_native_image_lies_over_a_label():
    chosen = settings("phantoms", 0.01, size=(64, 64), window="8x8", batch=64, augment="none")
    data = read_labelled(chosen)
    batch = make_loader(data, chosen).make(0)
    assert batch.images.shape == (64, 1, 8, 8)
    assert batch.labels.shape == (64, 8, 8)
    share = float(batch.labels.flatten(1).any(1).float().mean())
    everywhere = np.mean([case.label.mean() for case in data.train])
    assert 0.3 < share < 0.75
    assert everywhere < 0.1

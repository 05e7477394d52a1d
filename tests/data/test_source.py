import subprocess
import sys

import numpy as np
import published
import pytest

from maskgym.data import phantoms, splits
from maskgym.data.source import SPLITS, load
from maskgym.data.spec import Options, explained, parse
from maskgym.errors import BadInput


@pytest.fixture
def quick_phantoms(monkeypatch):
    """Phantoms that are quick to make and say where they come from."""

    def make(seed, indices, size, anatomy=False):
        images = np.zeros((len(indices), 1, *size), np.float32)
        images[:, 0, 0].T[...] = indices + seed * 10_000_000
        return images, np.zeros((len(indices), *size), np.uint8)

    monkeypatch.setattr(phantoms, "make", make)
    monkeypatch.setattr(phantoms, "VERSION", 10_000)


@pytest.mark.parametrize(("size", "train"), [((8, 8), 2048), ((4, 4, 4), 1024)])
def test_the_splits_of_phantoms_never_overlap(quick_phantoms, size, train):
    parts = [load("phantoms", size=size, split=split) for split in SPLITS]
    assert [len(part) for part in parts] == [train, 128, 128]
    assert len({name for part in parts for name in part.ids}) == train + 256
    firsts = [int(part.images[0].max()) for part in parts]
    assert firsts == [0, 1_000_000, 2_000_000]
    assert parts[0].size == size


def test_another_seed_makes_other_phantoms(quick_phantoms):
    assert load("phantoms?seed=3", size=(8, 8)).images[0].max() == 30_000_000


def test_more_phantoms_to_train_on_begin_with_the_usual_ones_and_leave_val_alone(quick_phantoms):
    usual, more = load("phantoms", size=(4, 4)), load("phantoms?count=2100", size=(4, 4))
    np.testing.assert_array_equal(more.images[:2048], usual.images)
    assert len(set(more.ids)) == 2100
    assert len(load("phantoms?count=5", size=(4, 4))) == 5
    assert load("phantoms?count=2100", size=(4, 4), split="val").ids == load("phantoms", size=(4, 4), split="val").ids


def test_anatomy_names_its_classes():
    images = load("phantoms?labels=anatomy&count=40", size=(32, 32))
    assert images.classes == ("wall", "cavity", "organ_flat", "organ_fibrous", "organ_speckled", "vessel", "lesion")
    assert images.labels.max() == 7
    np.testing.assert_array_equal(images.lesion(slice(None)), images.labels == 7)
    plain = load("phantoms?count=40", size=(32, 32))
    np.testing.assert_array_equal(plain.lesion(np.arange(40)), images.labels == 7)


def test_real_phantoms_are_zscored_and_have_lesions():
    images = load("phantoms", size=(32, 32), split="val")
    assert images.classes == ("lesion",)
    assert np.abs(images.images.mean((2, 3))).max() < 1e-4
    assert images.labels.any()


def test_phantoms_take_no_split_file():
    with pytest.raises(BadInput, match="split file"):
        load("phantoms", size=(8, 8), split_file="split.json")


def test_a_split_file_decides_who_is_where(tmp_path):
    data = f"lgg:{published.lgg(tmp_path / 'set', patients=6)}"
    file = tmp_path / "split.json"
    whole = splits.by_patient([f"TCGA_CS_{4000 + n}_1996" for n in range(6)], seed=5, dataset="lgg")
    splits.save(whole, file)
    for part in SPLITS:
        assert set(load(data, size=(16, 16), split=part, split_file=str(file)).patients) == set(whole.of(part))
        assert set(load(f"{data}?seed=5", size=(16, 16), split=part).patients) == set(whole.of(part))


def test_a_split_file_of_other_people_is_refused(tmp_path):
    data = f"lgg:{published.lgg(tmp_path / 'set')}"
    splits.save(splits.by_patient("abcd", dataset="lgg"), tmp_path / "strangers.json")
    with pytest.raises(BadInput, match="who is not in"):
        load(data, size=(16, 16), split_file=str(tmp_path / "strangers.json"))
    splits.save(splits.by_patient("abcd", dataset="busi"), tmp_path / "busi.json")
    with pytest.raises(BadInput, match="made for busi"):
        load(data, size=(16, 16), split_file=str(tmp_path / "busi.json"))


def test_another_cache_folder_can_be_chosen(tmp_path, cache_folder, quick_phantoms):
    load("phantoms", size=(8, 8), cache=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere").is_dir()
    assert not cache_folder.exists()


def test_every_option_has_a_sentence_that_the_docs_repeat(request):
    page = (request.config.rootpath / "docs" / "data.md").read_text()
    names = [name for name, _, _ in explained()]
    assert len(names) == len(Options.__dataclass_fields__)
    for name, default, sentence in explained():
        assert f"| `{name}` | {f'`{default}` ' if default else ''}| {sentence} |" in page


def test_options_are_read_with_their_types():
    options = parse("folder:/a?axis=1&body=0.5&patient=^(%5Cd+)&fit=pad").options
    assert options == Options(axis=1, body=0.5, patient=r"^(\d+)", fit="pad")


def test_importing_the_source_brings_no_heavy_reader():
    heavy = {"torch", "nibabel", "scipy", "pydicom", "tifffile", "PIL", "rich", "matplotlib", "monai"}
    code = f"import sys, maskgym.data.source; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"

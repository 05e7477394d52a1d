"""Cases at native resolution: prepared once, found again, laid back on their own grid."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import published
import pytest

from maskgym.data import prepare
from maskgym.data.cases import Frames, open_cases
from maskgym.data.measure import Tone, measure
from maskgym.data.save import save_labels
from maskgym.errors import BadInput

TURNED = np.array([[0, 0, -1.5, 7], [2, 0, 0, 0], [0, -3.0, 0, 11], [0, 0, 0, 1]])  # of (y, -z, -x), in mm


def volumes(folder, cases=3, affine=None, shape=(12, 16, 10)):
    for number in range(cases):
        rng = np.random.default_rng(number)
        volume = rng.integers(0, 900, shape).astype(np.int16)
        published.nifti(folder / "images" / f"{number}.nii.gz", volume, affine)
        published.nifti(folder / "masks" / f"{number}.nii.gz", (volume > 700).astype(np.uint8), affine)
    return f"folder:{folder}"


def store_of(cache_folder, layout="folder"):
    return cache_folder / "cases" / layout


def test_a_case_keeps_its_resolution_number_type_spacing_and_affine(tmp_path):
    case = open_cases(volumes(tmp_path, affine=TURNED), "all")[0]
    assert case.image.dtype == np.int16
    assert case.image.shape == (1, *case.shape) == (1, 16, 12, 10)
    np.testing.assert_allclose(case.spacing, (3, 2, 1.5))
    np.testing.assert_array_equal(case.affine, TURNED)
    np.testing.assert_array_equal(case.label > 0, case.image[0] > 700)
    assert isinstance(case.image.base, np.memmap) or isinstance(case.image.base.base, np.memmap)


def test_labels_are_written_so_that_they_lie_on_their_image(tmp_path):
    import nibabel

    dataset = volumes(tmp_path / "set", affine=TURNED)
    case = open_cases(dataset, "all")[1]
    written = nibabel.load(save_labels(case, np.asarray(case.label), tmp_path / "out"))
    truth = nibabel.load(tmp_path / "set" / "masks" / f"{case.id}.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(truth.dataobj))
    np.testing.assert_array_equal(written.affine, truth.affine)


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        ((16, 12, 10), {}),
        ((32, 24, 20), {}),
        ((40, 40, 40), {"fit": "pad"}),
        ((48, 24, 15), {"spacing": (1.0,), "fit": "pad"}),
        ((12, 10), {}),
        ((16, 10), {"axis": 1}),
        ((32, 12), {"axis": 0, "slices": "all"}),
        ((60, 50), {"axis": 0, "slices": "all", "spacing": (1.5, 1.0, 1.0), "fit": "pad"}),
    ],
    ids=str,
)
def test_what_a_view_shows_goes_back_to_where_it_came_from(tmp_path, size, changes):
    cases = open_cases(volumes(tmp_path, affine=TURNED), "all")
    view = cases.view(size, **{"slices": "all", **changes})
    for case in cases:
        indices = [index for each, index in Frames(cases, view).items if each is case]
        shown = np.stack([view.label(case, index) for index in indices])
        np.testing.assert_array_equal(view.to_native(case, shown, indices), case.label)


def test_probabilities_go_back_finer_than_labels(tmp_path):
    z, y, x = np.indices((24, 24, 24))
    ball = ((z - 11.3) ** 2 + (y - 12.1) ** 2 + (x - 11.8) ** 2 < 70).astype(np.uint8)
    published.nifti(tmp_path / "images" / "a.nii.gz", ball.astype(np.float32) * 100 + z)
    published.nifti(tmp_path / "masks" / "a.nii.gz", ball)
    cases = open_cases(f"folder:{tmp_path}", "all")
    view, case = cases.view((8, 8, 8)), cases[0]
    from maskgym.data.grid import resize

    share = resize(np.asarray(case.label)[None].astype(np.float32), (8, 8, 8))
    fine = view.to_native(case, np.concatenate([1 - share, share])[None])
    coarse = view.to_native(case, (share > 0.5).astype(np.uint8))

    def dice(answer):
        return 2 * (answer * case.label).sum() / (answer.sum() + case.label.sum())

    assert dice(fine) > dice(coarse) + 0.02 > 0.85


def test_a_crop_shows_native_voxels_and_labels_that_belong_together(tmp_path):
    cases = open_cases(f"{volumes(tmp_path)}?clip=0,100", "all")
    view, case = cases.view((4, 6, 5)), cases[0]
    rng = np.random.default_rng(0)
    everything = view.whole(case).load(case)[0]
    places = set()
    for _ in range(20):
        image, label = view.crop(case, 0, rng)
        found = np.argwhere(np.isclose(everything, image[0, 0, 0, 0], atol=1e-6))
        cuts = [tuple(slice(at, at + n) for at, n in zip(corner, view.size, strict=True)) for corner in found]
        (cut,) = [cut for cut in cuts if everything[cut].shape == view.size and np.allclose(image[0], everything[cut])]
        np.testing.assert_array_equal(label, case.label[cut])
        places.add(str(cut))
    assert len(places) > 10


@pytest.mark.parametrize(("size", "axis", "index"), [((5, 5, 5), 2, 0), ((5, 5), 2, 9), ((5, 5), 1, 4)])
def test_crops_over_the_foreground_show_it(tmp_path, size, axis, index):
    label = np.zeros((24, 24, 24), np.uint8)
    label[3:5, 18:20, 9:11], label[20, 5, 9] = 1, 2  # x, y, z
    label[2:4, 19, 14:16], label[20, 19, 3] = 1, 2
    published.nifti(tmp_path / "images" / "a.nii.gz", np.random.default_rng(0).random((24, 24, 24)))
    published.nifti(tmp_path / "masks" / "a.nii.gz", label)
    cases = open_cases(f"folder:{tmp_path}?classes=a,b", "all")
    view, rng = cases.view(size, axis=axis), np.random.default_rng(0)
    shown = [view.crop(cases[0], index, rng, foreground=1.0)[1] for _ in range(30)]
    assert all(label.any() for label in shown)
    assert 5 < sum(2 in label for label in shown) < 25  # classes are drawn evenly, however small
    assert sum(view.crop(cases[0], index, rng)[1].any() for _ in range(30)) < 20


def test_trimming_looks_at_the_body_only(tmp_path):
    volume = np.zeros((20, 24, 16), np.float32)
    volume[4:12, 6:20, 5:9] = 50 + np.random.default_rng(0).random((8, 14, 4))
    volume[:, :, 8] /= 100  # within the box, a slice with next to nothing on it
    volume[6:10, 8:14, 8] = 60
    published.nifti(tmp_path / "images" / "a.nii.gz", volume)
    published.nifti(tmp_path / "masks" / "a.nii.gz", (volume > 50.5).astype(np.uint8))
    cases = open_cases(f"folder:{tmp_path}?trim=body", "all")
    case = cases[0]
    assert cases.view((4, 4, 4)).grid(case) == (4, 14, 8)
    slices = cases.view((14, 8), body=0.15)
    assert slices.shown(case)[0] == [0, 1, 2]  # of the box, whose slice 3 is bare
    answers = np.stack([slices.label(case, index) for index in range(4)])
    np.testing.assert_array_equal(slices.to_native(case, answers, range(4)), case.label)


def test_slices_with_labels_can_be_asked_for(tmp_path):
    cases = open_cases(f"msd:{published.msd(tmp_path)}?slices=labelled", "all")
    frames = Frames(cases, cases.view((12, 10)))
    assert len(frames) == sum(len(case.marked[0]) for case in cases) > 0
    assert all(frames.label(number).any() for number in range(len(frames)))


def test_normalising_by_the_case_keeps_what_tells_its_slices_apart(tmp_path):
    def spread(normalise):
        cases = open_cases(f"{dataset}?body=0&normalise={normalise}&window=0,100", "all")
        frames = Frames(cases, cases.view((8, 8)))
        return np.ptp([frames.load(number).mean() for number in range(len(frames))])

    volume = np.random.default_rng(0).random((8, 8, 6)) + np.arange(6) * 10
    published.nifti(tmp_path / "images" / "a.nii.gz", volume)
    dataset = f"folder:{tmp_path}"
    assert spread("image") < 1e-5
    assert spread("case") > 2
    assert 0.9 < spread("window") < 1.1


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32])
@pytest.mark.parametrize("zscore", ["all", "nonzero"])
def test_what_is_measured_is_what_numpy_says(kind, zscore):
    pixels = np.random.default_rng(0).integers(0, 200, (2, 7, 8, 9)).astype(kind)
    pixels[:, :3] = 0
    told = measure(pixels, Tone(None, (2, 97), zscore))
    for channel, layer in enumerate(pixels):
        seen = layer[layer != 0] if zscore == "nonzero" else layer.ravel()
        low, high = np.percentile(seen, (2, 97))
        clipped = np.clip(seen.astype(float), low, high)
        expected = (low, high, clipped.mean(), clipped.std())
        got = [told[name][channel] for name in ("low", "high", "mean", "deviation")]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_many_processes_prepare_what_one_does(tmp_path, cache_folder):
    dataset = f"msd:{published.msd(tmp_path / 'set', cases=6)}"
    many = open_cases(dataset, "all", workers=2, cache=cache_folder / "many")
    one = open_cases(dataset, "all", workers=1, cache=cache_folder / "one")
    for a, b in zip(many, one, strict=True):
        assert a.page["sha256"] == b.page["sha256"]
        assert a.measured(Tone()) == b.measured(Tone())


def test_a_preparation_that_is_killed_goes_on_where_it_was(tmp_path, cache_folder, monkeypatch):
    dataset = f"msd:{published.msd(tmp_path / 'set', cases=8)}"
    script = f"""
import time, maskgym.data.prepare as prepare
plain = prepare.prepare_one
def slow(*arguments):
    time.sleep(0.1)
    return plain(*arguments)
prepare.prepare_one = slow
from maskgym.data.cases import open_cases
open_cases({dataset!r}, "all")
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    while len(list(store_of(cache_folder, "msd").glob("[!.]*.json"))) < 4:  # the store's own and three cases
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (store_of(cache_folder, "msd") / ".draft.npy").write_bytes(b"half")
    opened = []
    plain = prepare.examine
    monkeypatch.setattr(prepare, "examine", lambda case, found: opened.append(case) or plain(case, found))
    assert len(open_cases(dataset, "all")) == 8
    assert len(opened) < 6
    assert not list(store_of(cache_folder, "msd").glob(".*"))


def test_one_bad_file_stops_with_its_name_and_keeps_what_was_prepared(tmp_path, cache_folder):
    published.msd(tmp_path, cases=5)
    broken = tmp_path / "imagesTr" / "hippocampus_004.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    for workers in (1, 2):
        with pytest.raises(BadInput, match="hippocampus_004.*cannot be read"):
            open_cases(f"msd:{tmp_path}", "all", workers=workers)
    kept = len(list(store_of(cache_folder, "msd").glob("*.image.npy")))
    assert kept >= 3
    assert len(open_cases(f"msd:{tmp_path}?bad=skip", "all")) == 4


def test_a_set_without_one_usable_case_is_refused(tmp_path):
    published.msd(tmp_path, cases=2)
    for file in tmp_path.glob("imagesTr/h*"):
        file.write_bytes(b"")
    with pytest.raises(BadInput, match="no case of .* can be used"):
        open_cases(f"msd:{tmp_path}?bad=skip", "all")


def test_a_case_whose_array_was_cut_short_is_prepared_again(tmp_path, cache_folder):
    dataset = volumes(tmp_path)
    case = open_cases(dataset, "all")[0]
    file = case.store.path(case.key, "image")
    file.write_bytes(file.read_bytes()[:-9])
    again = open_cases(dataset, "all")[0]
    np.testing.assert_array_equal(again.label > 0, again.image[0] > 700)


def test_a_case_that_rotted_is_found_by_its_hash(tmp_path):
    cases = open_cases(volumes(tmp_path), "all")
    assert all(case.store.sound(case.key) for case in cases)
    file = cases[1].store.path(cases[1].key, "image")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    assert [case.store.sound(case.key) for case in cases] == [True, False, True]


def test_a_store_of_another_version_is_left_alone(tmp_path, cache_folder):
    dataset = volumes(tmp_path)
    open_cases(dataset, "all")
    about = store_of(cache_folder) / "store.json"
    about.write_text(json.dumps({"version": 99}))
    before = sorted(os.listdir(store_of(cache_folder)))
    with pytest.raises(BadInput, match="version 99.*MASKGYM_CACHE"):
        open_cases(dataset, "all")
    assert sorted(os.listdir(store_of(cache_folder))) == before


def test_a_changed_file_is_prepared_again_and_the_others_are_not(tmp_path, monkeypatch):
    dataset = volumes(tmp_path)
    open_cases(dataset, "all")
    published.nifti(
        tmp_path / "images" / "1.nii.gz", np.full((12, 16, 10), 800, np.int16) + np.arange(10, dtype=np.int16)
    )
    os.utime(tmp_path / "images" / "1.nii.gz", ns=(1, 1))
    opened = []
    plain = prepare.examine
    monkeypatch.setattr(prepare, "examine", lambda case, found: opened.append(case.id) or plain(case, found))
    open_cases(dataset, "all")
    assert opened == ["1"]

import json
from itertools import pairwise

import pytest

from maskgym.data import splits
from maskgym.errors import BadInput

PATIENTS = [f"p{number}" for number in range(60)]


def test_every_patient_is_in_exactly_one_part():
    split = splits.by_patient(PATIENTS)
    assert sorted(split.train + split.val + split.test) == sorted(PATIENTS)
    assert (len(split.train), len(split.val), len(split.test)) == (42, 6, 12)


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_few_patients_still_fill_every_part(count):
    split = splits.by_patient(PATIENTS[:count])
    assert min(len(split.train), len(split.val), len(split.test)) >= 1


@pytest.mark.parametrize("count", [10, 14, 30])
def test_nobody_is_held_out_alone_where_there_are_ten(count):
    split = splits.by_patient(PATIENTS[:count])
    assert min(len(split.val), len(split.test)) >= 2
    assert sorted(split.train + split.val + split.test) == sorted(PATIENTS[:count])


@pytest.mark.parametrize(("patients", "count"), [(14, 14), (60, 5), (7, 2), (3, 3)])
def test_folds_test_everybody_exactly_once(patients, count):
    made = splits.folds(PATIENTS[:patients], count)
    assert len(made) == count
    assert sorted(patient for split in made for patient in split.test) == sorted(PATIENTS[:patients])
    for split in made:
        assert sorted(split.train + split.val + split.test) == sorted(PATIENTS[:patients])
        assert min(len(split.train), len(split.val)) >= 1


@pytest.mark.parametrize(("patients", "count"), [(5, 1), (5, 6), (2, 2)])
def test_folds_that_cannot_be_are_refused(patients, count):
    with pytest.raises(BadInput, match=f"{count} folds of {patients} patients"):
        splits.folds(PATIENTS[:patients], count)


def test_the_seed_alone_decides_whatever_the_order_of_the_patients():
    assert splits.by_patient(PATIENTS, 3) == splits.by_patient(reversed(PATIENTS), 3)
    assert splits.by_patient(PATIENTS, 3) != splits.by_patient(PATIENTS, 4)


def test_this_split_stays_what_it_is_for_ever():
    assert splits.by_patient("abcdefghij").test == ("e", "g")


def test_label_shares_are_nested_and_never_empty():
    train = splits.by_patient(PATIENTS).train
    groups = [set(splits.labelled(train, share)) for share in (0.001, 0.05, 0.1, 0.5, 1)]
    assert all(small <= large for small, large in pairwise(groups))
    assert [len(group) for group in groups] == [1, 2, 4, 21, 42]


@pytest.mark.parametrize("share", [0, -1, 1.1])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(BadInput, match="share"):
        splits.labelled(PATIENTS, share)


def test_a_saved_split_comes_back_the_same(tmp_path):
    split = splits.by_patient(PATIENTS, 1, "lgg")
    splits.save(split, tmp_path / "deep" / "split.json")
    assert splits.read(tmp_path / "deep" / "split.json") == split
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["split.json"]
    told = json.loads((tmp_path / "deep" / "split.json").read_text())
    assert told["hash"] == split.hash
    assert set(told["labelled"]) == {"5%", "10%", "50%"}


def changed(tmp_path, change):
    file = tmp_path / "split.json"
    splits.save(splits.by_patient(PATIENTS[:6]), file)
    told = json.loads(file.read_text())
    change(told)
    file.write_text(json.dumps(told))
    return file


def test_a_split_changed_by_hand_is_noticed_unless_its_hash_is_removed(tmp_path):
    with pytest.raises(BadInput, match="changed after it was saved"):
        splits.read(changed(tmp_path, lambda told: told["val"].append("new")))
    assert "new" in splits.read(changed(tmp_path, lambda told: (told["val"].append("new"), told.pop("hash")))).val


def test_a_patient_in_two_parts_is_refused(tmp_path):
    with pytest.raises(BadInput, match="twice"):
        splits.read(changed(tmp_path, lambda told: told["val"].append(told["train"][0])))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"train": 3}', "not json"])
def test_a_file_that_is_no_split_is_refused(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(BadInput, match=r"split\.json"):
        splits.read(tmp_path / "split.json")


def test_a_split_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        splits.read(tmp_path / "split.json")

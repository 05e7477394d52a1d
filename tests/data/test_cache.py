import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import published
import pytest

from maskgym.data import cache, prepare
from maskgym.data.source import load
from maskgym.errors import BadInput


def rows(writer):
    for value in range(3):
        writer.append("images", np.full((2, 1, 4, 4), value, np.float32))
    writer.about["ids"] = list("abcdef")


def must_not(*_):
    raise AssertionError("made twice")


def entries(folder):
    return sorted(path for path in folder.iterdir() if path.name not in ("locks", "remembered"))


def test_what_was_made_once_is_opened_memory_mapped(cache_folder):
    cache.fetch("set", {"a": 1}, rows)
    arrays, about = cache.fetch("set", {"a": 1}, must_not)
    assert isinstance(arrays["images"], np.memmap)
    np.testing.assert_array_equal(arrays["images"][:, 0, 0, 0], [0, 0, 1, 1, 2, 2])
    assert about["ids"] == list("abcdef")


def test_another_key_is_another_entry(cache_folder):
    cache.fetch("set", {"a": 1}, rows)
    cache.fetch("set", {"a": 2}, rows)
    assert len(entries(cache_folder)) == 2


def test_nothing_is_left_of_an_entry_whose_making_failed(cache_folder):
    def fails(writer):
        rows(writer)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.fetch("set", {}, fails)
    assert entries(cache_folder) == []


def test_the_rest_of_a_killed_process_is_swept_away(cache_folder):
    cache.fetch("set", {}, rows)
    (entry,) = entries(cache_folder)
    entry.rename(cache_folder / f".{entry.name}.part-killed")
    cache.fetch("set", {}, rows)
    assert entries(cache_folder) == [entry]


@pytest.mark.parametrize("damage", ["images.npy", "about.json"])
def test_a_damaged_entry_is_made_again(cache_folder, damage):
    cache.fetch("set", {}, rows)
    (entry,) = entries(cache_folder)
    whole = (entry / damage).read_bytes()
    (entry / damage).write_bytes(whole[: len(whole) // 2])
    arrays, _ = cache.fetch("set", {}, rows)
    assert len(arrays["images"]) == 6


def test_a_file_where_the_folder_should_be_is_one_clear_line(cache_folder):
    cache_folder.write_text("in the way")
    with pytest.raises(BadInput, match="set MASKGYM_CACHE") as caught:
        cache.fetch("set", {}, rows)
    assert str(cache_folder) in str(caught.value)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_one_clear_line_and_leaves_nothing_half_written(cache_folder, monkeypatch, code):
    def full(self, name, values):
        (self.folder / "images.npy").write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache.Writer, "append", full)
    with pytest.raises(BadInput, match=os.strerror(code)) as caught:
        cache.fetch("set", {}, rows)
    assert str(cache_folder) in str(caught.value)
    assert entries(cache_folder) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_one_clear_line(cache_folder):
    cache_folder.mkdir(mode=0o500)
    with pytest.raises(BadInput, match="set MASKGYM_CACHE"):
        cache.fetch("set", {}, rows)


def test_a_warm_entry_needs_no_lock_so_a_read_only_folder_will_do(cache_folder, monkeypatch):
    cache.fetch("set", {}, rows)
    monkeypatch.setattr(cache, "lock", must_not)
    assert len(cache.fetch("set", {}, must_not)[0]["images"]) == 6


def test_clear_removes_everything_and_says_how_much(cache_folder):
    cache.fetch("set", {}, rows)
    cache.remember("probe", lambda: {"a": 1})
    assert cache.clear()[0] == 1
    assert entries(cache_folder) == []
    assert not (cache_folder / "remembered").exists()
    assert cache.clear() == (0, 0)


def test_the_memory_remembers_across_calls(cache_folder):
    assert cache.remember("a probe/of it", lambda: {"speed": 3}) == {"speed": 3}
    assert cache.remember("a probe/of it", must_not) == {"speed": 3}


def test_the_memory_works_without_a_folder_and_mends_itself(cache_folder):
    cache_folder.write_text("in the way")
    assert cache.remember("probe", lambda: {"a": 1}) == {"a": 1}
    cache_folder.unlink()
    (cache_folder / "remembered").mkdir(parents=True)
    (cache_folder / "remembered" / "probe.json").write_text("{half")
    assert cache.remember("probe", lambda: {"a": 2}) == {"a": 2}
    assert json.loads((cache_folder / "remembered" / "probe.json").read_text()) == {"a": 2}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MASKGYM_CACHE": "/one", "XDG_CACHE_HOME": "/two"}, Path("/one")),
        ({"XDG_CACHE_HOME": "/two"}, Path("/two/maskgym")),
        ({}, Path.home() / ".cache" / "maskgym"),
    ],
)
def test_the_folder_comes_from_the_environment(monkeypatch, environment, expected):
    for name in ("MASKGYM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.folder() == expected


def test_two_processes_may_prepare_at_once_and_one_does_the_work(tmp_path, cache_folder):
    data = published.lgg(tmp_path / "set", patients=5)
    script = f"""
import maskgym.data.prepare as prepare, time
count, plain = 0, prepare.prepare_one
def slow(*arguments):
    global count
    count += 1
    time.sleep(0.05)
    return plain(*arguments)
prepare.prepare_one = slow
from maskgym.data.source import load
images = load("lgg:{data}", size=(16, 16))
print(count, len(images), float(images.images[3].sum()), float(abs(images.images).sum()))
"""
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted(process.communicate(timeout=60)[0].split() for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert told[0][0] == "0"  # the second waited, then read
    assert int(told[1][0]) > 0
    assert told[0][1:] == told[1][1:]
    assert len(entries(cache_folder)) == 2  # the store, and the images cut from it


def test_a_changed_file_is_prepared_again(tmp_path, cache_folder):
    published.lgg(tmp_path / "set")
    before = load(f"lgg:{tmp_path / 'set'}", size=(16, 16))
    patient = before.patients[0]
    file = next((tmp_path / "set" / patient).glob("*_1.tif"))
    published.tiff(file, np.stack([published.body((32, 32)) for _ in range(3)], -1))
    os.utime(file, ns=(1, 1))  # the same size, another time
    after = load(f"lgg:{tmp_path / 'set'}", size=(16, 16))
    changed = {
        name for name, a, b in zip(after.ids, before.images, after.images, strict=True) if not np.array_equal(a, b)
    }
    assert changed == {file.stem}


def test_nothing_changed_means_no_file_is_opened_whatever_the_view(tmp_path, monkeypatch):
    published.lgg(tmp_path / "set")
    load(f"lgg:{tmp_path / 'set'}", size=(16, 16))
    monkeypatch.setattr(prepare, "examine", must_not)
    for view in ("", "?clip=2,98", "?fit=pad&body=0.2", "?seed=0&normalise=case&trim=body"):
        assert load(f"lgg:{tmp_path / 'set'}{view}", size=(20, 20)).size == (20, 20)
    with pytest.raises(AssertionError, match="made twice"):
        load(f"lgg:{tmp_path / 'set'}?modality=FLAIR", size=(16, 16))

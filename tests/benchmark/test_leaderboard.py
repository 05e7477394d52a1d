"""The leaderboard: what is in it reproduces, and what was tampered with, malformed or too large is one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskgym.benchmark import leaderboard
from maskgym.benchmark.manifest import digest
from maskgym.benchmark.results import decode
from maskgym.cli import run
from maskgym.errors import BadInput

ROOT = Path(__file__).parents[2]
METHOD = "Variance of the pixels of each patch"


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """All 128 test images of the small environment under five seeds."""
    out = tmp_path_factory.mktemp("scored") / "score"
    assert run(["score", "gradient", "--env", "MaskMIMSmall-v0", "--ratio", "0.75", "--out", str(out)]) == 0
    return out


@pytest.fixture
def entry(scored, tmp_path):
    path = tmp_path / "entries" / "variance.json"
    assert run(["submit", str(scored), "--agent", "variance", "--method", METHOD, "--out", str(path)]) == 0
    return path


def rewritten(path, **changes):
    """Change an entry as somebody would who knows how its digest is made."""
    body = json.loads(path.read_text()) | changes
    body["digest"] = digest({key: value for key, value in body.items() if key != "digest"})
    path.write_text(json.dumps(body))


def result_of(path, **changes):
    return [json.loads(path.read_text())["results"][0] | changes]


def test_an_entry_is_small_holds_every_mask_and_reproduces(entry, scored, capsys):
    assert entry.stat().st_size < 40_000
    told = leaderboard.read(entry)
    assert (told.name, told.method, told.env) == ("variance", METHOD, "MaskMIMSmall-v0")
    assert told.results[0].mask.shape == (5, 128, 64)
    assert told.manifest["versions"]["torch"]
    assert run(["leaderboard", "check", str(entry)]) == 0
    line = json.loads((scored / "score.json").read_text())["lines"]
    points = next(one["points"]["value"] for one in line if one["agent"] == "variance")
    assert f"ratio 0.75: {points:.1f} [" in capsys.readouterr().out


@pytest.mark.parametrize("entry", sorted((ROOT / "leaderboard").glob("*.json")), ids=lambda path: path.stem)
@pytest.mark.slow
def test_every_entry_of_the_leaderboard_reproduces(entry):
    assert run(["leaderboard", "check", str(entry)]) == 0


def test_the_page_sets_all_entries_side_by_side_and_keeps_what_stands_above(entry, scored, tmp_path):
    other, page = entry.parent / "gradient.json", tmp_path / "page.md"
    assert run(["submit", str(scored), "--method", "Mean of the gradient of each patch", "--out", str(other)]) == 0
    page.write_text("# Ours\n\n<!-- tables -->\nold")
    assert run(["leaderboard", "build", "--entries", str(entry.parent), "--out", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("# Ours\n\n<!-- tables -->\n\n## MaskMIMSmall-v0, 75% hidden\n")
    assert "### Track: image" in text
    assert METHOD in text
    assert "|  | gradient | variance |" in text
    assert "old" not in text
    other.write_bytes(entry.read_bytes())
    with pytest.raises(BadInput, match="two entries of MaskMIMSmall-v0 at ratio 0.75 have one name"):
        run(["leaderboard", "build", "--entries", str(entry.parent), "--out", str(page)])


def test_a_changed_mask_does_not_reproduce(entry, capsys):
    found = decode(json.loads(entry.read_text())["results"][0])
    hidden, shown = found.mask[2, 7].argmax(), (~found.mask[2, 7]).argmax()
    found.mask[2, 7, [hidden, shown]] = False, True
    rewritten(entry, results=[found.encode()])
    assert run(["leaderboard", "check", str(entry)]) == 2
    assert "does not reproduce: its masks of image 7 bring another reward" in capsys.readouterr().out


def test_a_mask_that_hides_more_is_refused(entry, capsys):
    found = decode(json.loads(entry.read_text())["results"][0])
    found.mask[0, 0] = True
    rewritten(entry, results=[found.encode()])
    assert run(["leaderboard", "check", str(entry)]) == 2
    assert "has a mask that does not hide 48 of 64 patches" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda path: path.write_text(path.read_text().replace(METHOD, "Something else entirely")),
            "digest is of another",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "is no entry or was changed"),
        (lambda path: path.write_text("[" * 100_000), "is no entry or was changed"),
        (lambda path: path.write_text('{"kind": 3}'), "no entry of this form"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_text(" " * (leaderboard.LARGEST + 1)), "an entry has 8388608 at most"),
        (lambda path: rewritten(path, name="<script>"), "give a plain name"),
        (lambda path: rewritten(path, method="two\nlines of a method"), "give a plain name"),
        (lambda path: rewritten(path, env="MaskMIM-v9"), "registered are"),
        (lambda path: rewritten(path, manifest={}), "other images or another network"),
        (lambda path: rewritten(path, results=[]), "one result for each ratio"),
        (lambda path: rewritten(path, results=result_of(path) * 2), "one result for each ratio"),
        (lambda path: rewritten(path, results=result_of(path, ratio=0.7)), "no par of 128 images of this game ships"),
        (lambda path: rewritten(path, results=result_of(path, mode="sampled")), "5 to 100 seeds count"),
        (lambda path: rewritten(path, results=result_of(path, seeds=[1, 1, 2, 3, 4])), "5 to 100 seeds count"),
        (lambda path: rewritten(path, results=result_of(path, queries=[[-1] * 128] * 5)), "states queries or seconds"),
        (lambda path: rewritten(path, results=result_of(path, manifest={"trained_at": "x"})), "a ratio is a share"),
        (lambda path: rewritten(path, results=result_of(path, mask="")), "0 bytes of masks"),
    ],
)
def test_whatever_is_wrong_with_an_entry_is_one_line(entry, capsys, change, said):
    change(entry)
    capsys.readouterr()
    assert run(["leaderboard", "check", str(entry)]) == 2
    told = capsys.readouterr().out
    assert said in told
    assert told.count("\n") == 1


def test_what_cannot_be_submitted_is_refused(scored, game_options, par_file, tmp_path):
    out = ["--out", str(tmp_path / "entry.json"), "--method", METHOD]
    with pytest.raises(BadInput, match="holds no agent 'a3c': it has gradient, random, variance"):
        run(["submit", str(scored), "--agent", "a3c", *out])
    with pytest.raises(BadInput, match="there are no results in"):
        run(["submit", str(tmp_path), *out])
    own = ["score", "random", *game_options, "--par", str(par_file), "--ratio", "0.5", "--out", str(tmp_path / "own")]
    assert run(own) == 0
    with pytest.raises(BadInput, match="against a par of your own"):
        run(["submit", str(tmp_path / "own"), *out])
    assert not (tmp_path / "entry.json").exists()


def test_points_come_from_the_masks_and_not_from_what_an_entry_states(entry):
    told = leaderboard.read(entry)
    stated = told.results[0].reward * (1 + 5e-5)  # within rounding
    (replayed,) = leaderboard.check(leaderboard.Entry("x", METHOD, told.env, (told.results[0],), told.manifest))
    assert np.abs(replayed.reward / told.results[0].reward - 1).max() < 1e-4
    assert not np.array_equal(replayed.reward, stated)


def test_an_entry_of_some_images_only_is_told_how_many_there_are(entry):
    read = leaderboard.read(entry)
    (result,) = read.results
    few = replace(
        result,
        **{name: getattr(result, name)[:, :4] for name in ("reward", "mask", "lesion_cover", "seconds", "queries")},
    )
    with pytest.raises(BadInput, match="has 4 images, the test split 128: score without --images"):
        leaderboard.check(replace(read, results=(few,)))

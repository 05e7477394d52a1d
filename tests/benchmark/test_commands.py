"""`maskgym par` and `maskgym gallery` as a user types them."""

import numpy as np
import pytest
from PIL import Image

from maskgym.benchmark import par as pars
from maskgym.benchmark.points import points
from maskgym.cli import run
from maskgym.errors import BadInput
from maskgym.registry import game_spec_of, make_agent


def test_par_is_searched_and_then_named_to_score(game_options, tmp_path, capsys):
    path, out = tmp_path / "par.safetensors", tmp_path / "score"
    few = ["--ratio", "0.5", "--queries", "40", "--from", "variance", "--search.chains", "2"]
    assert run(["par", *game_options, *few, "--out", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "doubling" in shown
    assert "8 of 16" in shown
    table = pars.read(path).tables["0.5"]
    assert table.sources == ["variance"]
    assert table.digest in shown
    play = ["--ratio", "0.5", "--seeds", "1", "--par", str(path), "--out", str(out)]
    assert run(["score", "search?queries=16", *game_options, *play]) == 0
    told = (out / "score.md").read_text()
    assert "also from variance" in told
    assert f"own par, par.safetensors ({table.digest})" in told


def test_fresh_throws_away_what_a_file_knows(game_options, par_file, tmp_path):
    path = tmp_path / "par.safetensors"
    path.write_bytes(par_file.read_bytes())
    words = ["par", *game_options, "--ratio", "0.25", "--queries", "40", "--search.chains", "2", "--out", str(path)]
    assert run(words) == 0
    assert pars.read(path).tables.keys() == {"0.25", "0.5", "0.75"}
    assert run([*words, "--fresh"]) == 0
    assert pars.read(path).tables.keys() == {"0.25"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--queries", "3"], "queries 3 are too few"),
        (["--from", "varianc"], "did you mean variance"),
        (["--ratio", "0"], "ratio 0.0 is outside"),
        (["--search.chains", "0"], "must be positive"),
        (["--env", "Mask"], "unknown environment"),
    ],
)
def test_bad_input_of_par_is_one_line_and_writes_nothing(game_options, tmp_path, words, said):
    with pytest.raises(BadInput) as caught:
        run(["par", *game_options, "--out", str(tmp_path / "par.safetensors"), *words])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_game_is_not_overwritten(game_options, par_file, networks, tmp_path):
    path = tmp_path / "par.safetensors"
    path.write_bytes(par_file.read_bytes())
    with pytest.raises(BadInput, match="is of another reward or network"):
        run(["par", *game_options, "--reconstructor", networks["other"], "--out", str(path)])
    assert path.read_bytes() == par_file.read_bytes()


def test_par_cannot_be_written_where_there_is_no_folder(game_options, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot write"):
        run(["par", *game_options, "--out", str(tmp_path / "file" / "par.safetensors")])


def test_the_gallery_draws_a_row_an_image_and_a_column_an_agent(game_options, par_file, tmp_path, capsys):
    def drawn(agents, images, *more):
        out = tmp_path / "new" / "gallery.png"
        words = [*game_options[:-1], str(images), "--out", str(out), *more]
        assert run(["gallery", *agents, *words]) == 0
        assert str(out) in capsys.readouterr().out
        with Image.open(out) as picture:
            return np.array(picture.size)

    small, wide = drawn(["variance"], 1), drawn(["variance", "random", "center"], 1)
    tall = drawn(["variance"], 3)
    assert wide[0] > 1.5 * small[0]
    assert tall[1] > 1.8 * small[1]


def test_the_gallery_names_two_saved_agents_of_one_kind_by_their_folders(game_options, task, tmp_path, monkeypatch):
    agents = [f"variance:{tmp_path / name}" for name in ("one", "other")]
    for agent in agents:
        make_agent("variance", game_spec=game_spec_of(task)).save(agent.partition(":")[2])
    drawn = []
    monkeypatch.setattr("maskgym.benchmark.gallery.draw", lambda task, index, columns, *_: drawn.extend(columns))
    words = [*game_options[:-2], "--ratio", "0.5", "--images", "1", "--out", str(tmp_path / "g.png")]
    assert run(["gallery", *agents, *words]) == 0
    assert [column.title for column in drawn][:2] == ["variance:one", "variance:other"]


def test_the_gallery_shows_the_slice_of_a_volume_with_most_lesion(networks, tmp_path):
    size = ["--image-size", "16x16x16", "--patch-size", "4", "--reconstructor", networks["volumes"], "--images", "2"]
    assert run(["gallery", "variance", "--env", "MaskMIM3D-v0", *size, "--out", str(tmp_path / "g.png")]) == 0
    with Image.open(tmp_path / "g.png") as picture:
        assert picture.width > 300


@pytest.mark.parametrize(
    ("agents", "more", "said"),
    [
        ([], [], "0 agents"),
        (["variance"] * 13, [], "13 agents"),
        (["varianc"], [], "did you mean variance"),
        (["variance"], ["--images", "0"], "images 0 must be at least 1"),
        (["variance"], ["--ratio", "1"], "ratio 1.0 is outside"),
        (["variance"], ["--par", "nowhere.safetensors"], "there is no par file nowhere.safetensors"),
    ],
)
def test_bad_input_of_the_gallery_is_one_line(game_options, tmp_path, agents, more, said):
    with pytest.raises(BadInput) as caught:
        run(["gallery", *agents, *game_options, "--out", str(tmp_path / "g.png"), *more])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_searching_agent_gains_by_every_query(task, par_file):
    from maskgym.benchmark.evaluate import play
    from maskgym.benchmark.players import seat

    table = pars.read(par_file).tables["0.75"]
    reached = [
        points(
            play(seat(f"search?queries={n}", task, 0.75, 0), task, 0.75, images=6).reward,
            table.random,
            table.reward,
        )
        for n in (16, 200)
    ]
    assert 0 < reached[0] < reached[1]

"""The report of a study folder whose scores the test made up: known figures in, known figures out."""

import json
import re
from html.parser import HTMLParser

import pytest

from maskgym.cli import run as maskgym
from maskgym.errors import BadInput
from maskgym.report.blocks import Gallery, Table
from maskgym.report.contents import build
from maskgym.report.html import html
from maskgym.report.markdown import markdown
from maskgym.report.read import read
from maskgym.report.write import report
from tests.report.study_folder import cell, points, pretraining, run

PLAN = 'data = ["phantoms"]\nseeds = [0, 1]\nshares = [0.1]\n' + "".join(
    f'[[method]]\nname = "{name}"\n' + ("" if name == "scratch" else f'recipe = "{name}"\n')
    for name in ("scratch", "random", "hpm")
)
DSC = {
    ("scratch", 0): {"p1": 0.2, "p2": 0.4, "p3": None},
    ("scratch", 1): {"p1": 0.3, "p2": 0.5, "p3": None},
    ("random", 0): {"p1": 0.4, "p2": 0.4, "p3": None},
    ("random", 1): {"p1": 0.4, "p2": 0.6, "p3": None},
    ("hpm", 0): {"p1": 0.5, "p2": 0.4, "p3": None},
    ("hpm", 1): {"p1": 0.5, "p2": 0.8, "p3": None},
}


def make(folder):
    for (method, seed), dsc in DSC.items():
        run(folder, method, seed, dsc)
        if method != "scratch":
            pretraining(folder, method, seed)
    (folder / "study.toml").write_text(PLAN)
    return folder


@pytest.fixture
def study(tmp_path):
    return make(tmp_path / "mine")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return build(read(make(tmp_path_factory.mktemp("reports") / "mine")))


def tables(made, words):
    found = [
        block
        for section in made.sections
        for block in section.blocks
        if isinstance(block, Table) and words in block.caption
    ]
    assert found, words
    return found


def rows(table):
    return {row[0].text: dict(zip(table.headings[1:], row[1:], strict=True)) for row in table.rows}


class Page(HTMLParser):
    """The tables of a page, and every address in it."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.links, self.names = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.open_cell():
            self.rows[-1][-1] += f" {data}"

    def open_cell(self):
        return self.rows[-1] and self.names[-1] in ("td", "th", "b", "small", "i")

    def handle_endtag(self, tag):
        if tag in ("td", "th", "table"):
            self.names.append(f"/{tag}")


def test_means_are_those_of_the_scores(made):
    table = rows(tables(made, "lesion: mean over seeds and patients")[0])
    assert {name: row["DSC"].text for name, row in table.items()} == {
        "scratch": "0.350",
        "random": "0.450",
        "hpm": "0.550",
    }
    assert table["hpm"]["DSC"].bold
    assert not table["random"]["DSC"].bold
    assert table["hpm"]["HD95\N{NO-BREAK SPACE}↓"].text == "55.0"
    assert table["scratch"]["HD95\N{NO-BREAK SPACE}↓"].bold  # less is better
    assert table["hpm"]["seeds x patients"].text == "2 x 3"
    assert table["hpm"]["left out"].text == "2"  # p3, in both runs


def test_differences_are_paired_and_the_probability_counts_pairs(made):
    """By hand: hpm is above random by 0.1, 0, 0.1, 0.2. On p1 each of its runs beats both; on p2 it is one tie, one
    loss against 0.6, two wins."""
    row = rows(tables(made, "lesion: paired differences")[0])["hpm"]
    assert row["DSC above random masks"].text == "+0.100"
    assert row["P(better than random masks)"].text == f"{(1 + (0.5 + 0 + 1 + 1) / 4) / 2:.2f}"
    assert row["DSC above scratch"].text == "+0.200"


def test_a_baseline_has_the_same_kind_of_network(study):
    for seed in (0, 1):
        run(study, "stunet-hpm", seed, {"p1": 0.9, "p2": 0.9}, network="stunet?size=s")
    table = rows(tables(build(read(study)), "lesion: paired differences")[0])
    assert table["stunet-hpm"]["DSC above random masks"].text == "-"
    assert table["random"]["DSC above random masks"].text == "itself"


def test_slices_are_marked_and_only_seeds_vary(made):
    table = tables(made, "lesion, per slice")[0]
    assert "interval is over seeds alone" in table.caption
    assert rows(table)["hpm"]["DSC"].text == "0.550"
    assert rows(table)["hpm"]["DSC"].small == "[0.450, 0.650]"


def test_the_page_needs_no_network_and_nothing_is_in_it_twice(study, tmp_path):
    points(study, "hpm", 60.0)
    page = report(study, tmp_path / "out").read_text()
    told = Page(page)
    assert "img" in told.names
    assert "svg" in told.names
    assert not {"script", "link", "iframe"} & set(told.names)
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in told.links)
    assert not re.search(r"https?:|@import", re.sub(r"base64,[^\"]*", "", page))
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', page)) <= set(ids)


def test_page_and_markdown_hold_the_same_tables(made):
    page = [[" ".join(cell.split()) for cell in row] for row in Page(html(made)).rows]
    lines = [line for line in markdown(made).splitlines() if line.startswith("| ")]
    mine = [[re.sub(r"[\\*]", "", cell).strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    assert len(mine) > 10
    assert mine == page


def test_names_are_no_markup(study):
    run(study, "random", 2, {"p1": 0.5}, regions=("<b>x|y_z</b>",), data="folder:/x/<script>")
    run(study, "<script>m_1&", 0, {"p1": 0.5})
    pretraining(study, "<script>m_1&", 0)
    made = build(read(study))
    told = Page(html(made))
    assert "script" not in told.names
    assert "&lt;script&gt;m_1&amp;" in html(made)
    assert r"| \<script\>m\_1&" in markdown(made)
    assert "&lt;b&gt;x|y_z&lt;/b&gt;" in html(made)
    assert r"\<b\>x\|y\_z\</b\>" in markdown(made)


def test_pictures_lie_beside_the_markdown(study, tmp_path):
    report(study, tmp_path / "out")
    told = (tmp_path / "out" / "REPORT.md").read_text()
    named = re.findall(r"!\[[^\n]*\]\(([^)]*)\)", told)
    assert named
    assert all((tmp_path / "out" / name).exists() for name in named)
    assert len(named) == len(set(named)) == len(list((tmp_path / "out" / "pictures").iterdir()))


def test_what_is_not_finished_is_named_with_its_reason(study):
    (study / "data0" / "hpm" / "seed1" / "share0.1" / "scores.json").unlink()
    (study / "data0" / "scratch" / "seed0" / "share0.1" / "scores.json").write_text('{"patients"')
    cell(
        study,
        "data0/hpm/seed1/share0.1",
        "finetune",
        3,
        "failed",
        error=["Traceback", f"the loss is nan in {study}/data0"],
    )
    for seed in (0, 1):
        (study / "data0" / "random" / f"seed{seed}" / "share0.1" / "scores.json").unlink()
    made = build(read(study))
    missing = rows(tables(made, "Cells without a result")[0])
    assert missing["data0/hpm/seed1/share0.1"]["why"].text == "the loss is nan in data0"
    assert missing["data0/scratch/seed0/share0.1"]["why"].text == "its scores.json is damaged"
    assert missing["data0/random, 2 cells"]["why"].text == "not run yet"
    assert "4 cells are not finished" in made.lead
    table = rows(tables(made, "lesion: mean over seeds and patients")[0])
    assert table["hpm"]["seeds x patients"].text == "1 x 3"


def test_a_pre_training_that_still_runs_is_left_out(study):
    cell(study, "data0/hpm/seed1/pretrain", "pretrain", 9, "failed", error=["no"])
    assert [run.seed for run in read(study).pretrained if run.method == "hpm"] == [0]


def test_a_study_without_its_plan_curves_and_pictures_is_told_all_the_same(study, tmp_path):
    (study / "study.toml").unlink()
    for file in [*study.rglob("metrics.csv"), *study.rglob("*.png"), *study.rglob("settings.json")]:
        file.unlink()
    made = build(read(study))
    assert [row[0].text for row in tables(made, "Mean DSC")[0].rows] == ["scratch", "hpm", "random"]
    assert report(study, tmp_path / "out").exists()


def test_damaged_pictures_and_cut_curves_stop_nothing(study, tmp_path):
    folder = study / "data0" / "hpm" / "seed0" / "share0.1"
    (folder / "predictions.png").write_bytes(b"no picture")
    (folder / "metrics.csv").write_text("step,val DSC\n10,0.2\n20,")
    assert report(study, tmp_path / "out").exists()


def test_points_stand_beside_dsc_and_few_methods_are_said_to_be_too_few(study):
    points(study, "hpm", 60.0)
    points(study, "random", 1.0)
    made = build(read(study))
    table = rows(tables(made, "Points (0 = chance")[0])
    assert (table["hpm"]["points"].text, table["hpm"]["hidden"].text) == ("60.0", "0.75")
    assert table["random"]["points"].text == "1.0"
    assert "2 methods have points, too few" in markdown(made)


def test_points_of_another_form_are_as_good_as_none(study):
    folder = study / "data0" / "hpm" / "score"
    folder.mkdir()
    (folder / "score.json").write_text(json.dumps({"lines": [{"agent": "hpm"}]}))
    assert read(study).points == {}


def test_more_shares_give_a_curve_over_them(study):
    run(study, "hpm", 0, {"p1": 0.9, "p2": 0.9}, share=1.0)
    pictures = [
        picture.name
        for section in build(read(study)).sections
        for block in section.blocks
        if isinstance(block, Gallery)
        for picture in block.pictures
    ]
    assert {"shares-data0", "learning-data0-0.1", "learning-data0-1", "times", "pretraining-data0"} <= set(pictures)


def test_settings_say_what_is_common_and_what_is_not(study):
    file = study / "data0" / "hpm" / "seed0" / "pretrain" / "settings.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"epochs": 9}))
    made = build(read(study))
    differ = rows(tables(made, "Settings of pre-training in which methods differ")[0])
    assert differ["hpm"]["epochs"].text == "2 or 9"
    assert differ["random"]["epochs"].text == "2"
    common = rows(tables(made, "Settings of fine-tuning that all share")[0])
    assert common["recipe_settings.lr"]["value"].text == "0.001"
    assert "seed" not in common


def test_a_measure_that_is_left_out_more_often_is_named(study):
    file = study / "data0" / "hpm" / "seed0" / "share0.1" / "scores.json"
    told = json.loads(file.read_text())
    told["patients"]["p1"]["lesion"]["SEN"] = None
    file.write_text(json.dumps(told))
    left = rows(tables(build(read(study)), "lesion: mean over seeds and patients")[0])["hpm"]["left out"]
    assert (left.text, left.small) == ("2", "(SEN 3)")


def test_lesions_among_hidden_patches_are_told_where_they_were_counted(study):
    table = "epoch,hidden,hidden lesion,visible,visible lesion\n1,60,6,40,0\n2,60,12,40,0\n"
    (study / "data0" / "hpm" / "seed0" / "pretrain" / "lesions.csv").write_text(table)
    row = rows(tables(build(read(study)), "Did the masks hit lesions?")[0])["hpm"]
    assert [row[name].text for name in ("lesion among hidden", "lesion among all", "times chance", "seeds")] == [
        "15.0 %",  # 18 of 120
        "9.0 %",  # 18 of 200
        "1.67",
        "1",
    ]


def test_versions_are_those_that_the_cells_noted(study):
    cell(study, "data0/hpm/seed0/share0.1", "finetune", 3, versions={"torch": "9.9"})
    assert "Versions: torch 9.9." in markdown(build(read(study)))


def test_one_line_for_what_is_no_study(tmp_path, study):
    with pytest.raises(BadInput, match="there is no folder"):
        maskgym(["report", str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    cell(tmp_path / "empty", "data0/scratch/seed0/share0.1", "finetune", 3, "failed", error=["no"])
    with pytest.raises(BadInput, match="no finished fine-tuning and 1 failed"):
        maskgym(["report", str(tmp_path / "empty")])
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="choose another --out"):
        maskgym(["report", str(study), "--out", str(tmp_path / "file")])


def test_the_command_writes_into_the_study_where_nothing_else_is_said(study, capsys):
    maskgym(["report", str(study)])
    assert (study / "report" / "report.html").exists()
    assert "report.html" in capsys.readouterr().out
    assert "| hpm | **0.550**" in (study / "report" / "REPORT.md").read_text()

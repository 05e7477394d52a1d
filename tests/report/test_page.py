"""The page and the Markdown of a report: one content, nothing from elsewhere, and no damage stops it."""

import base64
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from maskgym.cli import run as maskgym
from maskgym.errors import BadInput
from maskgym.report import charts
from maskgym.report.load import load
from maskgym.report.pictures import as_jpeg
from maskgym.report.write import build, render, report
from tests.report.study_folder import PLAN, pictures, plan, record


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


@pytest.fixture(scope="module")
def written(kept):
    """What the command writes into a study where nothing else is said."""
    maskgym(["report", str(kept)])
    return kept / "report"


def test_page_and_markdown_hold_the_same_tables(written):
    text = (written / "REPORT.md").read_text()
    page = [[" ".join(cell.split()) for cell in row] for row in Page((written / "report.html").read_text()).rows]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    mine = [[re.sub(r"[\\*]", "", cell).strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    assert len(mine) > 10
    assert mine == page
    assert "| hpm | **0.550**" in text


def test_pictures_lie_beside_the_markdown(written):
    named = re.findall(r"!\[[^\n]*\]\(([^)]*)\)", (written / "REPORT.md").read_text())
    assert named
    assert all((written / name).exists() for name in named)
    assert len(named) == len(set(named)) == len(list((written / "pictures").iterdir()))


def test_the_page_loads_nothing_and_shows_each_chart_in_light_and_dark(written):
    page = (written / "report.html").read_text()
    told = Page(page)
    assert not {"script", "link", "iframe"} & set(told.names)
    links = ("#", "data:image/jpeg;base64,", "data:image/svg+xml;base64,")
    assert all(link.startswith(links) for link in told.links)
    assert told.names.count("picture") == told.names.count("source") > 3
    assert not re.search(r"https?:|@import", re.sub(r"base64,[^\"]*", "", page))
    light, dark = (
        base64.b64decode(re.search(rf'{name}="data:image/svg\+xml;base64,([^"]*)"', page)[1]).decode()
        for name in ("src", "srcset")
    )
    assert charts.LIGHT.ink in light
    assert charts.DARK.ink in dark
    assert charts.LIGHT.ink not in dark
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(re.findall(r' id="([^"]*)"', page))


def test_names_are_no_markup_and_no_formula(study):
    top = PLAN.replace('"phantoms"', r'"folder:/x/<script>/money$x_{$"')
    for file in study.glob("data0/*/seed*/share0.1/scores.json"):
        told = json.loads(file.read_text())
        told["patients"]["p1"] = {"<b>x|y_z</b>": told["patients"]["p1"]["lesion"]}
        file.write_text(json.dumps(told))
    plan(study, top)
    made = build(load(study))
    page, text = (render(made, f"report.{kind}.j2") for kind in ("html", "md"))
    assert not {"script", "b>x"} & set(Page(page).names)
    assert "folder money$x_{$" in page
    assert "&lt;b&gt;x|y_z&lt;/b&gt;" in page
    assert r"\<b\>x|y\_z\</b\>" in text
    assert r"folder money$x\_{$" in text
    [shares] = [one for one in pictures(made) if one.name == "random-data0-0.1"]
    assert b"money$x_{$" in shares.content


@pytest.mark.slow
def test_damaged_pictures_bombs_cut_curves_and_lost_settings_stop_nothing(study, tmp_path):
    for file in study.rglob("settings.json"):
        file.unlink()
    folder = study / "data0" / "hpm" / "seed0" / "share0.1"
    (folder / "predictions.png").write_bytes(b"no picture")
    bomb = study / "data0" / "random" / "seed0" / "share0.1" / "predictions.png"
    Image.new("1", (30_000, 30_000)).save(bomb)
    for file in study.rglob("metrics.csv"):
        file.unlink()
    (folder / "metrics.csv").write_text("step,val DSC\n10,0.2\n20,")
    assert bomb.stat().st_size < 1_000_000
    assert as_jpeg(bomb) == b""
    page = report(study, tmp_path / "out").read_text()
    assert page.count("data:image/jpeg") == 3  # of scratch, and two rebuilt ones
    assert "example-data0-0.1-hpm" not in (tmp_path / "out" / "REPORT.md").read_text()


def test_one_line_for_what_is_no_study(tmp_path, study):
    with pytest.raises(BadInput, match="there is no study in"):
        maskgym(["report", str(tmp_path / "nowhere")])
    plan(tmp_path / "empty")
    record(tmp_path / "empty", "data0/scratch/seed0/share0.1", 3, "failed", error=["no"])
    with pytest.raises(BadInput, match="no finished fine-tuning and 1 failed"):
        maskgym(["report", str(tmp_path / "empty")])
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="choose another --out"):
        maskgym(["report", str(study), "--out", str(tmp_path / "file")])

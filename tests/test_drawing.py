import numpy as np
import pytest
from PIL import Image

from maskgym import drawing
from maskgym.drawing import Panel
from maskgym.errors import BadInput


def test_pictures_that_are_compared_share_black_and_white():
    image = np.linspace(-2, 2, 64).reshape(1, 8, 8)
    between = drawing.window(image)
    assert np.array_equal(drawing.grey(image, between), drawing.grey(image))
    darker = drawing.grey(image - 1, between)
    assert (darker <= drawing.grey(image)).all()
    assert darker.mean() < drawing.grey(image).mean() - 20


def test_the_heat_grows_brighter_from_end_to_end():
    ramp = drawing.heat(np.linspace(0, 1, 50)[None], 1.0)[0].astype(int)
    assert (np.diff(ramp @ (299, 587, 114)) >= 0).all()


def test_an_outline_is_drawn_along_the_inner_edge_in_the_colour_of_its_class():
    labels = np.zeros((8, 8), np.uint8)
    labels[2:6, 2:6] = 2
    drawn = drawing.outlined(np.zeros((32, 32, 3), np.uint8), labels)
    marked = (drawn == drawing.CLASSES[1]).all(-1)
    assert marked[8, 8:24].all()
    assert not marked[9:23, 9:23].any()
    assert marked.sum() == 4 * 15


def test_every_panel_lies_where_it_is_said_to_with_its_heading_above():
    red, blue = (np.full((16, 16, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))
    row = drawing.row([Panel(red, "left"), Panel(blue, "right")])
    assert (row[60:160, drawing.across(0)] == (200, 0, 0)).all()
    assert (row[60:160, drawing.across(1)] == (0, 0, 200)).all()
    assert (row[:36, drawing.across(1)] != 255).any()
    assert row.shape[0] % 2 == row.shape[1] % 2 == 0


def test_tall_and_wide_pictures_keep_their_proportions():
    wide = drawing.sheet([[Panel(np.zeros((10, 40, 3), np.uint8)), Panel(np.zeros((40, 40, 3), np.uint8))]])
    dark = (np.asarray(wide) == 0).all(-1)[:, drawing.across(0)]
    height, width = np.ptp(np.argwhere(dark), axis=0) + 1
    assert width == 4 * height


def test_the_plane_with_most_label_is_drawn_else_the_middle_one():
    labels = np.zeros((6, 4, 4), np.uint8)
    assert drawing.busiest(labels, 6) == drawing.busiest(None, 6) == 3
    labels[5, :2], labels[1, 0] = 1, 1
    assert drawing.busiest(labels, 6) == 5


def test_a_picture_is_written_whole_or_its_name_is_refused(tmp_path):
    drawing.save(np.zeros((4, 4, 3), np.uint8), tmp_path / "a" / "x.png")
    with Image.open(tmp_path / "a" / "x.png") as picture:
        assert picture.size == (4, 4)
    with pytest.raises(BadInput, match=r"name it .*x\.png instead of"):
        drawing.save(np.zeros((4, 4, 3), np.uint8), tmp_path / "x.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="choose another --out"):
        drawing.save(np.zeros((4, 4, 3), np.uint8), tmp_path / "file" / "x.png")

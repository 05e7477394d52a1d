import pytest

from benchmarks import speed_pretrain

TINY = {"image_size": "16x16", "patch_size": "4", "batch": 4, "student": "unet", "student_settings": "widths=4,8"}


@pytest.mark.parametrize("recipe", ["mps-ams", "amlp", "ahm"])
def test_a_recipe_is_raced_against_random_masks(monkeypatch, recipe):
    contest = ("ours", recipe, TINY, TINY, "1.05")
    monkeypatch.setattr(speed_pretrain, "_CONTESTS", [contest])
    (row,) = speed_pretrain.agents("cpu", repeats=2)
    assert row.what == "pre-training step, ours over random masks"
    assert float(row.figure) > 0
    assert row.target == "1.05"


def test_every_contest_can_be_started(monkeypatch):
    """Settings are read and networks fit, without a step."""
    from maskgym.pretrain.recipes import make_settings

    for _, recipe, own, plain, _ in speed_pretrain._CONTESTS:
        settings = make_settings("out", recipe, **{"image_size": "128x128", **own})
        beside = make_settings("out", "random", **{"image_size": "128x128", **plain})
        assert settings.patches == beside.patches
        assert settings.student == beside.student
        assert settings.target == beside.target

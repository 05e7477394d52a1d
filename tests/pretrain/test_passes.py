import json

import pytest

from maskgym.errors import BadInput
from maskgym.networks import store
from maskgym.networks.unet import UNet
from maskgym.pretrain import passes, pretrain
from tests.pretrain.runs import VIT, rows, tiny

STEPS, BATCH = 6, 8
SHOWN = STEPS * BATCH  # images that were taught


def asked(tmp_path, recipe="random", **more):
    settings = tiny(tmp_path / "run", recipe, **{"epochs": 2, "eval_every": 1, **more})
    pretrain(settings)
    told = json.loads((settings.out / "passes.json").read_text())
    assert told["student"] == 3 * SHOWN
    assert told["total"] == sum(told[name] for name in ("student", "agent", "policy", "reconstructor"))
    assert [float(row["image passes"]) for row in rows(settings.out) if row["image passes"]][-1] == told["total"]
    return told


@pytest.mark.parametrize(
    ("recipe", "more", "per_image"),
    [
        ("random", {}, 0),
        ("random", {"agent": "variance"}, 0),
        ("random", {"agent": "loss-map?masks=5"}, 5),
        ("random", {"agent": "loss-map?masks=4", "score_every": 2}, 2),
        ("anatomask", {}, 1),
        ("snapshots", {"score_every": 1}, 2),
        ("selfmedhpm", {"score_every": 1}, 1),
    ],
)
def test_what_an_agent_asks_of_student_and_teacher_is_counted_but_no_look(tmp_path, recipe, more, per_image):
    assert asked(tmp_path, recipe, **more)["agent"] == per_image * SHOWN


def test_queries_of_a_frozen_network_count_and_so_does_its_training(tmp_path):
    frozen = tmp_path / "frozen"
    frozen.mkdir()
    store.save(UNet(1, 2, (4, 8)), frozen / "model.safetensors", {"image_size": "16x16", "patch_size": "4"})
    (frozen / "settings.json").write_text(json.dumps({"train": {"steps": 7, "batch": 5}}))
    told = asked(tmp_path, agent=f"loss-map?masks=3&network={frozen}")
    assert (told["agent"], told["reconstructor"]) == (3 * SHOWN, 3 * 7 * 5)


def test_a_policys_training_counts_and_its_reconstructors(tmp_path):
    for name, told in (
        ("policy", {"steps": 100, "env": {"reconstructor": str(tmp_path / "net")}}),
        ("net", {"train": {"steps": 10, "batch": 4}}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text(json.dumps(told))
    settings = tiny(tmp_path / "run", agent=f"a3c:{tmp_path / 'policy'}")
    assert passes.beforehand(settings) == (400, 120)
    settings = tiny(tmp_path / "run", agent=f"survey?start=a3c:{tmp_path / 'policy'}&queries=9")
    assert passes.beforehand(settings) == (400, 120)
    settings = tiny(tmp_path / "run", agent="a3c", policy=str(tmp_path / "policy"), passes=520 + 3 * 8 * 5 + 1)
    assert passes.lengthened(settings, 0).steps == 5
    with pytest.raises(BadInput, match="520 went into policy"):
        passes.lengthened(tiny(tmp_path / "run", agent="a3c", policy=str(tmp_path / "policy"), passes=530), 0)


def test_arms_of_equal_passes_take_the_steps_that_they_can_afford(tmp_path):
    budget = 3 * SHOWN
    for name, more, steps in (("random", {}, 6), ("anatomask", {}, 4), ("simclr", {"batch": 8}, 3)):
        settings = tiny(tmp_path / name, name, passes=budget, **more)
        pretrain(settings)
        told = json.loads((settings.out / "passes.json").read_text())
        assert told["student"] // (8 * passes.per_image(settings)) == steps
        assert budget - 32 < told["total"] <= budget


def test_a_prediction_of_the_whole_image_is_a_query_and_one_beside_the_students_pass_is_not(tmp_path):
    with_predictor = asked(tmp_path, "selfmedhpm", score_every=1, **VIT)
    assert with_predictor["agent"] == SHOWN

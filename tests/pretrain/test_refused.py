"""What pre-training refuses, before anything is written or when it goes wrong: one line that says the fix."""

import pytest
import torch

from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.pretrain import pretrain
from maskgym.pretrain.data import make_loader, open_split
from maskgym.pretrain.loop import Loop
from tests.pretrain.runs import tiny


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"patch_size": "5"}, "does not divide"),
        ({"crop": "12x12", "recipe": "amlp"}, "remembers"),
        ({"crop": "8x8", "report": True}, "random crops"),
        ({"student": "unett"}, "did you mean 'unet'"),
        ({"student_settings": "wdths=4,8"}, "wdths"),
        ({"student_settings": "widths=4,8,16,32,64,128"}, "multiples of 32"),
        ({"student": "basicunet", "student_settings": "widths=4,4,4,4"}, "cannot take images of"),
        ({"agent": "varianc"}, "did you mean variance"),
        ({"agent": "a3c"}, "trained first"),
        ({"recipe": "selfmedhpm", "student": "unet", "student_settings": "widths=4,8"}, "second decoder"),
        ({"recipe": "simclr", "agent": "variance"}, "hides nothing"),
        ({"recipe": "simclr", "processes": 2}, "all images of a batch"),
        ({"recipe": "byol", "teacher": ""}, "slow network"),
        ({"recipe": "simclr", "batch": 1}, "leaves nothing to tell"),
        ({"passes": 10}, "not reach for a single step"),
        ({"passes": 1000, "steps": 4}, "leave --steps 4 away"),
        ({"teacher": "0.9"}, "no teacher"),
        ({"loss": "hiden-mean"}, "did you mean"),
        ({"ratio": "2"}, "outside"),
        ({"hard_share": "soon"}, "no schedule"),
        ({"hard_share": "2"}, "hard_share 2 is 2 in epoch 1: choose 0 to 1"),
        ({"hard_share": "linear:0:1.5"}, "is 1.5 in epoch"),
        ({"temperature": -1.0}, "temperature -1.0 must be at least 0"),
        ({"batch": 32}, "more than the 24 images there are"),
        ({"device": "tpu"}, "not here"),
        ({"image_size": "16x16x"}, "not a size"),
        ({"patch_size": "4x4x4"}, "axes"),
    ],
)
def test_bad_input_is_told_in_one_line_and_nothing_is_written(tmp_path, more, told):
    with pytest.raises(BadInput, match=told) as error:
        pretrain(tiny(tmp_path / "run", **more))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_agent_of_another_grid_is_refused(tmp_path):
    from maskgym.agent import GameSpec
    from maskgym.registry import make_agent

    make_agent("a3c", game_spec=GameSpec(Patches((16, 16), (8, 8))), width=8).save(tmp_path / "agent")
    with pytest.raises(BadInput, match="patches of"):
        pretrain(tiny(tmp_path / "run", agent=f"a3c:{tmp_path / 'agent'}"))


def test_a_loss_that_turns_nan_names_step_and_images_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    settings = tiny(tmp_path, save_every=2, epochs=2)
    make = Loop.make

    def broken(self, step):
        batch = make(self, step)
        if step == 3:
            batch.images[2] = float("nan")
        return batch

    monkeypatch.setattr(Loop, "make", broken)
    with pytest.raises(BadInput, match="at step 4, images") as error:
        pretrain(settings)
    train = open_split(settings, "train")
    ids, which = train.source.ids, make_loader(settings, train).make(3).which[2]
    assert f"images {ids[which]}:" in str(error.value)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["done"] == 2
    assert all(value.isfinite().all() for value in kept["job"]["student"].values())


def test_out_of_memory_says_what_would_fit(tmp_path, monkeypatch):
    from maskgym.game import Game

    evaluate = Game.evaluate

    def small(self, images, mask):
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")
        return evaluate(self, images, mask)

    monkeypatch.setattr(Game, "evaluate", small)
    with pytest.raises(BadInput, match="with 8 images at once; 2 fit: use --batch 2, or --accumulate 4"):
        pretrain(tiny(tmp_path))

import pytest
import torch

from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.patches import Patches
from maskgym.networks import store
from maskgym.networks.students import STUDENTS, make_student
from tests.networks.small import GRIDS, SETTINGS, shown, small

EVERY = pytest.mark.parametrize("name", STUDENTS)
BOTH = pytest.mark.parametrize("dims", [2, 3])


@EVERY
@BOTH
def test_a_student_rebuilds_images_and_every_weight_that_learns_gets_a_gradient(name, dims):
    student, (images, mask) = small(name, dims), shown(dims)
    game = Game(student, GRIDS[dims], 0.5)
    assert game.rebuild(images, mask).shape == images.shape
    cost = game.evaluate(images, mask).patch_loss
    assert cost.shape == mask.shape
    cost[mask].mean().backward()
    without = [key for key, weight in student.named_parameters() if weight.requires_grad and weight.grad is None]
    assert not without


@EVERY
@BOTH
def test_what_is_saved_is_loaded_again(name, dims, tmp_path):
    student, (images, mask) = small(name, dims).eval(), shown(dims)
    store.save(student, tmp_path / "model.safetensors", {"target": "normalised"})
    loaded, about = store.load(str(tmp_path), 2, dims)
    assert about["target"] == "normalised"
    assert loaded.settings == student.settings
    assert torch.equal(loaded.eval()(images, mask), student(images, mask))


@EVERY
@BOTH
def test_masks_are_arguments_and_nothing_is_remembered_from_call_to_call(name, dims):
    """Two images under two masks in one call give what each gives alone, before and after other calls."""
    student, (images, mask) = small(name, dims).eval(), shown(dims)
    assert not torch.equal(mask[0], mask[1])
    together = student(images, mask)
    other = student(*shown(dims, seed=1))
    alone = torch.cat([student(images[i : i + 1], mask[i : i + 1]) for i in range(2)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(student(images, mask), together)
    assert not torch.allclose(other, together, atol=1e-2)


@pytest.mark.parametrize("name", ["vit-mae", "stunet-s"])
def test_another_mask_of_the_same_image_gives_another_answer(name):
    student, (images, mask) = small(name).eval(), shown()
    assert not torch.allclose(student(images, mask), student(images, ~mask), atol=1e-2)


@EVERY
def test_bf16_comes_near_to_full_precision_and_trains(name):
    student, (images, mask) = small(name), shown()
    full = student(images, mask)
    with torch.autocast("cpu", torch.bfloat16):
        half = student(images, mask)
    assert half.float().sub(full).square().mean().sqrt() < 0.05 * full.square().mean().sqrt()
    half.float().square().mean().backward()
    assert all(weight.grad.isfinite().all() for weight in student.parameters() if weight.grad is not None)


@pytest.mark.parametrize(("patch", "stages"), [((4, 4), 3), ((8, 8), 4), ((16, 16), 5), ((32, 32), 5), ((6, 6), 2)])
def test_stunet_has_as_many_stages_as_a_patch_can_be_halved_between(patch, stages):
    student = make_student("stunet-s", 1, Patches(tuple(2 * side for side in patch), patch))
    assert student.settings["widths"] == [16, 32, 64, 128, 256][:stages]
    assert student(torch.zeros(1, 1, *(2 * side for side in patch)), torch.eye(2).bool()[None]).shape[1] == 1


def test_the_papers_widths_are_what_is_built_without_settings():
    patches = Patches((32, 32), (16, 16))
    widths = {name: make_student(name, 1, patches).settings["widths"] for name in STUDENTS if name != "vit-mae"}
    assert widths["basicunet"] == [64, 128, 256, 512, 1024]
    assert widths["unet"] == [64, 128, 256, 512]
    assert len(widths["nnunet"]) == 5
    assert widths["stunet-b"] == [32, 64, 128, 256, 512]
    assert widths["stunet-l"] == [64, 128, 256, 512, 1024]


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("vitmae", {}, "did you mean 'vit-mae'"),
        ("resnet-50", {}, "there are basicunet, unet"),
        ("unet", {"wdths": (4, 8)}, "wdths"),
        ("unet", {"widths": (4,)}, "2 or more"),
        ("unet", {"widths": 4}, "2 or more"),
        ("basicunet", {"widths": (4, 4, 4, 4, 4, 4)}, "5 at most"),
        ("vit-mae", {"width": 10, "heads": 3}, "heads 3 must divide width 10"),
        ("vit-mae", {"heads": 0}, "heads 0"),
        ("vit-mae", {"depth": 0}, "depth 0"),
    ],
)
def test_bad_settings_are_told_in_one_line(name, settings, told):
    with pytest.raises(BadInput, match=told) as error:
        make_student(name, 1, GRIDS[2], settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("unet", {"widths": (4, 4, 4, 4, 4, 4)}, "multiples of 32"),
        ("stunet-s", {"widths": (4, 4, 4, 4, 4)}, "do not survive 4 halvings"),
        ("vit-mae", SETTINGS["vit-mae"], "learned positions of"),
    ],
)
def test_images_that_do_not_suit_are_told_in_one_line(name, settings, told):
    student = make_student(name, 1, GRIDS[2], settings)
    with pytest.raises(BadInput, match=told) as error:
        student(torch.zeros(1, 1, 16, 48), torch.zeros(1, 2, 6, dtype=torch.bool))
    assert "\n" not in str(error.value)

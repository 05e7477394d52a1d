import pytest
import torch
from torch import nn

from maskgym.errors import BadInput
from tests.networks.small import GRIDS, disturbed, shown, small


def vit(dims: int = 2, **more):
    return small("vit-mae", dims, predictor_depth=1, **more)


def gradients(student) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in student.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("dims", [2, 3])
def test_hidden_pixels_cannot_change_anything(dims):
    student, (images, mask) = vit(dims), shown(dims)
    others = disturbed(images, mask, dims)
    assert not torch.equal(images, others)
    assert torch.equal(student(images, mask), student(others, mask))
    assert torch.equal(student.predict_loss(images, mask), student.predict_loss(others, mask))


def test_the_encoder_is_shown_visible_patches_only():
    student, (images, mask) = vit(), shown()
    lengths = []
    student.vit.blocks[0].register_forward_hook(lambda module, tokens, answer: lengths.append(tokens[0].shape[1]))
    student(images, mask)
    student.predict_loss(images)
    assert lengths == [12, 24]


@pytest.mark.parametrize("hidden", [True, False])
def test_the_encoder_makes_of_visible_patches_what_monais_blocks_make_of_their_rows(hidden):
    """What is embedded patch by patch, each with its own position, is what MONAI's convolution makes of the image."""
    student, (images, mask) = vit(), shown()
    mask = mask & hidden
    visible = (~mask).flatten(1)
    every = student.vit.patch_embedding(images)
    tokens = torch.stack([every[i][visible[i]] for i in range(2)])
    for block in student.vit.blocks:
        tokens = block(tokens)
    assert torch.allclose(student._see(images, mask).latent, student.vit.norm(tokens), atol=1e-5)
    if not hidden:
        assert torch.allclose(student._see(images, None).latent, student.vit(images)[0], atol=1e-5)


def test_positions_say_which_patch_is_which():
    """Of two images with one visible patch each, the same but in another place, the answers differ."""
    student, (images, _) = vit(), shown()
    patches = GRIDS[2]
    pieces = patches.split(images)
    pieces[1, 5] = pieces[0, 2]
    mask = torch.ones(2, patches.count, dtype=torch.bool)
    mask[0, 2] = mask[1, 5] = False
    first, second = student(patches.join(pieces), mask.view(2, *patches.grid))
    assert not torch.allclose(first, second, atol=1e-3)
    student.vit.patch_embedding.position_embeddings.data.zero_()
    latent = student._see(patches.join(pieces), mask.view(2, *patches.grid)).latent
    assert torch.allclose(latent[0], latent[1], atol=1e-5)


def test_the_decoder_puts_latents_at_their_places_and_one_token_at_all_others():
    student = vit(decoder_depth=1).eval()
    decoder = student.decoder
    decoder.blocks = nn.ModuleList()
    decoder.norm = decoder.head = nn.Identity()
    decoder.place.data.zero_()
    latent, visible = torch.randn(1, 3, 12), torch.tensor([[1, 4, 20]])
    tokens = decoder(latent, visible)
    assert torch.allclose(tokens[0, [1, 4, 20]], decoder.embed(latent)[0])
    rest = [place for place in range(24) if place not in (1, 4, 20)]
    assert torch.equal(tokens[0, rest], decoder.hidden[0].expand(21, -1))
    decoder.place.data.normal_()
    assert torch.allclose(decoder(latent, visible) - tokens, decoder.place)


def test_a_mask_of_equal_size_hides_equally_many_or_is_refused():
    student, (images, mask) = vit(), shown()
    mask[1] = False
    with pytest.raises(BadInput, match="equally many"):
        student(images, mask)
    with pytest.raises(BadInput, match="this network's grid"):
        student(images, torch.zeros(2, 2, 2, dtype=torch.bool))


def test_gradients_are_the_same_whether_the_encoder_is_asked_once_or_twice():
    student, (images, mask) = vit(), shown()
    asked = []
    student.vit.norm.register_forward_hook(lambda *_: asked.append(1))
    told = []
    for forget in (False, True):
        student.zero_grad()
        asked.clear()
        rebuilt = student(images, mask)
        if forget:
            student._seen.clear()
        loss = rebuilt.square().mean() + student.predict_loss(images, mask).square().mean()
        loss.backward()
        assert len(asked) == 1 + forget
        told.append(gradients(student))
    assert told[0].keys() == told[1].keys()
    assert all(torch.allclose(told[0][name], told[1][name], atol=1e-6) for name in told[0])
    assert any(name.startswith("vit.blocks") for name in told[0])


@pytest.mark.parametrize("what", ["mask", "images", "weights", "backward", "no grad"])
def test_a_pass_is_not_shared_where_it_would_be_another(what):
    student, (images, mask) = vit(), shown()
    context = torch.no_grad() if what == "no grad" else torch.enable_grad()
    with context:
        rebuilt = student(images, mask)
    if what == "mask":
        mask = ~mask
    elif what == "images":
        images = images + 1
    elif what == "weights":
        with torch.no_grad():
            student.vit.norm.weight.add_(1)
    elif what == "backward":
        rebuilt.sum().backward()
    predicted = student.predict_loss(images, mask)
    student._seen.clear()
    assert torch.equal(predicted, student.predict_loss(images, mask))
    predicted.sum().backward()  # through a graph of its own
    assert student.predictor.head.weight.grad is not None


def test_a_student_in_the_middle_of_a_step_can_be_copied_and_saved(tmp_path):
    from copy import deepcopy

    student, (images, mask) = vit(), shown()
    with torch.no_grad():
        student(images, mask)
    assert torch.equal(deepcopy(student)(images, mask), student(images, mask))
    assert not any("seen" in name for name in student.state_dict())


def test_there_is_a_predictor_only_where_one_was_asked_for():
    assert not hasattr(small("vit-mae"), "predict_loss")
    student, (images, mask) = vit(), shown()
    assert student.predict_loss(images, mask).shape == mask.shape
    assert student.predict_loss(images, None).shape == mask.shape

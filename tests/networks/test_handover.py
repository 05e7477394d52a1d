"""What a student learned arrives in MONAI's own classes by plain `load_state_dict`, and every key is accounted for."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.networks import store
from maskgym.networks.handover import export, fill, load_into, settings_of, translate
from maskgym.networks.segmenters import SEGMENTERS, encoder_keys, make_segmenter
from maskgym.networks.students import make_student
from maskgym.networks.unet import _folded

KINDS = pytest.mark.parametrize("kind", SEGMENTERS)
BOTH = pytest.mark.parametrize("dims", [2, 3])
STUDENTS = {
    "unet": ("unet", {"widths": (4, 8, 12)}),
    "nnunet": ("nnunet", {"widths": (4, 6, 8)}),
    "small-unet": ("small-unet", {"widths": (4, 6, 8), "fold": 2}),
    "basicunet": ("basicunet", {"widths": (4, 4, 6, 8)}),
    "unetr": ("vit-mae", {"width": 12, "depth": 12, "heads": 3, "decoder_width": 12, "predictor_depth": 1}),
    "stunet": ("stunet-s", {"widths": (4, 6, 8)}),
}
FEATURES = {"unetr": {"features": 4}}


def student_of(kind, dims=2, size=(), patch=16, **more):
    name, settings = STUDENTS[kind]
    size = size or (32,) * dims
    torch.manual_seed(3)
    student = make_student(name, 1, Patches(size, (patch,) * len(size)), {**settings, **more})
    for weight in student.state_dict().values():
        if weight.is_floating_point():
            weight += 0.1 * torch.randn_like(weight)
    return student.eval()


def saved(folder, kind, dims=2, **more):
    student = student_of(kind, dims, **more)
    store.save(student, folder / "model.safetensors", {"image_size": "x".join(["32"] * dims)})
    return student


def monai(kind, dims, outputs=3):
    """The network as somebody without us would build it."""
    from monai.networks.nets import UNETR, BasicUNet, UNet

    torch.manual_seed(5)
    if kind == "unet":
        return UNet(dims, 1, outputs, channels=(4, 8, 12), strides=(2, 2), num_res_units=2).eval()
    if kind == "basicunet":
        return BasicUNet(dims, 1, outputs, features=(4, 4, 6, 8, 8, 4)).eval()
    if kind == "unetr":
        return UNETR(1, outputs, (32,) * dims, 4, 12, 48, 3, spatial_dims=dims).eval()
    settings = {"widths": (4, 6, 8)} | ({"fold": 2} if kind == "small-unet" else {})
    return make_segmenter(kind, 1, outputs, (32,) * dims, settings).eval()


def encoded(kind, network, images):
    """What the encoder makes of images: of a student's network, or of a segmenter of the same kind."""
    if kind == "unet":
        first, second = network.model[0](images), network.model[1].submodule[0]
        down = second(first)
        return [first, down, network.model[1].submodule[1].submodule(down)]
    if kind == "basicunet":
        features = [network.conv_0(images)]
        for step in range(1, 5):
            features.append(getattr(network, f"down_{step}")(features[-1]))
        return features
    if kind == "nnunet":
        features = [network.encoder[0](images)]
        for stage in network.encoder[1:]:
            features.append(stage(features[-1]))
        return features
    if kind == "small-unet":
        hidden = images.new_zeros(len(images), 1, *(side // 2 for side in images.shape[2:]))
        features = [network.stem(torch.cat([_folded(images, 2), hidden], 1))]
        for down, deep in zip(network.down, network.deep, strict=True):
            features.append(deep(down(features[-1])))
        return features
    if kind == "unetr":
        last, between = network.vit(images)
        return [last, *between]
    return network.encoder(images)


@KINDS
@BOTH
def test_exported_weights_are_loaded_into_the_others_class_and_its_encoder_answers_as_ours(kind, dims, tmp_path):
    student = saved(tmp_path, kind, dims)
    ours = make_segmenter(kind, 1, 3, (32,) * dims, settings_of(tmp_path, kind) | FEATURES.get(kind, {}))
    export(tmp_path, kind, ours, tmp_path / "w.safetensors")
    theirs, images = monai(kind, dims), torch.randn(2, 1, *(32,) * dims)
    before = encoded(kind, theirs, images)
    told = theirs.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=False)
    assert not told.unexpected_keys
    assert not set(told.missing_keys) & set(encoder_keys(kind, theirs))
    wanted = encoded(kind, getattr(student, "net", student), images)
    answer = encoded(kind, theirs, images)
    assert len(wanted) == len(answer) >= 3
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(wanted, answer, strict=True))
    assert not any(torch.allclose(a, b, atol=1e-2) for a, b in zip(before, answer, strict=True))
    assert theirs(images).shape == (2, 3, *images.shape[2:])


@KINDS
@pytest.mark.parametrize("decoder", [False, True])
def test_every_key_of_both_sides_is_accounted_for_once(kind, decoder, tmp_path):
    student = saved(tmp_path, kind)
    segmenter = make_segmenter(kind, 1, 3, (32, 32), settings_of(tmp_path, kind))
    start = {key: value.clone() for key, value in segmenter.state_dict().items()}
    coverage = load_into(segmenter, kind, tmp_path, decoder)
    sources = sorted([*coverage.filled.values(), *coverage.unused])
    assert sources == sorted(student.state_dict())
    assert sorted([*coverage.filled, *coverage.left]) == sorted(start)
    assert set(coverage.encoder) <= set(coverage.filled)
    assert coverage.share == 1.0
    there = segmenter.state_dict()
    for key, source in coverage.filled.items():
        assert torch.equal(there[key], student.state_dict()[source])
    for key in coverage.left:
        assert torch.equal(there[key], start[key])
    handed = set(coverage.filled) - set(coverage.encoder)
    assert bool(handed) == (decoder and kind not in ("unetr", "stunet"))


@KINDS
def test_the_encoder_is_what_looks_at_the_image_before_anything_comes_up_again(kind):
    segmenter = monai(kind, 2)
    inside = encoder_keys(kind, segmenter)
    rest = [key for key in segmenter.state_dict() if key not in inside]
    segmenter.requires_grad_(True).zero_grad()
    sum(one.square().sum() for one in encoded(kind, segmenter, torch.randn(1, 1, 32, 32))).backward()
    weights = dict(segmenter.named_parameters())
    touched = {key for key, weight in weights.items() if weight.grad is not None}
    unused = {key for key in inside if "norm_cross_attn" in key}  # MONAI's blocks have it and never use it
    assert touched == {key for key in inside if key in weights} - unused
    assert rest
    assert not touched & set(rest)


@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # MONAI's positions are made so
def test_monais_masked_autoencoder_fits_unetr_by_name_but_for_its_last_norm():
    from monai.networks.nets import MaskedAutoEncoderViT

    sizes = {"hidden_size": 12, "mlp_dim": 48, "num_layers": 12, "num_heads": 3, "spatial_dims": 2}
    light = {"decoder_hidden_size": 12, "decoder_mlp_dim": 12, "decoder_num_layers": 1, "decoder_num_heads": 3}
    theirs = MaskedAutoEncoderViT(1, (32, 32), (16, 16), **sizes, **light)
    segmenter = monai("unetr", 2)
    wanted, given = segmenter.vit.state_dict(), theirs.state_dict()
    assert len(wanted) == 161
    assert sum(key in given and given[key].shape == value.shape for key, value in wanted.items()) == 159
    coverage = fill(segmenter, "unetr", given)
    assert len(coverage.filled) == 161
    assert coverage.share == 1.0
    renamed = {key: source for key, source in coverage.filled.items() if key != f"vit.{source}"}
    assert renamed == {f"vit.norm.{end}": f"blocks.12.{end}" for end in ("weight", "bias")}
    assert {"cls_token", "mask_tokens"} <= set(coverage.unused)
    images = torch.randn(1, 1, 32, 32)
    tokens = theirs.blocks(theirs.patch_embedding(images))
    assert torch.allclose(segmenter.eval().vit(images)[0], tokens, atol=1e-5)


def test_our_autoencoder_fills_all_of_unetrs_transformer():
    weights, coverage = translate(student_of("unetr"), "unetr", monai("unetr", 2))
    assert len(weights) == len(coverage.filled) == 161
    assert all(key == source for key, source in coverage.filled.items())
    assert {key.split(".")[0] for key in coverage.unused} == {"decoder", "predictor"}


def test_positions_of_another_grid_are_resampled_along_the_axes_they_have():
    student = student_of("unetr", size=(32, 96))  # 2 x 6 patches
    segmenter = make_segmenter("unetr", 1, 2, (64, 48), {"width": 12, "heads": 3, "features": 4})  # 4 x 3 patches
    places = student.vit.patch_embedding.position_embeddings.data
    coverage = translate(student, "unetr", segmenter)[1]
    cells = places.mT.reshape(1, 12, 2, 6)
    expected = F.interpolate(cells, (4, 3), mode="bilinear", align_corners=False).flatten(2).mT
    assert places.shape == expected.shape  # as many, at other places
    assert torch.allclose(segmenter.vit.patch_embedding.position_embeddings, expected)
    assert coverage.notes == ("positions resampled from 2x6 to 4x3 patches",)
    assert coverage.share == 1.0


def test_a_position_that_rises_along_an_axis_still_does_after_resampling():
    student = student_of("unetr", size=(64, 64))
    ramp = torch.arange(4.0)[:, None].expand(4, 4).reshape(1, 16, 1).expand(1, 16, 12)
    student.vit.patch_embedding.position_embeddings.data.copy_(ramp)
    segmenter = make_segmenter("unetr", 1, 2, (128, 32), {"width": 12, "heads": 3, "features": 4})
    translate(student, "unetr", segmenter)
    there = segmenter.vit.patch_embedding.position_embeddings.detach()[0, :, 0].view(8, 2)
    assert (there.diff(dim=0) >= 0).all()
    assert torch.allclose(there[:, 0], there[:, 1])
    assert float(there[0, 0]) < 0.5 < 2.5 < float(there[-1, 0])


def test_bare_positions_are_taken_for_a_square():
    weights = {"vit.patch_embedding.position_embeddings": torch.randn(1, 16, 12)}
    segmenter = make_segmenter("unetr", 1, 2, (32, 32), {"width": 12, "heads": 3, "features": 4})
    assert fill(segmenter, "unetr", weights).notes == ("positions resampled from 4x4 to 2x2 patches",)
    oblong = {"vit.patch_embedding.position_embeddings": torch.randn(1, 15, 12)}
    assert list(fill(segmenter, "unetr", oblong).misshaped) == list(weights)


@KINDS
def test_what_was_exported_says_what_it_is_for_and_is_taken_again(kind, tmp_path):
    saved(tmp_path, kind)
    settings, size = settings_of(tmp_path, kind), (32, 32)
    segmenter = make_segmenter(kind, 1, 3, size, settings)
    weights, first = export(tmp_path, kind, segmenter, tmp_path / "w.safetensors")
    assert settings_of(tmp_path / "w.safetensors", kind) == settings
    other = make_segmenter(kind, 1, 5, size, settings)
    second = load_into(other, kind, tmp_path / "w.safetensors")
    assert second.unused == ()
    assert set(second.filled) == set(first.filled) == set(weights)
    assert second.share == 1.0
    with pytest.raises(BadInput, match=f"they are for {kind}"):
        settings_of(tmp_path / "w.safetensors", "unet" if kind != "unet" else "unetr")


def test_a_weight_of_another_shape_is_told_and_not_forced():
    weights, _ = translate(student_of("unet"), "unet", monai("unet", 2))
    wide = make_segmenter("unet", 3, 2, (32, 32), {"widths": (4, 8, 12)})
    coverage = fill(wide, "unet", weights)
    assert list(coverage.misshaped) == ["model.0.conv.unit0.conv.weight", "model.0.residual.weight"]
    assert set(coverage.misshaped) <= set(coverage.left)
    assert set(coverage.misshaped.values()) <= set(coverage.unused)
    assert 0.5 < coverage.share < 1.0
    assert "of another shape: model.0.conv.unit0.conv.weight" in str(coverage)


def test_two_weights_for_one_place_are_not_dropped_in_silence():
    twice = {"vit.norm.weight": torch.ones(12), "blocks.12.weight": torch.zeros(12)}
    segmenter = make_segmenter("unetr", 1, 2, (32, 32), {"width": 12, "heads": 3, "features": 4})
    coverage = fill(segmenter, "unetr", twice)
    assert coverage.filled == {"vit.norm.weight": "vit.norm.weight"}
    assert coverage.unused == ("blocks.12.weight",)


def test_a_shallower_transformer_is_told(tmp_path):
    saved(tmp_path, "unetr", depth=2)
    segmenter = make_segmenter("unetr", 1, 2, (32, 32), settings_of(tmp_path, "unetr"))
    coverage = load_into(segmenter, "unetr", tmp_path)
    assert 0.1 < coverage.share < 0.3
    assert "the student has 2 blocks, UNETR has 12" in str(coverage)


@pytest.mark.parametrize(
    ("kind", "network", "told"),
    [
        ("unet", "unetr", "they are for unet"),
        ("basicunet", "unet", "they are for basicunet"),
        ("unetr", "stunet", "they are for unetr"),
        ("unet", "unett", "did you mean 'unet'"),
    ],
)
def test_a_student_of_another_network_is_refused(kind, network, told, tmp_path):
    saved(tmp_path, kind)
    with pytest.raises(BadInput, match=told) as error:
        settings_of(tmp_path, network)
    assert "\n" not in str(error.value)


def test_an_environments_reconstructor_and_patches_that_unetr_does_not_cut_are_refused(tmp_path):
    from maskgym.networks.unet import UNet

    store.save(UNet(1, 2, (4, 8), 1), tmp_path / "frozen" / "model.safetensors", {})
    with pytest.raises(BadInput, match="they are for small-unet"):
        settings_of(tmp_path / "frozen", "unet")
    saved(tmp_path, "unetr", patch=8)
    with pytest.raises(BadInput, match="are of patches of 8x8, and UNETR cuts patches of 16: pre-train with"):
        settings_of(tmp_path, "unetr")


@pytest.mark.parametrize("damage", ["short", "text", "header"])
def test_damaged_weights_are_told_in_one_line(tmp_path, damage):
    saved(tmp_path, "unet")
    file = tmp_path / "model.safetensors"
    if damage == "header":
        save_file(load_file(file), file, metadata={"maskgym": '{"kind": "monai"}'})
    else:
        file.write_bytes(file.read_bytes()[:300] if damage == "short" else b"no weights at all")
    with pytest.raises(BadInput, match="is damaged or holds no weights") as error:
        settings_of(tmp_path, "unet")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing_behind(tmp_path, monkeypatch):
    saved(tmp_path, "unet")
    segmenter = make_segmenter("unet", 1, 2, (32, 32), settings_of(tmp_path, "unet"))

    def full(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maskgym.files.os.replace", full)
    with pytest.raises(BadInput, match="No space left on device"):
        export(tmp_path, "unet", segmenter, tmp_path / "out" / "w.safetensors")
    assert list((tmp_path / "out").iterdir()) == []

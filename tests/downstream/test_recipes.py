from itertools import pairwise
from pathlib import Path

import pytest
import torch

from maskgym.downstream.recipes import RECIPES, layer_of, optimiser, recipe, share_of_peak
from maskgym.errors import BadInput
from maskgym.networks.segmenters import make_segmenter


def test_ahm_falls_to_nine_tenths_every_three_of_two_hundred_epochs():
    for steps in (200, 1000, 2000):
        rates = [share_of_peak(RECIPES["ahm"], step, steps) for step in range(steps)]
        epoch = steps // 200
        assert rates[0] == rates[3 * epoch - 1] == 1.0
        assert rates[3 * epoch] == pytest.approx(0.9)
        assert rates[-1] == pytest.approx(0.9**66)


@pytest.mark.parametrize("name", ["amlp", "mps-ams", "selfmedhpm", "default"])
def test_cosines_rise_to_the_peak_once_and_fall_to_nothing(name):
    rates = [share_of_peak(RECIPES[name], step, 200) for step in range(200)]
    top = int(200 * RECIPES[name].warm_up)
    assert rates[top] == 1.0 == max(rates)
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a > b for a, b in pairwise(rates[top:]))
    assert 0 < rates[-1] < 0.001
    assert rates[(top + 200) // 2] == pytest.approx(0.5, abs=0.02)


def test_the_polynomial_is_nnu_nets():
    assert share_of_peak(RECIPES["anatomask"], 50, 200) == pytest.approx(0.75**0.9)


def test_optimisers_are_those_of_the_papers():
    network = torch.nn.Conv2d(1, 1, 3)
    kinds = {name: type(optimiser(each, network, "unetr", each.lr)).__name__ for name, each in RECIPES.items()}
    assert kinds["ahm"] == kinds["mps-ams"] == "Adam"
    assert kinds["amlp"] == kinds["selfmedhpm"] == "AdamW"
    assert kinds["anatomask"] == "SGD"


@pytest.mark.parametrize(
    ("kind", "settings", "layers"),
    [
        ("unet", {"widths": (2, 4, 8)}, 3),
        ("basicunet", {"widths": (2, 4, 8, 8)}, 5),
        ("unetr", {"width": 12, "heads": 3, "features": 2}, 13),
        ("stunet", {"widths": (2, 4, 8)}, 3),
    ],
)
def test_every_weight_of_an_encoder_has_a_layer_and_none_of_the_decoder_has(kind, settings, layers):
    from maskgym.networks.segmenters import encoder_keys

    network = make_segmenter(kind, 1, 2, (32, 32), settings)
    found = {name: layer_of(kind, name) for name, _ in network.named_parameters()}
    inside = {name for name in encoder_keys(kind, network) if name in found} - {"vit.norm.weight", "vit.norm.bias"}
    assert {name for name, layer in found.items() if layer >= 0} == inside
    assert set(found.values()) - {-1} == set(range(layers))


def test_each_layer_of_the_transformer_learns_at_three_quarters_of_the_next_ones_rate():
    network = make_segmenter("unetr", 1, 2, (32, 32), {"width": 12, "heads": 3, "features": 2})
    made = optimiser(RECIPES["selfmedhpm"], network, "unetr", 8e-4)
    scale = {id(weight): group["scale"] for group in made.param_groups for weight in group["params"]}
    weights = dict(network.named_parameters())
    assert scale[id(weights["decoder2.transp_conv.conv.weight"])] == 1.0
    assert scale[id(weights["vit.blocks.11.mlp.linear1.weight"])] == pytest.approx(0.75)
    assert scale[id(weights["vit.blocks.0.mlp.linear1.weight"])] == pytest.approx(0.75**12)
    assert scale[id(weights["vit.patch_embedding.patch_embeddings.weight"])] == pytest.approx(0.75**13)
    assert len(scale) == len(weights)


def test_an_unknown_recipe_gets_the_nearest_name():
    with pytest.raises(BadInput, match="did you mean 'amlp'"):
        recipe("ampl")


def test_the_page_shows_the_recipes_as_they_are():
    page = (Path(__file__).parents[2] / "docs" / "finetuning.md").read_text()
    for name, each in RECIPES.items():
        row = f"| `{name}` | {each.optimiser} | {each.lr:g} | {each.weight_decay:g} | {each.batch} | {each.schedule} |"
        assert row in page, row

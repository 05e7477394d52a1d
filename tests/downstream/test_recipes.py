from pathlib import Path

import pytest
import torch

from maskgym.downstream.recipes import RECIPES, layer_of, optimiser, recipe
from maskgym.downstream.settings import FineTune
from maskgym.errors import BadInput
from maskgym.networks.segmenters import make_segmenter


def test_recipes_fall_as_the_papers_say(tmp_path):
    plans = {name: FineTune(out=tmp_path, recipe=name, steps=200).plan for name in RECIPES}
    assert plans["ahm"].rate(2) == pytest.approx(3e-4)
    assert plans["ahm"].rate(3) == pytest.approx(0.9 * 3e-4)
    assert plans["anatomask"].rate(50) == pytest.approx(1e-2 * 0.75**0.9, rel=0.01)
    assert plans["mps-ams"].rate(10) == pytest.approx(0.5 * 2e-4, rel=0.06)
    assert plans["mps-ams"].rate(110) == pytest.approx(0.5 * 2e-4, rel=0.02)
    assert all(plan.clip == RECIPES[name].clip for name, plan in plans.items())


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
        ("nnunet", {"widths": (2, 4, 8)}, 3),
        ("small-unet", {"widths": (2, 4, 8)}, 3),
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
        row = f"| `{name}` | {each.optimiser} | {each.lr:g} | {each.weight_decay:g} | {each.batch} | {each.decay} |"
        assert row in page, row

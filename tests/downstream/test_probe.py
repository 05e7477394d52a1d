import numpy as np
import pytest
import torch

from maskgym.downstream import FineTune, finetune, load_segmenter
from maskgym.downstream.probe import Probe, auroc, patch_auroc
from maskgym.masking.patches import Patches
from maskgym.networks import store
from maskgym.networks.segmenters import SEGMENTERS, make_segmenter
from maskgym.networks.students import make_student
from tests.downstream.held import hold

SETTINGS = {"unetr": {"width": 12, "heads": 3, "features": 2}, "basicunet": {"widths": (4, 4, 6, 8)}}


@pytest.mark.parametrize("kind", SEGMENTERS)
def test_a_probe_trains_its_head_alone_on_the_features_of_every_stage(kind):
    settings = SETTINGS.get(kind, {"widths": (4, 6, 8)})
    segmenter = make_segmenter(kind, 2, 3, (32, 32), settings)
    probe = Probe(segmenter, kind, 3, (32, 32)).train()
    widths = {"unetr": 12, "basicunet": 4 + 4 + 6 + 8 + 8}.get(kind, 18)
    assert probe.features(torch.randn(1, 2, 32, 32)).shape[1] == widths
    state = {key: value.clone() for key, value in segmenter.state_dict().items()}
    probe(torch.randn(2, 2, 32, 32)).square().mean().backward()
    assert {name for name, weight in probe.named_parameters() if weight.grad is not None} == {
        "head.weight",
        "head.bias",
    }
    assert all(torch.equal(value, state[key]) for key, value in segmenter.state_dict().items())


def test_the_area_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 5, 40).astype(float), random.random(40) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(scores, np.zeros(40, bool)))


def test_patches_that_a_network_marks_are_told_apart():
    labels = np.zeros((2, 16, 16), np.uint8)
    labels[:, 4:8, 8:12] = 1
    cases = hold(labels, ("a", "b"), (labels[:, None] * 2.0 - 1).astype(np.float32))

    class Bright(torch.nn.Module):
        def forward(self, images):
            return torch.cat([-images, images, 0 * images], 1)

    told = patch_auroc(Bright(), cases, (16, 16), 4, "cpu")
    assert told["core"] == 1.0
    assert np.isnan(told["rim"])


def test_a_probe_is_run_saved_and_loaded_like_any_segmenter(tmp_path):
    torch.manual_seed(0)
    student = make_student("small-unet", 1, Patches((64, 48), (8, 8)), {"widths": (4, 8)})
    store.save(student, tmp_path / "pre" / "model.safetensors", {})
    told = finetune(
        FineTune(
            out=tmp_path / "out",
            weights=str(tmp_path / "pre"),
            probe=True,
            image_size="64x48",  # an eighth of 48 does not divide 64
            labels=8,
            steps=4,
            batch=4,
            metrics="overlap",
            quiet=True,
        )
    )
    assert 0 <= told["patch_AUROC"]["lesion"] <= 1
    network, about = load_segmenter(tmp_path / "out")
    assert about["probe"]
    kept = network.state_dict()
    assert torch.equal(kept["segmenter.stem.0.weight"], student.state_dict()["stem.0.weight"])

import json
import math

import pytest
import torch
from torch.nn import functional as F

from maskgym.commands.reconstruct import Reconstruct
from maskgym.downstream.network import build
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.networks.features import Features, kind_of_student
from maskgym.networks.students import make_student
from maskgym.pretrain import contrast, pretrain
from maskgym.pretrain.contrast_run import Contrast
from maskgym.pretrain.data import make_loader, open_split
from maskgym.pretrain.settings import student_settings
from maskgym.training.devices import make_fabric
from maskgym.training.fit import take_step
from tests.pretrain.runs import rows, tiny

FEW = {"image_size": "32x32", "patch_size": "8", "images": 64, "batch": 16, "eval_every": 0}


def test_nt_xent_is_the_papers_formula_image_by_image():
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 5)
    views = torch.cat([first, second])
    total = 0.0
    for i in range(6):
        partner = (i + 3) % 6
        near = [float((F.cosine_similarity(views[i], views[j], 0) / 0.3).exp()) for j in range(6)]
        total -= float(torch.tensor(near[partner] / sum(near[j] for j in range(6) if j != i)).log())
    assert float(contrast.nt_xent(first, second, 0.3)) == pytest.approx(total / 6, rel=1e-5)


def test_byols_loss_is_the_squared_distance_of_directions_and_leaves_the_target_alone():
    torch.manual_seed(0)
    predicted, target = torch.randn(4, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    loss = contrast.byol(predicted, target)
    each = [
        float((p / p.norm() - t / t.norm()).square().sum().detach()) for p, t in zip(predicted, target, strict=True)
    ]
    assert float(loss.detach()) == pytest.approx(sum(each) / 4, rel=1e-5)
    loss.backward()
    assert predicted.grad is not None
    assert target.grad is None


@pytest.mark.parametrize("dims", [2, 3])
def test_a_view_is_a_part_of_the_image_at_its_size(dims):
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 16).expand(64, 1, *[16] * dims)  # bright to the right
    shown = contrast.view(ramp)
    assert shown.shape == ramp.shape
    assert not torch.allclose(shown[0], shown[1])
    profile = shown.flatten(2, -2).mean(2)[:, 0]  # (64, 16) along the last axis
    slopes = (profile[:, 8:].mean(1) - profile[:, :8].mean(1)) / (1.0)
    assert bool((slopes > 0.1).all()), "the ramp still rises: nothing is turned round"
    assert float(slopes.max()) < 1.5
    assert float(slopes.max() / slopes.min()) > 2, "parts and contrasts differ"


@pytest.mark.parametrize(("name", "told"), [("basicunet", {"widths": (4, 4, 4, 4, 6)}), ("unet", {"widths": (4, 6)}),
    ("small-unet", {"widths": (4, 6)}), ("stunet-s", {"widths": (4, 6), "depth": 2}), ("nnunet", {"widths": (4, 6)}),
    ("vit-mae", {"width": 6, "depth": 1, "heads": 2, "decoder_width": 6})])  # fmt: skip
def test_every_students_deepest_features_reach_all_of_its_encoder(name, told):
    student = make_student(name, 1, Patches((32, 32), (16, 16)), told)
    kind = kind_of_student(student)
    features = Features(student, kind)(torch.randn(2, 1, 32, 32), torch.zeros(2, 2, 2, dtype=torch.bool))
    assert features.shape == (2, 6)
    features.square().sum().backward()
    with_gradient = {key for key, weight in student.named_parameters() if weight.grad is not None}
    inner = {key.removeprefix("net.") for key in with_gradient}
    if kind != "unetr":
        assert not [key for key in inner if key.startswith(("up", "head", "final", "model.2"))]
    assert inner


@pytest.mark.parametrize(("recipe", "least"), [("simclr", 0.7), ("byol", 0.3)])
def test_an_encoder_learns_to_tell_eight_images_apart(tmp_path, recipe, least):
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    turns = torch.arange(8) * math.pi / 8
    stripes = torch.stack([1.4 * torch.sin(1.2 * (a.cos() * x + a.sin() * y)) for a in turns])[:, None]
    small = {"student": "small-unet", "student_settings": "widths=16,32", "lr": 5e-3, "warm_up": 0}
    settings = tiny(tmp_path, recipe, **{**FEW, **small, "images": 8, "batch": 8, "steps": 60})
    train = open_split(settings, "train")
    torch.manual_seed(0)
    student = make_student("small-unet", 1, settings.patches, student_settings(settings.student_settings))
    loader = make_loader(settings, train)
    job = Contrast(settings, student, loader, make_fabric(), stripes)
    batch = loader.make(0)._replace(images=stripes)

    def share() -> float:
        torch.manual_seed(0)
        with torch.no_grad():
            pairs = [job._compare(contrast.view(stripes), contrast.view(stripes)) for _ in range(8)]
        return sum(found for _, found in pairs) / 8

    untaught = share()
    for _ in range(60):
        take_step(job, job.plan, batch)
    assert share() > max(least, 2 * untaught)


@pytest.mark.parametrize("recipe", ["simclr", "byol"])
def test_a_contrastive_run_hands_its_encoder_over_and_counts_its_passes(tmp_path, recipe):
    settings = tiny(tmp_path / "run", recipe, epochs=2, **FEW)
    model = pretrain(settings)
    assert [float(row["told apart"]) for row in rows(settings.out) if row["told apart"]]
    _, coverage, _ = build("", str(settings.out), 1, 2, (32, 32))
    assert coverage.share == 1.0
    passes = json.loads((model.parent / "passes.json").read_text())
    assert passes["student"] == 2 * 4 * 16 * {"simclr": 6, "byol": 8}[recipe] == passes["total"]
    with pytest.raises(BadInput, match="rebuilds nothing"):
        Reconstruct(settings.out)()


def test_a_contrastive_run_goes_on_as_if_it_had_not_been_stopped(tmp_path, monkeypatch):
    from maskgym.pretrain import contrast_run

    more = {"epochs": 2, "save_every": 3, **FEW}
    whole = pretrain(tiny(tmp_path / "whole", "byol", **more))
    stepped = contrast_run.Contrast.stepped

    def killed(self, batch):
        stepped(self, batch)
        if self.done == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(contrast_run.Contrast, "stepped", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(tiny(tmp_path / "cut", "byol", **more))
    again = pretrain(tiny(tmp_path / "cut", "byol", **more))
    assert whole.read_bytes() == again.read_bytes()

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from maskgym.masking.patches import Patches
from maskgym.networks import store
from maskgym.pretrain import pretrain
from maskgym.pretrain.data import flip, make_loader, open_split
from maskgym.pretrain.loop import Loop
from maskgym.pretrain.report import read
from maskgym.pretrain.run import Run, build
from maskgym.training.devices import make_fabric
from tests.pretrain.runs import rows, tiny


def loop_of(settings) -> Loop:
    train = open_split(settings, "train")
    agent, student, _ = build(settings, train.channels)
    return Loop(settings, student, agent, make_loader(settings, train), make_fabric())


def batches(loop, count):
    return map(loop.make, range(count))


@pytest.mark.parametrize("recipe", ["random", "amlp", "anatomask", "selfmedhpm", "mps-ams"])
def test_a_recipe_leaves_all_it_promises(tmp_path, recipe):
    settings = tiny(tmp_path / "run", recipe)
    model = pretrain(settings)
    there = {path.name for path in settings.out.iterdir()}
    assert {"settings.json", "checkpoint.pt", "metrics.csv", "model.safetensors", "agent", "pictures"} <= there
    assert any(name.startswith("events.out.tfevents") for name in there)
    assert model == settings.out / "model.safetensors"
    _, about = store.load(str(settings.out), channels=1, dims=2)
    assert about["recipe"] == recipe
    assert about["target"] == settings.target
    assert about["epochs"] == 4
    pictures = sorted((settings.out / "pictures").iterdir())
    assert [path.name for path in pictures] == ["epoch-0002.png", "epoch-0004.png"]
    assert np.asarray(Image.open(pictures[0])).std() > 10
    assert [float(row["held-out loss"]) for row in rows(settings.out) if row["held-out loss"]]
    assert json.loads((settings.out / "settings.json").read_text())["agent"] == settings.agent


def test_volumes_are_no_other_case(tmp_path):
    volumes = {"image_size": "8x8x8", "images": 4, "batch": 2, "epochs": 1}
    assert pretrain(tiny(tmp_path / "a", "anatomask", **volumes)) is not None
    assert store.header(tmp_path / "a" / "model.safetensors")["about"]["image_size"] == "8x8x8"


@pytest.mark.slow
def test_the_held_out_loss_falls_under_predicting_the_mean(tmp_path):
    small = {
        "image_size": "32x32",
        "patch_size": "8",
        "student": "small-unet",
        "student_settings": "widths=32,48&fold=2",
    }
    pretrain(tiny(tmp_path, images=512, batch=32, epochs=12, eval_every=12, lr=5e-3, weight_decay=0.0, **small))
    last = rows(tmp_path)[-1]
    assert float(last["held-out loss"]) < 0.9 * float(last["patch mean"])


def test_masks_have_the_size_and_the_hard_share_of_their_epoch(tmp_path):
    """Of the patches an agent wants most the hard share is hidden, and no more than random masks would hide of them."""
    more = {"patch_size": "2", "ratio": "linear:0.25:0.75", "hard_share": "linear:0:0.5", "epochs": 4, "flips": "none"}
    loop = loop_of(tiny(tmp_path, agent="intensity", **more))
    for batch in batches(loop, 12):
        epoch = loop.epoch
        mask = loop.update(batch).mask.flatten(1)
        hidden, hard = int(64 * (0.25 + 0.5 * epoch / 4)), round(0.125 * epoch * int(64 * (0.25 + 0.5 * epoch / 4)))
        assert mask.sum(1).tolist() == [hidden] * 8
        order = loop.agent.score(batch.images).flatten(1).argsort(1, descending=True)
        wanted = mask.gather(1, order)
        assert wanted[:, :hard].all()
        assert 0 < float(wanted[:, hard : hard + 8].float().mean()) < 1


@pytest.mark.slow
def test_the_learning_rate_warms_up_and_falls_to_zero_along_a_cosine(tmp_path):
    loop = loop_of(tiny(tmp_path, epochs=100, warm_up=10.0, image_size="8x8"))
    played = []
    for batch in batches(loop, 300):
        loop.update(batch)
        played.append(loop.optimiser.param_groups[0]["lr"])
    assert np.all(np.diff(played[:30]) > 0)
    assert np.all(np.diff(played[30:]) < 0)
    assert max(played) == pytest.approx(loop.settings.lr, rel=1e-3)
    assert played[165] == pytest.approx(loop.settings.lr / 2, rel=0.01)
    assert played[-1] < 1e-4 * loop.settings.lr


@pytest.mark.parametrize("target", ["raw", "normalised"])
def test_parts_of_a_batch_teach_what_the_whole_teaches(tmp_path, target):
    gradients = []
    for parts in (1, 4):
        settings = tiny(tmp_path, accumulate=parts, target=target)
        loop = loop_of(settings)
        loop.update(loop.make(0))
        gradients.append(torch.cat([weight.grad.flatten() for weight in loop.student.parameters()]))
    assert gradients[0].norm() > 0.1
    assert torch.allclose(*gradients, atol=1e-5)


def test_kept_scores_are_asked_for_every_few_epochs_and_follow_the_flips(tmp_path):
    settings = tiny(tmp_path, agent="intensity", score_every=3, epochs=6, hard_share="1", ratio="0.25")
    loop, asked = loop_of(settings), []
    ask = loop.agent.sample
    loop.agent.sample = lambda images, index=None: asked.append(loop.epoch) or ask(images, index)
    for batch in batches(loop, 18):
        told = loop.update(batch)
        fresh = loop.agent.to_mask(loop.agent.score(batch.images), 4).view_as(told.mask)
        assert torch.equal(told.mask, fresh)  # what this agent thinks of an image never changes
    assert asked == [1, 1, 1, 4, 4, 4]


def test_at_a_temperature_kept_scores_hide_an_image_otherwise_in_every_epoch_and_what_they_prefer_oftener(tmp_path):
    settings = tiny(tmp_path, agent="intensity", score_every=8, epochs=8, hard_share="1", ratio="0.25", temperature=0.7)
    loop, asked = loop_of(settings), []
    ask = loop.agent.sample
    loop.agent.sample = lambda images, index=None: asked.append(loop.epoch) or ask(images, index)
    told = [loop.update(batch) for batch in batches(loop, 24)]
    assert asked == [1, 1, 1], "the agent is asked as seldom as ever"
    hidden = {}
    for one in told:
        assert (one.mask.flatten(1).sum(1) == 4).all()
        for which, image, mask in zip(one.batch.which.tolist(), one.batch.images, one.mask, strict=True):
            scores = loop.agent.score(image[None])
            hidden.setdefault(which, []).append((mask.flatten(), float(scores[0][mask].mean() - scores.mean())))
    for masks in hidden.values():
        assert len({tuple(mask.tolist()) for mask, _ in masks}) > 1
    assert np.mean([above for masks in hidden.values() for _, above in masks]) > 0


def test_at_a_high_temperature_every_batch_is_hidden_by_a_draw_of_its_own(tmp_path):
    loop = loop_of(tiny(tmp_path, agent="intensity", hard_share="1", ratio="0.5", temperature=1e6))
    first, second = (loop.update(batch).mask.flatten(1) for batch in batches(loop, 2))
    assert (first != second).any(1).all(), "row by row"


def test_the_teacher_and_the_fast_average_follow_the_student_each_at_its_pace(tmp_path):
    loop = loop_of(tiny(tmp_path, "snapshots", teacher="0.5:0.5:0", fast="0.2:0.2:0", epochs=10))
    start = loop.student.state_dict()["net.model.0.conv.unit0.conv.weight"].clone()
    for batch in batches(loop, 15):
        loop.update(batch)
    key = "net.model.0.conv.unit0.conv.weight"
    student, slow, fast = (
        network.state_dict()[key] for network in (loop.student, loop.teacher.network, loop.fast.network)
    )
    behind = [float((student - other).norm() / (student - start).norm()) for other in (slow, fast)]
    assert 0.9 > behind[0] > behind[1] > 0.05


def test_snapshots_hide_what_was_lately_learned(tmp_path):
    """The slow average fails on the bright left half, the fast one nowhere: the hard share lies on the left."""
    loop = loop_of(tiny(tmp_path, "snapshots", hard_share="0.5", score_every=1, ratio="0.5"))
    images = torch.randn(8, 1, 16, 16)
    wrong = torch.zeros_like(images)
    wrong[..., :8] = 3.0
    agent, truth = loop.agent, images.clone()
    agent.attach(Answer(lambda shown: truth), Answer(lambda shown: truth + wrong))
    scores = agent.score(images).flatten(1)
    left = torch.zeros(4, 4, dtype=torch.bool)
    left[:, :2] = True
    best = scores.topk(2, dim=1).indices
    assert left.flatten()[best].all()


class Answer(torch.nn.Module):
    def __init__(self, say):
        super().__init__()
        self.say = say

    def forward(self, images, mask):
        return self.say(images)


def test_hpm_teaches_the_student_to_predict_its_losses(tmp_path):
    loop = loop_of(tiny(tmp_path, "selfmedhpm"))
    plan = replace(loop.plan, decay="constant", warm_up=0.0, lr=1e-3)
    loop.plan = plan
    batch, losses = loop.make(0), []
    for _ in range(40):
        told = loop.update(batch)
        own = loop.agent.auxiliary_loss(batch.images, told.mask, told.patch_loss, batch.which)
        losses.append(float(own.detach()))
    assert np.mean(losses[-5:]) < 0.93 * np.mean(losses[:5])
    assert loop.agent.network.network is loop.teacher.network


def test_the_label_book_of_amlp_is_corrected_by_what_was_paid(tmp_path):
    loop = loop_of(tiny(tmp_path, "amlp"))
    told = [loop.update(batch) for batch in batches(loop, 3)]
    assert (loop.agent.book[loop.loader.rows] >= 0).all()
    assert any(one.metrics["labels changed"] > 0 for one in told)


@pytest.mark.parametrize("score_every", [1, 2])
def test_an_agent_that_remembers_patches_meets_images_as_they_are_stored_and_its_masks_follow_the_flips(
    tmp_path, score_every
):
    loop, asked, heard = loop_of(tiny(tmp_path, "amlp", flips="all", score_every=score_every)), [], []
    agent, stored = loop.agent, torch.tensor(loop.source.images.images)
    ask, hear = agent.sample, agent.observe
    agent.sample = lambda images, index: asked.append((images, index)) or ask(images, index)
    agent.observe = lambda *told: heard.append(told) or hear(*told)
    turned = 0
    for batch in batches(loop, 6):
        told = loop.update(batch)
        images, mask, cost, index = heard[-1]
        assert torch.equal(images, stored[index])
        assert torch.equal(flip(mask, batch.flipped), told.mask)
        assert torch.equal(flip(cost, batch.flipped), told.patch_loss)
        turned += not torch.equal(mask, told.mask)
    assert turned >= 3
    assert len(asked) == 6 // score_every
    assert all(torch.equal(images, stored[index]) for images, index in asked)


def test_the_report_counts_what_was_hidden(tmp_path):
    settings = tiny(tmp_path, report=True, epochs=2)
    pretrain(settings)
    train = open_split(settings, "train")
    holds = Patches((16, 16), (4, 4)).any(torch.from_numpy(train.lesions()[make_loader(settings, train).rows]))
    told = read(tmp_path)
    assert [row["epoch"] for row in told] == [1, 2]
    for row in told:
        assert row["hidden"] == 24 * 12
        assert row["hidden lesion"] + row["visible lesion"] == int(holds.sum())
        assert row["lesion share"] == pytest.approx(float(holds.float().mean()), abs=1e-5)


def test_the_report_sees_masks_in_the_frame_of_the_labels(tmp_path):
    """An agent that hides what is bright hides the same patches whichever way an image is flipped."""
    told = []
    for flips in ("none", "all"):
        few = {"agent": "variance", "hard_share": "1", "ratio": "0.25", "epochs": 1, "patch_size": "2"}
        settings = tiny(tmp_path / flips, flips=flips, report=True, **few)
        pretrain(settings)
        told.append(read(settings.out)[0])
    assert told[0] == told[1]


def test_a_look_leaves_no_trace_in_the_training(tmp_path):
    weights = []
    for every in (1, 4):
        settings = tiny(tmp_path / str(every), "mps-ams", eval_every=every)
        pretrain(settings)
        weights.append(torch.load(settings.out / "checkpoint.pt", weights_only=True)["job"]["student"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_bf16_trains(tmp_path):
    assert pretrain(tiny(tmp_path, "selfmedhpm", precision="bf16", epochs=1)) is not None


def test_what_is_used_for_a_picture_is_the_agents_own_mask(tmp_path):
    loop = loop_of(tiny(tmp_path, agent="intensity", hard_share="1"))
    train, val = (open_split(loop.settings, split) for split in ("train", "val"))
    run = Run(loop.settings, loop.student, loop.agent, loop.loader, loop.fabric, train, val)
    images = run.images[:3]
    masks = run._masks(images, 1)
    assert masks.flatten(1).sum(1).tolist() == [12] * 3
    scores = loop.agent.score(images)
    assert scores[masks].min() >= scores[~masks].min()

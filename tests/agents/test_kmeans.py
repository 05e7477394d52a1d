import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from maskgym_agents.kmeans import Amlp
from torch import Tensor

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent

PATCHES = Patches((40, 40), (4, 4))  # 100 patches of 16 pixels
SPEC = GameSpec(PATCHES, ratio=0.25)


def lesions(count: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Grey noise with a bright square of nine patches, and where it is: (B, 1, 40, 40), (B, N) bool."""
    generator = torch.Generator().manual_seed(seed)
    where = torch.zeros(count, 10, 10, dtype=torch.bool)
    for i in range(count):
        row, column = torch.randint(0, 8, (2,), generator=generator).tolist()
        where[i, row : row + 3, column : column + 3] = True
    images = torch.randn(count, 1, 40, 40, generator=generator) * 0.3 + 3.0 * PATCHES.spread(where)
    deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
    return (images - mean) / deviation, where.flatten(1)


def amlp(**settings: Any) -> Amlp:
    agent = make_agent("amlp", game_spec=SPEC, **settings)
    assert isinstance(agent, Amlp)
    return agent


@pytest.mark.parametrize("name", ["mps-ams", "amlp", "amlp?clustering=hierarchical", "amlp?clustering=dbscan"])
def test_the_lesion_is_the_smaller_cluster_and_hidden_first(name: str) -> None:
    images, where = lesions()
    agent = make_agent(name, game_spec=SPEC)
    assert bool(agent.to_mask(agent.score(images))[where].all())


def test_the_literal_similarities_find_less_of_a_noisy_lesion() -> None:
    """With every patch's mean taken away brightness is lost; without 1/D the softmax saturates."""
    images, where = lesions(16)
    images = images + torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    found = {}
    for similarity in ("product", "unscaled", "covariance"):
        agent = make_agent("mps-ams", game_spec=SPEC, similarity=similarity)
        found[similarity] = float(agent.to_mask(agent.score(images))[where].float().mean())
    assert found["product"] > 0.9 > found["unscaled"] > found["covariance"]
    assert found["covariance"] == pytest.approx(0.25, abs=0.1)  # as random masks would


@pytest.mark.parametrize("rule", ["contrast", "near", "far"])
def test_foreground_comes_first_whatever_the_rule(rule: str) -> None:
    images, where = lesions()
    scores = amlp(rule=rule).score(images).flatten(1)
    assert bool((scores[where] > 1).all())
    assert bool((scores[~where] < 1).all())


def test_background_first_is_the_same_order_turned_round() -> None:
    images, where = lesions()
    scores = amlp(first="background").score(images)
    assert torch.equal(scores, -amlp().score(images))
    assert not bool(amlp(first="background").to_mask(scores)[where].any())


def test_labels_that_are_not_to_be_corrected_stay_whatever_patches_cost() -> None:
    images, where = lesions(1)
    agent = amlp(correct=False)
    agent.sample(images, torch.tensor([0]))
    for _ in range(5):
        agent.observe(
            images, torch.ones(1, 10, 10, dtype=torch.bool), 1 - where.float().view(1, 10, 10), torch.tensor([0])
        )
    assert torch.equal(agent.book[0].bool(), where[0])


def test_the_rules_order_patches_by_their_distances_to_the_centres() -> None:
    images, where = lesions(1)
    points = PATCHES.split(images)[0].double()
    to_front = (points - points[where[0]].mean(0)).norm(dim=1)
    to_back = (points - points[~where[0]].mean(0)).norm(dim=1)
    for rule, value in (("contrast", to_back - to_front), ("near", -to_front), ("far", to_front)):
        scores = amlp(rule=rule).score(images).flatten()
        for part in (where[0], ~where[0]):
            assert torch.equal(scores[part].argsort(), value[part].argsort())


def test_an_empty_picture_is_scored_all_the_same() -> None:
    for name in ("mps-ams", "amlp"):
        agent = make_agent(name, game_spec=SPEC)
        scores = agent.score(torch.zeros(2, 1, 40, 40))
        assert bool(scores.isfinite().all())
        assert agent.to_mask(scores).sum(1).tolist() == [25, 25]


# The label book


def test_labels_of_hidden_patches_are_kept_where_costs_agree_and_else_decided_by_a_fair_coin() -> None:
    images, where = lesions(1)
    agent = amlp()
    agent.sample(images, torch.tensor([0]))
    assert torch.equal(agent.book[:1].bool(), where)
    mask = torch.zeros(1, 10, 10, dtype=torch.bool)
    mask[0, :5] = True
    costs_more = torch.rand(1, 10, 10, generator=torch.Generator().manual_seed(3)) < 0.5
    agrees = costs_more.flatten(1) == where
    changed = torch.zeros(100)
    for _ in range(400):
        agent.book[:1] = where.to(torch.int8)
        agent.observe(images, mask, costs_more.float(), torch.tensor([0]))
        changed += (agent.book[0].bool() != where[0]).float()
    often, hidden = changed / 400, mask.flatten()
    assert not often[~hidden].any()  # visible ones are kept
    assert not often[hidden & agrees[0]].any()
    disagreeing = often[hidden & ~agrees[0]]
    assert float(disagreeing.mean()) == pytest.approx(0.5, abs=0.02)
    assert disagreeing.tolist() == pytest.approx([0.5] * len(disagreeing), abs=0.12)


def test_a_patch_costs_much_if_it_costs_at_least_the_mean_of_its_own_images_hidden_patches() -> None:
    images, where = lesions(2)
    agent = amlp()
    index = torch.tensor([0, 1])
    agent.sample(images, index)
    cost = where.float().view(2, 10, 10)
    cost[1] *= 1000  # another image's scale is of no concern
    everything = torch.ones(2, 10, 10, dtype=torch.bool)
    metrics = agent.observe(images, everything, cost, index)
    assert metrics == {"labels changed": 0.0, "category consistency loss": 0.0}


def test_the_book_is_remembered_by_index_and_survives_saving(tmp_path: Path) -> None:
    images, where = lesions(3)
    agent = amlp()
    agent.sample(images, torch.tensor([7, 2, 5]))
    agent.book[5] = 0
    agent.book[5, 42] = 1  # as if corrected
    agent.save(tmp_path)
    loaded = Amlp.load(tmp_path, SPEC)
    assert torch.equal(loaded.book, agent.book)
    scores = loaded.sample(images[[2]], torch.tensor([5])).flatten()
    assert int(scores.argmax()) == 42
    assert torch.equal(loaded.book[7].bool(), where[0])
    assert bool((loaded.book[[0, 1, 3, 4, 6]] == -1).all())  # never met


def test_score_takes_no_notice_of_the_book() -> None:
    images, where = lesions(1)
    agent = amlp()
    agent.sample(images, torch.tensor([0]))
    agent.book[0] = (~where[0]).to(torch.int8)
    assert bool((agent.score(images).flatten(1) > 1).eq(where).all())
    assert bool((agent.sample(images, torch.tensor([0])).flatten(1) > 1).eq(~where).all())


def test_labels_that_all_became_equal_still_give_an_order() -> None:
    images, _ = lesions(1)
    agent = amlp()
    for label in (0, 1):
        agent.sample(images, torch.tensor([0]))
        agent.book[0] = label
        assert bool(agent.sample(images, torch.tensor([0])).isfinite().all())


def test_the_consistency_loss_pulls_costs_towards_labels() -> None:
    images, where = lesions(2)
    mask = torch.rand(2, 10, 10) < 0.5
    cost = torch.rand(2, 10, 10, requires_grad=True)
    agent, index = amlp(consistency=True), torch.arange(2)
    assert amlp().auxiliary_loss(images, mask, cost, index) is None
    loss = agent.auxiliary_loss(images, mask, cost, index)
    assert loss is not None
    terms = []
    for i in range(2):
        hidden = cost[i][mask[i]]
        share = torch.sigmoid((hidden - hidden.mean()) / 0.1)
        label = where[i].view(10, 10)[mask[i]].float()
        terms.append(torch.nn.functional.binary_cross_entropy(share, label, reduction="none"))
    torch.testing.assert_close(loss, torch.cat(terms).mean())
    loss.backward()
    assert cost.grad is not None
    assert cost.grad.abs().sum() > 0


def test_clusterings_of_scikit_learn_name_the_extra_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(BadInput, match=r"clustering='dbscan' needs scikit-learn: pip install scikit-learn"):
        amlp(clustering="dbscan").score(lesions(1)[0])

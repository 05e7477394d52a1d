import numpy as np
import pytest
import torch

from maskgym.data import phantoms
from maskgym.masking import rng
from maskgym.masking.kmeans import kmeans
from maskgym.masking.patches import Patches

sklearn_cluster = pytest.importorskip("sklearn.cluster")


def keys(batch: int, restarts: int = 10, clusters: int = 2, seed: int = 0) -> torch.Tensor:
    return rng.draw((batch, restarts, clusters), torch.Generator().manual_seed(seed))


def blobs(batch: int, clusters: int, apart: float, seed: int = 0) -> torch.Tensor:
    """100 points of 20 numbers in clusters of unequal size."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(batch, clusters, 20, generator=generator) * apart
    member = torch.randint(0, clusters, (batch, 100), generator=generator).minimum(
        torch.randint(0, clusters, (batch, 100), generator=generator)
    )
    points = centres.gather(1, member[..., None].expand(-1, -1, 20))
    return points + torch.randn(batch, 100, 20, generator=generator)


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    """Are the labels equal up to the names of the clusters?"""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def reference(points: torch.Tensor, clusters: int, restarts: int) -> list:
    return [sklearn_cluster.KMeans(clusters, n_init=restarts, tol=0, random_state=0).fit(one) for one in points.numpy()]


@pytest.mark.parametrize("clusters", [2, 3, 4])
def test_labels_equal_those_of_scikit_learn_on_separate_clusters(clusters: int) -> None:
    points = blobs(8, clusters, apart=3.0)
    found = kmeans(points, keys(8, 60, clusters))
    for i, one in enumerate(reference(points, clusters, 20)):
        assert same_partition(found.labels[i].numpy(), one.labels_)
        assert found.inertia[i] == pytest.approx(one.inertia_, rel=1e-4)


def test_labels_equal_those_of_scikit_learn_on_patches_given_restarts_enough() -> None:
    images, _ = phantoms.make(0, np.arange(24), (160, 160))
    points = Patches((160, 160), (16, 16)).split(torch.from_numpy(images))  # (24, 100, 256)
    found = kmeans(points, keys(24, 200))
    for i, one in enumerate(reference(points, 2, 100)):
        assert found.inertia[i] == pytest.approx(one.inertia_, rel=1e-4)
        assert same_partition(found.labels[i].numpy(), one.labels_)


def test_inertia_is_the_sum_of_squared_distances_to_the_means() -> None:
    points = blobs(3, 3, apart=1.0)
    labels, inertia = kmeans(points, keys(3, 4, 3))
    for i in range(3):
        parts = [points[i][labels[i] == k] for k in range(3)]
        assert float(inertia[i]) == pytest.approx(sum(float((p - p.mean(0)).square().sum()) for p in parts), rel=1e-4)


def test_more_restarts_are_never_worse() -> None:
    points = blobs(16, 5, apart=0.7)
    many = keys(16, 12, 5)
    few = kmeans(points, many[:, :2]).inertia
    assert bool((kmeans(points, many).inertia <= few * (1 + 1e-5)).all())


def test_the_same_keys_give_the_same_labels_alone_and_in_a_batch() -> None:
    points, seeds = blobs(5, 2, apart=1.0), keys(5)
    together = kmeans(points, seeds)
    assert torch.equal(kmeans(points, seeds).labels, together.labels)
    alone = torch.cat([kmeans(points[i : i + 1], seeds[i : i + 1]).labels for i in range(5)])
    assert torch.equal(alone, together.labels)


def test_no_cluster_stays_empty_where_points_differ() -> None:
    points = torch.rand(500, 9, 1, generator=torch.Generator().manual_seed(0))
    labels = kmeans(points, keys(500, 1, 7)).labels
    assert bool((labels[:, :, None] == torch.arange(7)).any(1).all())


def test_fewer_different_points_than_clusters_are_left_in_peace() -> None:
    points = torch.zeros(2, 9, 4)  # an empty picture
    points[1, 3:] = 1.0  # two places for four clusters
    labels, inertia = kmeans(points, keys(2, 3, 4))
    assert [len(one.unique()) for one in labels] == [1, 2]
    assert inertia.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_first_centres_are_drawn_by_squared_distance() -> None:
    points = torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1)
    found = kmeans(points.expand(4000, -1, -1), keys(4000, 1), iterations=0).labels
    # From 0 the next centre is 3 in nine of ten draws, from 1 in four of five, from 3 it is 0 in nine of thirteen.
    # Points 1 and 3 lie together only where 0 and 1 (or 1 and 0) were drawn.
    together = (found[:, 1] == found[:, 2]).float().mean()
    assert float(together) == pytest.approx((1 / 10 + 1 / 5) / 3, abs=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same_clusters() -> None:
    points, seeds = blobs(8, 2, apart=2.0), keys(8)
    assert torch.equal(kmeans(points.cuda(), seeds.cuda()).labels.cpu(), kmeans(points, seeds).labels)

from __future__ import annotations

import pytest
import torch

from selfsup.objectives.parts.kmeans import StreamingKMeans
from selfsup.testing.kit.task_checks import generator


def blobs(seed: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens around four far points, of channels of very different scale, and which point each belongs to."""
    g = generator(seed)
    points = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])
    label = torch.randint(4, (n, 5), generator=g)
    return (points[label] + 0.3 * torch.randn(n, 5, 2, generator=g)) * torch.tensor([1.0, 1000.0]), label


def fitted(k: int = 4, batches: int = 30) -> StreamingKMeans:
    torch.manual_seed(0)
    kmeans = StreamingKMeans(k, 2)
    for seed in range(batches):
        tokens, _ = blobs(seed)
        kmeans.update(tokens, kmeans.assign(tokens), None, generator(seed))
    return kmeans


def test_it_finds_clusters_whatever_the_scale_of_the_channels() -> None:
    kmeans = fitted(k=8)
    tokens, label = blobs(99, 200)
    assigned = kmeans.assign(tokens)
    joint = torch.zeros(4, 8).index_put((label.flatten(), assigned.flatten()), torch.ones(1000), accumulate=True)
    assert joint.amax(dim=0).sum() / 1000 > 0.99, "clusters mix points"
    assert (joint.sum(dim=0) > 0).all(), "a cluster stays empty"


def test_with_as_many_clusters_as_points_inertia_is_near_the_best() -> None:
    errors = []
    for seed in range(5):
        torch.manual_seed(seed)
        kmeans = StreamingKMeans(12, 2)
        for step in range(40):
            tokens, _ = blobs(100 * seed + step)
            kmeans.update(tokens, kmeans.assign(tokens), None, generator(step))
        tokens, _ = blobs(99, 200)
        nearest = kmeans.centroids[kmeans.assign(tokens)]
        errors.append(((tokens - nearest) / torch.tensor([1.0, 1000.0])).square().sum(dim=-1).mean().item())
    assert max(errors) < 0.18, errors  # one centroid a point gives 2 * 0.3 ** 2


def test_centroids_are_means_of_all_tokens_given_to_them() -> None:
    kmeans = StreamingKMeans(2, 1)
    kmeans.centroids.copy_(torch.tensor([[0.0], [10.0]]))
    kmeans.counts.fill_(1.0)
    batches = (torch.tensor([[[1.0], [2.0], [9.0]]]), torch.tensor([[[3.0], [12.0], [11.0]]]))
    for tokens in batches:
        kmeans.update(tokens, kmeans.assign(tokens), None, generator())
    torch.testing.assert_close(kmeans.centroids, torch.tensor([[(0 + 1 + 2 + 3) / 4], [(10 + 9 + 12 + 11) / 4]]))
    assert kmeans.counts.tolist() == [4, 4]
    every = torch.cat(batches).flatten()
    torch.testing.assert_close(kmeans.mean, every.mean().view(1))
    torch.testing.assert_close(kmeans.deviation, (every - every.mean()).square().sum().view(1))


def test_tokens_without_weight_change_nothing() -> None:
    tokens, _ = blobs(1)
    weight = torch.arange(200).view(40, 5) < 100
    torch.manual_seed(0)
    with_padding, without = StreamingKMeans(4, 2), StreamingKMeans(4, 2)
    without.load_state_dict(with_padding.state_dict())
    for kmeans in (with_padding, without):
        kmeans.counts.fill_(3.0)
    corrupted = torch.where(weight.unsqueeze(-1), tokens, torch.full_like(tokens, 1e6))
    with_padding.update(corrupted, with_padding.assign(corrupted), weight, generator())
    without.update(tokens[weight], without.assign(tokens[weight]), None, generator())
    for a, b in zip(with_padding.mean, without.mean, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(with_padding.counts, without.counts)
    assert with_padding.centroids.abs().max() < 1e5


def test_rare_centroids_go_to_tokens_of_the_batch() -> None:
    kmeans = StreamingKMeans(3, 1)
    kmeans.centroids.copy_(torch.tensor([[0.0], [10.0], [500.0]]))
    kmeans.counts.copy_(torch.tensor([4000.0, 3000.0, 5.0]))
    kmeans.recent.copy_(torch.tensor([200.0, 150.0, 2.0]))
    tokens = torch.tensor([[[0.5], [9.5], [11.0]]])
    kmeans.update(tokens, kmeans.assign(tokens), None, generator())
    assert kmeans.centroids[2].item() in (0.5, 9.5, 11.0)
    assert kmeans.counts.tolist() == [4001, 3002, 1]
    moved = kmeans.centroids[2].item()
    kmeans.update(tokens, kmeans.assign(tokens), None, generator())
    assert abs(kmeans.centroids[2].item() - moved) < 2, "a centroid that has just been moved is moved again"


def test_fixed_clusters_stay_and_reset_begins_anew() -> None:
    kmeans = fitted(batches=5)
    kmeans.fitting.zero_()
    before = {name: value.clone() for name, value in kmeans.state_dict().items()}
    tokens, _ = blobs(7)
    kmeans.update(tokens, kmeans.assign(tokens), None, generator())
    assert all(torch.equal(value, before[name]) for name, value in kmeans.state_dict().items())
    kmeans.reset()
    kmeans.update(tokens, kmeans.assign(tokens), None, generator())
    rows = {tuple(row) for row in tokens.view(-1, 2).tolist()}
    assert all(tuple(row) in rows for row in kmeans.centroids.tolist())
    assert kmeans.seen == 200


def test_a_batch_smaller_than_the_number_of_clusters_will_do() -> None:
    kmeans = StreamingKMeans(50, 2)
    tokens, _ = blobs(0, 2)
    for step in range(3):
        kmeans.update(tokens, kmeans.assign(tokens), None, generator(step))
    assert torch.isfinite(kmeans.centroids).all()
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    kmeans.update(tokens, kmeans.assign(tokens), nothing, generator())
    assert all(torch.isfinite(value).all() for value in kmeans.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_equal_centroids_the_first_is_meant_whatever_the_batch(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    kmeans = StreamingKMeans(7 * 13, 33).to(dtype)
    kmeans.centroids.copy_(30 + torch.randn(7, 33, dtype=dtype).repeat(13, 1))
    tokens = kmeans.centroids[:7] + 0.1 * torch.randn(40, 7, 33, dtype=dtype)
    labels = kmeans.assign(tokens)
    assert torch.equal(labels, torch.arange(7).expand(40, 7))
    for parts in (2, 7, 40):
        assert torch.equal(torch.cat([kmeans.assign(part) for part in tokens.tensor_split(parts)]), labels)

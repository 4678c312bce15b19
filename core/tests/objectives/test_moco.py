"""MoCo's queue and its batch norm: what counts as a negative, how long the queue is, and which samples share statistics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.objectives import MoCoV2, MoCoV2Config, SwAV, SwAVConfig, ViewEmbeddings
from selfsup.objectives.parts.queue import fitting_size
from selfsup.runtime import convert_split_batchnorm
from selfsup.runtime.distributed import SplitBatchNorm
from selfsup.tasks.joint_embedding.embed_views import embed_shuffled

DIM = 8


def pair(seed: int, n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(n, DIM, generator=generator, dtype=torch.float64) for _ in range(2))
    return query.requires_grad_(), key


def moco(**options: object) -> MoCoV2:
    return MoCoV2(MoCoV2Config(output_dim=DIM, **options)).double()


def by_hand(query: Tensor, key: Tensor, negatives: list[list[Tensor]], temperature: float) -> Tensor:
    """InfoNCE of each query with its key and a list of negatives of its own."""
    losses = []
    for i, others in enumerate(negatives):
        scores = [F.cosine_similarity(query[i], other, dim=0) / temperature for other in [key[i], *others]]
        losses.append(torch.stack(scores).logsumexp(dim=0) - scores[0])
    return torch.stack(losses).mean()


def test_places_that_hold_nothing_are_no_negatives() -> None:
    objective = moco(queue_size=1000)
    former: list[Tensor] = []
    for step in range(4):
        query, key = pair(step)
        output = objective(ViewEmbeddings(online=[query], target=[key], n_global=2))
        # The first batch finds nothing in the queue: its other keys stand in.
        negatives = [former or [k for j, k in enumerate(key) if j != i] for i in range(len(key))]
        expected = by_hand(query, key, negatives, 0.2)
        assert output.loss.item() == pytest.approx(expected.item(), abs=1e-9)
        (found,) = torch.autograd.grad(output.loss, query)
        torch.testing.assert_close(found, torch.autograd.grad(expected, query)[0], rtol=0, atol=1e-9)
        assert float(found.abs().max()) > 1e-3
        assert output.metrics["chance_loss"].item() == pytest.approx(math.log(1 + len(former) if former else len(key)))
        former.extend(key)


def test_a_batch_that_does_not_divide_the_queue_leaves_the_last_keys() -> None:
    objective = moco(queue_size=10)
    keys = []
    for step in range(5):
        query, key = pair(step)
        objective(ViewEmbeddings(online=[query], target=[key], n_global=2))
        keys.extend(F.normalize(key, dim=1))
    held = {tuple(row.tolist()) for row in objective.queue.embeddings}
    assert held == {tuple(row.tolist()) for row in keys[-10:]}
    query, key = pair(9)
    expected = by_hand(query, key, [list(keys[-10:])] * len(key), 0.2)
    assert objective(ViewEmbeddings(online=[query], target=[key], n_global=2)).loss.item() == pytest.approx(expected.item())


def test_the_fill_of_a_queue_is_restored() -> None:
    first, second = moco(queue_size=20), moco(queue_size=20)
    for step in range(2):
        query, key = pair(step)
        first(ViewEmbeddings(online=[query], target=[key], n_global=2))
    second.load_state_dict(first.state_dict())
    query, key = pair(5)
    losses = [float(each(ViewEmbeddings(online=[query], target=[key], n_global=2)).loss.detach()) for each in (first, second)]
    assert losses[0] == losses[1]
    assert float(second.queue.filled.sum()) == 18


@pytest.mark.parametrize(
    ("size", "rows", "batch", "expected"), [(64, 1000, 100, 64), (65536, 1000, 100, 900), (65536, 100, 80, 50), (9, 2, 2, 1)]
)
def test_a_queue_is_no_longer_than_the_data_without_the_batch(size: int, rows: int, batch: int, expected: int) -> None:
    assert fitting_size(size, rows, batch) == expected


def test_objectives_shorten_their_queues_and_say_so() -> None:
    objective = moco(queue_size=500)
    note = objective.fit_to_data(100, 10)
    assert objective.queue.size == len(objective.queue.filled) == 90
    assert "queue_size=500" in note
    assert "holds 90" in note
    both_ways = moco(queue_size=500, symmetric=True)
    both_ways.fit_to_data(100, 10)
    assert both_ways.queue.size == 180
    assert moco(queue_size=90).fit_to_data(100, 10) == ""
    swav = SwAV(SwAVConfig(queue_size=500, n_prototypes=5, output_dim=DIM))
    assert "holds 90" in swav.fit_to_data(100, 10)
    assert [queue.size for queue in swav.queues] == [90, 90]
    assert SwAV(SwAVConfig(queue_size=0, n_prototypes=5)).fit_to_data(100, 10) == ""


def test_split_batch_norm_takes_the_statistics_of_each_group() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).double()
    nn.init.uniform_(norm.weight)
    x = torch.randn(32, 3, 4, 4, dtype=torch.float64) * torch.arange(1, 33).view(-1, 1, 1, 1)
    groups = [nn.BatchNorm2d(3).double() for _ in range(4)]
    for group in groups:
        group.load_state_dict(norm.state_dict())
    expected = torch.cat([group(part) for group, part in zip(groups, x.chunk(4), strict=True)])
    split = convert_split_batchnorm(nn.Sequential(norm), 4)[0]
    assert isinstance(split, SplitBatchNorm)
    torch.testing.assert_close(split(x), expected)
    assert not torch.allclose(split(x), F.batch_norm(x, None, None, norm.weight, norm.bias, True))
    split.load_state_dict({**norm.state_dict(), "running_mean": torch.zeros(3), "running_var": torch.ones(3)})
    split(x)
    torch.testing.assert_close(split.running_mean, torch.stack([group.running_mean for group in groups]).mean(dim=0))
    torch.testing.assert_close(split.running_var, torch.stack([group.running_var for group in groups]).mean(dim=0))
    split.eval()
    torch.testing.assert_close(split(x), F.batch_norm(x, split.running_mean, split.running_var, split.weight, split.bias))


def test_groups_have_enough_samples_each() -> None:
    norm = SplitBatchNorm(3, 1e-5, 0.1, True, True, splits=8)
    assert {rows: norm.groups(rows) for rows in (256, 64, 32, 24, 16, 12, 8, 2)} == {
        256: 8, 64: 8, 32: 4, 24: 2, 16: 2, 12: 1, 8: 1, 2: 1,
    }  # fmt: skip
    small = torch.randn(12, 3)
    torch.testing.assert_close(norm(small), F.batch_norm(small, None, None, training=True))


@pytest.mark.parametrize(("devices", "expected"), [(1, 8), (2, 8), (8, 8), (16, 8), (32, 8), (3, 1), (12, 4)])
def test_groups_consist_of_whole_devices_or_of_parts_of_one(
    devices: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsup.runtime.distributed.world_size", lambda: devices)
    norm = SplitBatchNorm(3, 1e-5, 0.1, True, True, splits=8)
    assert norm.groups(768) == expected


def test_shuffled_embeddings_come_back_in_their_order() -> None:
    torch.manual_seed(0)
    rows = {"x": torch.randn(16, 4)}

    class Layer(nn.Module):
        def forward(self, views: list[dict[str, Tensor]], n_tokens: int = 0) -> tuple[list[Tensor], list[Tensor]]:
            seen.append(views[0]["x"])
            return [2 * view["x"] for view in views], []

    seen: list[Tensor] = []
    layer = Layer()
    first, second = (embed_shuffled(layer, [rows], torch.Generator().manual_seed(seed))[0] for seed in (1, 2))
    torch.testing.assert_close(first, 2 * rows["x"])
    torch.testing.assert_close(second, 2 * rows["x"])
    assert not torch.equal(seen[0], rows["x"])
    assert not torch.equal(seen[0], seen[1])
    assert sorted(seen[0][:, 0].tolist()) == sorted(rows["x"][:, 0].tolist())

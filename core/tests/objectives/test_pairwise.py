"""Objectives of two views over every pair of several views."""

from __future__ import annotations

import torch

from selfsup.objectives.base import ViewEmbeddings
from selfsup.objectives.moco import MoCoV2, MoCoV2Config
from selfsup.objectives.nt_xent import SimCLR, SimCLRConfig, nt_xent
from selfsup.objectives.parts.pairwise import Pairwise


def views(n: int, rows: int = 6, width: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(n)]


def test_three_views_are_compared_pair_by_pair() -> None:
    a, b, c = views(3)
    loss = Pairwise(SimCLR(SimCLRConfig(temperature=0.2)), 3)(ViewEmbeddings([a, b, c], [], 3)).loss
    by_hand = torch.stack([nt_xent(x, y, 0.2) for x, y in ((a, b), (a, c), (b, c))]).mean()
    torch.testing.assert_close(loss, by_hand, rtol=0, atol=1e-12)


def test_a_one_way_objective_goes_both_ways_with_a_queue_for_each() -> None:
    a, b = views(2)
    objective = Pairwise(MoCoV2(MoCoV2Config(queue_size=8, output_dim=5, batch_norm_splits=1)), 2).double()
    assert not objective.one_way
    assert objective.pairs == [(0, 1), (1, 0)]
    online = [view.clone().requires_grad_() for view in (a, b)]
    objective(ViewEmbeddings(online, [a, b], 2)).loss.backward()
    assert all(view.grad is not None and view.grad.abs().sum() > 0 for view in online)
    queues = [copy.queue.embeddings[:6] for copy in objective.copies]
    unit = [torch.nn.functional.normalize(view, dim=1) for view in (b, a)]
    for queue, keys in zip(queues, unit, strict=True):
        torch.testing.assert_close(queue, keys)
    assert objective.fit_to_data(10, 4).startswith("objective.queue_size=8")
    assert {copy.queue.size for copy in objective.copies} == {6}


def test_chosen_views_carry_their_validity() -> None:
    a, b, c = views(3)
    valid = [torch.tensor([place != own for place in range(6)]) for own in range(3)]
    chosen = ViewEmbeddings([a, b, c], [a, b, c], 3, valid=valid).chosen([2], [0])
    assert chosen.online == [c] or chosen.online[0] is c
    assert chosen.target[0] is a
    assert chosen.valid is not None
    assert [own is wanted for own, wanted in zip(chosen.valid, (valid[2], valid[0]), strict=True)] == [True, True]


def test_chosen_views_carry_their_groups() -> None:
    groups = torch.arange(18).view(6, 3)
    embeddings = ViewEmbeddings(views(3), [], 3, groups=groups)
    chosen = embeddings.chosen([2, 0], [])
    assert torch.equal(chosen.groups, groups[:, [2, 0]])
    halves = [ViewEmbeddings([view[rows] for view in views(3)], [], 3, groups=groups[rows]) for rows in (slice(4), slice(4, 6))]
    assert torch.equal(ViewEmbeddings.join(halves).groups, groups)


def test_chunks_are_joined_in_their_order() -> None:
    whole = views(2)
    halves = [[view[:3] for view in whole], [view[3:] for view in whole]]
    joined = ViewEmbeddings.join([ViewEmbeddings(half, [], 2) for half in halves])
    assert all(torch.equal(one, other) for one, other in zip(joined.online, whole, strict=True))
    assert joined.target == []
    assert joined.valid is None

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup_text.backbones.word_vectors import RECIPE as BACKBONE
from selfsup_text.backbones.word_vectors import WordVectors
from selfsup_text.tasks.word2vec import Word2Vec, Word2VecConfig, draw_by, neighbour_loss


def vectors(info: Any, dim: int = 16) -> WordVectors:
    torch.manual_seed(0)
    backbone = BACKBONE.build(BACKBONE.config(dim=dim), info)
    assert isinstance(backbone, WordVectors)
    return backbone


def task_of(info: Any, **options: Any) -> Word2Vec:
    backbone = vectors(info)
    torch.manual_seed(1)
    return Word2Vec(Word2VecConfig(**{"subsampling": 1.0, **options}), backbone, info)


def test_word_vectors_pool_by_the_mean_of_real_tokens(info: Any, texts: Any) -> None:
    backbone, batch = vectors(info), texts()
    encoded = backbone(batch)
    for i in range(8):
        ids = batch["ids"][i][~batch["padding"][i]]
        torch.testing.assert_close(encoded.pooled[i], backbone.word_embeddings.weight[ids].mean(dim=0))
    assert encoded.grid == (20,)
    assert backbone.word_embeddings.weight.std().item() == pytest.approx(1 / 4, rel=0.1)


def test_neighbours_by_hand() -> None:
    torch.manual_seed(0)
    centre, other = torch.randn(2, 7, 5, dtype=torch.float64), torch.randn(2, 7, 5, dtype=torch.float64)
    kept = torch.rand(2, 7) < 0.7
    reach = torch.randint(1, 4, (2, 7))
    loss, pairs = neighbour_loss(centre, other, kept, reach, 3)
    wanted, counts = 0.0, torch.zeros(2, 7, dtype=torch.float64)
    for b in range(2):
        for i in range(7):
            for j in range(7):
                if i != j and abs(i - j) <= reach[b, i] and kept[b, i] and kept[b, j]:
                    wanted += math.log1p(math.exp(-float(centre[b, i] @ other[b, j])))
                    counts[b, i] += 1
    assert loss.item() == pytest.approx(wanted)
    assert torch.equal(pairs, counts)
    assert counts.sum() > 10


def test_word2vec_loss_by_hand(info: Any, texts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = task_of(info, window=1, negatives=4, shared_negatives=3).double(), texts()
    drawn = torch.tensor([7, 7, 30])
    monkeypatch.setattr("selfsup_text.tasks.word2vec.draw_by", lambda weight, n, generator: drawn)
    inner, outer = task.backbone.word_embeddings.weight, task.neighbours.weight
    errors, pairs = torch.zeros((), dtype=torch.float64), 0
    for i in range(8):
        ids = batch["ids"][i][~batch["padding"][i]].tolist()
        for t, centre in enumerate(ids):
            for neighbour in (*ids[max(t - 1, 0) : t], *ids[t + 1 : t + 2]):
                errors = errors + (1 + (-inner[centre] @ outer[neighbour]).exp()).log()
                errors = errors + 4 * sum((1 + (inner[centre] @ outer[other]).exp()).log() for other in drawn) / 3
                pairs += 1
    assert_same_loss(task, task(batch, generator()).loss, errors / pairs)


def test_negatives_follow_the_smoothed_frequencies(info: Any, texts: Any) -> None:
    task, batch = task_of(info), texts(n=64)
    task(batch, generator())
    task.after_step(0.1)
    counts = Counter(batch["ids"][~batch["padding"]].tolist())
    for token in range(60):
        assert task.counts[token].item() == counts.get(token, 0)
    weight = task.counts**0.75
    share = Counter(draw_by(weight, 50000, generator()).tolist())
    for token in range(5, 60):
        assert share[token] / 50000 == pytest.approx((weight[token] / weight.sum()).item(), abs=0.005)
    assert not set(share) & set(range(5))
    task.eval()
    task(batch, generator())
    task.after_step(0.2)
    assert task.counts.sum().item() == sum(counts.values())


@pytest.mark.parametrize("smoothing", [0.0, 0.75])
def test_only_tokens_that_were_seen_are_negatives(
    smoothing: float, info: Any, texts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[Any] = []

    def noted(weight: Any, n: int, generator: Any) -> Any:
        weights.append(weight)
        return draw_by(weight, n, generator)

    monkeypatch.setattr("selfsup_text.tasks.word2vec.draw_by", noted)
    batch, task = texts(n=2), task_of(info, smoothing=smoothing)
    for step in range(2):
        task(batch, generator())
        task(batch, generator(1))  # another part of the step has the same negatives
        task.after_step(step / 10)
    assert len(weights) == 2
    # At first nothing is known, and any token may be drawn.
    assert torch.equal(weights[0] > 0, ~task.vocabulary.is_special)
    seen = batch["ids"][~batch["padding"]].unique()
    assert weights[1].nonzero().flatten().tolist() == seen.tolist()
    if smoothing == 0:
        assert (weights[1][seen] == 1).all()


def test_special_tokens_are_no_neighbours_and_frequent_ones_are_left_out(info: Any) -> None:
    ids = torch.tensor([[10, 3, 11, 10, 10, 10, 10, 10, 12, 10]]).repeat(400, 1)
    batch = {"ids": ids, "padding": torch.zeros_like(ids, dtype=torch.bool), "words": ids}
    task = task_of(info, subsampling=0.05)
    usable = task.vocabulary.maskable(batch)
    assert not usable[:, 1].any()
    task._count(ids, usable)
    task.after_step(0.1)
    frequency = task.counts / task.counts.sum()
    kept = task._subsample(ids, usable, frequency, generator())
    assert not kept[:, 1].any()
    assert kept[ids == 10].float().mean().item() == pytest.approx(math.sqrt(0.05 / (7 / 9)), abs=0.03)
    assert kept[ids == 11].float().mean().item() == pytest.approx(math.sqrt(0.05 / (1 / 9)), abs=0.1)
    alone = {"ids": ids[:, :1], "padding": batch["padding"][:, :1], "words": ids[:, :1]}
    assert task(alone, generator()).loss.item() == 0


def test_word2vec_finds_neighbours(info: Any, texts: Any) -> None:
    task = task_of(info, window=2)
    optimizer = torch.optim.Adam(task.parameters(), lr=2e-2)
    for step in range(80):
        loss = task(texts(n=32, seed=step), generator(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.after_step(step / 80)
    inner = torch.nn.functional.normalize(task.backbone.word_embeddings.weight[5:].detach(), dim=1)
    similar = inner @ inner.T
    near, far = similar.diagonal(1).mean(), similar[torch.arange(55), (torch.arange(55) + 27) % 55].mean()
    assert near > far + 0.3
    assert all(p.grad is not None for p in task.parameters())


def test_word2vec_refuses_networks(encoder: Any, info: Any) -> None:
    with pytest.raises(ConfigError, match="Use the backbone"):
        Word2Vec(Word2VecConfig(), encoder(), info)

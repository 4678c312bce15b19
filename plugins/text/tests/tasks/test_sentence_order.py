from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.registry import registry
from selfsup.testing.kit.task_checks import generator
from selfsup_text.tasks.sentence_order import SentenceOrder, SentenceOrderConfig

RECIPE = registry().task_recipe(registry().get("task", "text/sentence-order"))


def test_segments_stand_in_order_or_swapped_with_a_separator_between(texts: Any, info: Any) -> None:
    made = SentenceOrder(SentenceOrderConfig(), info)
    batch = texts(n=300)
    moved = made(batch, generator())
    assert moved.label.sum() == 150, "half of a batch is swapped"
    assert not torch.equal(moved.label, made(batch, generator(1)).label)
    shares = []
    for i in range(300):
        text = batch["ids"][i][~batch["padding"][i]].tolist()[1:-1]
        out = moved.batch["ids"][i][~moved.batch["padding"][i]].tolist()
        at = out.index(info["sep_id"])
        first, second = out[:at], out[at + 1 :]
        assert (second + first if moved.label[i] else first + second) == text
        assert (moved.batch["ids"][i][moved.batch["padding"][i]] == info["pad_id"]).all()
        assert (moved.batch["words"][i][moved.batch["padding"][i]] == -1).all()
        if len(text) >= 8:
            cut = len(second) if moved.label[i] else len(first)
            words = batch["words"][i].tolist()
            begins = [j for j in range(1, len(text)) if words[j + 1] != words[j]]
            assert cut in begins or not any(j >= cut for j in begins)
            shares.append(cut / len(text))
    assert 0.2 < min(shares) < 0.4
    assert 0.6 < max(shares) < 1


def test_very_short_texts_are_taken(info: Any) -> None:
    made = SentenceOrder(SentenceOrderConfig(), info)
    padding = torch.arange(3) >= torch.tensor([[1], [2], [3]])
    batch = {
        "ids": torch.tensor([[5, 6, 7]]).repeat(3, 1).masked_fill(padding, 0),
        "padding": padding,
        "words": torch.tensor([[0, 1, 2]]).repeat(3, 1).masked_fill(padding, -1),
    }
    moved = made(batch, generator()).batch
    assert (~moved["padding"]).sum(dim=1).tolist() == [1, 1, 2]
    one = made({key: value[:1, :1] for key, value in batch.items()}, generator()).batch
    assert one["ids"].tolist() == [[info["sep_id"]]]


def test_the_length_of_a_segment_does_not_tell_the_answer(info: Any) -> None:
    with pytest.raises(ValueError, match="do not add up to 1"):
        SentenceOrderConfig(least_share=0.2, most_share=0.7)
    assert SentenceOrderConfig(least_share=0.2, most_share=0.8).least_share == 0.2


def test_texts_without_two_words_count_for_nothing(encoder: Any, texts: Any, info: Any) -> None:
    torch.manual_seed(0)
    task = RECIPE.build(RECIPE.config(), encoder(hidden_size=32, layers=1), info)
    batch = texts(n=6, longest=8, whole=True)
    place = torch.arange(batch["ids"].shape[1])
    batch["padding"] = batch["padding"] | ((place > 2) & (torch.arange(6).unsqueeze(1) < 3))
    seen = task.transformation(batch, generator(1))
    assert seen.weight.tolist() == [0.0] * 3 + [1.0] * 3
    output = task(batch, generator(1))
    assert int(output.weight) == 3
    logits = task.out(task.backbone(seen.batch).pooled)
    expected = torch.nn.functional.cross_entropy(logits[3:], seen.label[3:])
    torch.testing.assert_close(output.loss, expected)


def test_sentence_order_is_learned(encoder: Any, texts: Any, info: Any) -> None:
    torch.manual_seed(0)
    task = RECIPE.build(RECIPE.config(), encoder(hidden_size=32, layers=1), info)
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-2)
    losses = []
    for step in range(120):
        loss = task(texts(n=64, longest=8, seed=step, whole=True), generator(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])

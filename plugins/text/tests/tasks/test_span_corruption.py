from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup_text.tasks.parts.spans import answer, draw_spans, most_spans, shorten
from selfsup_text.tasks.span_corruption import SpanCorruption, SpanCorruptionConfig

END = 3


def task_of(encoder: Any, info: Any, **options: Any) -> SpanCorruption:
    backbone = encoder()
    torch.manual_seed(1)
    return SpanCorruption(SpanCorruptionConfig(**options), backbone, info)


def runs(mask: list[bool]) -> list[tuple[int, int]]:
    """[begin, end) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.asarray([False, *mask, False]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


@pytest.mark.parametrize(("rate", "mean_span"), [(0.15, 3.0), (0.5, 2.0), (0.3, 1.0)])
def test_spans_have_the_papers_statistics(rate: float, mean_span: float) -> None:
    real = torch.ones(2000, 60, dtype=torch.bool)
    spans = draw_spans(real, rate, mean_span, generator())
    assert spans.mask.float().mean().item() == pytest.approx(rate, abs=0.003)
    lengths = [end - begin for mask in spans.mask.tolist() for begin, end in runs(mask)]
    assert np.mean(lengths) == pytest.approx(mean_span, abs=0.1)
    if mean_span > 1:
        assert len(set(lengths)) > 2
    per_place = spans.mask.float().mean(dim=0)
    # The first token is never in a span and the last always is, as in the paper's code.
    assert per_place[0] == 0
    assert per_place[-1] == 1
    assert per_place[1:-5].min() > 0


def test_spans_of_padded_texts_lie_in_them_and_are_told_apart(texts: Any) -> None:
    batch = texts(n=200, longest=20)
    real = ~batch["padding"]
    spans = draw_spans(real, 0.3, 2.0, generator())
    for i in range(200):
        found = runs(spans.mask[i].tolist())
        length = int(real[i].sum())
        count = int(spans.hidden[i])
        assert len(found) == int(spans.spans[i])
        assert count == int(spans.mask[i].sum())
        assert (count > 0) == (length > 1)
        assert all(end <= length for _, end in found)
        wanted = [(place, number) for number, (begin, end) in enumerate(found) for place in range(begin, end)]
        assert list(zip(spans.place[i, :count].tolist(), spans.number[i, :count].tolist(), strict=True)) == wanted
        assert (spans.place[i, count:] == 20).all()


def test_the_two_sequences_give_the_text_back(texts: Any) -> None:
    batch = texts(n=200, longest=20)
    real = ~batch["padding"]
    spans = draw_spans(real, 0.3, 2.0, generator(1))
    short = shorten(spans, real, 0.3, 2.0)
    wanted = answer(spans, batch["ids"], END, most_spans(20, 0.3, 2.0))
    assert short.source.shape[1] < 20
    for i in range(200):
        pieces: list[list[int]] = []
        for t in range(wanted.given.shape[1]):
            if not wanted.valid[i, t]:
                continue
            if wanted.sentinel[i, t]:
                assert int(wanted.number[i, t]) == len(pieces)
                pieces.append([])
            else:
                pieces[-1].append(int(wanted.given[i, t]))
            following = wanted.target[i, t]
            last = t + 1 == wanted.given.shape[1] or not wanted.valid[i, t + 1] or bool(wanted.sentinel[i, t + 1])
            assert int(following) == (END if last else int(wanted.given[i, t + 1]))
        text: list[int] = []
        for k in range(short.source.shape[1]):
            if not short.valid[i, k]:
                continue
            text += pieces[int(short.number[i, k])] if short.stands[i, k] else [int(batch["ids"][i, short.source[i, k]])]
        assert text == batch["ids"][i][real[i]].tolist()


def test_span_corruption_loss_by_hand_in_float64(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info, rate=0.3).double(), texts()
    real = ~batch["padding"]
    spans = draw_spans(real, 0.3, 3.0, generator(2))
    errors: list[torch.Tensor] = []
    for i in range(len(real)):
        found = runs(spans.mask[i].tolist())
        ids, marks, given, told = [], [], [], []
        position = 0
        for number, (begin, end) in enumerate(found):
            kept = batch["ids"][i, position:begin].tolist()
            ids += [*kept, info["mask_id"]]
            marks += [-1] * len(kept) + [number]
            given += [(number, info["mask_id"]), *((-1, token) for token in batch["ids"][i, begin:end].tolist())]
            told += [*batch["ids"][i, begin:end].tolist(), END]
            position = end
        if not found:
            continue
        tokens = task.backbone.tokenize({"ids": torch.tensor([ids]), "padding": torch.zeros(1, len(ids), dtype=torch.bool)})
        sentinels = torch.stack([task.sentinels.weight[max(number, 0)] * (number >= 0) for number in marks])
        memory = task.backbone.encode(replace(tokens, embeddings=tokens.embeddings + sentinels))
        words = task.backbone.word_embeddings
        vectors = [words.weight[token] + (task.decoder_sentinels.weight[n] if n >= 0 else 0) for n, token in given]
        given_words = torch.stack(vectors).unsqueeze(0)
        spread = given_words.var(dim=-1, keepdim=True, correction=0)
        level = (given_words - given_words.mean(dim=-1, keepdim=True)) / (spread + task.enter.eps).sqrt()
        level = level * task.enter.weight + task.enter.bias
        logits = task.head(task.decoder(level, memory))[0]
        errors += [row.exp().sum().log() - row[target] for row, target in zip(logits, told, strict=True)]
    assert_same_loss(task, task(batch, generator(2)).loss, torch.stack(errors).mean())


def test_span_corruption_shows_the_encoder_less_than_the_text(encoder: Any, texts: Any, info: Any) -> None:
    task = task_of(encoder, info, rate=0.5)
    lengths: list[int] = []
    encode = task.backbone.encode
    task.backbone.encode = lambda tokens: lengths.append(tokens.embeddings.shape[1]) or encode(tokens)  # type: ignore[method-assign]
    task(texts(longest=20), generator())
    assert lengths == [10 + most_spans(20, 0.5, 3.0)]


def test_a_text_of_one_token_costs_nothing(encoder: Any, info: Any) -> None:
    task = task_of(encoder, info, rate=0.3)
    one = {"ids": torch.tensor([[9]]), "padding": torch.tensor([[False]]), "words": torch.tensor([[0]])}
    assert task(one, generator()).loss.item() == 0


def test_span_corruption_refuses_decoders(decoder: Any, info: Any) -> None:
    with pytest.raises(ConfigError, match="needs an encoder"):
        SpanCorruption(SpanCorruptionConfig(), decoder(), info)


def test_sentinels_start_as_far_apart_as_the_words(encoder: Any, info: Any) -> None:
    """They are added to the mask token's embedding, in which they must not drown."""
    backbone = encoder()
    torch.manual_seed(0)
    task = SpanCorruption(SpanCorruptionConfig(), backbone, {**info, "max_length": 2000})
    spread = float(backbone.word_embeddings.weight.detach().std())
    for sentinels in (task.sentinels, task.decoder_sentinels):
        assert float(sentinels.weight.detach().std()) == pytest.approx(spread, rel=0.1)

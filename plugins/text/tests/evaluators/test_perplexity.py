from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from selfsup.artifacts import Encoder
from selfsup.errors import ConfigError, DataError
from selfsup.evaluation import Split
from selfsup_text.evaluators.perplexity import Perplexity, PerplexityConfig, drawn_batches, next_tokens, scores
from selfsup_text.evaluators.pseudo_perplexity import PseudoPerplexity, PseudoPerplexityConfig, hidden_tokens, one_by_one
from selfsup_text.evaluators.vocabulary_probe import Examples, score_head
from selfsup_text.mock import mock_rows

QUICK = {"steps": 80, "lr": 0.1}


def texts(n: int, seed: int) -> list[str]:
    return [row["text"] for row in mock_rows(n, seed)]


def state(encoder: Encoder) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def test_perplexity_of_learnable_text_is_low_and_of_nonsense_high(
    text_decoder: Encoder, split_of: Callable[..., Split]
) -> None:
    before = state(text_decoder)
    train, test = split_of(text=texts(120, 0)), split_of(text=texts(20, 1))
    made = Perplexity(PerplexityConfig(**QUICK)).evaluate(text_decoder, train, test, seed=0)
    # Each place of a sentence has five words or ten, or one alone.
    assert 1.5 < made["perplexity"] < 12
    assert made["perplexity"] == pytest.approx(math.exp(made["cross_entropy"]))
    assert made["tokens"] == sum(test.store.lengths("ids"))
    assert all(torch.equal(value, before[name]) for name, value in text_decoder.state_dict().items())
    assert all(parameter.grad is None for parameter in text_decoder.parameters())
    nonsense = split_of(text=[" ".join(text.split()[::-1]) for text in texts(20, 1)])
    short = Perplexity(PerplexityConfig(steps=10))
    one, two, other = (short.evaluate(text_decoder, train, rows, seed=0) for rows in (test, test, nonsense))
    assert one == two
    assert other["perplexity"] > one["perplexity"]


def test_tokens_are_told_from_those_before_them(text_decoder: Encoder) -> None:
    batch = text_decoder.processor([{"text": "the cat sleeps"}, {"text": "the dog"}])
    made = next_tokens(text_decoder.backbone, batch)  # type: ignore[arg-type]
    lengths = (~batch["padding"]).sum(dim=1).tolist()
    wanted = [batch["ids"][row, :n] for row, n in enumerate(lengths)]
    assert torch.equal(made.targets, torch.cat(wanted))
    assert len(made.features) == sum(lengths)


def test_pseudo_perplexity_hides_one_token_at_a_time(text_encoder: Encoder) -> None:
    info = text_encoder.processor.info()
    special = torch.tensor(info["special_ids"])
    text = text_encoder.processor([{"text": "the old cat sleeps in the house"}])
    seen: list[torch.Tensor] = []
    backbone = text_encoder.backbone
    tokenize = backbone.tokenize  # type: ignore[operator]

    class Spy:
        embed_dim = backbone.embed_dim

        def tokenize(self, batch: Any) -> Any:
            seen.append(batch["ids"])
            return tokenize(batch)

        encode = staticmethod(backbone.encode)  # type: ignore[arg-type]

    made = one_by_one(Spy(), text, mask_id=info["mask_id"], special=special)  # type: ignore[arg-type]
    n = int((~text["padding"]).sum())
    assert torch.equal(made.targets, text["ids"][0, :n])
    (copies,) = seen
    assert (copies[:, :n] == info["mask_id"]).equal(torch.eye(n, dtype=torch.bool))
    assert made.features.shape == (n, backbone.embed_dim)


def test_special_tokens_are_never_hidden(text_encoder: Encoder) -> None:
    info = text_encoder.processor.info()
    special = torch.tensor(info["special_ids"])
    batch = text_encoder.processor([{"text": "the cat ☃ sleeps"}] * 50)
    assert bool((batch["ids"] == info["unk_id"]).any())
    generator = torch.Generator().manual_seed(0)
    made = hidden_tokens(
        text_encoder.backbone,  # type: ignore[arg-type]
        batch,
        generator,
        rate=0.5,
        mask_id=info["mask_id"],
        special=special,
    )
    assert not torch.isin(made.targets, special).any()
    ordinary = (~batch["padding"] & ~torch.isin(batch["ids"], special)).sum()
    assert 0.35 * ordinary < len(made.targets) < 0.65 * ordinary


def test_pseudo_perplexity_of_learnable_text(text_encoder: Encoder, split_of: Callable[..., Split]) -> None:
    train, test = split_of(text=texts(120, 0)), split_of(text=[*texts(3, 1), "cat"])
    config = PseudoPerplexityConfig(**QUICK)
    made = PseudoPerplexity(config).evaluate(text_encoder, train, test, seed=0)
    assert 1.0 < made["pseudo_perplexity"] < 40
    single = len(text_encoder.processor.encode({"text": "cat"})["ids"]) == 1
    assert made["tokens"] == sum(test.store.lengths("ids")) - single


def test_each_evaluator_has_its_kind_of_backbone(
    text_encoder: Encoder, text_decoder: Encoder, split_of: Callable[..., Split]
) -> None:
    split = split_of(text=texts(4, 0))
    with pytest.raises(ConfigError, match=r"'perplexity' is for a decoder .* Try 'pseudo-perplexity'"):
        Perplexity(PerplexityConfig()).evaluate(text_encoder, split, split, seed=0)
    with pytest.raises(ConfigError, match=r"'pseudo-perplexity' is for an encoder .* Try 'perplexity'"):
        PseudoPerplexity(PseudoPerplexityConfig()).evaluate(text_decoder, split, split, seed=0)


def test_texts_of_one_token_have_nothing_to_tell(text_decoder: Encoder, split_of: Callable[..., Split]) -> None:
    text_decoder = copy.deepcopy(text_decoder)
    text_decoder.backbone.begins = False  # as for a tokenizer that puts nothing in front of a text
    short = split_of(text=["the"] * 4)
    assert short.store.lengths("ids") is None
    with pytest.raises(DataError, match="training texts are too short"):
        Perplexity(PerplexityConfig(steps=3)).evaluate(text_decoder, short, short, seed=0)
    with pytest.raises(DataError, match="test texts are too short"):
        scores("perplexity", text_decoder, torch.nn.Identity(), [], next_tokens)  # type: ignore[arg-type]


def test_the_score_is_the_sum_over_all_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(700, 9, generator=generator), torch.randint(9, (700,), generator=generator)
    said = score_head(torch.nn.Identity(), Examples(features, targets))
    assert said.nats == pytest.approx(float(torch.nn.functional.cross_entropy(features, targets, reduction="sum")), rel=1e-5)
    assert said.hits == int((features.argmax(dim=1) == targets).sum())
    assert said.tokens == 700


def test_test_texts_are_drawn_with_the_seed(text_decoder: Encoder, split_of: Callable[..., Split]) -> None:
    split = split_of(text=texts(30, 0))
    first, again, other = (drawn_batches(text_decoder, split, 12, 5, seed) for seed in (1, 1, 2))
    assert [len(batch["ids"]) for batch in first] == [5, 5, 2]
    assert all(torch.equal(a["ids"], b["ids"]) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a["ids"], b["ids"]) for a, b in zip(first, other, strict=True))

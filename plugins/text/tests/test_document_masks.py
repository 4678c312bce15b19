"""Blocks whose rows do not see each other: each row is encoded, and predicted, as if it were alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import selfsup
from selfsup.data import load_source, prepare
from selfsup.data.batches.blocks import BlockStore
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.runtime import evaluation_mode
from selfsup.tasks import NextTokenConfig, mean_term
from selfsup.types import Batch, Info
from selfsup_text.augmentations.tokens import compact
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.mock import mock_rows
from selfsup_text.processor import TextProcessor, TextProcessorConfig
from selfsup_text.tasks.clm import build_clm
from selfsup_text.tasks.electra import Electra, ElectraConfig
from selfsup_text.tasks.parts.token_masks import hide_tokens

LENGTH = 40
ENCODERS, DECODERS = ("bert", "roberta", "modernbert"), ("gpt2", "llama")
SIZES = {"hidden_size": 16, "layers": 2, "heads": 2}


def processor(**options: Any) -> TextProcessor:
    made = TextProcessor(TextProcessorConfig(**{"max_length": LENGTH, "vocab_size": 300, "packing": "blocks", **options}))
    return made.fit(mock_rows(60, 0))


def network(kind: str, info: Info) -> TextBackbone:
    torch.manual_seed(0)
    own = (
        {"architecture": {"local_attention": 6}} if kind == "modernbert" else {}
    )  # a window that is shorter than the documents
    backbone, _ = registry().build_backbone(f"transformers/{kind}", {**SIZES, **own}, info)
    assert isinstance(backbone, TextBackbone)
    return backbone.double().train()


def block(made: TextProcessor) -> tuple[Batch, list[Tensor]]:
    """A block of three whole rows and the beginning of a fourth, and the ids of each without what stands around them."""
    cls, sep = ([made.vocabulary.id(role)] for role in ("cls", "sep"))
    drawn = torch.randint(10, len(made.vocabulary), (LENGTH,), generator=torch.Generator().manual_seed(3)).tolist()
    whole = [drawn[:7], drawn[7:17], drawn[17:26]]
    flat = [id for ids in whole for id in (*cls, *ids, *sep)] + cls + drawn
    return made.collate({"ids": torch.tensor([flat[:LENGTH]])}), [torch.tensor(ids) for ids in whole]


def alone(ids: Tensor) -> Batch:
    return {"ids": ids.unsqueeze(0), "padding": torch.zeros(1, len(ids), dtype=torch.bool)}


def spans(batch: Batch, whole: list[Tensor], begin: int) -> list[slice]:
    """Where each row's own tokens are in the block."""
    found, start = [], 0
    for ids in whole:
        found.append(slice(start + begin, start + begin + len(ids)))
        assert torch.equal(batch["ids"][0, found[-1]], ids)
        start += begin + len(ids) + 1
    return found


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_a_document_of_a_block_is_encoded_as_it_is_alone(kind: str) -> None:
    made = processor(document_masks=True)
    batch, whole = block(made)
    backbone = network(kind, made.info())
    packed = backbone.encode(backbone.tokenize(batch))
    layers = backbone.layer_outputs(backbone.tokenize(batch))
    for place, ids in zip(spans(batch, whole, begin=1), whole, strict=True):
        tokens = backbone.tokenize(alone(ids))
        torch.testing.assert_close(packed[:, place], backbone.encode(tokens), rtol=1e-6, atol=1e-6)
        for one, other in zip(layers, backbone.layer_outputs(tokens), strict=True):
            torch.testing.assert_close(one[:, place], other, rtol=1e-6, atol=1e-6)
    # Without masks the rows see each other, as in the papers.
    joined = backbone.encode(backbone.tokenize({key: value for key, value in batch.items() if key != "documents"}))
    assert not torch.allclose(joined, packed, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", DECODERS)
def test_the_loss_and_gradient_of_a_block_are_those_of_its_documents(kind: str) -> None:
    made = processor(document_masks=True)
    batch, whole = block(made)
    last = batch["documents"].max()
    batch = {key: value[:, batch["documents"][0] < last] for key, value in batch.items()}
    task = build_clm(NextTokenConfig(), network(kind, made.info()), made.info()).double()
    sep = torch.tensor([made.vocabulary.id("sep")])
    output = task(batch, None)
    (packed,) = torch.autograd.grad(output.loss, task.backbone.word_embeddings.weight)
    outputs = [task(alone(torch.cat([ids, sep])), None) for ids in whole]
    count = sum(each.weight for each in outputs)  # type: ignore[misc]
    mean = sum(each.loss * each.weight for each in outputs) / count  # type: ignore[misc,operator]
    (apart,) = torch.autograd.grad(mean, task.backbone.word_embeddings.weight)
    assert output.weight is not None
    assert output.weight * LENGTH > 0
    torch.testing.assert_close(output.loss, mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(packed, apart, rtol=1e-5, atol=1e-6)


def test_no_gradient_crosses_a_border_and_hidden_tokens_keep_it_so() -> None:
    made = processor(document_masks=True)
    batch, whole = block(made)
    backbone = network("bert", made.info())
    first, second = spans(batch, whole, begin=1)[:2]
    for keep in (None, torch.arange(LENGTH).flip(0).unsqueeze(0)):
        tokens = backbone.tokenize(batch)
        tokens.embeddings.retain_grad()
        encoded = backbone.encode(tokens, keep=keep)
        if keep is not None:
            encoded = encoded.flip(1)
        encoded[:, second].square().sum().backward()
        gradient = tokens.embeddings.grad
        assert gradient is not None
        assert not gradient[:, first].any()
        assert gradient[:, second].any()


def test_a_decoder_predicts_nothing_across_a_border_at_any_distance() -> None:
    made = processor(document_masks=True)
    batch, _ = block(made)
    documents, weights = batch["documents"][0], list[Tensor]()

    def keep(loss: Tensor, weight: Tensor) -> Any:
        weights.append(weight)
        return mean_term(loss, weight)

    for ahead in (1, 2):
        task = build_clm(NextTokenConfig(steps_ahead=ahead), network("gpt2", made.info()), made.info())
        module = "selfsup_text.tasks.clm" if ahead == 1 else "selfsup.tasks.autoregressive.next_token"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{module}.mean_term", keep)
            task(batch, None)
        within = (documents[ahead:] == documents[:-ahead]).long()
        assert torch.equal(weights[-1][0][-len(within) :].long(), within)
        assert within.sum() < len(within)


def test_views_and_the_generator_of_electra_keep_documents_apart() -> None:
    made = processor(document_masks=True)
    batch, whole = block(made)
    kept = torch.ones(1, LENGTH, dtype=torch.bool)
    kept[:, 3:7] = False
    view = compact(batch, kept, LENGTH, 0)
    backbone = network("bert", made.info())
    place = spans(batch, whole, begin=1)[1]
    with evaluation_mode(backbone):
        shifted = slice(place.start - 4, place.stop - 4)
        found = backbone.encode(backbone.tokenize(view))[:, shifted]
        torch.testing.assert_close(found, backbone.encode(backbone.tokenize(alone(whole[1]))), rtol=1e-6, atol=1e-6)
    task = Electra(ElectraConfig(), network("bert", made.info()), made.info()).double()
    mask = hide_tokens(task.vocabulary.maskable(batch), 0.3, torch.Generator().manual_seed(0))
    elsewhere = {**batch, "ids": torch.where(batch["documents"] == 1, batch["ids"], batch["ids"].flip(1))}
    own = batch["documents"].gather(1, mask.hidden) == 1
    one, other = task.fill_in(batch, mask), task.fill_in(elsewhere, mask)
    assert own.any()
    torch.testing.assert_close(one[own], other[own])
    assert not torch.allclose(one, other)


def test_the_option_is_off_and_says_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    assert "documents" not in processor().collate({"ids": torch.zeros(1, 8, dtype=torch.long)})
    made = processor(document_masks=True)
    batch, _ = block(made)
    assert "documents" not in made.unpacked().collate({"ids": batch["ids"]})
    bloom, bert = network("bloom", made.info()), network("bert", made.info())
    bert._parameters_taken = frozenset()  # type: ignore[assignment]  # a network that takes no positions
    for backbone, reason in ((bloom, "makes its attention masks from padding"), (bert, "cannot begin positions anew")):
        with pytest.raises(ConfigError, match=reason):
            backbone.encode(backbone.tokenize(batch))
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(row["text"] for row in mock_rows(40, 0)))
    options: Mapping[str, Any] = {
        "processor.max_length": 16, "processor.document_masks": True, "backbone.hidden_size": 16, "steps": 2, "batch_size": 4,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="span corruption sees the spans of all documents"):
        selfsup.pretrain("text/span-corruption", data=str(path), out=tmp_path / "spans", overrides=options, progress=False)
    for task in ("mlm", "clm", "electra", "data2vec"):
        run = selfsup.pretrain(f"text/{task}", data=str(path), out=tmp_path / task, overrides=options, progress=False)
        assert run.metrics[-1]["step"] == 2
    assert run.encoder.processor.config.document_masks is True  # type: ignore[attr-defined]


def test_a_store_of_blocks_numbers_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(row["text"] for row in mock_rows(40, 0)))
    made = processor(document_masks=True)
    rows = load_source(path, modality=registry().get("modality", "text"))
    store = BlockStore(prepare(rows, made, workers=1).path, LENGTH)
    batch = made.collate(store.read(range(len(store))))
    cls, sep = made.vocabulary.id("cls"), made.vocabulary.id("sep")
    begins = batch["documents"][:, 1:] != batch["documents"][:, :-1]
    assert torch.equal(begins, batch["ids"][:, :-1] == sep)
    assert (batch["ids"][:, 1:][begins] == cls).all()
    assert begins.sum() > 20

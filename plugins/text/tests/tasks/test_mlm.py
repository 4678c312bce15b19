from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup_text.backbones.word_vectors import WordVectors, WordVectorsConfig
from selfsup_text.tasks.mlm import MaskedLanguageModeling, MLMConfig


def task_of(encoder: Any, info: Any, **options: Any) -> MaskedLanguageModeling:
    backbone = encoder()
    torch.manual_seed(1)
    return MaskedLanguageModeling(MLMConfig(**options), backbone, info)


def test_mlm_loss_by_hand_in_float64(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info, mask_share=1.0, random_share=0.0, rate=0.3).double(), texts()
    mask = task.draw_mask(batch, generator(3))
    hidden_ids = batch["ids"].masked_fill(mask.mask, info["mask_id"])
    errors: list[torch.Tensor] = []
    for i in range(len(hidden_ids)):
        length = int((~batch["padding"][i]).sum())
        alone = {"ids": hidden_ids[i : i + 1, :length], "padding": torch.zeros(1, length, dtype=torch.bool)}
        logits = task.head(task.backbone.encode(task.backbone.tokenize(alone)))[0]
        hidden = torch.nonzero(mask.mask[i, :length]).flatten().tolist()
        errors += [logits[t].exp().sum().log() - logits[t][batch["ids"][i, t]] for t in hidden]
    assert len(errors) > 10
    loss = task(batch, generator(3)).loss
    assert loss.dtype == torch.float64
    assert_same_loss(task, loss, torch.stack(errors).mean())


def test_the_encoder_sees_the_replaced_ids_and_no_hidden_content(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info, mask_share=1.0, random_share=0.0), texts()
    seen: list[Any] = []
    tokenize = task.backbone.tokenize
    task.backbone.tokenize = lambda batch: seen.append(batch["ids"]) or tokenize(batch)  # type: ignore[method-assign]
    before = batch["ids"].clone()
    task(batch, generator())
    mask = task.draw_mask(batch, generator()).mask
    assert torch.equal(seen[0], before.masked_fill(mask, info["mask_id"]))
    assert torch.equal(batch["ids"], before)


def test_special_tokens_and_padding_are_never_hidden(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info, rate=0.9), texts()
    batch["ids"][:, 3] = info["sep_id"]
    batch["ids"][:, 5] = info["unk_id"]
    for seed in range(20):
        mask = task.draw_mask(batch, generator(seed)).mask
        assert not (mask & (batch["padding"] | (batch["ids"] < 5))).any()
        assert mask.any()


def test_only_hidden_places_pass_the_vocabulary_head(encoder: Any, texts: Any, info: Any) -> None:
    task = task_of(encoder, info)
    shapes = []
    task.head.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    task(texts(longest=20, whole=True), generator())
    assert shapes == [(8, 3, 32)]


def test_whole_words_are_hidden_together(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info, whole_words=True, rate=0.4), texts(n=40)
    mask, words = task.draw_mask(batch, generator()).mask, batch["words"]
    single = task_of(encoder, info, rate=0.4).draw_mask(batch, generator()).mask

    def torn(hidden: Any) -> int:
        pairs = (words[:, 1:] == words[:, :-1]) & ~batch["padding"][:, 1:]
        return int((pairs & (hidden[:, 1:] != hidden[:, :-1])).sum())

    assert mask.any()
    assert torn(mask) == 0
    assert torn(single) > 0


def test_a_text_of_one_token_does_not_stop_mlm(encoder: Any, info: Any) -> None:
    task = task_of(encoder, info)
    batch = {"ids": torch.tensor([[9]]), "padding": torch.tensor([[False]]), "words": torch.tensor([[0]])}
    losses = [task(batch, generator(seed)).loss for seed in range(30)]
    assert all(torch.isfinite(loss) for loss in losses)
    assert any(loss > 0 for loss in losses)
    assert any(loss == 0 for loss in losses)


def test_whole_words_are_hidden_without_a_host_sync(encoder: Any, texts: Any, info: Any) -> None:
    task = task_of(encoder, info, whole_words=True)
    with fake_cuda(task, texts()) as batch:
        assert task(batch, None).loss.device.type == "cuda"


def test_mlm_refuses_decoders_backbones_without_tokens_and_shares_above_one(decoder: Any, info: Any) -> None:
    with pytest.raises(ValueError, match="add up to more than 1"):
        MLMConfig(mask_share=0.9, random_share=0.2)
    with pytest.raises(ConfigError, match="needs an encoder, but TransformersBackbone is a decoder"):
        MaskedLanguageModeling(MLMConfig(), decoder(), info)
    with pytest.raises(ConfigError, match="WordVectors gives none"):
        MaskedLanguageModeling(MLMConfig(), WordVectors(WordVectorsConfig(), info), info)

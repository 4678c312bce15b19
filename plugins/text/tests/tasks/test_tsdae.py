from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup_text.tasks.tsdae import TSDAE, TSDAEConfig, delete


def task_of(backbone: Any, info: Any, **options: Any) -> TSDAE:
    torch.manual_seed(1)
    return TSDAE(TSDAEConfig(**options), backbone, info)


def test_three_of_five_tokens_are_deleted_and_the_rest_stays_in_order() -> None:
    length = torch.tensor([[20], [9], [2], [1]])
    real = (torch.arange(20) < length).repeat(2000, 1)
    index, valid = delete(real, 0.6, generator())
    assert index.shape == (8000, 8)
    count = valid.view(2000, 4, 8).sum(dim=2).float()
    assert (count[:, 0] == 8).all()
    assert set(count[:, 1].tolist()) == {3.0, 4.0}
    assert count[:, 1].mean().item() == pytest.approx(3.6, abs=0.05)
    assert (count[:, 2:] == 1).all()
    kept = torch.zeros(8000, 21).scatter(1, torch.where(valid, index, 20), 1.0)[:, :20]
    assert (kept.sum(dim=1) == valid.sum(dim=1)).all()
    assert not (kept.bool() & ~real).any()
    share = kept.view(2000, 4, 20)[:, 0].mean(dim=0)
    assert (share - 0.4).abs().max() < 0.06
    rising = (index[:, 1:] > index[:, :-1]) | ~valid[:, 1:]
    assert rising.all()


def test_tsdae_loss_by_hand_in_float64(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder(), info, decoder_depth=2).double(), texts()
    index, valid = delete(~batch["padding"], 0.6, generator(2))
    errors: list[torch.Tensor] = []
    for i in range(len(index)):
        left = batch["ids"][i][index[i][valid[i]]].unsqueeze(0)
        pooled = task.backbone({"ids": left, "padding": torch.zeros_like(left, dtype=torch.bool)}).pooled
        text = batch["ids"][i][~batch["padding"][i]]
        given = task.backbone.word_embeddings(torch.cat([torch.tensor([info["cls_id"]]), text[:-1]]))
        logits = task.head(task.decoder(given.unsqueeze(0), pooled.unsqueeze(1)))[0]
        errors += [row.exp().sum().log() - row[target] for row, target in zip(logits, text.tolist(), strict=True)]
    assert_same_loss(task, task(batch, generator(2)).loss, torch.stack(errors).mean())


def test_the_decoder_sees_the_sentence_through_one_vector_alone(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder(), info), texts(whole=True)
    calls: list[Any] = []
    task.decoder.register_forward_pre_hook(lambda module, args: calls.append(args))
    task(batch, generator())
    given, memory = calls[0]
    assert memory.shape == (8, 1, 32)
    # What is known at a place does not depend on the token to predict there or on any after it.
    known = task.decoder(given, memory)
    changed = given.clone()
    changed[:, 7:] += 1
    torch.testing.assert_close(task.decoder(changed, memory)[:, :7], known[:, :7])
    assert not torch.allclose(task.decoder(changed, memory)[:, 7:], known[:, 7:])
    assert not torch.allclose(task.decoder(given, memory + 1), known)


def test_the_encoder_sees_what_was_not_deleted(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder(), info), texts(whole=True)
    seen: list[Any] = []
    task.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    task(batch, generator())
    assert seen[0]["ids"].shape == (8, 8)
    for left, text in zip(seen[0]["ids"].tolist(), batch["ids"].tolist(), strict=True):
        assert [token for token in text if token in left] == left


def test_every_weight_learns_through_a_wider_embedding(encoder: Any, texts: Any, info: Any) -> None:
    task = task_of(encoder(pooling="mean+max"), info)
    assert task.backbone.pooled_dim == 64
    loss = task(texts(), generator()).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.parameters())


def test_tsdae_takes_decoders_and_texts_of_one_token(decoder: Any, info: Any) -> None:
    task = task_of(decoder(), info)
    one = {"ids": torch.tensor([[9]]), "padding": torch.tensor([[False]]), "words": torch.tensor([[0]])}
    assert torch.isfinite(task(one, generator()).loss)


def test_heads_that_do_not_divide_the_decoders_width_are_refused(encoder: Any, info: Any) -> None:
    with pytest.raises(ConfigError, match="A decoder of width 32 cannot have decoder_heads=3"):
        task_of(encoder(), info, decoder_heads=3)

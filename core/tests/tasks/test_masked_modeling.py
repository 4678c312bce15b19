from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.backbones import Tokens
from selfsup.errors import ConfigError
from selfsup.tasks.masked.masked_modeling import (
    MAE,
    MAEConfig,
    MaskedModeling,
    SimMIM,
    SimMIMConfig,
    build_mae,
    build_simmim,
    masked_recipe,
)
from selfsup.tasks.parts.random_masking import TokenMask, random_mask
from selfsup.tasks.parts.transformer import lattice_positions
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.backbones import SequenceConv, SequenceConvConfig
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info
from selfsup.types import Batch

KINDS: tuple[Kind, ...] = ("ids", "frames")


def mae(kind: Kind, **options: Any) -> MAE:
    torch.manual_seed(0)
    return MAE(MAEConfig(**{"decoder_depth": 2, **options}), toy_backbone(kind))


def simmim(kind: Kind, **options: Any) -> SimMIM:
    torch.manual_seed(0)
    return SimMIM(SimMIMConfig(**options), toy_backbone(kind))


@contextmanager
def recorded(task: MaskedModeling) -> Iterator[list[dict[str, Any]]]:
    """Arguments and result of every call of the backbone's ``encode``."""
    calls: list[dict[str, Any]] = []
    encode = task.backbone.encode

    def spy(tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        out = encode(tokens, keep=keep)
        calls.append({"tokens": tokens, "keep": keep, "out": out.detach()})
        return out

    task.backbone.encode = spy  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        del task.backbone.encode  # type: ignore[method-assign]


def drawn(batch: Batch, ratio: float, block: int = 1, seed: int = 0) -> TokenMask:
    """The mask that a task draws for a batch from the same seed."""
    B, N = batch["sequence"].shape[:2]
    return random_mask(B, (N,), ratio, block=block, padding=batch.get("padding"), generator=generator(seed))


def changed_at(batch: Batch, where: Tensor) -> Batch:
    """The batch with other content at ``where`` ([B, N] bool)."""
    sequence = batch["sequence"]
    if sequence.is_floating_point():
        noise = torch.randn(sequence.shape, generator=generator(9))
        return {**batch, "sequence": torch.where(where.unsqueeze(-1), sequence + noise, sequence)}
    return {**batch, "sequence": torch.where(where, (sequence + 1) % 16, sequence)}


@pytest.mark.parametrize("kind", KINDS)
def test_mae_encoder_sees_only_kept_tokens(kind: Kind) -> None:
    task, batch = mae(kind), toy_batch(kind)
    mask = drawn(batch, 0.75).mask
    with recorded(task) as calls:
        loss = task(batch, generator()).loss
        hidden_changed = task(changed_at(batch, mask), generator()).loss
        task(changed_at(batch, ~mask), generator())
    real = torch.ones_like(calls[0]["keep"], dtype=torch.bool)
    if "padding" in batch:
        real = ~batch["padding"].gather(1, calls[0]["keep"])
    assert calls[0]["out"].shape[1] < batch["sequence"].shape[1] / 2, "the encoder is given more than the kept tokens"
    assert torch.equal(calls[0]["out"][real], calls[1]["out"][real]), "hidden content reaches the encoder"
    assert not torch.equal(calls[0]["out"][real], calls[2]["out"][real])
    assert not torch.equal(loss, hidden_changed), "the hidden tokens are not what is predicted"


@pytest.mark.parametrize("kind", KINDS)
def test_simmim_encoder_sees_no_hidden_content(kind: Kind) -> None:
    task, batch = simmim(kind), toy_batch(kind)
    mask = drawn(batch, 0.6, block=2).mask
    with recorded(task) as calls:
        task(batch, generator())
        task(changed_at(batch, mask), generator())
        task(changed_at(batch, ~mask), generator())
    real = ~batch["padding"] if "padding" in batch else torch.ones(batch["sequence"].shape[:2], dtype=torch.bool)
    assert calls[0]["out"].shape[1] == batch["sequence"].shape[1]
    assert torch.equal(calls[0]["out"][real], calls[1]["out"][real])
    assert not torch.equal(calls[0]["out"][real], calls[2]["out"][real])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("make", "ratio", "block"), [(mae, 0.75, 1), (simmim, 0.6, 2)])
def test_loss_is_of_hidden_tokens_only(
    kind: Kind, make: Any, ratio: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, batch = make(kind), toy_batch(kind)
    mask = drawn(batch, ratio, block).mask
    loss = task(batch, generator()).loss
    for where, same in ((~mask, True), (mask, False)):
        other = task.backbone.targets(changed_at(batch, where))
        monkeypatch.setattr(task.backbone, "targets", lambda batch, other=other: other)
        assert torch.equal(task(batch, generator()).loss, loss) is same
        monkeypatch.undo()


def one_by_one(task: MaskedModeling, batch: Batch, mask: TokenMask) -> Tensor:
    """The loss in float64, sample by sample and token by token, without padding or batching."""
    errors: list[Tensor] = []
    for i in range(len(batch["sequence"])):
        length = int((~batch["padding"][i]).sum()) if "padding" in batch else batch["sequence"].shape[1]
        sample = {"sequence": batch["sequence"][i : i + 1, :length]}
        where = mask.mask[i, :length]
        tokens = task.backbone.tokenize(sample)
        if isinstance(task, MAE):
            kept = torch.nonzero(~where).flatten()
            encoded = task.embed(task.backbone.encode(tokens, keep=kept.unsqueeze(0)))
            full = task.mask_token.expand(1, length, -1).clone()
            full[0, kept] = encoded[0]
            known = task.decoder(full + lattice_positions((length,), full.shape[-1], full.device))
        else:
            known = task.backbone.encode(tokens.masked(where.unsqueeze(0), task.mask_token))  # type: ignore[arg-type]
        prediction, target = task.head(known)[0][where], task.backbone.targets(sample)[0][where]
        for p, t in zip(prediction, target, strict=True):
            if target.ndim == 1:
                errors.append(p.exp().sum().log() - p[int(t)])
                continue
            if task.normalize_targets:
                t = (t - t.mean()) / (t.var() + 1e-6).sqrt()
            errors.append((p - t).abs().mean() if isinstance(task, SimMIM) else ((p - t) ** 2).mean())
    return torch.stack(errors).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(("make", "ratio", "block"), [(mae, 0.75, 1), (mae, 0.5, 1), (simmim, 0.6, 2), (simmim, 0.15, 1)])
def test_loss_by_hand_in_float64(kind: Kind, make: Any, ratio: float, block: int, normalized: bool) -> None:
    options = {"mask_ratio": ratio, "normalize_targets": normalized}
    task = make(kind, **options, **({"block": block} if make is simmim else {})).double()
    batch = toy_batch(kind)
    loss = task(batch, generator(4)).loss
    assert loss.dtype == torch.float64
    assert_same_loss(task, loss, one_by_one(task, batch, drawn(batch, ratio, block, seed=4)))


def test_targets_are_normalized_by_hand() -> None:
    normalize = toy_backbone("frames").normalize_targets
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]], dtype=torch.float64)
    wanted = [(v - 3) / math.sqrt((4 + 1 + 0 + 9) / 3 + 1e-6) for v in (1, 2, 3, 6)]
    assert normalize(x)[0].tolist() == pytest.approx(wanted, abs=1e-12)
    assert normalize(x)[1].tolist() == [0.0] * 4
    assert normalize(x[:, :1]).tolist() == [[1.0], [5.0]]
    assert normalize(x.bfloat16()).dtype == torch.float32
    ids = torch.tensor([[3, 1, 4]])
    assert toy_backbone("ids").normalize_targets(ids) is ids


def test_only_hidden_tokens_pass_the_head() -> None:
    task, batch = mae("ids"), toy_batch("ids")
    shapes = []
    task.head.register_forward_pre_hook(lambda module, args: shapes.append(args[0].shape))
    task(batch, generator())
    N = batch["sequence"].shape[1]
    assert shapes == [(8, math.ceil(0.75 * N), task.head.in_features)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [mae, simmim])
def test_masked_loss_is_float32_under_bf16(kind: Kind, make: Any) -> None:
    task, batch = make(kind), toy_batch(kind)
    exact = task(batch, generator()).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = task(batch, generator()).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.parameters())


def test_recipe_has_the_papers_defaults_and_takes_others() -> None:
    assert masked_recipe().config().model_dump() == {
        "mask_ratio": 0.75, "tube": False, "decoder_dim": None, "decoder_depth": 8, "decoder_heads": None,
        "normalize_targets": True,
    }  # fmt: skip
    assert masked_recipe("simmim").config().model_dump() == {"mask_ratio": 0.6, "block": 2, "normalize_targets": False}
    recipe = masked_recipe("mae", optimization={"base_lr": 1e-3}, decoder_depth=1, mask_ratio=0.5)
    config = recipe.config()
    task = recipe.build(config, toy_backbone("ids"), toy_info("ids"))
    assert isinstance(task, MAE)
    assert len(task.decoder.blocks) == 1
    assert recipe.optimization["base_lr"] == 1e-3
    assert recipe.optimization["optimizer"] == "adamw"
    assert all(field.description for field in recipe.config.model_fields.values())


def test_recipe_refuses_unknown_and_forbidden_defaults() -> None:
    with pytest.raises(ConfigError, match="block"):
        masked_recipe("mae", block=2)
    with pytest.raises(ConfigError, match="mask_ratio"):
        masked_recipe("simmim", mask_ratio=1.5)


@pytest.mark.parametrize(("build", "config"), [(build_mae, MAEConfig()), (build_simmim, SimMIMConfig())])
def test_a_backbone_without_tokens_is_refused(build: Any, config: Any) -> None:
    info = toy_info("ids")
    with pytest.raises(ConfigError, match=r"SequenceConv has none\. Choose a backbone with tokens"):
        build(config, SequenceConv(SequenceConvConfig(), info), info)

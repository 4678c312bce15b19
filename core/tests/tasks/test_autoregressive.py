from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.backbones import TokenBackbone
from selfsup.errors import ConfigError
from selfsup.registry.builtin.families import SPECS
from selfsup.registry.composition import missing_part
from selfsup.registry.specs import ModalitySpec
from selfsup.tasks.autoregressive.next_token import NextToken, NextTokenConfig, autoregressive_recipe, build_next_token
from selfsup.tasks.composed import compose
from selfsup.tasks.parts.transformer import visibility
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.toy.sequences.backbones import SequenceConv, SequenceConvConfig
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info

KINDS: tuple[Kind, ...] = ("ids", "frames")


class Bare:
    views = None
    corruption = None
    single_views = None


def task_of(kind: Kind, **options: Any) -> NextToken:
    recipe = autoregressive_recipe(**options)
    torch.manual_seed(0)
    task = recipe.build(recipe.config(), toy_backbone(kind, causal=True), toy_info(kind))
    assert isinstance(task, NextToken)
    return task


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_backbone_sees_nothing_of_what_comes(kind: Kind) -> None:
    backbone, batch = toy_backbone(kind, causal=True), toy_batch(kind)
    changed = batch["sequence"].clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 16 if kind == "ids" else changed[:, 8:] + 1
    before = backbone.encode(backbone.tokenize(batch))
    after = backbone.encode(backbone.tokenize({**batch, "sequence": changed}))
    assert torch.equal(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])
    assert torch.isfinite(after).all()
    other = toy_backbone(kind)
    both_ways = [other.encode(other.tokenize({**batch, "sequence": s})) for s in (batch["sequence"], changed)]
    assert not torch.allclose(both_ways[0][:, :8], both_ways[1][:, :8])


def test_a_causal_backbone_orders_kept_tokens_by_their_place() -> None:
    backbone, batch = toy_backbone("frames", causal=True), toy_batch("frames")
    tokens = backbone.tokenize(batch)
    everything = torch.arange(16).expand(8, -1)
    shuffled = everything[:, torch.randperm(16, generator=torch.Generator().manual_seed(0))]
    back = backbone.encode(tokens, keep=shuffled)[:, shuffled[0].argsort()]
    torch.testing.assert_close(back, backbone.encode(tokens))


def test_visibility_by_hand() -> None:
    assert visibility(None, None) is None
    padding = torch.tensor([[False, False, True]])
    only_padding = visibility(padding, None)
    assert only_padding is not None
    assert only_padding.tolist() == [[[[True, True, False]]]]
    behind = visibility(padding, torch.tensor([[1, 0, 2]]))
    assert behind is not None
    assert behind[0, 0].tolist() == [[True, True, False], [False, True, False], [True, True, True]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps_ahead", [1, 3])
def test_next_token_loss_by_hand_in_float64(kind: Kind, steps_ahead: int) -> None:
    task, batch = task_of(kind, steps_ahead=steps_ahead).double(), toy_batch(kind)
    errors: list[Tensor] = []
    for i in range(len(batch["sequence"])):
        length = int((~batch["padding"][i]).sum()) if "padding" in batch else batch["sequence"].shape[1]
        for t in range(steps_ahead, length):
            seen = {"sequence": batch["sequence"][i : i + 1, : t - steps_ahead + 1]}
            p = task.head(task.backbone.encode(task.backbone.tokenize(seen)))[0, -1]
            target = task.backbone.targets({"sequence": batch["sequence"][i : i + 1]})[0, t]
            errors.append(p.exp().sum().log() - p[target] if kind == "ids" else (p - target).abs().mean())
    output = task(batch, None)
    assert output.loss.dtype == torch.float64
    wanted = torch.stack(errors).mean()
    assert_same_loss(task, output.loss, wanted)
    if kind == "ids":
        assert output.metrics["perplexity"].item() == pytest.approx(math.exp(wanted.item()), rel=1e-6)
    else:
        assert output.metrics == {}


def test_samples_too_short_for_a_prediction_cost_nothing() -> None:
    task = task_of("ids", steps_ahead=2)
    short = {"sequence": torch.tensor([[3, 4], [5, 0]]), "padding": torch.tensor([[False, False], [False, True]])}
    loss = task(short, None).loss
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in task.parameters())
    longer = {"sequence": torch.tensor([[3, 4, 5]]), "padding": torch.zeros(1, 3, dtype=torch.bool)}
    beside = {
        "sequence": torch.tensor([[3, 4, 5], [7, 0, 0]]),
        "padding": torch.tensor([[False] * 3, [False, True, True]]),
    }
    torch.testing.assert_close(task(longer, None).loss, task(beside, None).loss)


def test_backbones_that_would_copy_the_answer_are_refused() -> None:
    recipe = autoregressive_recipe()
    with pytest.raises(ConfigError, match="IdTransformer lets each token look at those behind it"):
        recipe.build(recipe.config(), toy_backbone("ids"), toy_info("ids"))
    with pytest.raises(ConfigError, match="SequenceConv has none"):
        build_next_token(recipe.config(), SequenceConv(SequenceConvConfig(), toy_info("ids")), toy_info("ids"))


def test_autoregressive_recipe_takes_other_defaults() -> None:
    recipe = autoregressive_recipe(optimization={"lr": 0.1}, processor={"length": 5}, steps_ahead=4)
    assert recipe.config().model_dump() == {"steps_ahead": 4}
    assert recipe.optimization["lr"] == 0.1
    assert recipe.optimization["betas"] == (0.9, 0.95)
    assert recipe.processor == {"length": 5}
    with pytest.raises(ConfigError, match="steps"):
        autoregressive_recipe(steps=1)


def test_next_token_composes_with_modalities_that_have_a_causal_backbone() -> None:
    spec = next(spec for spec in SPECS if spec.family == "autoregressive")
    modality = {"id": "m", "summary": "s", "target": "a:b", "backbone": "net", "token_backbone": "token-net"}
    assert missing_part(ModalitySpec(**modality), spec) == "a default causal backbone"
    assert missing_part(ModalitySpec(**modality, causal_backbone="causal-net"), spec) is None
    recipe = compose(spec, autoregressive_objective(), Bare())
    assert isinstance(recipe.build(recipe.config(), toy_backbone("ids", causal=True), toy_info("ids")), NextToken)


def autoregressive_objective() -> Any:
    from selfsup.tasks.autoregressive.next_token import NEXT_TOKEN_FAMILY

    return NEXT_TOKEN_FAMILY


def test_class_losses_are_the_same_flat() -> None:
    backbone: TokenBackbone = toy_backbone("ids")
    logits = torch.randn(2, 3, 17, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[1, 2, 3], [4, 5, 16]])
    loss = backbone.target_loss(logits, target, torch.zeros(2, 3, dtype=torch.long))
    wanted = torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")
    torch.testing.assert_close(loss, wanted)


def test_a_backbones_own_output_head_tells_the_next_token_alone() -> None:
    """A language model keeps its head; for a token further on the task has one of its own."""
    backbone = toy_backbone("ids", causal=True)
    own = backbone.target_head(backbone.embed_dim)
    backbone.output_head = lambda: own  # type: ignore[method-assign]
    near, far = (build_next_token(NextTokenConfig(steps_ahead=n), backbone, toy_info("ids")) for n in (1, 2))
    assert near.head is own
    assert far.head is not own

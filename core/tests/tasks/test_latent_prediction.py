from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsup.backbones import Tokens
from selfsup.errors import ConfigError
from selfsup.tasks.latent import IJEPA, Data2Vec, Data2VecConfig, IJEPAConfig, data2vec_recipe, ijepa_recipe
from selfsup.tasks.latent.data2vec import average_top_layers
from selfsup.tasks.latent.ijepa import jepa_loss
from selfsup.tasks.parts.block_masking import block_mask, multi_block_mask, shuffled
from selfsup.tasks.parts.random_masking import random_mask
from selfsup.tasks.parts.span_masking import span_mask
from selfsup.tasks.parts.transformer import lattice_positions
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.backbones import SequenceConv, SequenceConvConfig
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info
from selfsup.types import Batch

KINDS: tuple[Kind, ...] = ("ids", "frames")


def ijepa(kind: Kind, **options: Any) -> IJEPA:
    torch.manual_seed(0)
    return IJEPA(IJEPAConfig(**{"predictor_depth": 2, **options}), toy_backbone(kind))


def data2vec(kind: Kind, **options: Any) -> Data2Vec:
    torch.manual_seed(0)
    return Data2Vec(Data2VecConfig(**options), toy_backbone(kind))


def smooth_l1(p: Tensor, t: Tensor, beta: float) -> Tensor:
    error = (p - t).abs()
    return torch.where(error < beta, error**2 / (2 * beta), error - beta / 2).mean()


def norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()


def sample_of(batch: Batch, i: int) -> tuple[Batch, int]:
    length = int((~batch["padding"][i]).sum()) if "padding" in batch else batch["sequence"].shape[1]
    return {"sequence": batch["sequence"][i : i + 1, :length]}, length


def shifted(task: Any) -> Any:
    """The task in float64 with a teacher that is not the student, so that taking one for the other shows."""
    task = task.double()
    with torch.no_grad():
        for parameter in task.teacher.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator(7)))
    return task


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_smooth_l1_of_representations_by_hand(beta: float) -> None:
    p, t = (torch.randn(3, 5, 4, dtype=torch.float64, generator=generator(seed)) for seed in (1, 2))
    weight = torch.tensor([[1.0, 1, 0, 1, 0]] * 3)
    p.requires_grad_()
    everything = torch.stack([smooth_l1(p[i, j], t[i, j], beta) for i in range(3) for j in range(5)])
    for mask, wanted in ((weight.double(), everything[weight.flatten() > 0].mean()), (None, everything.mean())):
        output = jepa_loss(p, t, mask, beta)
        assert output.loss.item() == pytest.approx(wanted.item(), abs=1e-12)
        (gradient,) = torch.autograd.grad(output.loss, p)
        torch.testing.assert_close(gradient, torch.autograd.grad(wanted, p, retain_graph=True)[0], atol=1e-12, rtol=0)
    assert output.metrics["target_std"].item() == pytest.approx(t.reshape(15, 4).numpy().std(0, ddof=1).mean(), abs=1e-12)
    assert jepa_loss(p.bfloat16(), t.bfloat16(), None).loss.dtype == torch.float32


def test_the_squared_error_of_representations_by_hand() -> None:
    p, t = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 5, 4, dtype=torch.float64)
    p.requires_grad_()
    output = jepa_loss(p, t, None, None)
    assert output.loss.item() == pytest.approx(float((p - t).detach().square().mean()), abs=1e-12)
    (gradient,) = torch.autograd.grad(output.loss, p)
    torch.testing.assert_close(gradient, 2 * (p - t).detach() / p.numel(), atol=1e-12, rtol=0)


def test_average_of_top_layers_by_hand() -> None:
    layers = [torch.randn(2, 3, 8, dtype=torch.float64, generator=generator(seed)) for seed in range(4)]
    wanted = (norm(layers[2]) + norm(layers[3])) / 2
    torch.testing.assert_close(average_top_layers(layers, 2), wanted, atol=1e-12, rtol=0)
    everything = torch.stack([norm(layer) for layer in layers]).mean(dim=0)
    torch.testing.assert_close(average_top_layers(layers, 9), everything, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_ijepa_loss_by_hand_in_float64(kind: Kind) -> None:
    task, batch = shifted(ijepa(kind)), toy_batch(kind)
    B, N = batch["sequence"].shape[:2]
    config = task.config
    mask = multi_block_mask(
        B, (N,), n_targets=4, target_scale=config.target_scale, target_aspect=config.target_aspect,
        context_scale=config.context_scale, context_share=config.context_share, min_context=config.min_context,
        padding=batch.get("padding"), generator=generator(3),
    )  # fmt: skip
    positions = lattice_positions((N,), task.predictor.dim, torch.device("cpu"))
    errors = []
    for i in range(B):
        sample, _ = sample_of(batch, i)
        teacher = task.teacher.module
        target = norm(teacher.encode(teacher.tokenize(sample))[0].detach())
        index = mask.context[i : i + 1]
        context = task.predictor.embed(task.backbone.encode(task.backbone.tokenize(sample), keep=index)) + positions[index]
        for j in range(4):
            wanted = mask.targets[i, j][mask.weight[i, j]]
            asked = (task.predictor.mask_token + positions[wanted]).unsqueeze(0)
            mixed = task.predictor.transformer(torch.cat([context, asked], dim=1))[:, context.shape[1] :]
            prediction = task.predictor.out(mixed)[0]
            errors += [smooth_l1(p, target[int(k)], 1.0) for p, k in zip(prediction, wanted, strict=True)]
    loss = task(batch, generator(3)).loss
    assert loss.dtype == torch.float64
    assert_same_loss(task, loss, torch.stack(errors).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masking", ["blocks", "random"])
def test_data2vec_loss_by_hand_in_float64(kind: Kind, masking: str) -> None:
    task, batch = shifted(data2vec(kind, masking=masking, top_layers=2, head_layers=2)), toy_batch(kind)
    B, N = batch["sequence"].shape[:2]
    padding = batch.get("padding")
    if masking == "blocks":
        mask = block_mask(B, (N,), 0.6, (0.08, 0.3), (0.3, 1 / 0.3), padding=padding, generator=generator(3)).mask
    else:
        mask = random_mask(B, (N,), 0.6, padding=padding, generator=generator(3)).mask
    errors = []
    for i in range(B):
        sample, length = sample_of(batch, i)
        where = mask[i, :length]
        teacher = task.teacher.module
        layers = teacher.layer_outputs(teacher.tokenize(sample))
        target = torch.stack([norm(layer[0].detach()) for layer in layers]).mean(dim=0)
        student = task.backbone.encode(task.backbone.tokenize(sample).masked(where.unsqueeze(0), task.mask_token))
        prediction = task.head(student)[0]
        errors += [smooth_l1(prediction[k], target[k], 2.0) for k in range(length) if where[k]]
    assert_same_loss(task, task(batch, generator(3)).loss, torch.stack(errors).mean())


def test_data2vec_hides_spans_as_for_speech() -> None:
    task, batch = data2vec("ids", masking="spans", start_share=0.1, span=3), toy_batch("ids")
    tokens = task.backbone.tokenize(batch)
    found = task.draw_mask(tokens, generator(2))
    wanted = span_mask(8, tokens.grid, 0.1, 3, padding=tokens.padding, generator=generator(2))
    assert torch.equal(found.mask, wanted.mask)
    assert torch.isfinite(task(batch, generator()).loss)


def test_a_backbone_without_layers_gives_its_output_as_the_only_one() -> None:
    backbone = toy_backbone("ids", depth=1)
    tokens: Tokens = backbone.tokenize(toy_batch("ids"))
    only = super(type(backbone).__mro__[1], backbone).layer_outputs(tokens)
    assert len(only) == 1
    torch.testing.assert_close(only[0], backbone.layer_outputs(tokens)[0])


@pytest.mark.parametrize("make", [ijepa, data2vec])
def test_targets_send_no_gradient_and_the_teacher_follows(make: Any) -> None:
    task, batch = make("frames"), toy_batch("frames")
    task.train()
    loss = task(batch, generator()).loss
    loss.backward()
    assert all(p.grad is None for p in task.teacher.parameters())
    assert all(p.grad is not None for p in task.parameters() if p.requires_grad)
    assert not any(module.training for module in task.teacher.modules())
    with torch.no_grad():
        for parameter in task.backbone.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in task.teacher.parameters()]
    momentum = task.teacher.momentum(0.0)
    assert momentum == task.config.teacher.start
    task.after_step(0.0)
    for old, new in zip(before, task.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + (1 - momentum), atol=1e-6, rtol=1e-5)


def test_ijepa_keeps_the_teacher_and_data2vec_the_student() -> None:
    first, second = ijepa("ids"), data2vec("ids")
    assert first.encoder_backbone() is first.teacher.module
    assert second.encoder_backbone() is second.backbone


@pytest.mark.parametrize("kind", KINDS)
def test_ijepa_context_encoder_sees_no_target_content(kind: Kind) -> None:
    task, batch = ijepa(kind), toy_batch(kind)
    seen: list[tuple[Tokens, torch.Tensor]] = []
    encode = task.backbone.encode

    def spy(tokens: Tokens, *, keep: torch.Tensor | None = None) -> torch.Tensor:
        assert keep is not None
        seen.append((tokens, keep))
        return encode(tokens, keep=keep)

    task.backbone.encode = spy  # type: ignore[method-assign]
    task(batch, generator(3))
    keep = seen[0][1]
    assert keep.shape == (8, max(round(0.25 * batch["sequence"].shape[1]), 4))
    other = {**batch, "sequence": batch["sequence"].clone()}
    for i in range(8):
        hidden = torch.ones(batch["sequence"].shape[1], dtype=torch.bool)
        hidden[keep[i]] = False
        other["sequence"][i, hidden] = other["sequence"][i, hidden] * 0
    a = encode(task.backbone.tokenize(batch), keep=keep)
    b = encode(task.backbone.tokenize(other), keep=keep)
    assert torch.equal(a, b)


@pytest.mark.parametrize("make", [ijepa, data2vec])
def test_latent_loss_is_float32_under_bf16(make: Any) -> None:
    task, batch = make("ids"), toy_batch("ids")
    exact = task(batch, generator()).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = task(batch, generator()).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)


def test_latent_recipes_have_the_papers_defaults_and_take_others() -> None:
    config = ijepa_recipe().config()
    assert isinstance(config, IJEPAConfig)
    assert (config.n_targets, config.target_scale, config.target_aspect) == (4, (0.15, 0.2), (0.75, 1.5))
    assert config.context_scale == (0.85, 1.0)
    changed = ijepa_recipe(predictor_depth=1, teacher={"start": 0.9}, optimization={"weight_decay": 0.0})
    assert changed.optimization["weight_decay"] == 0.0
    task = changed.build(changed.config(), toy_backbone("ids"), toy_info("ids"))
    assert isinstance(task, IJEPA)
    assert task.teacher.momentum(0.5) == pytest.approx(0.95)
    other = data2vec_recipe(teacher={"end": 0.9999, "start": 0.9}, mask_ratio=0.15, masking="random")
    assert isinstance(other.build(other.config(), toy_backbone("ids"), toy_info("ids")), Data2Vec)
    with pytest.raises(ConfigError, match="top_layers"):
        data2vec_recipe(top_layers=0)
    with pytest.raises(ConfigError, match="nonsense"):
        ijepa_recipe(nonsense=1)


@pytest.mark.parametrize("recipe", [ijepa_recipe(), data2vec_recipe()])
def test_latent_tasks_refuse_a_backbone_without_tokens(recipe: Any) -> None:
    info = toy_info("ids")
    with pytest.raises(ConfigError, match="SequenceConv has none"):
        recipe.build(recipe.config(), SequenceConv(SequenceConvConfig(), info), info)


@pytest.mark.parametrize("kind", KINDS)
def test_random_masking_of_ijepa_hides_scattered_tokens_and_no_padding(kind: Kind) -> None:
    batch, grid_task = toy_batch(kind), ijepa(kind, target_scale=(0.3, 0.4), min_context=2)
    task = ijepa(kind, masking="random", target_scale=(0.3, 0.4), min_context=2)
    tokens = task.backbone.tokenize(batch)
    padding = tokens.padding if tokens.padding is not None else torch.zeros(tokens.embeddings.shape[:2], dtype=torch.bool)

    def gaps(mask: Any) -> float:
        """Mean distance from a target to the nearest other one of its block."""
        found = []
        for i in range(len(mask.targets)):
            for index, weight in zip(mask.targets[i], mask.weight[i], strict=True):
                places = index[weight].sort().values
                found += (places[1:] - places[:-1]).tolist()
                assert not padding[i][index[weight]].any()
                assert not set(index[weight].tolist()) & set(mask.context[i].tolist())
                assert len(set(places.tolist())) == len(places)
            assert not padding[i][mask.context[i]].any()
        return float(np.mean(found))

    assert gaps(grid_task.draw_mask(tokens, generator(1))) < 1.5
    assert gaps(task.draw_mask(tokens, generator(1))) > 1.7
    assert torch.isfinite(task(batch, generator(1)).loss)


def test_shuffled_mask_names_the_tokens_that_stand_at_its_places() -> None:
    mask = multi_block_mask(
        2, (8,), n_targets=2, target_scale=(0.2, 0.4), target_aspect=(1.0, 1.0), context_scale=(0.9, 1.0), context_share=0.5,
        min_context=1, generator=generator(),
    )  # fmt: skip
    order = torch.stack([torch.arange(7, -1, -1), torch.tensor([3, 1, 4, 0, 5, 2, 6, 7])])
    moved = shuffled(mask, order)
    for i in range(2):
        assert moved.context[i].tolist() == [order[i][k].item() for k in mask.context[i]]
        assert moved.targets[i].flatten().tolist() == [order[i][k].item() for k in mask.targets[i].flatten()]
    assert torch.equal(moved.weight, mask.weight)

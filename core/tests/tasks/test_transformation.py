from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks.base import Transformation, Transformed
from selfsup.tasks.transformation import (
    GeneratorDropout,
    TransformationConfig,
    TransformationPrediction,
    balanced_labels,
    class_loss,
    coordinate_loss,
    transformation_recipe,
)
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.shortcuts import toy_backbone, toy_batch, toy_info
from selfsup.testing.toy.sequences.transformation import SegmentOrder, SegmentOrderConfig
from selfsup.types import Batch

SEGMENT_ORDER = transformation_recipe(SegmentOrderConfig, SegmentOrder, head_dims=(32,))


class NoConfig(Config):
    """Nothing to set."""


class Halves(Transformation):
    """Cuts frames into two parts, swapped or not; asks for the level and the slope that were added (coordinates)."""

    kind = "coordinates"
    n_outputs = 4
    parts = 2

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        frames = batch["sequence"]
        label = torch.rand(len(frames), 2, 2, generator=generator, device=frames.device)
        halves = torch.stack(frames.chunk(2, dim=1), dim=1) + 3 * label.sum(dim=2)[:, :, None, None]
        return Transformed({"sequence": halves.flatten(0, 1)}, label)


class Items(Transformation):
    """Adds one of three levels to each half of the frames; asks for both levels."""

    kind = "class"
    n_outputs = 3
    items = 2

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        frames = batch["sequence"]
        label = torch.randint(3, (len(frames), 2), generator=generator, device=frames.device)
        return Transformed({"sequence": frames + 2 * label.repeat_interleave(8, dim=1).unsqueeze(-1)}, label)


def predicting(transformation: type[Transformation], **defaults: Any) -> TransformationPrediction:
    recipe = transformation_recipe(NoConfig, lambda config, info: transformation(), **defaults)
    torch.manual_seed(0)
    task = recipe.build(recipe.config(), toy_backbone("frames"), toy_info("frames"))
    assert isinstance(task, TransformationPrediction)
    return task


def segment_order() -> TransformationPrediction:
    torch.manual_seed(0)
    task = SEGMENT_ORDER.build(SEGMENT_ORDER.config(), toy_backbone("ids"), toy_info("ids"))
    assert isinstance(task, TransformationPrediction)
    return task


def test_class_loss_by_hand_in_float64() -> None:
    logits = torch.randn(4, 6, dtype=torch.float64, generator=generator())
    label = torch.tensor([[0, 2], [1, 1], [2, 0], [0, 0]])
    rows = logits.view(8, 3).numpy()
    answers = label.flatten().tolist()
    wanted = np.mean([np.log(np.exp(row).sum()) - row[answer] for row, answer in zip(rows, answers, strict=True)])
    logits.requires_grad_()
    output = class_loss(logits, label)
    assert output.loss.item() == pytest.approx(wanted, abs=1e-12)
    (gradient,) = torch.autograd.grad(output.loss, logits)
    one_hot = torch.nn.functional.one_hot(label.flatten(), 3)
    torch.testing.assert_close(gradient.view(8, 3), (logits.view(8, 3).softmax(dim=1) - one_hot) / 8, rtol=0, atol=1e-12)
    logits.requires_grad_(False)
    assert output.metrics["accuracy"].item() == pytest.approx(np.mean(rows.argmax(1) == answers))
    assert class_loss(logits[:, :3], label[:, 0]).loss.item() == pytest.approx(
        np.mean(
            [np.log(np.exp(row).sum()) - row[a] for row, a in zip(logits[:, :3].numpy(), label[:, 0].tolist(), strict=True)]
        )
    )


def test_coordinate_loss_by_hand_in_float64() -> None:
    prediction = torch.tensor([[1.0, 2, 3, 4]], dtype=torch.float64)
    label = torch.tensor([[[0.0, 2], [5, 4.5]]], dtype=torch.float64)
    output = coordinate_loss(prediction, label)
    assert output.loss.item() == pytest.approx((1 + 0 + 4 + 0.25) / 4, abs=1e-12)
    prediction.requires_grad_()
    (gradient,) = torch.autograd.grad(coordinate_loss(prediction, label).loss, prediction)
    torch.testing.assert_close(gradient, 2 * (prediction.detach() - label.flatten(1)) / 4, rtol=0, atol=1e-12)
    assert output.metrics["absolute_error"].item() == pytest.approx((1 + 2 + 0.5) / 4, abs=1e-12)
    assert coordinate_loss(prediction.bfloat16(), label.bfloat16()).loss.dtype == torch.float32


def test_parts_are_joined_in_order() -> None:
    task, batch = predicting(Halves), toy_batch("frames", n=3)
    transformed = task.transformation(batch, generator(1))
    pooled = task.backbone(transformed.batch).pooled
    assert pooled.shape == (6, 32)
    wanted = torch.stack([task.out(torch.cat([pooled[2 * i], pooled[2 * i + 1]])) for i in range(3)])
    expected = (wanted - transformed.label.flatten(1)).square().mean()
    torch.testing.assert_close(task(batch, generator(1)).loss, expected)


@pytest.mark.parametrize(("transformation", "outputs"), [(Halves, 4), (Items, 6)])
def test_transformation_loss_falls(transformation: type[Transformation], outputs: int) -> None:
    task, batch = predicting(transformation, head_dims=(32,)), toy_batch("frames", n=32)
    assert task.out.out_features == outputs
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss = task(batch, generator(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.parametrize("transformation", [Halves, Items])
def test_transformation_on_fake_cuda(transformation: type[Transformation]) -> None:
    task = predicting(transformation, head_dims=(8,), dropout=0.5)
    with fake_cuda(task, toy_batch("frames")) as batch:
        assert task(batch, None).loss.device.type == "cuda"


def test_dropout_draws_from_the_generator_in_training_only() -> None:
    dropout = GeneratorDropout(0.5)
    x = torch.ones(100, 10)
    before = torch.get_rng_state()
    out = dropout(x, generator(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(out, dropout(x, generator(1)))
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert abs(out.mean().item() - 1) < 0.2
    assert torch.equal(dropout.eval()(x, generator(1)), x)


def test_balanced_labels_have_every_class_alike_in_every_batch_and_place() -> None:
    cpu, drawing = torch.device("cpu"), generator()
    drawn = torch.stack([balanced_labels(16, 6, drawing, cpu) for _ in range(3000)])
    counts = torch.stack([(drawn == label).sum(dim=1) for label in range(6)], dim=1)
    assert set(counts.flatten().tolist()) == {2, 3}
    share = torch.stack([(drawn == label).float().mean(dim=0) for label in range(6)])
    assert (share - 1 / 6).abs().max() < 5 * math.sqrt(5 / 36 / 3000), "some class is drawn more often, or at some places"


def test_segments_are_put_in_the_order_that_the_label_names() -> None:
    transformation = SegmentOrder(SegmentOrderConfig(), toy_info("ids"))
    sequence = torch.arange(14).expand(6, 14).contiguous()
    padding = torch.arange(14).unsqueeze(0) >= torch.tensor([14, 14, 14, 9, 7, 2]).unsqueeze(1)
    labels = set()
    for seed in range(20):
        shuffled, label, *_ = transformation({"sequence": sequence, "padding": padding}, generator(seed))
        for i in range(6):
            length = int((~padding[i]).sum())
            width = length // 3
            order = transformation.orders[label[i]].tolist()
            wanted = [segment * width + k for segment in order for k in range(width)]
            assert shuffled["sequence"][i, :length].tolist() == [*wanted, *range(3 * width, length)]
        labels |= set(label.tolist())
    assert labels == set(range(math.factorial(3)))


def test_transformation_config_has_sections_and_refuses_what_is_unknown() -> None:
    assert SEGMENT_ORDER.config().model_dump() == {"head_dims": (32,), "dropout": 0.0, "transformation": {"segments": 3}}
    task = SEGMENT_ORDER.build(SEGMENT_ORDER.config(transformation={"segments": 2}), toy_backbone("ids"), toy_info("ids"))
    assert task.out.out_features == 2
    with pytest.raises(ConfigError, match="segments"):
        transformation_recipe(SegmentOrderConfig, SegmentOrder, segments=2)

    class Odd(Items):
        kind = "guess"

    with pytest.raises(ConfigError, match="'guess': a transformation is predicted as one of 'class', 'coordinates'"):
        TransformationPrediction(TransformationConfig(), toy_backbone("ids"), Odd())


def test_answers_that_do_not_count_are_left_out_of_loss_weight_and_metrics() -> None:
    logits = torch.randn(4, 6, dtype=torch.float64, generator=generator(), requires_grad=True)
    label, counts = torch.tensor([[0, 2], [1, 1], [2, 0], [0, 0]]), torch.tensor([True, False, True, False])
    some, chosen = class_loss(logits, label, counts.float()), class_loss(logits[counts], label[counts])
    assert some.loss.item() == pytest.approx(chosen.loss.item(), abs=1e-12)
    assert some.metrics["accuracy"].item() == pytest.approx(chosen.metrics["accuracy"].item())
    assert some.weight is not None
    assert some.weight.item() == 4, "two answers of two items each"
    (gradient,) = torch.autograd.grad(some.loss, logits)
    assert not gradient[~counts].any()
    levels = torch.rand(4, 6, dtype=torch.float64, generator=generator())
    half, whole = coordinate_loss(logits, levels, counts.float()), coordinate_loss(logits[counts], levels[counts])
    assert half.loss.item() == pytest.approx(whole.loss.item(), abs=1e-12)
    assert half.metrics["absolute_error"].item() == pytest.approx(whole.metrics["absolute_error"].item())
    none = class_loss(logits, label, torch.zeros(4))
    assert none.weight is not None
    assert (none.loss.item(), none.weight.item()) == (0, 0)


class OddOnesOut(Items):
    """Leaves every second sample out."""

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        made = super().forward(batch, generator)
        return made._replace(weight=(torch.arange(len(made.label), device=made.label.device) % 2 == 0).float())


def test_the_share_that_is_left_out_is_a_metric() -> None:
    task = predicting(OddOnesOut)
    assert task(toy_batch("frames", n=5), generator()).metrics["left_out"].item() == pytest.approx(2 / 5)
    output = task(toy_batch("frames", n=4), generator())
    assert output.metrics["left_out"].item() == pytest.approx(4 / 9)
    assert output.weight is not None
    assert output.weight.item() == 4
    other = predicting(OddOnesOut)
    with fake_cuda(other, toy_batch("frames")) as batch:
        assert other(batch, None).metrics["left_out"].device.type == "cuda"

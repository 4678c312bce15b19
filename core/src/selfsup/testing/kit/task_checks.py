"""Checks of pretext tasks. Each takes a :class:`TaskCase` and raises ``AssertionError`` with the reason."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from selfsup.runtime.module_mode import evaluation_mode
from selfsup.tasks import PretextTask, StepOutput, Term
from selfsup.testing.kit.cases import TaskCase
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup.types import Batch


def generator(seed: int = 0) -> torch.Generator:
    """A CPU generator."""
    return torch.Generator().manual_seed(seed)


def check_loss(case: TaskCase) -> None:
    """The loss is one finite number with a gradient, what it is a mean over is told, and metrics are detached numbers."""
    output = case.build()(case.batch(), case.generator())
    assert isinstance(output, StepOutput), f"forward gives {type(output).__name__}, not StepOutput"
    assert output.loss.shape == (), f"the loss has shape {tuple(output.loss.shape)}; it must be a scalar"
    assert torch.isfinite(output.loss), f"the loss is {output.loss.detach()}"
    assert output.loss.requires_grad, "the loss has no gradient"
    for term in output.terms or (Term(output.loss, output.weight),):
        assert term.loss.shape == (), f"a term of the loss has shape {tuple(term.loss.shape)}; it must be a scalar"
        if term.weight is not None:
            assert term.weight.shape == (), f"the weight has shape {tuple(term.weight.shape)}; it must be a scalar"
            assert not term.weight.requires_grad, "the weight has a gradient"
            assert term.weight > 0, "the weight of a batch of mock rows is 0"
    if output.terms:
        total = torch.stack([term.loss for term in output.terms]).sum()
        assert torch.allclose(output.loss, total), (
            f"the loss is {output.loss.detach()}, and its terms add up to {total.detach()}"
        )
    for name, value in output.metrics.items():
        assert isinstance(value, Tensor), f"metric {name!r} is {type(value).__name__}, not a tensor"
        assert value.shape == (), f"metric {name!r} is no scalar"
        assert not value.requires_grad, f"metric {name!r} holds on to the graph"
        assert torch.isfinite(value), f"metric {name!r} is {value}"


def check_gradients(case: TaskCase) -> None:
    """Every trainable parameter receives a finite gradient (DDP stops on one that receives none)."""
    task = case.build()
    task(case.batch(), case.generator()).loss.backward()
    named = [(name, parameter) for name, parameter in task.named_parameters() if parameter.requires_grad]
    assert named, "the task has no trainable parameter"
    missing = [name for name, parameter in named if parameter.grad is None]
    assert not missing, f"no gradient reaches {missing}"
    broken = [name for name, parameter in named if not torch.isfinite(parameter.grad).all()]  # type: ignore[arg-type]  # not None
    assert not broken, f"the gradient of {broken} is not finite"
    backbone = sum(float(p.grad.abs().sum()) for p in task.backbone.parameters() if p.grad is not None)
    assert backbone > 0, "no gradient reaches the backbone"


def check_determinism(case: TaskCase) -> None:
    """The same seed gives the same loss, bit by bit, whatever the global random state is."""
    first, second = case.build(), case.build()
    batch = case.batch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        a = first(batch, case.generator(3)).loss
        torch.manual_seed(2)
        b = second(batch, case.generator(3)).loss
    assert _same(a, b), f"the same seed gave {a.item()} and {b.item()}"


def check_global_random_state(case: TaskCase) -> None:
    """Forward draws from the generator it is given, never from torch's global one, and leaves its input as it was."""
    task, batch = case.build(), case.batch()
    before_batch = {key: value.clone() for key, value in batch.items()}
    before = _global_states(case.device)
    task(batch, case.generator())
    same = all(torch.equal(a, b) for a, b in zip(before, _global_states(case.device), strict=True))
    assert same, "forward drew from torch's global generator"
    assert batch.keys() == before_batch.keys(), "forward changed the keys of its batch"
    for key, value in batch.items():
        assert torch.equal(value, before_batch[key]), f"forward changed batch[{key!r}] in place"


def check_fake_cuda(case: TaskCase) -> None:
    """A forward pass on fake ``cuda`` tensors meets no mixed device, no host sync and no data-dependent shape."""
    fake = case.on("cpu")
    task = fake.build()
    with fake_cuda(task, fake.batch()) as batch:
        loss = task(batch, None).loss
        assert loss.device.type == "cuda", f"the loss is on {loss.device}"


def check_half_precision(case: TaskCase) -> None:
    """Under bfloat16 autocast, which many devices train in, a step works and its loss is finite and of full precision."""
    task = case.build()
    optimizer = torch.optim.SGD(trainable(task), lr=1e-3)
    for step in range(2):
        with torch.autocast(case.device, torch.bfloat16):
            loss = task(case.batch(step), case.generator(step)).loss
        assert loss.dtype == torch.float32, f"under bfloat16 autocast the loss is {loss.dtype}"
        assert torch.isfinite(loss), f"under bfloat16 autocast the loss is {loss.detach()}"
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        task.after_backward((step + 1) / 10)
        optimizer.step()
        task.after_step((step + 1) / 10)


def check_labels_unseen(case: TaskCase) -> None:
    """A label in the batch changes nothing (the trainer cuts labels off; a task must not look for them either)."""
    if case.spec.needs_labels:
        return
    batch = case.batch()
    labels = torch.arange(case.rows, device=case.device)
    zeros, others = {**batch, "label": torch.zeros_like(labels)}, {**batch, "label": labels}
    a = case.build()(zeros, case.generator()).loss
    b = case.build()(others, case.generator()).loss
    assert _same(a, b), "the loss depends on batch['label']"


def check_state_round_trip(case: TaskCase) -> None:
    """All state lies in the state dict: a task trained for some steps and its reloaded copy give the same next loss."""
    task = case.build()
    optimizer = torch.optim.SGD(trainable(task), lr=1e-3)
    for step in range(3):
        train_step(task, optimizer, case.batch(step), case.generator(step), progress=(step + 1) / 10)
    copy_ = case.build(seed=1)
    copy_.load_state_dict(task.state_dict())
    batch = case.batch(9)
    a, b = task(batch, case.generator(5)).loss, copy_(batch, case.generator(5)).loss
    assert _same(a, b), f"after a reload the next loss is {b.item()}, not {a.item()}: state outside of the state dict"


def check_learning(case: TaskCase, steps: int = 25) -> None:
    """Trained on mock rows the weights learn, and the embedding does not collapse to a point.

    What the loss compares with moves in many methods (a queue fills, a teacher sharpens), so the loss of the first steps says
    little. The trained weights are held against the initial ones with everything else as it is after training.
    """
    task = case.build()
    initial = [p.detach().clone() for p in trainable(task)]
    optimizer = torch.optim.AdamW(trainable(task), lr=5e-4)
    spread_before = embedding_spread(task, case.batch())
    for step in range(steps):
        train_step(task, optimizer, case.batch(step % 4), case.generator(step), progress=(step + 1) / steps)
    untrained = copy.deepcopy(task)
    with torch.no_grad():
        for parameter, value in zip(trainable(untrained), initial, strict=True):
            parameter.copy_(value)
        before, after = (
            sum(float(each(case.batch(i), case.generator(i)).loss) for i in range(4)) / 4 for each in (untrained, task)
        )
    assert after < before, f"{steps} steps of training took the loss from {before:.4f} to {after:.4f}"
    spread = embedding_spread(task, case.batch())
    assert spread > 0.2 * spread_before, f"the embedding's spread fell from {spread_before:.4f} to {spread:.4f}: collapse"


def _same(a: Tensor, b: Tensor) -> bool:
    """Bit by bit on a CPU; on a GPU sums are taken in any order."""
    return torch.equal(a, b) if a.device.type == "cpu" else torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def _global_states(device: str) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if device == "cuda" else [])]


def trainable(task: PretextTask) -> list[nn.Parameter]:
    """The parameters that the optimizer changes."""
    return [parameter for parameter in task.parameters() if parameter.requires_grad]


def embedding_spread(task: PretextTask, batch: Batch) -> float:
    """Mean standard deviation of the L2-normalised pooled embeddings times sqrt(D): 0 for a point, 1 for a uniform sphere."""
    backbone = task.encoder_backbone()
    with evaluation_mode(backbone):
        pooled = torch.nn.functional.normalize(backbone(batch).pooled.float(), dim=-1)
    return float(pooled.std(dim=0).mean()) * math.sqrt(pooled.shape[1])


def train_step(
    task: PretextTask, optimizer: torch.optim.Optimizer, batch: Batch, drawing: torch.Generator, progress: float
) -> float:
    """One optimizer step as the trainer makes it; returns the loss."""
    loss: Tensor = task(batch, drawing).loss
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    task.after_backward(progress)
    optimizer.step()
    task.after_step(progress)
    return loss.item()

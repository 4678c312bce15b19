"""Checks of pretext tasks. Each takes a :class:`TaskCase` and raises ``AssertionError`` with the reason."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from selfsup.runtime.module_mode import evaluation_mode
from selfsup.tasks import PretextTask, StepOutput, Term
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.testing.kit.cases import TaskCase
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup.types import Batch


def generator(seed: int = 0) -> torch.Generator:
    """A CPU generator."""
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Step:
    """What the first forward pass of a case gives; several checks look at it."""

    task: PretextTask
    output: StepOutput
    draws_globally: bool
    """Whether torch's global random state changed."""
    changed: str
    """The keys of the batch that changed in place, joined by commas."""
    trains_target: bool
    """Whether a target of a joint-embedding objective has a gradient."""


@lru_cache(maxsize=1)
def first_step(case: TaskCase) -> Step:
    """The task on its first batch, with its generator's first draws. It is computed once for all checks of a case."""
    task, batch, given = case.task(), case.batch(), case.batch()
    targets: list[Tensor] = []
    if isinstance(task, JointEmbedding):
        task.objective.register_forward_pre_hook(lambda _, arguments: targets.extend(arguments[0].target))
    before = _global_states(case.device)
    output = task(batch, case.generator())
    draws = any(not torch.equal(a, b) for a, b in zip(before, _global_states(case.device), strict=True))
    changed = [key for key in batch.keys() | given.keys() if not _same_entry(batch.get(key), given.get(key))]
    return Step(task, output, draws, ", ".join(sorted(changed)), any(target.requires_grad for target in targets))


def _same_entry(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


@dataclass(frozen=True)
class Trained:
    """A task after some steps of training."""

    task: PretextTask
    initial: list[Tensor]
    """Its trainable parameters before the first step."""
    spread: float
    """The embedding's spread before the first step; see :func:`embedding_spread`."""
    batches: int
    """Of mock rows, which it saw in turn."""


@lru_cache(maxsize=1)
def trained(case: TaskCase) -> Trained:
    """The task after a short training, which runs once for all checks of a case."""
    return _train(case, steps=12, lr=1e-3, batches=3)


def _train(case: TaskCase, steps: int, lr: float, batches: int) -> Trained:
    task = case.task()
    initial = [parameter.detach().clone() for parameter in trainable(task)]
    spread = embedding_spread(task, case.batch())
    optimizer = torch.optim.AdamW(trainable(task), lr=lr)
    for step in range(steps):
        train_step(task, optimizer, case.batch(step % batches), case.generator(step), progress=(step + 1) / steps)
    return Trained(task, initial, spread, batches)


def check_loss(case: TaskCase) -> None:
    """The loss is one finite number with a gradient, its weight says over what it is a mean, and metrics are detached."""
    output = first_step(case).output
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
    """Every trainable parameter receives a finite gradient (DDP stops on one that receives none), and a target passes none."""
    step = first_step(case)
    named = {name: parameter for name, parameter in step.task.named_parameters() if parameter.requires_grad}
    assert named, "the task has no trainable parameter"
    gradients = torch.autograd.grad(step.output.loss, list(named.values()), allow_unused=True, retain_graph=True)
    found = {name: gradient for name, gradient in zip(named, gradients, strict=True) if gradient is not None}
    assert len(found) == len(named), f"no gradient reaches {sorted(named.keys() - found.keys())}"
    broken = [name for name, gradient in found.items() if not torch.isfinite(gradient).all()]
    assert not broken, f"the gradient of {broken} is not finite"
    of_backbone = {id(parameter) for parameter in step.task.backbone.parameters()}
    total = sum(float(found[name].abs().sum()) for name, parameter in named.items() if id(parameter) in of_backbone)
    assert total > 0, "no gradient reaches the backbone"
    assert not step.trains_target, "a gradient flows through the target's embeddings"


def check_determinism(case: TaskCase) -> None:
    """The same seed gives the same weights and the same loss, bit by bit, whatever the global random state is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        again = case.build()(case.batch(), case.generator()).loss
    loss = first_step(case).output.loss
    assert _same(loss, again), f"the same seed gave {loss.item()} and {again.item()}"


def check_global_random_state(case: TaskCase) -> None:
    """Forward draws from the generator it is given, never from torch's global one, and leaves its input as it was."""
    step = first_step(case)
    assert not step.draws_globally, "forward drew from torch's global generator"
    assert not step.changed, f"forward changed its batch in place: {step.changed}"


def check_fake_cuda(case: TaskCase) -> None:
    """A forward pass on fake ``cuda`` tensors meets no mixed device, no host sync and no data-dependent shape."""
    fake = case.on("cpu")
    task = fake.task()
    with fake_cuda(task, fake.batch()) as batch:
        loss = task(batch, None).loss
        assert loss.device.type == "cuda", f"the loss is on {loss.device}"


def check_half_precision(case: TaskCase) -> None:
    """Under bfloat16 autocast, which many devices train in, a step works and its loss is finite and of full precision."""
    task = case.task()
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
    labelled = {**case.batch(), "label": torch.arange(case.rows, device=case.device)}
    loss = case.task()(labelled, case.generator()).loss
    assert _same(loss, first_step(case).output.loss), "the loss depends on batch['label']"


def check_state_round_trip(case: TaskCase) -> None:
    """The state dict holds all state: a task trained for some steps and its reloaded copy give the same next loss."""
    task = copy.deepcopy(trained(case).task)
    reloaded = case.build(seed=1)
    reloaded.load_state_dict(task.state_dict())
    batch = case.batch(9)
    a, b = task(batch, case.generator(5)).loss, reloaded(batch, case.generator(5)).loss
    assert _same(a, b), f"after a reload the next loss is {b.item()}, not {a.item()}: state outside of the state dict"


def check_learning(case: TaskCase) -> None:
    """Trained on mock rows the weights learn, and the embedding does not collapse to a point.

    What the loss compares with moves in many methods (a queue fills, a teacher sharpens), so the loss of the first steps says
    little. So the loss of the trained weights is compared with that of the initial weights, all else as it is after training.
    Where a short training does not lower the loss, as with a teacher that has hardly moved, a longer one has to.
    """
    run = trained(case)
    before, after = _losses(case, run)
    if not after < before:
        run = _train(case, steps=25, lr=5e-4, batches=4)
        before, after = _losses(case, run)
    assert after < before, f"training took the loss from {before:.4f} to {after:.4f}"
    spread = embedding_spread(run.task, case.batch())
    assert spread > 0.2 * run.spread, f"the embedding's spread fell from {run.spread:.4f} to {spread:.4f}: collapse"


def _losses(case: TaskCase, run: Trained) -> tuple[float, float]:
    """The mean loss over the batches with the initial weights and with the trained ones."""
    task = copy.deepcopy(run.task)
    untrained = copy.deepcopy(task)
    with torch.no_grad():
        for parameter, value in zip(trainable(untrained), run.initial, strict=True):
            parameter.copy_(value)
        before, after = (
            sum(float(each(case.batch(part), case.generator(part)).loss) for part in range(run.batches)) / run.batches
            for each in (untrained, task)
        )
    return before, after


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

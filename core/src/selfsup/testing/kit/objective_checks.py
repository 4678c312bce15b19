"""Check joint-embedding objectives alone, in float64: absent rows change nothing, and collapse does not pay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, Term, ViewEmbeddings
from selfsup.testing.kit.cases import small_config
from selfsup.testing.kit.fake_device import fake_cuda

ROWS, WIDTH, TOKENS = 12, 16, 5
STEPS = 3
SETTLING_STEPS = 20
"""Steps on embeddings of one kind, after which a centre or a queue holds these and no others."""
TOLERANCE = 1e-9
GARBAGE = 1e6


@dataclass(frozen=True)
class Given:
    """What an objective is given in one step: everything, as tensors of ``ROWS`` rows."""

    online: list[Tensor]
    target: list[Tensor]
    tokens: list[Tensor]
    locations: list[Tensor]


@dataclass(frozen=True)
class Found:
    """What came out of one step."""

    output: LossOutput
    gradients: list[Tensor]
    """Of each online view, then of its tokens."""
    parameters: dict[str, Tensor]
    """Name to gradient."""
    state: dict[str, Tensor]


def small_objective(recipe: ObjectiveRecipe, options: Mapping[str, Any] | None = None) -> JointEmbeddingObjective:
    """The recipe's objective with small heads and a queue that goes round, in float64; its weights are drawn from seed 0."""
    queue = {"queue_size": 10} if "queue_size" in recipe.config.model_fields else {}
    config = small_config(recipe.config, {**queue, **(options or {})})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective = recipe.build(config)
    assert isinstance(objective, JointEmbeddingObjective), f"the recipe builds {type(objective).__name__}"
    objective.meet_teacher(WIDTH)
    return objective.double()


def draw(objective: JointEmbeddingObjective, seed: int) -> Given:
    """Embeddings as the objective's own heads make them, drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = deepcopy(objective).build_projector(WIDTH).double().eval()(torch.zeros(2, WIDTH, dtype=torch.float64)).shape[1]
        n_views = 4 if objective.uses_local_views else 2
        base = torch.randn(ROWS, width, dtype=torch.float64)
        online = [base + 0.7 * torch.randn_like(base) for _ in range(n_views)]
        n_targets = {"none": 0, "teacher": n_views}.get(objective.target, 2)
        target = [base + 0.7 * torch.randn_like(base) for _ in range(n_targets)]
        tokens = [torch.randn(ROWS, TOKENS, width, dtype=torch.float64) for _ in range(2 if objective.uses_tokens else 0)]
        locations = [torch.rand(ROWS, TOKENS, 2, dtype=torch.float64) for _ in tokens]
    if objective.one_way:
        online, target = online[:1], target[1:2]
    return Given(online, target, tokens, locations)


def take_step(
    objective: JointEmbeddingObjective,
    given: Given,
    valid: Sequence[Tensor] | None = None,
    rows: Tensor | None = None,
    blank: float | None = None,
    groups: Tensor | None = None,
    seed: int = 0,
    total: Callable[[LossOutput], Tensor] = lambda output: output.loss,
) -> Found:
    """The objective on one batch, and its gradients.

    Args:
        objective: changes its state.
        given: the embeddings.
        valid: per view which rows are there; None: all.
        rows: [B] bool, those that the batch holds at all; None: all.
        blank: what stands where a view is not there; None: what was drawn.
        groups: as in :class:`ViewEmbeddings`.
        seed: of the generator.
        total: what is differentiated.
    """
    whole = torch.ones(ROWS, dtype=torch.bool)
    kept = whole if rows is None else rows
    there = list(valid) if valid is not None else [whole] * max(len(given.online), 2)

    def view(x: Tensor, own: Tensor) -> Tensor:
        if blank is not None:
            noise = blank * torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
            x = torch.where(own.view(-1, *[1] * (x.ndim - 1)), x, noise)
        return x[kept]

    online = [view(x, own).requires_grad_() for x, own in zip(given.online, there, strict=False)]
    of_target = there[1:2] if objective.one_way else there
    tokens = [view(x, own).requires_grad_() for x, own in zip(given.tokens, there, strict=False)]
    embeddings = ViewEmbeddings(
        online=online,
        target=[view(x, own) for x, own in zip(given.target, of_target, strict=False)],
        n_global=2,
        online_tokens=tokens,
        locations=[view(x, own) for x, own in zip(given.locations, there, strict=False)] or None,
        valid=None if valid is None else [own[kept] for own in valid],
        groups=None if groups is None else groups[kept],
        generator=torch.Generator().manual_seed(seed),
    )
    before = torch.get_rng_state()
    output = objective(embeddings)
    assert torch.equal(before, torch.get_rng_state()), "the objective draws from the global random state, not the generator"
    named = list(objective.named_parameters())
    leaves = [*online, *tokens, *(parameter for _, parameter in named)]
    gradients = torch.autograd.grad(total(output), leaves, allow_unused=True, materialize_grads=True)
    n = len(online) + len(tokens)
    parameters = {name: gradient for (name, _), gradient in zip(named, gradients[n:], strict=True)}
    objective.after_step(0.5)
    return Found(output, list(gradients[:n]), parameters, {key: value.clone() for key, value in objective.state_dict().items()})


def check_collapse(recipe: ObjectiveRecipe, options: Mapping[str, Any] | None = None) -> None:
    """One embedding for all rows costs more than an embedding for each row, or a predictor meets a target without gradient.

    Contrast, regularised variances, a centre or a queue make collapse dear. BYOL and SimSiam avoid it in another way (Chen & He
    2020, arXiv:2011.10566, section 4): a predictor, and a target through which no gradient flows. There the loss has to depend
    on that target. A fixed teacher does not collapse and is not checked.

    Args:
        recipe: of a joint-embedding objective.
        options: of its config, on top of small ones.

    Raises:
        AssertionError: nothing keeps the embeddings apart.
    """
    target = small_objective(recipe, options).target
    if target == "teacher":
        return
    if target != "none" and small_objective(recipe, options).build_predictor() is not None:
        objective = small_objective(recipe, options)
        given = draw(objective, 0)
        moved = replace(given, target=[view.flip(0) for view in given.target])
        losses = [take_step(deepcopy(objective), each).output.loss for each in (given, moved)]
        assert not torch.equal(*losses), "the loss does not depend on the target, through which no gradient flows"
        return
    apart, together = (_settled_loss(small_objective(recipe, options), collapsed) for collapsed in (False, True))
    assert together - apart > 0.01 * max(abs(together), 1.0), (
        f"one embedding for all rows has a loss of {together:.4f}, an embedding for each row {apart:.4f}: training collapses"
    )


def _settled_loss(objective: JointEmbeddingObjective, collapsed: bool) -> float:
    """The loss where all views of a row have the same embedding, or all rows of all batches have it.

    The objective's own parameters and state first adapt to such embeddings for :data:`SETTLING_STEPS` steps.
    """
    parameters = dict(objective.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=0.05) if parameters else None
    constant = draw(objective, 0)

    def alike(views: list[Tensor], constants: list[Tensor]) -> list[Tensor]:
        return [constants[0][:1].expand_as(view) if collapsed else views[0] / views[0].std(dim=0) for view in views]

    loss = torch.zeros(())
    for step in range(SETTLING_STEPS):
        drawn = draw(objective, step)
        online, tokens = alike(drawn.online, constant.online), alike(drawn.tokens, constant.tokens)
        target = alike(drawn.target, constant.online) if collapsed else [online[0] for _ in drawn.target]
        found = take_step(objective, Given(online, target, tokens, drawn.locations[:1] * 2))
        loss = found.output.loss.detach()
        for name, parameter in parameters.items():
            parameter.grad = found.parameters[name]
        if optimizer is not None:
            optimizer.step()
    return loss.item()


def check_absent_rows(recipe: ObjectiveRecipe, options: Mapping[str, Any] | None = None) -> None:
    """Rows that lack what a view is of change nothing, and everything else is as without them.

    Args:
        recipe: of a joint-embedding objective with ``handles_absent``.
        options: of its config, on top of small ones.

    Raises:
        AssertionError: they do, or it is not; with what differs.
    """

    def build() -> JointEmbeddingObjective:
        return small_objective(recipe, options)

    _check_cut_out(build(), build())
    _check_each_view(build(), build())
    _check_ends(build(), build())
    _check_no_wait(build())


def _masks(objective: JointEmbeddingObjective, seed: int) -> list[Tensor]:
    """Per view which rows are there, differently in each."""
    drawn = torch.rand(max(len(draw(objective, 0).online), 2), ROWS, generator=torch.Generator().manual_seed(seed))
    return list(drawn < 0.75)


def _check_cut_out(masked: JointEmbeddingObjective, cut: JointEmbeddingObjective) -> None:
    """Rows that no view has might as well be cut out; of two views, rows that only one of them has as well."""
    for step in range(STEPS):
        given, masks = draw(masked, step), _masks(masked, step)
        both = masks[0] & masks[1]
        valid = [both] * len(masks) if masked.uses_local_views else masks
        found = take_step(masked, given, valid, blank=GARBAGE, seed=step)
        wanted = take_step(cut, given, rows=both, seed=step)
        _same(f"step {step}", found.output.loss, wanted.output.loss)
        for gradient, other in zip(found.gradients, wanted.gradients, strict=True):
            _same(f"step {step}, gradient", gradient[both], other)
            assert not gradient[~both].any(), "a gradient reaches rows that are not there"
        _same_named(f"step {step}", found, wanted)
        for name, metric in wanted.output.metrics.items():
            _same(f"step {step}, {name}", found.output.metrics[name].double(), metric.double(), 1e-4)
        if found.output.weight is None and not found.output.terms:
            continue  # the same on every device
        terms = found.output.terms or (Term(found.output.loss, found.output.weight),)
        weights = [term.weight for term in terms if term.weight is not None]
        assert weights, "no term says how many rows it is a mean over"
        assert all(float(weight) % int(both.sum()) == 0 for weight in weights), "a weight is not the number of rows that count"
        _same(f"step {step}, the sum of the terms", torch.stack([term.loss for term in terms]).sum(), found.output.loss)


def _check_each_view(first: JointEmbeddingObjective, second: JointEmbeddingObjective) -> None:
    """Where each view has rows of its own, what stands in the others means nothing, and gets no gradient."""
    for step in range(STEPS):
        given, valid = draw(first, step), _masks(first, step)
        found = take_step(first, given, valid, blank=1.0, seed=step)
        other = take_step(second, given, valid, blank=GARBAGE, seed=step)
        assert torch.isfinite(found.output.loss), f"the loss is {found.output.loss}"
        _same("what stands in rows that are not there", found.output.loss, other.output.loss)
        assert any(gradient.any() for gradient in found.gradients), "there is no gradient"
        there = [*valid[: len(given.online)], *valid[: len(given.tokens)]]
        for gradient, same, own in zip(found.gradients, other.gradients, there, strict=True):
            _same("what stands in rows that are not there, gradient", gradient, same)
            assert not gradient[~own].any(), "a gradient reaches rows that are not there"
        _same_named("what stands in rows that are not there", found, other)


def _check_ends(masked: JointEmbeddingObjective, plain: JointEmbeddingObjective) -> None:
    """With all rows there it is as without masks; with none the loss is 0, has no gradient, and nothing is kept."""
    given = draw(masked, 0)
    everything = [torch.ones(ROWS, dtype=torch.bool)] * max(len(given.online), 2)
    found, wanted = take_step(masked, given, everything), take_step(plain, given)
    _same("all rows there", found.output.loss, wanted.output.loss)
    for gradient, other in zip(found.gradients, wanted.gradients, strict=True):
        _same("all rows there, gradient", gradient, other)
    _same_named("all rows there", found, wanted)
    before = {key: value.clone() for key, value in masked.state_dict().items()}
    none = take_step(masked, draw(masked, 1), [~mask for mask in everything], blank=GARBAGE)
    assert none.output.loss == 0, f"with no row there the loss is {none.output.loss}, not 0"
    for gradient in [*none.gradients, *none.parameters.values()]:
        assert not gradient.any(), "with no row there is a gradient, or it is not finite"
    for name, metric in none.output.metrics.items():
        assert torch.isfinite(metric), f"with no row there the metric {name!r} is {metric}"
    for key, value in before.items():
        _same(f"with no row there, {key}", none.state[key].double(), value.double())


def _check_no_wait(objective: JointEmbeddingObjective) -> None:
    """On fake ``cuda`` tensors, masks and duplicates cost no wait for the device and no shape that depends on the data."""
    given = draw(objective, 0)
    fields = {"online": given.online, "target": given.target, "tokens": given.tokens, "locations": given.locations}
    batch = {f"{name} {place}": view for name, views in fields.items() for place, view in enumerate(views)}
    n_views = max(len(given.online), 2)
    batch |= {f"valid {place}": mask for place, mask in enumerate(_masks(objective, 0))}
    batch["groups"] = torch.zeros(ROWS, n_views, dtype=torch.long)
    with fake_cuda(objective, batch) as moved:
        views = {name: [value for key, value in moved.items() if key.split()[0] == name] for name in (*fields, "valid")}
        embeddings = ViewEmbeddings(
            online=views["online"],
            target=views["target"],
            n_global=2,
            online_tokens=views["tokens"],
            locations=views["locations"] or None,
            valid=views["valid"],
            groups=moved["groups"],
        )
        output = objective(embeddings)
    assert output.loss.device.type == "cuda", f"the loss is on {output.loss.device}"


def _same_named(what: str, found: Found, wanted: Found) -> None:
    for name, gradient in wanted.parameters.items():
        _same(f"{what}, gradient of {name}", found.parameters[name], gradient)
    for key, value in wanted.state.items():
        _same(f"{what}, {key}", found.state[key].double(), value.double())


def _same(what: str, found: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    scale = float(wanted.detach().abs().max()) if wanted.numel() else 0.0
    apart = float((found - wanted).detach().abs().max()) if wanted.numel() else 0.0
    assert apart <= tolerance * max(scale, 1.0), f"{what}: differs by {apart:.2e}"

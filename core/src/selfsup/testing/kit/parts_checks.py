"""Check modalities whose rows have several parts: a missing part must change nothing.

The batches are mock rows, and some lack a part (a modality whose mock rows all have everything fails). Checks of tasks
take a :class:`TaskCase`, those of backbones a :class:`BackboneCase`, and raise ``AssertionError`` with the reason.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from selfsup.backbones import Encoded, part_networks
from selfsup.batch_parts import CONTENT, MARK, PRESENT, join_parts, only_part, part_names, part_of, presence
from selfsup.objectives.base import ViewEmbeddings
from selfsup.registry import registry
from selfsup.tasks import ComparesEmbeddings, PretextTask
from selfsup.tasks.joint_embedding.embed_views import view_parts
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.testing.kit.backbone_checks import BackboneCase
from selfsup.testing.kit.cases import TaskCase, fitted_processor, load_mock_rows
from selfsup.testing.kit.task_checks import generator, train_step, trainable
from selfsup.types import Batch

_GARBAGE = 1e6
_TOLERANCE = 1e-4
"""Largest relative difference (of 2-norms) between two computations of one embedding, in float32."""


def joins_parts(modality: str) -> bool:
    """Whether a modality's rows join several parts."""
    return registry().get("modality", modality).joins


def with_garbage(batch: Batch) -> Batch:
    """The batch with other content where a row lacks a part: 1e6 for numbers, the largest id for ids, the opposite of marks."""
    changed = dict(batch)
    for name in part_names(batch):
        present = presence(batch, name)
        assert present is not None, f"a batch does not say which rows have the part {name!r} ({name}{MARK}{PRESENT})"
        for key, value in part_of(batch, name).items():
            if value.dtype == torch.bool:
                other = ~value
            else:
                other = (
                    torch.full_like(value, _GARBAGE) if value.is_floating_point() else torch.full_like(value, int(value.max()))
                )
            there = present.view(-1, *[1] * (value.ndim - 1))
            changed[f"{name}{MARK}{key}"] = torch.where(there, value, other)
    return changed


def lacking(batch: Batch) -> Batch:
    """The batch itself, if some of its rows lack a part.

    Raises:
        AssertionError: none does, so that nothing would be checked.
    """
    absent = [name for name in part_names(batch) if (present := presence(batch, name)) is not None and not present.all()]
    assert absent, "no mock row lacks a part: give the modality's mock_rows such rows"
    return batch


def check_absent_content(case: TaskCase) -> None:
    """What stands in the place of a part that a row lacks changes no loss, gradient, buffer nor embedding, to the bit."""
    case = case.on("cpu")
    states: list[dict[str, Tensor]] = []
    for change in (lambda batch: batch, with_garbage):
        task = case.task()
        optimizer = torch.optim.SGD(trainable(task), lr=1e-3)
        losses = [
            train_step(task, optimizer, change(lacking(case.batch(step))), generator(step), (step + 1) / 4) for step in range(2)
        ]
        embedded = _embedding(task, change(case.batch()))
        states.append({**task.state_dict(), "the loss": torch.tensor(losses), "the embedding": embedded})
    ours, theirs = states
    changed = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert not changed, f"what stands in the place of a part that rows lack changes {', '.join(changed[:5])}"


def _embedding(task: PretextTask, batch: Batch) -> Tensor:
    backbone = task.encoder_backbone().eval()
    with torch.no_grad():
        pooled: Tensor = backbone(batch).pooled
    assert torch.isfinite(pooled).all(), "the embedding of a row that lacks a part is not finite"
    return pooled


def check_absent_is_not_compared(case: TaskCase) -> None:
    """Of tasks that compare embeddings: those of a part that a row lacks are no positive, no negative, in no statistic.

    They are replaced by zeros and by garbage, which changes neither the loss, nor what the objective keeps, nor a gradient.
    """
    case = case.on("cpu")
    task = case.task()
    if not isinstance(task, JointEmbedding):
        return
    batch = lacking(case.batch())
    views = task.views(batch, generator())
    embeddings = task.embed(batch, generator())
    assert embeddings.valid is not None, "the views do not say which rows have a part"
    for view, part, valid in zip(views, view_parts(views), embeddings.valid, strict=True):
        own = presence(view, part)
        assert own is not None, f"the view of {part!r} does not say which rows have it"
        assert torch.equal(own, valid), f"the view of {part!r} says of other rows that they have it"
        assert part_names(view) == (part,), f"the view of {part!r} holds {', '.join(part_names(view))}"
    found = [_compared(task, embeddings, blank) for blank in (None, 0.0, 1e3)]
    for other in found[1:]:
        changed = [name for name, value in found[0].items() if not torch.allclose(value, other[name], rtol=1e-5, atol=1e-7)]
        assert not changed, f"embeddings of parts that rows lack change {', '.join(changed)}"


def _compared(task: JointEmbedding, embeddings: ViewEmbeddings, blank: float | None) -> dict[str, Tensor]:
    """Loss, gradients of the embeddings and the objective's state, with ``blank`` where a row lacks a part."""
    objective = task.objective
    valid = embeddings.valid
    assert valid is not None
    of_target = valid[1:2] if objective.one_way else valid

    def changed(tensors: list[Tensor], there: list[Tensor]) -> list[Tensor]:
        detached = [tensor.detach() for tensor in tensors]
        if blank is None:
            return detached
        pairs = zip(detached, there, strict=False)
        return [torch.where(own.view(-1, *[1] * (x.ndim - 1)), x, torch.full_like(x, blank)) for x, own in pairs]

    online = [x.requires_grad_() for x in changed(embeddings.online, valid)]
    tokens = [x.requires_grad_() for x in changed(embeddings.online_tokens, valid)]
    given = replace(
        embeddings, online=online, online_tokens=tokens, target=changed(embeddings.target, of_target), generator=generator(1)
    )
    before = copy.deepcopy(objective.state_dict())
    loss = task.compare(given).loss
    leaves = [*online, *tokens]
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    state = {name: value.clone() for name, value in objective.state_dict().items()}
    objective.load_state_dict(before)
    for gradient, own in zip(gradients, [*valid, *valid] if tokens else valid, strict=False):
        assert gradient[~own].abs().sum() == 0, "a gradient reaches the embedding of a part that a row lacks"
    named = {f"the gradient of view {place}": gradient for place, gradient in enumerate(gradients)}
    return {"the loss": loss.detach(), **named, **state}


def check_every_part_learns(case: TaskCase) -> None:
    """Of tasks that compare embeddings: the network of each part gets a gradient, of one-way objectives too."""
    case = case.on("cpu")
    task = case.task()
    if not isinstance(task, ComparesEmbeddings):
        return
    task(case.batch(), generator()).loss.backward()
    for name, network in zip(task.backbone.part_dims, part_networks(task.backbone), strict=False):
        gradients = [parameter.grad for parameter in network.parameters() if parameter.requires_grad]
        total = sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None)
        assert total > 0 or not gradients, f"no gradient reaches the network of the part {name!r}"


@torch.no_grad()
def check_parts_of_embedding(case: BackboneCase) -> None:
    """The embedding of a row has its parts and says which the row has; in one space it is the mean of those.

    A network over all parts together may give each part as it is alone; the embedding of a row with one part is that part's.
    """
    backbone, batch = case.build(), _batch(case)
    encoded = backbone(batch)
    assert encoded.parts is not None, "the backbone gives no parts (Encoded.parts)"
    names = [sorted(names) for names in (encoded.parts, backbone.part_dims, fitted_processor(case.modality).parts)]
    assert names[0] == names[1] == names[2], f"the parts of the embedding, the backbone and the processor differ: {names}"
    for name, dim in backbone.part_dims.items():
        own, present = encoded.parts[name], presence(batch, name)
        assert own.pooled.shape == (len(encoded.pooled), dim), f"the part {name!r} has {tuple(own.pooled.shape)}, not {dim}"
        assert present is not None, f"a batch does not say which rows have the part {name!r}"
        assert own.valid is not None, f"the embedding does not say which rows have the part {name!r}"
        assert torch.equal(own.valid, present), f"the part {name!r} says of other rows that they have it"
    assert encoded.pooled.shape[1] == backbone.pooled_dim, "the embedding has another width than pooled_dim says"
    _agree(encoded.pooled, backbone(with_garbage(batch)).pooled, "what stands in the place of a part changes the embedding")
    if not backbone.shares_space:
        return
    there = {name: own.valid for name, own in encoded.parts.items() if own.valid is not None}
    count = torch.stack(list(there.values())).sum(dim=0)
    for name, own in encoded.parts.items():
        single = there[name] & (count == 1)
        _agree(own.pooled[single], encoded.pooled[single], f"the embedding of rows that have {name!r} alone is not that part's")
    if part_networks(backbone):
        total = torch.stack([torch.where(there[name].unsqueeze(1), own.pooled, 0.0) for name, own in encoded.parts.items()])
        _agree(
            total.sum(dim=0) / count.unsqueeze(1), encoded.pooled, "the embedding is not the mean of the parts that a row has"
        )


@torch.no_grad()
def check_parts_alone(case: BackboneCase) -> None:
    """A part is encoded alone as well, one that no row has makes no difference, and the network of a part takes its rows."""
    backbone, batch, rows = case.build(), _batch(case), load_mock_rows(case.modality, _ROWS)
    processor = fitted_processor(case.modality)
    networks = dict(zip(backbone.part_dims, part_networks(backbone), strict=False))
    whole = backbone(batch)
    for name, dim in backbone.part_dims.items():
        present = presence(batch, name)
        assert present is not None
        alone = backbone(only_part(batch, name))
        assert alone.pooled.shape == (_ROWS, dim), f"alone, the part {name!r} has {tuple(alone.pooled.shape)}, not {dim}"
        _agree(
            alone.pooled, _part(alone, name).pooled, f"the embedding of the part {name!r} alone is not that of the whole batch"
        )
        nowhere = join_parts({other: _all_or_none(batch, other, here=other == name) for other in part_names(batch)})
        given = backbone({key: value[present] for key, value in nowhere.items()})
        assert torch.isfinite(given.pooled).all(), f"rows that all have {name!r} alone have no finite embedding"
        _agree(_part(given, name).pooled, alone.pooled[present], f"a part that no row has changes the embedding of {name!r}")
        if name not in networks:
            continue
        _agree(_part(whole, name).pooled[present], alone.pooled[present], f"other parts change the embedding of {name!r}")
        kept = [row for row, there in zip(rows, present.tolist(), strict=True) if there]
        start = name + MARK
        own = [{key.removeprefix(start): value for key, value in row.items() if key.startswith(start)} for row in kept]
        network = networks[name]
        outputs: list[Encoded] = []
        handle = network.register_forward_hook(lambda _, __, output, found=outputs: found.append(output))
        backbone(only_part(batch, name))
        handle.remove()
        assert outputs, f"the backbone does not call part({name!r}), so that this is another network"
        separate = network(processor.parts[name](own))
        _agree(outputs[0].pooled[present], separate.pooled, f"the network of {name!r} takes rows of that part alone otherwise")


@torch.no_grad()
def check_row_alone(case: BackboneCase) -> None:
    """The embedding of a row does not depend on what it shares a batch with: padding, or rows that have what it lacks."""
    backbone, processor, batch = case.build(), fitted_processor(case.modality), _batch(case)
    together = backbone(batch).pooled
    for number, row in enumerate(load_mock_rows(case.modality, _ROWS)[:_SINGLE]):
        alone = backbone(processor([row])).pooled
        _agree(together[number : number + 1], alone, f"a batch with others changes the embedding of row {number}")


_ROWS = 12
_SINGLE = 9
"""Rows that are looked at one by one; of the toy's, one that lacks the first part and one that lacks the second."""


def _batch(case: BackboneCase) -> Batch:
    return lacking(fitted_processor(case.modality)(load_mock_rows(case.modality, _ROWS)))


def _part(encoded: Encoded, name: str) -> Encoded:
    assert encoded.parts is not None, "the backbone gives no parts (Encoded.parts)"
    return encoded.parts[name]


def _all_or_none(batch: Batch, name: str, *, here: bool) -> Batch:
    """One part of a batch, as every row or none had it."""
    present = presence(batch, name)
    assert present is not None
    content = batch.get(f"{name}{MARK}{CONTENT}")
    kept = {} if content is None else {CONTENT: content if here else torch.full_like(content, -1)}
    return {**part_of(batch, name), **kept, PRESENT: present if here else torch.zeros_like(present)}


def _agree(wanted: Tensor, given: Tensor, otherwise: str) -> None:
    difference = float((given - wanted).norm() / wanted.norm().clamp(min=1e-12))
    assert difference < _TOLERANCE, f"{otherwise}, by {difference:.1e} of its norm"


PART_TASK_CHECKS = (check_absent_content, check_absent_is_not_compared, check_every_part_learns)
"""Every check of a task on rows of several parts, beside those of every task."""
PART_BACKBONE_CHECKS = (check_parts_of_embedding, check_parts_alone, check_row_alone)
"""Every check of a backbone of rows of several parts, beside those of every backbone."""

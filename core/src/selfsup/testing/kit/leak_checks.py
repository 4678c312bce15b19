"""Check that a transformation cannot be predicted on noise; if it can, something leaks the answer.

On independent noise no network can do better than chance, unless the batch gives the answer away: frames that repeat, a length,
a border, a position that depends on the label. Such a shortcut is what a network learns first on real data, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.data.samples import stack_samples
from selfsup.registry import registry
from selfsup.tasks.augmented import AugmentedTask
from selfsup.tasks.base import PretextTask, Transformed
from selfsup.tasks.transformation import TransformationPrediction
from selfsup.testing.kit.cases import TaskCase
from selfsup.testing.kit.task_checks import generator, train_step, trainable
from selfsup.types import Batch, Row

if TYPE_CHECKING:
    from selfsup.data import Processor

NoiseRows = Callable[[int, int], list[Row]]
"""``(n, seed) -> rows`` of independent noise."""

SMALL_BACKBONE = {
    "width": 4, "stages": 2, "channels": 16, "embed_dim": 64, "hidden_size": 32, "layers": 1, "depth": 1, "dim": 32,
}  # fmt: skip
"""Options of backbones that only cost time in a check, in place of larger defaults."""
DEVIATIONS = 4.0
"""Standard deviations above chance from which on a result is a leak: 1 check in 30,000 fails by bad luck."""
_PARTS, _TEST_PARTS = 64, 32
"""Batches of noise that are learned from, and others that the trained task is tested on; each is transformed once."""
_STEPS, _LR = 60, 1e-2
"""Of the task's training."""
_BINS = 32
_RIDGE = 10.0
_FOLDS = 4


@dataclass(frozen=True)
class LeakCase(TaskCase):
    """One transformation task on one kind of its modality's noise rows."""

    noise: str = ""
    """A name in the modality's :attr:`~selfsup.registry.specs.ModalitySpec.noise_rows`."""
    rows: int = 16

    def __str__(self) -> str:
        return f"{self.spec.id}-{self.noise}"

    def processor(self) -> Processor:
        """Fitted on this noise."""
        return _processor(self.spec.modality, self.noise)

    def batch(self, part: int = 0) -> Batch:
        """``rows`` processed rows of noise, whole where the task cuts its views from whole ones."""
        return _batch(self.spec.modality, self.noise, self.rows, part, _takes_whole(self))

    def backbone_options(self) -> dict[str, Any]:
        """:data:`SMALL_BACKBONE`, as far as the backbone has such options."""
        house = registry()
        fields = house.load(house.get("backbone", self.backbone_id())).config().model_dump()
        return {key: value for key, value in SMALL_BACKBONE.items() if isinstance(fields.get(key), int) and fields[key] > value}


def noise_kinds(modality: str) -> Mapping[str, NoiseRows]:
    """The modality's noise rows by name; none where it registers none."""
    return registry().modality_objects(modality).noise_rows or {}


@lru_cache(maxsize=4)
def _processor(modality: str, noise: str) -> Processor:
    processor_class = registry().processor_class(modality)
    return processor_class(processor_class.Config()).fit(noise_kinds(modality)[noise](64, 0))


@lru_cache(maxsize=_PARTS + _TEST_PARTS)
def _batch(modality: str, noise: str, n: int, part: int, whole: bool) -> Batch:
    processor, rows = _processor(modality, noise), noise_kinds(modality)[noise](n, part)
    return processor.collate_whole(stack_samples([processor.encode(row) for row in rows])) if whole else processor(rows)


@lru_cache(maxsize=4)
def _takes_whole(case: LeakCase) -> bool:
    return case.build().takes_whole


def check_linear_leak(case: LeakCase) -> None:
    """A cross-validated linear probe on what a transformed batch reveals stays at chance (see :func:`revealed`)."""
    _check_noise(case)
    task = case.build().eval()
    made = [transformed(task, case.batch(part), generator(part)) for part in range(_PARTS)]
    counted = torch.cat([answers_that_count(each) for each in made])
    if counted.sum() < 8 * _FOLDS:
        return  # the rows are too short for the task, which leaves them out
    batches = with_all_keys([each.batch for each in made])
    common = common_ids(batches)
    features = torch.cat([revealed(batch, len(each.label), common) for batch, each in zip(batches, made, strict=True)])[counted]
    label = torch.cat([each.label for each in made])
    answers_a_row = len(label) // (_PARTS * case.rows)
    prediction = _cross_validated(features, _targets(task, label[counted]))
    _assert_chance(task, prediction, label[counted], answers_a_row, f"{case}: a linear probe")


def check_trained_leak(case: LeakCase) -> None:
    """The task itself, trained for some steps with a small network, stays at chance on noise that it has not seen."""
    _check_noise(case)
    task = case.build()
    optimizer = torch.optim.AdamW(trainable(task), lr=_LR)
    for step in range(_STEPS):
        train_step(task, optimizer, case.batch(step), generator(step), progress=(step + 1) / _STEPS)
    task.eval()
    predictions: list[Tensor] = []
    labels: list[Tensor] = []
    with torch.no_grad():
        for part in range(_PARTS, _PARTS + _TEST_PARTS):
            made = transformed(task, case.batch(part), generator(part))
            counted = answers_that_count(made)
            predictions.append(_predicting(task).predict(made.batch, None)[counted])
            labels.append(made.label[counted])
    label = torch.cat(labels)
    if len(label):
        answers_a_row = len(made.label) // case.rows
        _assert_chance(task, torch.cat(predictions), label, answers_a_row, f"{case}: the task, trained for {_STEPS} steps,")


LEAK_CHECKS = (check_linear_leak, check_trained_leak)
"""Every check of a transformation on noise."""


def transformed(task: PretextTask, batch: Batch, drawing: torch.Generator) -> Transformed:
    """What a transformation task makes of a batch, a view before it included."""
    if isinstance(task, AugmentedTask):
        batch = task.augmentation(batch, drawing)[0]
    with torch.no_grad():
        made: Transformed = _predicting(task).transformation(batch, drawing)
    return made


def answers_that_count(made: Transformed) -> Tensor:
    """[M] bool: the answers that the task does not leave out."""
    return torch.ones(len(made.label), dtype=torch.bool) if made.weight is None else made.weight > 0


def with_all_keys(batches: Sequence[Batch]) -> list[Batch]:
    """The batches, with zeros under keys that only others have (a length that is said where there is padding)."""
    shapes = {key: value[:0] for batch in batches for key, value in batch.items()}
    filled = []
    for batch in batches:
        n = len(next(iter(batch.values())))
        filled.append({key: batch.get(key, none.new_zeros(n, *none.shape[1:])) for key, none in shapes.items()})
    return filled


def common_ids(batches: Sequence[Batch]) -> dict[str, Tensor]:
    """The eight commonest ids under each key of several batches that holds ids."""
    found = {}
    for key, first in batches[0].items():
        if first.ndim > 1 and not first.is_floating_point() and first.dtype not in (torch.uint8, torch.bool):
            values, counts = torch.unique(torch.cat([batch[key].flatten() for batch in batches]), return_counts=True)
            found[key] = values[counts.argsort(descending=True, stable=True)[:8]]
    return found


def revealed(batch: Batch, answers: int, common: Mapping[str, Tensor]) -> Tensor:
    """What can be read off a transformed batch without any learning: [answers, F] float64.

    Of every key and each input of an answer: the mean and deviation; along each axis the mean, the deviation and the mean
    change from one place to the next, in at most 32 bins, and the first and last change as they are; of ids how often each of
    the ``common`` ones stands there, and where. Keys without such an axis (lengths, times) are taken as they are.
    """
    parts = []
    for key in sorted(batch):
        value = batch[key]
        assert value.shape[0] % answers == 0, f"{key!r} has {value.shape[0]} entries for {answers} answers"
        x = value.reshape(answers, value.shape[0] // answers, *value.shape[1:])
        if key in common:
            parts += _ids(x, common[key])
        parts += _numbers(x.double())
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def _numbers(x: Tensor) -> list[Tensor]:
    """Statistics of [M, P, ...] float64, [M, P, F] each."""
    if x.ndim == 2:
        return [x.unsqueeze(2)]
    flat = x.flatten(2)
    found = [flat.mean(dim=2, keepdim=True), flat.std(dim=2, correction=0, keepdim=True)]
    for axis in range(2, x.ndim):
        along = x.movedim(axis, 2)
        along = along.flatten(3) if x.ndim > 3 else along
        profiles = [along] if along.ndim == 3 else [along.mean(dim=3), along.std(dim=3, correction=0)]
        both = along if along.shape[2] > 1 else along.repeat_interleave(2, dim=2)
        change = (both[:, :, 1:] - both[:, :, :-1]).abs()
        change = change if change.ndim == 3 else change.mean(dim=3)
        found += [change[:, :, :1], change[:, :, -1:]]
        # Of one width whatever the length is, since batches differ in it; columns of zeros say nothing.
        pooled = [F.adaptive_avg_pool1d(each, min(each.shape[2], _BINS)) for each in (*profiles, change)]
        found += [F.pad(each, (0, _BINS - each.shape[2])) for each in pooled]
    return found


def _ids(x: Tensor, common: Tensor) -> list[Tensor]:
    """How often each of the ``common`` ids stands in [M, P, ...], at which mean place, and whether first or last: [M, P, F]."""
    flat = x.flatten(2)
    is_one = (flat.unsqueeze(3) == common).double()
    often = is_one.mean(dim=2)
    place = torch.linspace(0, 1, flat.shape[2], dtype=torch.float64).view(1, 1, -1, 1)
    return [often, (is_one * place).sum(dim=2) / is_one.sum(dim=2).clamp(min=1), is_one[:, :, 0], is_one[:, :, -1]]


def _cross_validated(x: Tensor, y: Tensor) -> Tensor:
    """Predictions [M, K] of ridge regression for the targets ``y`` [M, K], each fold's by the other folds."""
    fold = torch.arange(len(x)) * _FOLDS // len(x)
    out = torch.zeros_like(y)
    for number in range(_FOLDS):
        train, test = fold != number, fold == number
        mean, std = x[train].mean(dim=0), x[train].std(dim=0, correction=0)
        varies = std > 1e-9 * x[train].abs().amax(dim=0).clamp(min=1e-12)
        known, new = ((x[part] - mean)[:, varies] / std[varies] for part in (train, test))
        base = y[train].mean(dim=0)
        if known.shape[1] == 0:
            out[test] = base
            continue
        gram = known.T @ known + _RIDGE * torch.eye(known.shape[1], dtype=known.dtype)
        out[test] = base + new @ torch.linalg.solve(gram, known.T @ (y[train] - base))
    return out


def _targets(task: PretextTask, label: Tensor) -> Tensor:
    """[M, K] float64: the label, or one column a class."""
    transformation = _predicting(task).transformation
    if transformation.kind == "coordinates":
        return label.flatten(1).double()
    return F.one_hot(label, transformation.n_outputs).flatten(1).double()


class Score(NamedTuple):
    """How much better than chance."""

    value: float
    chance: float
    margin: float
    """Half of the interval around chance that is still put down to luck."""


def score(prediction: Tensor, label: Tensor, kind: str, classes: int, answers_a_row: int = 1) -> Score:
    """The accuracy of predictions, or for coordinates the correlation with the label, beside what chance gives.

    Args:
        prediction: [M, items * classes], or [M, K].
        label: [M] or [M, items] long, or [M, ...] float.
        kind: ``class`` or ``coordinates``.
        classes: of each item.
        answers_a_row: answers that come of one row (four rotations); these may depend on each other, so that a row counts once.
    """
    n = max(len(label) // answers_a_row, 1)
    if kind == "coordinates":
        p, y = (x.double().flatten(1) - x.double().flatten(1).mean(dim=0) for x in (prediction, label))
        products = (p * y).sum(dim=1)
        scale = float((p.square().sum() * y.square().sum()).sqrt().clamp(min=1e-12)) / len(y)
        return Score(float(products.mean()) / scale, 0.0, DEVIATIONS * float(products.std()) / math.sqrt(n) / scale)
    right = (prediction.reshape(label.numel(), classes).argmax(dim=1) == label.flatten()).double()
    chance = float(label.flatten().bincount(minlength=classes).max()) / label.numel()
    return Score(float(right.mean()), chance, DEVIATIONS * math.sqrt(chance * (1 - chance) / n))


def _assert_chance(task: PretextTask, prediction: Tensor, label: Tensor, answers_a_row: int, who: str) -> None:
    transformation = _predicting(task).transformation
    found = score(prediction, label, transformation.kind, transformation.n_outputs, answers_a_row)
    what = "an accuracy" if transformation.kind == "class" else "a correlation"
    assert found.value <= found.chance + found.margin, (
        f"{who} reaches {what} of {found.value:.3f} on noise, where chance is {found.chance:.3f} and at most "
        f"{found.chance + found.margin:.3f} of {len(label)} answers could be luck: the batch gives the answer away"
    )


def _predicting(task: PretextTask) -> TransformationPrediction:
    inner = task.task if isinstance(task, AugmentedTask) else task
    assert isinstance(inner, TransformationPrediction), (
        f"{type(inner).__name__} is of the family transformation, but no TransformationPrediction: its leaks cannot be checked"
    )
    return inner


def _check_noise(case: LeakCase) -> None:
    assert case.noise, f"the modality {case.spec.modality!r} registers no noise rows (ModalitySpec.noise_rows)"

"""A task made small enough to check in a second."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from selfsup.batch_parts import MARK, part_names, part_of
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.registry.specs import Preset, TaskSpec
from selfsup.types import Batch

if TYPE_CHECKING:
    from selfsup.data import Processor
    from selfsup.tasks import PretextTask

SMALL = {
    "queue_size": 64,
    "n_prototypes": 64,
    "hidden_dim": 64,
    "bottleneck_dim": 32,
    "output_dim": 64,
    "n_slices": 64,
    "n_local": 2,
}
"""Widths of heads, lengths of queues and numbers of views that only cost time in a check, in place of larger defaults."""

SMALL_BACKBONE = {
    "width": 8, "channels": 16, "embed_dim": 32, "hidden_size": 32, "dim": 32, "joint_dim": 32,
    "stages": 2, "layers": 2, "depth": 2,
}  # fmt: skip
"""What options of a backbone are halved to, as long as they are even: widths stay multiples of the number of heads."""

EXAMPLES = {"teacher": "start"}
"""What a check takes for options that have to be given: a network's own first weights teach it."""


@dataclass(frozen=True)
class TaskCase:
    """One registered task on its modality's mock rows."""

    spec: TaskSpec
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Dotted config keys to values, on top of :data:`SMALL`."""
    rows: int = 14
    """Samples in a batch, an even number that hardly any other axis has."""
    device: str = "cpu"
    """Where the task and its batches are."""

    def __str__(self) -> str:
        return self.spec.id

    def build(self, seed: int = 0) -> PretextTask:
        """The task with weights drawn from ``seed``; the global random state stays as it was."""
        house = registry()
        info = dict(self.processor().info())
        if self.spec.needs_labels:
            info["n_classes"] = 2
        recipe = house.task_recipe(self.spec)
        config = small_config(recipe.config, self.overrides)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone, _ = house.build_backbone(self.backbone_id(), self.backbone_options(), info)
            task = recipe.build(config, backbone, info)
        return task.to(self.device).train()

    def task(self) -> PretextTask:
        """A copy of :meth:`build`, which is called once for all checks that run on this case one after the other.

        A test that patches what builds the task has to use another case, for example one with other ``rows``.
        """
        return copy.deepcopy(_built(self))

    def on(self, device: str) -> Self:
        """The same case on another device."""
        return replace(self, device=device)

    def generator(self, seed: int = 0) -> torch.Generator:
        """A generator on the case's device."""
        return torch.Generator(self.device).manual_seed(seed)

    def backbone_id(self) -> str:
        """The task's default backbone."""
        return self.spec.backbone or registry().modalities[self.spec.modality].backbone

    def backbone_options(self) -> dict[str, Any]:
        """Of the backbone: widths and depths halved down to :data:`SMALL_BACKBONE`. Checks of backbones take the defaults."""
        house = registry()
        fields = house.load(house.get("backbone", self.backbone_id())).config().model_dump()
        sizes = {name: value for name, value in fields.items() if name in SMALL_BACKBONE and isinstance(value, int)}
        return {name: _halved(value, SMALL_BACKBONE[name]) for name, value in sizes.items() if value > SMALL_BACKBONE[name]}

    def processor(self) -> Processor:
        """The modality's, fitted on mock rows."""
        return fitted_processor(self.spec.modality)

    def batch(self, part: int = 0) -> Batch:
        """``rows`` processed mock rows; another ``part`` gives other rows."""
        batch = mock_batch(self.spec.modality, self.rows, part)
        if self.spec.needs_labels:
            batch = {**batch, "label": torch.arange(self.rows) % 2}
        return {key: value.to(self.device) for key, value in batch.items()}

    def uneven_batch(self, part: int = 0) -> Batch:
        """A batch whose first half keeps a third of its tokens, or half of its numbers; see :func:`shortened`."""
        batch = self.batch(part)
        kept = torch.arange(self.rows, device=next(iter(batch.values())).device) >= self.rows // 2
        return shortened(batch, kept)


@lru_cache(maxsize=2)
def _built(case: TaskCase) -> PretextTask:
    return case.build()


def all_checks_needed(specs: Iterable[TaskSpec]) -> set[str]:
    """Ids of the tasks that need every check if a test runs on all of ``specs``: two of each objective, and all with own code.

    A task composed of an objective and a modality has code of both and none of its own, and so has a preset that changes
    defaults other than those of the views. A fault of the objective shows in two modalities, a fault of the modality in several
    objectives. Views have code for each of their options: presets that change options of views need every check, and one task
    with local views in each modality does.
    """
    needed: set[str] = set()
    by_objective: dict[str, list[str]] = {}
    with_local_views: dict[str, list[str]] = {}
    for spec in specs:
        preset = spec.preset or Preset()
        own = preset.recipe or preset.views or preset.corruption or preset.config.get("views")
        if not spec.objective or not (spec.composed or spec.preset) or own:
            needed.add(spec.id)
            continue
        by_objective.setdefault(spec.objective, []).append(spec.id)
        if _has_local_views(spec.objective):
            with_local_views.setdefault(spec.modality, []).append(spec.id)
    for number, ids in enumerate(ids for _, ids in sorted(by_objective.items())):
        needed |= {ids[number % len(ids)], ids[(number + len(ids) // 2) % len(ids)]}
    for number, ids in enumerate(ids for _, ids in sorted(with_local_views.items())):
        if needed.isdisjoint(ids):
            needed.add(ids[number % len(ids)])
    return needed


def _has_local_views(objective: str) -> bool:
    """Whether an objective of the joint-embedding family compares local views by default."""
    house = registry()
    spec = house.get("objective", objective)
    return spec.family == "joint-embedding" and bool(house.load(spec).views.get("n_local"))


def check_device(device: str) -> None:
    """Make sure that the checks can run on a device.

    Raises:
        ConfigError: it is another than ``cpu`` and ``cuda``, or torch sees no such device here.
    """
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"the checks run on cpu or cuda, not on {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda: torch sees no CUDA device here. Run the checks on a machine with a GPU and a build of torch for it. "
            "Without --device they run on the CPU, and look for host syncs and mixed devices with fake tensors."
        )


def shortened(batch: Batch, kept: Tensor) -> Batch:
    """Take real tokens or cells away from samples, in batches that know padding or missing values; others stay as they are.

    Args:
        batch: may have ``padding`` ([B, N] bool), ``<key>_padding`` of further ragged keys, ``length`` ([B] long, steps along
            the second axis of the others) or ``missing`` ([B, Cn] bool, beside ``numeric`` of the same shape); of several parts
            each may.
        kept: [B] bool, the samples that stay as they are. The others keep a third of their tokens, but four at least, or every
            second number.
    """
    changed = dict(batch)
    for part in part_names(batch):
        own = shortened(part_of(batch, part), kept)
        changed |= {f"{part}{MARK}{key}": value for key, value in own.items()}
    for mark in padding_marks(batch):
        real = ~batch[mark]
        most = (real.sum(dim=1, keepdim=True) // 3).clamp(min=4)
        changed[mark] = batch[mark] | ((real.cumsum(dim=1) > most) & ~kept.unsqueeze(1))
    if "length" in batch:
        length = torch.where(kept, batch["length"], (batch["length"] // 3).clamp(min=4))
        changed["length"] = length
        for key, value in batch.items():
            if value.ndim > 1 and value.shape[1] >= int(batch["length"].max()):
                behind = torch.arange(value.shape[1]).unsqueeze(0) >= length.unsqueeze(1)
                changed[key] = value.masked_fill(behind.view(*behind.shape, *[1] * (value.ndim - 2)), 0)
    if "missing" in batch:
        second = torch.arange(batch["missing"].shape[1]) % 2 == 1
        changed["missing"] = batch["missing"] | (second & ~kept.unsqueeze(1))
        changed["numeric"] = batch["numeric"].masked_fill(changed["missing"], 0.0)
    return changed


def padding_marks(batch: Batch) -> list[str]:
    """Keys of a batch that mark padding: ``padding``, and ``<key>_padding`` of each further ragged key."""
    return [key for key in batch if key == "padding" or (key.endswith("_padding") and key.removesuffix("_padding") in batch)]


@lru_cache(maxsize=16)
def fitted_processor(modality: str) -> Processor:
    """The modality's processor with default options, fitted on mock rows."""
    processor_class = registry().processor_class(modality)
    return processor_class(processor_class.Config()).fit(load_mock_rows(modality, 64))


def load_mock_rows(modality: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """``n`` mock rows of a modality."""
    rows: list[dict[str, Any]] = registry().modality_objects(modality).mock_rows(n, seed)
    return rows


def mock_batch(modality: str, n: int, part: int) -> Batch:
    """A batch of ``n`` mock rows drawn from the seed ``part``; processed once, and copied at each call."""
    return {key: value.clone() for key, value in _mock_batch(modality, n, part).items()}


@lru_cache(maxsize=32)
def _mock_batch(modality: str, n: int, part: int) -> Batch:
    return fitted_processor(modality)(load_mock_rows(modality, n, seed=part))


def small_config(config: type[Config], overrides: Mapping[str, Any]) -> Config:
    """The config's defaults with :data:`SMALL` widths, then ``overrides`` by dotted key."""
    values = config().model_dump()
    _shrink(values)
    for key, value in overrides.items():
        *path, leaf = key.split(".")
        section = values
        for name in path:
            section = section[name]
        section[leaf] = value
    return config.model_validate(values)


def _halved(value: int, least: int) -> int:
    while value % 2 == 0 and value // 2 >= least:
        value //= 2
    return value


def _shrink(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _shrink(value)
        elif name in EXAMPLES and value is None:
            values[name] = EXAMPLES[name]
        elif name in SMALL and isinstance(value, int) and value > SMALL[name]:
            values[name] = SMALL[name]

"""A closer look at the plugins: whether everything they register can be imported, and refers to what exists."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from selfsup.errors import SelfsupError
from selfsup.registry import Registry
from selfsup.registry.kinds import KINDS
from selfsup.registry.records import PluginRecord
from selfsup.registry.specs import BenchmarkSpec, ModalitySpec, Spec, TargetSpec, TaskSpec


def environment() -> dict[str, Any]:
    """Versions of what selfsup runs on, and the devices that torch sees."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "lightning-fabric": metadata.version("lightning-fabric"),
        "gpus": gpus,
        "threads": torch.get_num_threads(),
    }


def problems(registry: Registry, record: PluginRecord) -> list[str]:
    """What is wrong with a plugin, one line each; empty for a healthy one. Imports everything that it registers."""
    if not record.healthy:
        return [record.error]
    specs = [item.spec for kind in KINDS for item in registry.plugins.specs[kind].values() if item.plugin is record]
    found = [problem for spec in specs for problem in _spec_problems(registry, spec)]
    return list(dict.fromkeys(found))


def _spec_problems(registry: Registry, spec: Spec) -> Iterator[str]:
    if isinstance(spec, TargetSpec) and not missing_requirements(spec):
        for field in spec._targets():
            try:
                registry.resolve(spec, field)
            except SelfsupError as error:
                yield str(error)
    if isinstance(spec, TaskSpec) and spec.preset is not None:
        try:
            registry.task_recipe(spec)
        except SelfsupError as error:
            yield str(error)
    for kind, id in _references(spec):
        try:
            registry.get(kind, id)
        except SelfsupError as error:
            yield f"{type(spec).__name__} {spec.id!r} refers to what is not there: {error}"


def missing_requirements(spec: Spec) -> list[str]:
    """Import names that an optional object (a logger, an executor) needs and that are not installed."""
    return [name for name in getattr(spec, "requires", ()) if find_spec(name.partition(".")[0]) is None]


def _references(spec: Spec) -> Iterator[tuple[str, str]]:
    """(kind, id) of the other objects that a spec names."""
    if isinstance(spec, ModalitySpec):
        yield from (("backbone", id) for id in (spec.backbone, spec.token_backbone) if id)
    elif isinstance(spec, TaskSpec):
        yield from ((kind, id) for kind, id in (("backbone", spec.backbone), ("objective", spec.objective)) if id)
    elif isinstance(spec, BenchmarkSpec):
        yield "task", spec.task
        yield "dataset", spec.dataset
        yield from (("evaluator", id) for id in spec.evaluators)
        yield from (("backbone", id) for id in (spec.backbone,) if id)
    modality = getattr(spec, "modality", "")
    if modality:
        yield "modality", modality

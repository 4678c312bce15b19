"""The kinds of objects that plugins register: their names, their specs and their hooks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from selfsup.registry import specs


@dataclass(frozen=True)
class Kind:
    """A kind of registered object."""

    name: str
    plural: str
    spec: type[specs.Spec]
    hook: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("modality", "modalities", specs.ModalitySpec, "selfsup_modalities"),
        Kind("task", "tasks", specs.TaskSpec, "selfsup_tasks"),
        Kind("objective", "objectives", specs.ObjectiveSpec, "selfsup_objectives"),
        Kind("backbone", "backbones", specs.BackboneSpec, "selfsup_backbones"),
        Kind("evaluator", "evaluators", specs.EvaluatorSpec, "selfsup_evaluators"),
        Kind("dataset", "datasets", specs.DatasetSpec, "selfsup_datasets"),
        Kind("benchmark", "benchmarks", specs.BenchmarkSpec, "selfsup_benchmarks"),
        Kind("command", "commands", specs.CommandSpec, "selfsup_commands"),
        Kind("logger", "loggers", specs.LoggerSpec, "selfsup_loggers"),
        Kind("executor", "executors", specs.ExecutorSpec, "selfsup_executors"),
    )
}
"""Every kind by its singular name."""


def kind_of(spec: specs.Spec) -> Kind:
    """The kind that a spec belongs to."""
    for kind in KINDS.values():
        if isinstance(spec, kind.spec):
            return kind
    raise TypeError(f"{type(spec).__name__} is not a spec of any registered kind")


def spec_values(spec: specs.Spec) -> dict[str, Any]:
    """The fields of a spec as plain JSON values."""
    values = {name: getattr(spec, name) for name in spec.__dataclass_fields__}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return dict(value) if hasattr(value, "items") else value

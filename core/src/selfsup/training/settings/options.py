"""List every option of a task: key, type, default, the paper's value, meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.registry.specs import EvaluatorSpec
from selfsup.training.run.resolve import resolve_config, sections_of
from selfsup.training.settings.overrides import Sections, nested, paths_of, resolve_key, shown_key
from selfsup.training.settings.values import type_name

_PAPER = re.compile(
    r"\((?:the )?paper(?:'s code)?: (?P<value>[^()]*(?:\([^()]*\)[^()]*)*)\)|; (?P<before>[^;]+?) in the paper\b"
)
_LIMITS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
_UNSET = ("task", "data")
"""Options of a run that have no default: they are its arguments."""


@dataclass(frozen=True)
class Option:
    """One option, as ``--set KEY=VALUE`` takes it."""

    key: str
    """The unambiguous key."""
    type: str
    """Type, with the limits of a number."""
    default: Any
    """The default for this task and backbone, a JSON value."""
    paper: str
    """The paper's value from the option's description, or from the task's recipe for optimizer settings; else empty."""
    meaning: str
    """Description, with the unit."""
    command: str
    """The command whose ``--set`` takes it: ``pretrain``, ``evaluate`` or ``finetune``."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def task_options(task: str, backbone: str = "") -> list[Option]:
    """All options of a task: of its run, optimizer, processor, backbone, views, objective and evaluators.

    Args:
        task: its id.
        backbone: id of a backbone; empty: the task's default.

    Raises:
        UnknownIdError: there is no such task or backbone.
        ConfigError: the backbone does not fit the task.
    """
    spec = registry().get("task", task)
    chosen = {"backbone": backbone} if backbone else {}
    resolved = resolve_config({"task": task, "data": "SRC", **chosen})
    sections = sections_of(task, resolved.backbone)
    values: dict[str, Any] = {"": resolved.model_dump(mode="json")}
    values |= {name: values[""][f"{name}_options"] for name in sections if name}
    recipe = registry().task_recipe(spec).optimization
    found = []
    for path, field in _fields(sections):
        if path[0] == "" and path[1] in _UNSET:
            continue
        of_paper = recipe.get(path[2]) if path[:2] == ("", "optimization") else None
        found.append(_option(path, field, _at(values, path), sections, "pretrain", of_paper))
    measures = [evaluator for evaluator in registry().evaluators.values() if evaluator.modality in ("", spec.modality)]
    return found + [option for evaluator in measures for option in evaluator_options(evaluator)]


def evaluator_options(spec: EvaluatorSpec) -> list[Option]:
    """All options of an evaluator."""
    config: type[Config] = registry().load(spec).config
    sections: Sections = {spec.id: config}
    values = {spec.id: config().model_dump(mode="json")}  # an evaluator works without options
    command = "finetune" if spec.id == "finetune" else "evaluate"
    return [_option(path, field, _at(values, path), sections, command, None) for path, field in _fields(sections)]


def _fields(sections: Sections) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for path in paths_of(sections):
        yield path, _field(sections[path[0]], path[1:])


def _field(config: type[BaseModel], path: tuple[str, ...]) -> FieldInfo:
    field = config.model_fields[path[0]]
    return field if len(path) == 1 else _field(_model(field), path[1:])


def _model(field: FieldInfo) -> type[BaseModel]:
    model = nested(field.annotation)
    assert model is not None
    return model


def _option(path: tuple[str, ...], field: FieldInfo, default: Any, sections: Sections, command: str, of_recipe: Any) -> Option:
    meaning = " ".join((field.description or "").split())
    said = _PAPER.search(meaning)
    paper = said["value"] or said["before"] if said else "" if of_recipe is None else str(of_recipe)
    return Option(_key(path, sections), _type(field), default, paper, meaning, command)


def _key(path: tuple[str, ...], sections: Sections) -> str:
    """The shortest unambiguous key with a section: ``objective.temperature`` for ``task.objective.temperature``."""
    full = shown_key(path)
    if path[0] == "task" and len(path) > 2:
        short = ".".join(path[1:])
        try:
            if resolve_key(short, sections) == path:
                return short
        except ConfigError:
            pass
    return full


def _type(field: FieldInfo) -> str:
    limits = [(sign, getattr(item, name, None)) for name, sign in _LIMITS for item in field.metadata]
    shown = ", ".join(f"{sign} {value}" for sign, value in limits if value is not None)
    return f"{type_name(field.annotation)} {shown}".strip()


def _at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = values
    for name in path:
        found = None if found is None else found[name]
    return found

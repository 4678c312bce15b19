"""The reference of the configuration, from the pydantic models: every field with its type, default and description."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from selfsup.registry import registry
from selfsup.training.run.config import RunConfig
from selfsup.training.settings.values import type_name
from site_pages.markdown import code, save, table, text

_LIMITS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
_HEADERS = ("key", "default", "meaning")


@dataclass(frozen=True)
class Field:
    """One field, of a model or of a model in it."""

    key: str
    type: str
    default: str
    meaning: str


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[Field]:
    """All fields of a model, those of models in it under ``section.name``."""
    try:
        values: BaseModel | None = model()
    except ValueError:  # a field that has to be given
        values = None
    yield from _fields(model, values, prefix)


def _fields(model: type[BaseModel], values: BaseModel | None, prefix: str) -> Iterator[Field]:
    for name, field in model.model_fields.items():
        inner = _nested(field.annotation)
        value = _default(field) if values is None else getattr(values, name)
        if inner is None:
            yield Field(prefix + name, _type(field), _shown(value), " ".join((field.description or "").split()))
        else:
            yield from _fields(inner, value if isinstance(value, inner) else None, f"{prefix}{name}.")


def _default(field: FieldInfo) -> Any:
    return "required" if field.is_required() else field.get_default(call_default_factory=True)


def _nested(annotation: Any) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        found = [model for member in get_args(annotation) if (model := _nested(member)) is not None]
        return found[0] if len(found) == 1 else None
    return None


def _shown(value: Any) -> str:
    if value is PydanticUndefined or value == "required":
        return "required"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, default=str)


def _type(field: FieldInfo) -> str:
    limits = [(sign, getattr(item, name, None)) for name, sign in _LIMITS for item in field.metadata]
    shown = ", ".join(f"{sign} {value}" for sign, value in limits if value is not None)
    return f"{type_name(field.annotation)} {shown}".strip()


def fields_table(
    model: type[BaseModel], prefix: str = "", *, rst: bool = False, without: frozenset[Field] = frozenset()
) -> str:
    """A table of a model's fields, as Markdown, or as reStructuredText for the pages of the API."""
    rows = [field for field in fields(model, prefix) if field not in without]
    if not rows:
        return ""
    if not rst:
        return table(_HEADERS, ([f"{code(row.key)}<br>{text(row.type)}", code(row.default), text(row.meaning)] for row in rows))
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - field", "     - default", "     - meaning"]
    for row in rows:
        lines += [f"   * - ``{row.key}``", f"     - ``{row.default}``", f"     - {row.meaning}"]
    return "\n".join(lines)


def write(out: Path) -> None:
    """Write ``configuration/``: pretraining, evaluators, objectives, and a page a modality."""
    folder = out / "configuration"
    house = registry()
    save(
        folder / "index.md",
        "# Configuration",
        "Every option that `--set KEY=VALUE` takes, with its type, its default and what it means. `selfsup list options TASK` "
        "prints the same for one task and one backbone, with the values of the task's paper. A configuration refuses keys that "
        "it does not know.",
        "```{toctree}\n:maxdepth: 2\n\npretraining\nevaluators\nobjectives\n" + "\n".join(house.modalities) + "\n```",
    )
    save(
        folder / "pretraining.md",
        "# Pretraining",
        "The options of a run and of its optimizer. Tasks bring their papers' values for `optimization`; the page of each "
        "modality says which.",
        fields_table(RunConfig),
    )
    save(
        folder / "evaluators.md",
        "# Evaluators and fine-tuning",
        "`selfsup evaluate` and `selfsup finetune` take these as `--set EVALUATOR.KEY=VALUE`.",
        *(
            f"## {spec.id}\n\n{text(spec.summary)}\n\n{fields_table(house.load(spec).config, f'{spec.id}.')}"
            for spec in house.evaluators.values()
        ),
    )
    save(
        folder / "objectives.md",
        "# Objectives",
        "The options of each objective, where a task has no others; set them as `--set objective.KEY=VALUE`.",
        *(
            f"## {spec.id}\n\n{text(spec.summary)} {text(spec.paper)}.\n\n{fields_table(house.load(spec).config)}"
            for spec in house.objectives.values()
        ),
    )
    for modality in house.modalities:
        save(folder / f"{modality}.md", *_modality_page(modality))


def _modality_page(modality: str) -> Iterator[str]:
    house = registry()
    spec = house.modalities[modality]
    yield f"# {modality.capitalize()}"
    yield "## Processor"
    yield fields_table(house.processor_class(modality).Config, "processor.") or "It has no options."
    yield "## Backbones"
    for backbone in house.backbones.values():
        if backbone.modality == modality:
            yield f"### {backbone.id}\n\n{text(backbone.summary)}"
            yield fields_table(house.load(backbone).config, "backbone.") or "It has no options."
    common: list[Field] = []
    yield "## Tasks"
    if spec.views:
        common = list(fields(house.resolve(spec, "views").config, "views."))
        yield "Where nothing else is said below, a task that makes views has these options for them:"
        yield fields_table(house.resolve(spec, "views").config, "views.")
    for task in house.tasks.values():
        if task.modality != modality:
            continue
        recipe = house.task_recipe(task)
        yield f"### {task.id}\n\n{text(task.summary)}"
        paper = ", ".join(code(f"{key}={_shown(value)}") for key, value in recipe.optimization.items())
        yield f"Optimizer: {paper}." if paper else ""
        yield fields_table(recipe.config, without=set(common))

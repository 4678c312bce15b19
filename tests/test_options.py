"""Each option of each task, backbone, processor and evaluator can be set from the command line, by its type, and arrives."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.training.config import RunConfig
from selfsup.training.options import task_options
from selfsup.training.overrides import annotation_of, parse_assignments, resolve_key
from selfsup.training.resolve import resolve_config
from selfsup.training.setting_values import read_value

TASKS = sorted({(spec.modality, spec.family): id for id, spec in sorted(registry().tasks.items())}.values())
"""One of each family in each modality."""


def configs() -> dict[str, type[Config]]:
    """Every config that options are of, by whose it is; each class once."""
    found = registry()
    every: dict[str, type[Config]] = {"run": RunConfig}
    every |= {f"{id}'s processor": found.processor_class(id).Config for id in found.modalities}
    every |= {f"backbone {id}": found.backbone_recipe(id).config for id in found.backbones}
    every |= {f"evaluator {id}": found.load(spec).config for id, spec in found.evaluators.items()}
    every |= {f"task {id}": found.task_recipe(found.get("task", id)).config for id in found.tasks}
    return every


CONFIGS = configs()


def leaves(config: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, (*prefix, name))
        else:
            yield (*prefix, name)


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation allows, one by one."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def written(annotation: Any) -> list[tuple[str, Any]]:
    """Texts for a field of a type, and what each stands for."""
    texts: list[tuple[str, Any]] = []
    for member in members(annotation):
        if member is type(None):
            texts.append(("null", None))
        elif get_origin(member) is Literal:
            texts += [(str(word), word) for word in get_args(member)]
        elif member is bool:
            texts += [("true", True), ("false", False)]
        elif member is int:
            texts.append(("3", 3))
        elif member is float:
            texts += [("0.25", 0.25), ("1", 1.0), ("1e-3", 1e-3)]
        elif member is str and type(None) in members(annotation):
            texts += [("7", "7"), ('"none"', "none")]
        elif member is str:
            texts += [("7", "7"), ("none", "none")]
        elif get_origin(member) is tuple:
            items = get_args(member)
            kinds = [items[0], items[0]] if Ellipsis in items else list(items)
            parts = [next(iter(written(get_args(kind)[0] if hasattr(kind, "__metadata__") else kind))) for kind in kinds]
            values = [value for _, value in parts]
            texts += [(",".join(text for text, _ in parts), values), (json.dumps(values), values)]
        else:
            assert get_origin(member) is dict, f"a type that the command line does not know: {member}"
            texts.append(('{"a": "b"}', {"a": "b"}))
    return texts


@pytest.mark.parametrize("whose", CONFIGS)
def test_each_option_is_read_by_its_type(whose: str) -> None:
    sections = {"x": CONFIGS[whose]}
    for path in leaves(CONFIGS[whose]):
        annotation, key = annotation_of(("x", *path), sections), ".".join(("x", *path))
        assert resolve_key(key, sections) == ("x", *path)
        for text, value in written(annotation):
            found = read_value(text, annotation, key)
            assert found == value, (path, text)
            assert type(found) is type(value), (path, text)
        if type(None) not in members(annotation):
            with pytest.raises(ConfigError, match="has no null"):
                read_value("null", annotation, key)


@pytest.mark.parametrize("id", TASKS)
def test_each_listed_default_can_be_written_out_and_gives_the_same_run(id: str) -> None:
    before = resolve_config({"task": id, "data": "somewhere"})
    options = [option for option in task_options(id) if option.command == "pretrain"]
    assert len({option.key for option in options}) == len(options)
    assert all(option.meaning and option.type for option in options)
    listed = {option.key: option.default for option in options}
    assert listed["optimization.batch_size"] == before.optimization.batch_size
    # Of an optimizer's settings some say the same in two ways, and those of the run have flags.
    sections = [key for key in listed if "." in key and not key.startswith("optimization.")]
    settings = [f"{key}={_text(listed[key])}" for key in sections]
    after = resolve_config({"task": id, "data": "somewhere", **parse_assignments(settings)})
    changed = {"initial_share"}  # momenta that are written out are taken as they are
    assert _without(after.model_dump(), changed) == _without(before.model_dump(), changed)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value != "null" else json.dumps(value)


def _without(values: Any, names: set[str]) -> Any:
    if isinstance(values, dict):
        return {key: _without(value, names) for key, value in values.items() if key not in names}
    return values


@pytest.mark.parametrize(
    ("task", "setting", "value"),
    [
        ("text/clm", "processor.packing=none", "none"),
        ("tabular/scarf", "processor.scaling=none", "none"),
        ("tabular/scarf", "processor.drop=a,b", ["a", "b"]),
        ("audio/simclr", "backbone.mel.standardize=none", "none"),
        ("vision/patch-position", "transformation.color_guard=none", "none"),
        ("vision/simclr", "processor.image_size=auto", "auto"),
        ("vision/simclr", "optimization.weight_decay_end=null", None),
    ],
)
def test_a_word_of_a_field_is_that_word_and_not_null(task: str, setting: str, value: Any) -> None:
    config = resolve_config({"task": task, "data": "somewhere", **parse_assignments([setting])}).model_dump(mode="json")
    key = setting.partition("=")[0]
    section, *names = key.split(".")
    found: Any = config.get(f"{section}_options", config.get(section, config["task_options"].get(section)))
    for name in names:
        found = found[name]
    assert found == value

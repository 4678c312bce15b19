"""Find the option that a key of ``--set key=value`` names, and explain unknown keys."""

from __future__ import annotations

import difflib
import functools
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.training.settings.values import Unread, read_value

Sections = Mapping[str, type[Config]]
"""Name of a section to its config class. The section ``""`` is the run itself."""


def parse_assignment(text: str) -> tuple[str, Unread]:
    """Split ``key=value``; the value stays a text until the type of the key is known.

    Raises:
        ConfigError: there is no ``=`` or no key.
    """
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set {text!r} is not of the form key=value; write for example --set optimization.lr=0.001.")
    return key.strip(), Unread(value.strip())


def parse_assignments(texts: Iterable[str]) -> dict[str, Unread]:
    """Split several ``key=value``.

    Raises:
        ConfigError: a text is no assignment, or a key has two values.
    """
    values: dict[str, Unread] = {}
    for text in texts:
        key, value = parse_assignment(text)
        if values.setdefault(key, value) != value:
            raise ConfigError(f"{key} is given twice, as {values[key]} and as {value}: leave one of them out.")
    return values


def join(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given in several ways (flags, ``--set``, arguments) as one mapping.

    Raises:
        ConfigError: a key has two values.
    """
    joined: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if key in joined and joined[key] != value and str(joined[key]) != str(value):
                raise ConfigError(f"{key} is given twice, as {joined[key]} and as {value}: leave one of them out.")
            joined[key] = value
    return joined


def place(
    options: Mapping[str, Any], sections: Sections, *, short: Mapping[str, str] | None = None, listing: str = ""
) -> dict[str, Any]:
    """Options under their full paths, ``{section: {field: value}}``, with texts parsed by the types of their fields.

    Args:
        options: key (in any form that :func:`resolve_key` takes) to value.
        sections: have the options.
        short: short names to keys.
        listing: the command that lists all keys, for messages.

    Raises:
        ConfigError: a key is unknown or ambiguous, has two values under two names, or cannot be null.
    """
    placed: dict[str, Any] = {}
    said: dict[tuple[str, ...], str] = {}
    for key, value in options.items():
        path = resolve_key((short or {}).get(key, key), sections, listing=listing)
        if isinstance(value, Unread):
            value = read_value(value, annotation_of(path, sections), key)
        if path in said and _value_at(placed, path) != value:
            raise ConfigError(
                f"{said[path]} and {key} are the same option, and are given as {_value_at(placed, path)!r} and as {value!r}: "
                "leave one of them out."
            )
        said[path] = key
        apply(placed, path, value)
    return placed


def annotation_of(path: Sequence[str], sections: Sections) -> Any:
    """The type of the field at the end of a full path; in a dictionary, the type of its values."""
    annotation: Any = sections[path[0]]
    for name in path[1:]:
        model = nested(annotation)
        if model is not None:
            # The config itself refuses a key that a model in a dictionary does not have.
            annotation = model.model_fields[name].annotation if name in model.model_fields else Any
        else:  # a free key of a dictionary
            annotation = get_args(annotation)[1] if len(get_args(annotation)) == 2 else Any
    return annotation


def resolve_key(key: str, sections: Sections, *, listing: str = "") -> tuple[str, ...]:
    """The full path of a key: its section, then field names.

    A key may be written in full (``optimization.lr``), without its section (``objective.temperature``), or as a bare field name
    (``temperature``), if that is unambiguous.

    Args:
        key: as written.
        sections: have the options.
        listing: the command that lists all keys, for messages.

    Raises:
        ConfigError: the key is unknown or ambiguous.
    """
    parts = tuple(key.split("."))
    paths = paths_of(sections)
    exact = [path for path in paths if _shown(path) == parts]
    found = exact or [path for path in paths if path[-len(parts) :] == parts]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(".".join(_shown(path)) for path in found)
        raise ConfigError(f"config key {key!r} is ambiguous: it may be {places}. Write it in full.")
    free = _inside_dict(parts, paths, sections)
    if free is not None:
        return free
    raise ConfigError(_unknown_key(key, paths, listing))


def paths_of(sections: Sections) -> list[tuple[str, ...]]:
    """The full paths of all options: section, then field names."""
    return _paths(tuple(sections.items()))


@functools.lru_cache(maxsize=32)
def _paths(sections: tuple[tuple[str, type[Config]], ...]) -> list[tuple[str, ...]]:
    mounted = {f"{name}_options" for name, _ in sections if name}
    return [
        path
        for name, config in sections
        for path in leaves(config, (name,))
        if name or path[1] not in mounted  # these are the sections themselves
    ]


def apply(options: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value in nested dictionaries, creating missing ones."""
    for part in path[:-1]:
        options = options.setdefault(part, {})
    options[path[-1]] = value


def _value_at(options: Mapping[str, Any], path: Sequence[str]) -> Any:
    for part in path:
        options = options[part]
    return options


def _shown(path: tuple[str, ...]) -> tuple[str, ...]:
    """A path as written: the run's own fields have no section."""
    return path[1:] if path[0] == "" else path


def nested(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation: ``X`` and ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        models = [model for argument in get_args(annotation) if (model := nested(argument)) is not None]
        return models[0] if len(models) == 1 else None
    return None


def leaves(config: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of a config that are no configs themselves, each after ``prefix``."""
    for name, field in config.model_fields.items():
        model = nested(field.annotation)
        if model is None:
            yield (*prefix, name)
        else:
            yield from leaves(model, (*prefix, name))


def shown_key(path: tuple[str, ...]) -> str:
    """The full key of a path."""
    return ".".join(_shown(path))


def _inside_dict(parts: tuple[str, ...], paths: list[tuple[str, ...]], sections: Sections) -> tuple[str, ...] | None:
    """A path into a field that is a dictionary with free keys (``columns.image``).

    The dictionary may be written in full or not (``views.parts`` for ``task.views.parts``).

    Raises:
        ConfigError: the key is ambiguous.
    """
    dictionaries = [path for path in paths if get_origin(annotation_of(path, sections)) is dict]
    for written in range(len(parts) - 1, 0, -1):
        named = parts[:written]
        found = [path for path in dictionaries if _shown(path) == named]
        found = found or [path for path in dictionaries if _shown(path)[-written:] == named]
        if len(found) > 1:
            places = ", ".join(".".join(_shown(path)) for path in found)
            raise ConfigError(f"config key {'.'.join(named)!r} is ambiguous: it may be {places}. Write it in full.")
        if found:
            return (*found[0], *parts[written:])
    return None


def _unknown_key(key: str, paths: list[tuple[str, ...]], listing: str) -> str:
    full = [".".join(_shown(path)) for path in paths]
    parent, _, leaf = key.rpartition(".")
    close = difflib.get_close_matches(key, full, n=3, cutoff=0.6)
    if not close:
        beside = [path for path in full if parent and f".{path}".rpartition(".")[0].endswith(f".{parent}")]
        names = difflib.get_close_matches(leaf, {path.rpartition(".")[2] for path in full}, n=3, cutoff=0.6)
        close = beside or [path for path in full if path.rpartition(".")[2] in names][:3]
    hint = f"Did you mean {' or '.join(close)}?" if close else f"The keys are: {', '.join(sorted(full))}."
    if listing:
        hint = f"{hint if close else ''} `{listing}` shows all keys.".strip()
    return f"unknown config key {key!r}. {hint}"

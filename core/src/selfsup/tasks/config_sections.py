"""Join config classes with changed defaults into the sections of a task's config."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, cast

from pydantic import ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from selfsup.config import Config
from selfsup.errors import ConfigError

_NO_SOURCE = {"use_attribute_docstrings": False}
"""For classes without source: their fields have descriptions already, and looking for the source takes a second."""


def with_defaults(config: type[Config], defaults: Mapping[str, Any]) -> type[Config]:
    """A subclass of ``config`` with other defaults, so that a user who sets one option keeps the recipe's values of the others.

    Args:
        config: the class; it is returned unchanged where ``defaults`` is empty.
        defaults: field name to value; a mapping changes single options of a nested config.

    Raises:
        ConfigError: a name is no field of ``config``, or a value is not allowed.
    """
    if not defaults:
        return config
    fields: dict[str, Any] = {}
    for name, value in defaults.items():
        if name not in config.model_fields:
            known = ", ".join(config.model_fields)
            raise ConfigError(f"{name!r} cannot have a default: {config.__name__} has no such option. It has: {known}.")
        info = copy(config.model_fields[name])
        annotation: Any = info.annotation
        if isinstance(value, Mapping) and isinstance(annotation, type) and issubclass(annotation, Config):
            # The nested class that the default is an instance of may itself carry a recipe's defaults.
            present = info.get_default(call_default_factory=True)
            annotation = with_defaults(type(present) if isinstance(present, Config) else annotation, value)
            value = annotation()
        made = info.default_factory is not None and isinstance(value, Config)
        info.default, info.default_factory = (PydanticUndefined, annotation) if made else (value, None)
        info.annotation = annotation
        fields[name] = (annotation, info)
    changed = create_model(
        config.__name__,
        __base__=config,
        __module__=config.__module__,
        __doc__=config.__doc__,
        __cls_kwargs__=_NO_SOURCE,
        **fields,
    )
    try:
        changed()
    except ValidationError as error:
        raise ConfigError(f"{config.__name__} does not allow the defaults {dict(defaults)}: {error}") from error
    return cast(type[Config], changed)


def accepts(config: type[Config], values: Mapping[str, Any]) -> bool:
    """Whether ``config`` has these fields and allows these values."""
    if not set(values) <= set(config.model_fields):
        return False
    try:
        config(**values)
    except ValidationError:
        return False
    return True


def join_sections(name: str, sections: Mapping[str, tuple[type[Config], str]]) -> type[Config]:
    """A config whose options are sections, each with the defaults of its own class.

    Args:
        name: the class name.
        sections: section name to its class and its one-line description.
    """
    fields: dict[str, Any] = {
        key: (section, FieldInfo(default_factory=section, description=description))
        for key, (section, description) in sections.items()
    }
    return create_model(
        name, __base__=Config, __doc__="The options of a task, by section.", __cls_kwargs__=_NO_SOURCE, **fields
    )


def with_section(config: type[Config], name: str, section: type[Config], description: str) -> type[Config]:
    """A subclass of ``config`` that has ``section``, with that class's defaults, as one more field.

    Args:
        config: the class.
        name: the new field.
        section: its class.
        description: its one-line description.
    """
    fields: dict[str, Any] = {name: (section, FieldInfo(default_factory=section, description=description))}
    changed = create_model(
        config.__name__,
        __base__=config,
        __module__=config.__module__,
        __doc__=config.__doc__,
        __cls_kwargs__=_NO_SOURCE,
        **fields,
    )
    return cast(type[Config], changed)

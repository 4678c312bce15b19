"""Validate options, with one clear error for all mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from selfsup.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from selfsup.config import Config

C = TypeVar("C", bound="Config")


def validated(config: type[C], options: Mapping[str, Any], *, what: str) -> C:
    """Make a config from options.

    Args:
        config: its class.
        options: keys and values.
        what: the owner of the options, for the message (``backbone 'timm/resnet18'``).

    Raises:
        ConfigError: a key is unknown or missing, or its value is not allowed; the message lists all mistakes.
    """
    from pydantic import ValidationError

    try:
        return config.model_validate(dict(options))
    except ValidationError as error:
        reasons = "; ".join(_reason(config, item) for item in error.errors(include_url=False))
        raise ConfigError(f"{what}: {reasons}") from error


def check_effect(values: Config, given: Mapping[str, Any], *, prefix: str = "") -> None:
    """Make sure that each given option has an effect.

    Args:
        values: the whole config.
        given: the options that the caller gave, by section.
        prefix: of the keys, for the message (``objective.``).

    Raises:
        ConfigError: an option has no effect; the message says why.
    """
    unused = values.without_effect()
    for name, value in given.items():
        if name not in type(values).model_fields:
            continue
        actual = getattr(values, name)
        if isinstance(value, Mapping) and hasattr(actual, "without_effect"):
            check_effect(actual, value, prefix=f"{prefix}{name}.")
            if name not in unused:
                continue
        if name in unused and actual != type(values).model_fields[name].get_default(call_default_factory=True):
            raise ConfigError(f"{prefix}{name} has no effect: {unused[name]}. Leave it out, or change that.")


def _reason(config: type[Config], item: ErrorDetails) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = list(_section(config, item["loc"][:-1]))
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"
        return f"there is no option {path!r}; {hint}"
    if item["type"] == "missing":
        return f"the option {path!r} has no default and must be given"
    return f"{path or 'options'} = {item['input']!r} is not allowed: {item['msg'].removeprefix('Value error, ')}"


def _section(config: type[Config], path: tuple[int | str, ...]) -> Mapping[str, Any]:
    """The fields of the config at the end of a path of keys."""
    fields: Mapping[str, Any] = config.model_fields
    for part in path:
        field = fields.get(str(part))
        fields = getattr(field.annotation, "model_fields", {}) if field is not None else {}
    return fields

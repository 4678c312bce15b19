"""Parse the text of a setting as the type of its field."""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from selfsup.damaged_files import parse_json
from selfsup.errors import ConfigError

NULLS = ("null", "none", "None")
"""Texts for null, for fields that may be null."""
_TRUE = ("true", "True", "yes", "on", "1")
_FALSE = ("false", "False", "no", "off", "0")


class Unread(str):
    """The text of a value whose type is unknown yet; :func:`read_value` parses it."""


class _UnreadableError(Exception):
    """A text cannot be parsed as a type."""


def read_value(text: str, annotation: Any, key: str) -> Any:
    """Parse a text by the type of its field.

    Words of a ``Literal`` come first, so that ``none`` is that word if the field has it, and null otherwise. Lists are JSON or
    separated by commas. A text in JSON quotes is always a text (``'"null"'``).

    Returns:
        The value; or the text itself if it cannot be parsed, which the field's config then refuses.

    Raises:
        ConfigError: it is null, and the field cannot be null.
    """
    try:
        return _read(text, annotation)
    except _UnreadableError:
        if text in NULLS:
            raise ConfigError(
                f"{key}={text} is not allowed: this option is {type_name(annotation)} and has no null. Leave it out for its "
                "default."
            ) from None
        return str(text)


def type_name(annotation: Any) -> str:
    """A type as people write it: ``int``, ``float or null``, ``auto or int``, ``list of str``."""
    kind = get_origin(annotation)
    if kind is Annotated:
        return type_name(get_args(annotation)[0])
    if kind is Literal:
        return " or ".join(str(word) for word in get_args(annotation))
    if kind in (Union, types.UnionType):
        members = sorted(get_args(annotation), key=lambda member: member is type(None))
        return " or ".join(type_name(member) for member in members)
    if annotation is type(None):
        return "null"
    if kind in (tuple, list):
        items = [type_name(item) for item in get_args(annotation) if item is not Ellipsis]
        return (
            f"list of {items[0] if items else 'values'}"
            if kind is list or Ellipsis in get_args(annotation)
            else ", ".join(items)
        )
    if kind is dict:
        return "KEY=VALUE"
    return (
        "text" if annotation is str else "anything" if annotation is Any else getattr(annotation, "__name__", str(annotation))
    )


def _read(text: str, annotation: Any) -> Any:
    kind = get_origin(annotation)
    if kind is Annotated:
        return _read(text, get_args(annotation)[0])
    if kind is Literal:
        return _word(text, get_args(annotation))
    if kind in (Union, types.UnionType):
        return _one_of(text, get_args(annotation))
    if annotation is type(None):
        return _null(text)
    if annotation is bool:
        return _bool(text)
    if annotation is int:
        return _int(text)
    if annotation is float:
        return _float(text)
    if annotation is str:
        return _text(text)
    if kind in (tuple, list) or annotation in (tuple, list):
        return _list(text, get_args(annotation))
    found = _anything(text, structured=annotation is not Any)
    if (kind is dict or annotation is dict) and not isinstance(found, dict):
        raise _UnreadableError
    return found


def _word(text: str, words: Sequence[Any]) -> Any:
    for word in words:
        if text == str(word) or (isinstance(word, str) and text == json.dumps(word)):
            return word
    raise _UnreadableError


def _one_of(text: str, members: Sequence[Any]) -> Any:
    for member in sorted(members, key=_rank):
        try:
            # If a number is allowed too, 0 and 1 are numbers.
            return _bool(text, words=1) if member is bool and len(members) > 2 else _read(text, member)
        except _UnreadableError:
            continue
    raise _UnreadableError


def _rank(annotation: Any) -> int:
    """Try types with few possible texts before types with many."""
    kind = get_origin(annotation)
    if kind is Annotated:
        return _rank(get_args(annotation)[0])
    order = {Literal: 0, type(None): 1, bool: 2, int: 3, float: 4, tuple: 5, list: 5, dict: 6, str: 8}
    return order.get(kind if kind is not None else annotation, 7)


def _null(text: str) -> None:
    if text not in NULLS:
        raise _UnreadableError


def _bool(text: str, words: int = 5) -> bool:
    if text in _TRUE[:words] or (words == 1 and text == "True"):
        return True
    if text in _FALSE[:words] or (words == 1 and text == "False"):
        return False
    raise _UnreadableError


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = _float(text)  # 1e4 is a whole number, too
    if not number.is_integer():
        raise _UnreadableError
    return int(number)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _UnreadableError from None


def _text(text: str) -> str:
    if text == "null":
        raise _UnreadableError
    if text[:1] == '"' and isinstance(quoted := _json(text), str):
        return quoted
    return str(text)


def _list(text: str, items: Sequence[Any]) -> list[Any]:
    if text in NULLS:
        raise _UnreadableError
    parsed = _json(text)
    if not isinstance(parsed, list):
        inner = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text
        parsed = [Unread(part.strip()) for part in inner.split(",") if part.strip()]
    alike = items[:1] if len(items) == 1 or items[-1] is Ellipsis else None
    if alike is None and len(items) != len(parsed):
        return [str(part) for part in parsed]  # the config says how many there must be
    return [_item(part, kind) for part, kind in zip(parsed, [*alike] * len(parsed) if alike else items, strict=True)]


def _item(part: Any, annotation: Any) -> Any:
    """One item of a list; a text of a JSON list is a text already."""
    if annotation is str and type(part) is str:
        return part
    return _read(part if isinstance(part, str) else json.dumps(part), annotation)


def _anything(text: str, *, structured: bool) -> Any:
    if structured and text in NULLS:
        raise _UnreadableError
    parsed = _json(text)
    if parsed is not _json:
        return parsed
    if structured:
        raise _UnreadableError
    return {"True": True, "False": False, "None": None, "none": None}.get(text, str(text))


def _json(text: str) -> Any:
    """The JSON value, or this function itself where it is none."""
    try:
        return parse_json(text)
    except ValueError:
        return _json

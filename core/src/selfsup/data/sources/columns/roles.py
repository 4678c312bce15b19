"""Assign columns to roles by their feature types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from selfsup.errors import ColumnError

MEDIA = ("image", "audio", "video")
"""Media: kinds of roles whose columns hold files, or the contents of files."""
_LABEL_NAMES = ("label", "labels")


def describe_columns(features: Mapping[str, Any]) -> str:
    """Names and types of all columns, for messages."""
    return ", ".join(f"{name} ({feature_name(feature)})" for name, feature in features.items()) or "none"


def feature_name(feature: Any) -> str:
    """A short name of a ``datasets`` feature: ``Image``, ``ClassLabel``, ``string``, ``List``."""
    kind = type(feature).__name__
    if kind == "Value":
        return str(feature.dtype).removeprefix("large_")
    return "struct" if kind == "dict" else "List" if kind == "list" else kind


def feature_fits(feature: Any, wanted: str) -> bool:
    """Whether a column of this feature can have a role of the wanted type.

    ``Image``, ``Audio`` and ``Video`` also fit encoded files (a struct of ``bytes`` and ``path``, or plain bytes), and
    ``Audio`` decoded ones (a struct with ``array`` and ``sampling_rate``); ``string`` fits any text,
    ``int``/``float``/``number`` any such numbers, ``List``/``Sequence``/``Array`` any list of any depth.
    """
    name, wanted = feature_name(feature), wanted.lower()
    if wanted in MEDIA:
        is_file = isinstance(feature, dict) and set(feature) == {"bytes", "path"}
        if wanted == "audio" and isinstance(feature, dict) and {"array", "sampling_rate"} <= set(feature):
            return True
        return name.lower() == wanted or is_file or name == "binary"
    if wanted == "string":
        return name == "string"
    if wanted == "number":
        return name.startswith(("int", "uint", "float", "double"))
    if wanted in ("int", "float"):
        return name.lstrip("u").startswith(wanted) or (wanted == "float" and name == "double")
    if wanted in ("list", "sequence", "array"):
        return name in ("List", "LargeList", "Sequence") or name.startswith("Array")
    return name.lower() == wanted


def find_columns(
    features: Mapping[str, Any],
    wanted: Mapping[str, str],
    given: Mapping[str, str],
    *,
    label: str | None,
    name: str,
    others: Iterable[str] = (),
) -> dict[str, str]:
    """Role to column.

    A role gets the column that the user gave, else the one with its own name if the type fits, else the only one that fits.
    A column chosen by name for a media role may also hold texts: the paths of the files.

    Args:
        features: column to feature.
        wanted: role to feature type, from the modality; empty: every column except the label is its own role.
        given: role to column, from the user.
        label: the label column, which has no role.
        name: the source, for messages.
        others: roles that the user may also give and that are handled elsewhere (those of segments).

    Raises:
        ColumnError: a column is missing, of a wrong type, or ambiguous.
    """
    others = tuple(others)
    given = {role: column for role, column in given.items() if role not in others}
    for role, column in given.items():
        if wanted and role not in wanted:
            roles = ", ".join((*wanted, *others))
            raise ColumnError(f"There is no role {role!r} for column {column!r}; the roles are {roles}.")
        if column not in features:
            raise ColumnError(f"{name} has no column {column!r} (for {role!r}). Its columns are {describe_columns(features)}.")
    if not wanted:
        chosen = dict(given) or {column: column for column in features if column != label}
        if not chosen:
            raise ColumnError(f"{name} has no column other than the label {label!r}.")
        return chosen
    return {role: _find_column(features, role, kind, given.get(role), label, name) for role, kind in wanted.items()}


def _find_column(features: Mapping[str, Any], role: str, kind: str, given: str | None, label: str | None, name: str) -> str:
    if given is None and role in features and role != label and _fits_by_name(features[role], kind):
        return role
    if given is not None:
        if not _fits_by_name(features[given], kind):
            raise ColumnError(f"Column {given!r} of {name} is {feature_name(features[given])}, but {role!r} needs {kind}.")
        return given
    fitting = [column for column, feature in features.items() if column != label and feature_fits(feature, kind)]
    if len(fitting) == 1:
        return fitting[0]
    columns = describe_columns(features)
    if fitting:
        raise ColumnError(
            f"{name} has several columns that could be the {role!r} ({', '.join(fitting)}). "
            f"Choose one with --column {role}=NAME. Its columns are {columns}."
        )
    raise ColumnError(
        f"{name} has no column of type {kind} for {role!r}. Its columns are {columns}. "
        f"To use one of them, add --column {role}=NAME."
    )


def _fits_by_name(feature: Any, wanted: str) -> bool:
    """Whether a column can have the role that it was named for; texts are then paths of media files."""
    return feature_fits(feature, wanted) or (wanted.lower() in MEDIA and feature_fits(feature, "string"))


def find_label(
    features: Mapping[str, Any], given: str | None, *, needed: bool, name: str, taken: Iterable[str] = ()
) -> str | None:
    """The label column: the given one, else the only ``ClassLabel``, else one called ``label`` or ``labels``.

    Raises:
        ColumnError: the given column does not exist, or a label is needed and none or several were found.
    """
    columns = describe_columns(features)
    if given is not None:
        if given not in features:
            raise ColumnError(f"{name} has no label column {given!r}. Its columns are {columns}.")
        return given
    free = {column: feature for column, feature in features.items() if column not in set(taken)}
    for column in _LABEL_NAMES:
        if column in free:
            return column
    classes = [column for column, feature in free.items() if feature_name(feature) == "ClassLabel"]
    if len(classes) == 1:
        return classes[0]
    if not needed:
        return None
    if classes:
        raise ColumnError(f"{name} has several label columns ({', '.join(classes)}). Choose one with --label NAME.")
    raise ColumnError(f"{name} has no label column, and labels are needed. Its columns are {columns}. Name one with --label.")

"""Records and plans of earlier versions, as this version writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from selfsup.errors import BenchmarkError

SCHEMA = 2
"""Version of records and plans; part of a cell's key, so that old records are not taken for new ones."""

Document = Literal["record", "plan"]


def _record_1(values: dict[str, Any]) -> dict[str, Any]:
    """Before labels were drawn: no score has draws or rows."""
    return {**values, "draws": {}, "rows": {}}


def _plan_1(values: dict[str, Any]) -> dict[str, Any]:
    """Before benchmarks could be measured with few labels: what has been added since has defaults."""
    return values


STEPS: dict[tuple[Document, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("record", 1): _record_1,
    ("plan", 1): _plan_1,
}
"""(document, version) to how the next version writes it."""


def upgraded(values: Mapping[str, Any], document: Document, path: Path) -> dict[str, Any]:
    """A document of an earlier version as this one writes it.

    Args:
        values: what the file holds.
        document: what it is.
        path: of the file, for messages.

    Raises:
        BenchmarkError: it says no version, or is of a later one.
    """
    version = values.get("schema")
    if not isinstance(version, int) or version < 1:
        raise BenchmarkError(f"{path} is no {document} of a benchmark: its field 'schema' is {version!r}, and no version.")
    if version > SCHEMA:
        raise BenchmarkError(
            f"{path} is of schema {version}, and this selfsup-bench reads schemas up to {SCHEMA}. Upgrade it: pip install "
            "--upgrade selfsup-bench."
        )
    current = dict(values)
    for step in range(version, SCHEMA):
        current = {**STEPS[document, step](current), "schema": step + 1}
    return current

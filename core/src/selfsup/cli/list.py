"""``selfsup list``: what is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from selfsup.cli.output import emit, json_option, print_table
from selfsup.plugins.kinds import KINDS, spec_values
from selfsup.registry import Registry, registry
from selfsup.specs import Spec

_PLURALS = {kind.plural: kind for kind in KINDS.values()}


def _suites(spec: Any) -> str:
    return ", ".join(spec.suites)


_COLUMNS: dict[str, dict[str, Callable[[Any], str]]] = {
    "tasks": {"FAMILY": lambda spec: spec.family, "BACKBONE": lambda spec: spec.backbone},
    "objectives": {"FAMILY": lambda spec: spec.family, "PAPER": lambda spec: spec.paper},
    "backbones": {"TOKENS": lambda spec: "yes" if spec.tokens else ""},
    "evaluators": {"LABELS": lambda spec: "needed" if spec.needs_labels else "not needed"},
    "datasets": {"MODALITY": lambda spec: spec.modality, "NETWORK": lambda spec: "" if spec.embedded else "needed"},
    "benchmarks": {
        "TASK": lambda spec: spec.task,
        "DATASET": lambda spec: spec.dataset,
        "SUITES": _suites,
    },
}
"""What a table shows between id and summary."""


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice(sorted(_PLURALS)))
@click.option("--modality", metavar="M", help="Only what is for this modality.")
@json_option
def command(kind: str, modality: str | None, as_json: bool) -> None:
    """List what is installed.

    KIND is one of backbones, benchmarks, commands, datasets, evaluators, executors, loggers, modalities, objectives, tasks.
    """
    found = registry()
    if modality is not None:
        found.get("modality", modality)
    specs = [spec for spec in found.all(_PLURALS[kind].name).values() if modality is None or _is_for(spec, modality, found)]
    emit([_document(spec, found) for spec in specs], as_json=as_json, text=lambda: _print(kind, specs))


def _is_for(spec: Spec, modality: str, found: Registry) -> bool:
    kind = type(spec).__name__
    if kind == "ModalitySpec":
        return spec.id == modality
    if kind == "ObjectiveSpec":
        return any(task.objective == spec.id and task.modality == modality for task in found.tasks.values())
    if kind == "BenchmarkSpec":
        return bool(spec_values(spec)["task"].partition("/")[0] == modality)
    return bool(getattr(spec, "modality", "") in ("", modality))


def _document(spec: Spec, found: Registry) -> dict[str, Any]:
    distribution, version = found.provider(spec)
    return {**spec_values(spec), "distribution": distribution, "version": version}


def _print(kind: str, specs: list[Spec]) -> None:
    columns = _COLUMNS.get(kind, {})
    rows = [[spec.id, *(show(spec) for show in columns.values()), spec.summary] for spec in specs]
    print_table(["ID", *columns, "SUMMARY"], rows)

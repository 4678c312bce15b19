"""``selfsup list``: list what is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from selfsup.cli.output import emit, json_option, print_table
from selfsup.registry import Registry, registry
from selfsup.registry.kinds import KINDS, spec_values
from selfsup.registry.specs import Spec

_PLURALS = {kind.plural: kind for kind in KINDS.values()}


_OF_NO_MODALITY = ("commands", "executors", "loggers")


def _suites(spec: Any) -> str:
    return ", ".join(spec.suites)


def _task(spec: Any) -> str:
    """A task, or the tasks of a template."""
    words = {"": "", "all": " (every objective)", "others": " (objectives of other packages)"}
    return f"{spec.task}{words[spec.objectives]}"


_COLUMNS: dict[str, dict[str, Callable[[Any], str]]] = {
    "tasks": {"FAMILY": lambda spec: spec.family, "BACKBONE": lambda spec: spec.backbone},
    "objectives": {"FAMILY": lambda spec: spec.family, "PAPER": lambda spec: spec.paper},
    "backbones": {"TOKENS": lambda spec: "yes" if spec.tokens else ""},
    "evaluators": {"LABELS": lambda spec: "needed" if spec.needs_labels else "not needed"},
    "datasets": {"MODALITY": lambda spec: spec.modality, "NETWORK": lambda spec: "" if spec.embedded else "needed"},
    "benchmarks": {
        "SUITES": _suites,
        "TASK": _task,
        "DATASET": lambda spec: spec.dataset or "your own",
    },
}
"""Columns of the table between id and summary."""


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice([*sorted(_PLURALS), "options"]))
@click.argument("whose", metavar="[TASK|EVALUATOR]", required=False)
@click.option("--modality", metavar="M", help="Only entries for this modality.")
@click.option("--backbone", metavar="ID", help="For options: of this backbone [default: the task's].")
@click.option("--filter", "words", metavar="TEXT", help="Only lines with this text.")
@json_option
def command(kind: str, whose: str | None, modality: str | None, backbone: str | None, words: str | None, as_json: bool) -> None:
    """List what is installed, or the options of a task.

    KIND is one of backbones, benchmarks, commands, datasets, evaluators, executors, loggers, modalities, objectives, tasks; or
    options with a TASK or an EVALUATOR.

    \b
    selfsup list tasks --modality vision
    selfsup list options vision/simclr --backbone vit-tiny --filter views.
    """
    if kind == "options":
        if modality is not None:
            raise click.UsageError("the task fixes the modality of its options: leave --modality out.")
        _list_options(whose, backbone, words or "", as_json=as_json)
        return
    if whose is not None or backbone is not None:
        raise click.UsageError(f"{'--backbone' if whose is None else repr(whose)} goes with `selfsup list options TASK` only.")
    if modality is not None and kind in _OF_NO_MODALITY:
        raise click.UsageError(f"{kind} have no modality: leave --modality out.")
    found = registry()
    if modality is not None:
        found.get("modality", modality)
    specs = [spec for spec in found.all(_PLURALS[kind].name).values() if modality is None or _is_for(spec, modality, found)]
    if words:
        specs = [spec for spec in specs if words.lower() in f"{spec.id} {spec.summary}".lower()]
    emit([_document(spec, found) for spec in specs], as_json=as_json, text=lambda: _print(kind, specs))


def _list_options(whose: str | None, backbone: str | None, words: str, *, as_json: bool) -> None:
    if whose is None:
        raise click.UsageError("name the task or evaluator: selfsup list options vision/simclr.")
    from selfsup.training.settings.options import Option, evaluator_options, task_options

    evaluator = registry().evaluators.get(whose)
    if evaluator is not None and backbone is not None:
        raise click.UsageError(f"the evaluator {whose} has no backbone: leave --backbone out.")
    options = task_options(whose, backbone or "") if evaluator is None else evaluator_options(evaluator)

    def row(option: Option) -> list[str]:
        default = option.default if isinstance(option.default, str) else json.dumps(option.default)
        return [option.key, option.type, default, option.paper, option.meaning]

    chosen = [option for option in options if words.lower() in " ".join(row(option)).lower()]
    headers = ["KEY", "TYPE", "DEFAULT", "PAPER", "MEANING"]
    emit([option.as_dict() for option in chosen], as_json=as_json, text=lambda: print_table(headers, map(row, chosen)))


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

"""The core's own plugin: what it brings is registered by the same hooks as everyone's."""

from __future__ import annotations

from selfsup.plugins.builtin_commands import SPECS as COMMANDS
from selfsup.plugins.builtin_evaluators import SPECS as EVALUATORS
from selfsup.plugins.builtin_families import SPECS as FAMILIES
from selfsup.plugins.builtin_loggers import SPECS as LOGGERS
from selfsup.plugins.builtin_objectives import SPECS as OBJECTIVES
from selfsup.plugins.hookspecs import hookimpl
from selfsup.specs import CommandSpec, EvaluatorSpec, LoggerSpec, ObjectiveSpec

SELFSUP_API = 1


@hookimpl
def selfsup_objectives() -> list[ObjectiveSpec]:
    """Losses on embeddings, then those on tokens."""
    return [*OBJECTIVES, *FAMILIES]


@hookimpl
def selfsup_evaluators() -> list[EvaluatorSpec]:
    """Evaluators that need no modality."""
    return EVALUATORS


@hookimpl
def selfsup_commands() -> list[CommandSpec]:
    """Commands of the core."""
    return COMMANDS


@hookimpl
def selfsup_loggers() -> list[LoggerSpec]:
    """Loggers of the core."""
    return LOGGERS

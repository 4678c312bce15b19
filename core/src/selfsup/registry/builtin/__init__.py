"""The core's own plugin: what it brings is registered by the same hooks as everyone's."""

from __future__ import annotations

from selfsup.registry.builtin.commands import SPECS as COMMANDS
from selfsup.registry.builtin.evaluators import SPECS as EVALUATORS
from selfsup.registry.builtin.families import SPECS as FAMILIES
from selfsup.registry.builtin.loggers import SPECS as LOGGERS
from selfsup.registry.builtin.objectives import SPECS as OBJECTIVES
from selfsup.registry.hookspecs import hookimpl
from selfsup.registry.specs import CommandSpec, EvaluatorSpec, LoggerSpec, ObjectiveSpec

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

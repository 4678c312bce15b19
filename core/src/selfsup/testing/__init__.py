"""The conformance kit that plugin authors run, and a toy modality to test against.

Names are imported on first use, so that the toy modality's entry module stays as light as any plugin's.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup.testing.kit.backbone_checks import BACKBONE_CHECKS, BackboneCase
    from selfsup.testing.kit.cases import TaskCase, load_mock_rows
    from selfsup.testing.kit.conformance import (
        TASK_CHECKS,
        CheckResult,
        backbone_cases,
        check_plugin,
        leak_cases,
        parametrize_backbones,
        parametrize_leaks,
        parametrize_specs,
        parametrize_tasks,
        task_cases,
    )
    from selfsup.testing.kit.distributed_checks import check_accumulated_chunks, check_two_processes
    from selfsup.testing.kit.leak_checks import LEAK_CHECKS, LeakCase
    from selfsup.testing.kit.parts_checks import PART_BACKBONE_CHECKS, PART_TASK_CHECKS
    from selfsup.testing.kit.spec_checks import check_entry_module_is_light, check_spec

__all__ = [
    "BACKBONE_CHECKS",
    "LEAK_CHECKS",
    "PART_BACKBONE_CHECKS",
    "PART_TASK_CHECKS",
    "TASK_CHECKS",
    "BackboneCase",
    "CheckResult",
    "LeakCase",
    "TaskCase",
    "backbone_cases",
    "check_accumulated_chunks",
    "check_entry_module_is_light",
    "check_plugin",
    "check_spec",
    "check_two_processes",
    "leak_cases",
    "load_mock_rows",
    "parametrize_backbones",
    "parametrize_leaks",
    "parametrize_specs",
    "parametrize_tasks",
    "task_cases",
]

_HOMES = {
    "BACKBONE_CHECKS": "backbone_checks",
    "BackboneCase": "backbone_checks",
    "LEAK_CHECKS": "leak_checks",
    "PART_BACKBONE_CHECKS": "parts_checks",
    "PART_TASK_CHECKS": "parts_checks",
    "TASK_CHECKS": "conformance",
    "CheckResult": "conformance",
    "LeakCase": "leak_checks",
    "TaskCase": "cases",
    "check_accumulated_chunks": "distributed_checks",
    "check_entry_module_is_light": "spec_checks",
    "check_plugin": "conformance",
    "check_spec": "spec_checks",
    "check_two_processes": "distributed_checks",
    "backbone_cases": "conformance",
    "parametrize_backbones": "conformance",
    "leak_cases": "conformance",
    "load_mock_rows": "cases",
    "parametrize_leaks": "conformance",
    "parametrize_specs": "conformance",
    "parametrize_tasks": "conformance",
    "task_cases": "conformance",
}
"""Public name to the module of the kit that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.kit.{_HOMES[name]}"), name)

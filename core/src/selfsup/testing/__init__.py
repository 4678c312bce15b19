"""The conformance kit for plugin authors, and a toy modality to test against.

Names are imported on first use, so that the toy modality's entry module stays as light as any plugin's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfsup.public_names import lazy_names

if TYPE_CHECKING:
    from selfsup.testing.kit.backbone_checks import BACKBONE_CHECKS, BackboneCase
    from selfsup.testing.kit.cases import TaskCase, load_mock_rows
    from selfsup.testing.kit.conformance import (
        TASK_CHECKS,
        CheckResult,
        backbone_cases,
        check_plugin,
        leak_cases,
        task_cases,
    )
    from selfsup.testing.kit.distributed_checks import (
        check_accumulated_chunks,
        check_training_on_devices,
        check_two_processes,
    )
    from selfsup.testing.kit.leak_checks import LEAK_CHECKS, LeakCase
    from selfsup.testing.kit.parametrize import (
        parametrize_backbones,
        parametrize_leaks,
        parametrize_specs,
        parametrize_tasks,
    )
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
    "check_training_on_devices",
    "check_two_processes",
    "leak_cases",
    "load_mock_rows",
    "parametrize_backbones",
    "parametrize_leaks",
    "parametrize_specs",
    "parametrize_tasks",
    "task_cases",
]

__getattr__ = lazy_names(
    __name__,
    {
        "selfsup.testing.kit.backbone_checks": ["BACKBONE_CHECKS", "BackboneCase"],
        "selfsup.testing.kit.cases": ["TaskCase", "load_mock_rows"],
        "selfsup.testing.kit.conformance": [
            "CheckResult",
            "TASK_CHECKS",
            "backbone_cases",
            "check_plugin",
            "leak_cases",
            "task_cases",
        ],
        "selfsup.testing.kit.distributed_checks": [
            "check_accumulated_chunks",
            "check_training_on_devices",
            "check_two_processes",
        ],
        "selfsup.testing.kit.leak_checks": ["LEAK_CHECKS", "LeakCase"],
        "selfsup.testing.kit.parametrize": [
            "parametrize_backbones",
            "parametrize_leaks",
            "parametrize_specs",
            "parametrize_tasks",
        ],
        "selfsup.testing.kit.parts_checks": ["PART_BACKBONE_CHECKS", "PART_TASK_CHECKS"],
        "selfsup.testing.kit.spec_checks": ["check_entry_module_is_light", "check_spec"],
    },
)

"""Run every check on everything that a distribution registers, and report the results."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from selfsup.errors import PluginError
from selfsup.registry import registry, specs
from selfsup.testing.kit.backbone_checks import BACKBONE_CHECKS, BackboneCase
from selfsup.testing.kit.cases import TaskCase, check_device
from selfsup.testing.kit.distributed_checks import check_accumulated_chunks
from selfsup.testing.kit.leak_checks import LEAK_CHECKS, LeakCase, noise_kinds
from selfsup.testing.kit.parts_checks import PART_BACKBONE_CHECKS, PART_TASK_CHECKS, joins_parts
from selfsup.testing.kit.spec_checks import check_entry_module_is_light, check_spec
from selfsup.testing.kit.task_checks import (
    check_determinism,
    check_fake_cuda,
    check_global_random_state,
    check_gradients,
    check_half_precision,
    check_labels_unseen,
    check_learning,
    check_loss,
    check_state_round_trip,
)

Check = Callable[[TaskCase], None]
EXPECTED_FAILURES = "SELFSUP_EXPECTED_FAILURES"
"""Name in a plugin's entry module of what it expects to fail: ``{("vision/x", "check_learning"): "why"}``."""

TASK_CHECKS: tuple[Check, ...] = (
    check_loss,
    check_gradients,
    check_determinism,
    check_global_random_state,
    check_fake_cuda,
    check_half_precision,
    check_labels_unseen,
    check_accumulated_chunks,
    check_state_round_trip,
    check_learning,
)
"""Every check of a task, in the order from cheap to dear."""


def task_checks(case: TaskCase) -> tuple[Check, ...]:
    """The checks of a task: those of every task, and where rows join several parts those of such tasks."""
    return (*TASK_CHECKS, *(PART_TASK_CHECKS if joins_parts(case.spec.modality) else ()))


def backbone_checks(case: BackboneCase) -> tuple[Callable[[BackboneCase], None], ...]:
    """The checks of a backbone: those of every backbone, and where rows join several parts those of such backbones."""
    return (*BACKBONE_CHECKS, *(PART_BACKBONE_CHECKS if joins_parts(case.modality) else ()))


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check on one registered object."""

    id: str
    check: str
    error: str
    """Why it failed; empty where it passed."""
    expected: str = ""
    """Why the plugin expects it to fail; empty where it is expected to pass."""

    @property
    def failed(self) -> bool:
        """Whether the outcome is another than expected: a failure without a reason, or a reason and no failure."""
        return bool(self.error) != bool(self.expected)

    @property
    def message(self) -> str:
        """What is wrong, after the reason why that is expected."""
        if self.expected and not self.error:
            return f"passes, though it is expected to fail ({self.expected}); remove it from {EXPECTED_FAILURES}."
        return f"{self.expected} ({self.error})" if self.expected else self.error


def task_cases(modality: str = "", provider: str = "") -> list[TaskCase]:
    """Every registered task, composed ones and the supervised reference included, that has something to train.

    Args:
        modality: only this one's.
        provider: only those that this distribution brings, those composed of its modality or objective among them.
    """
    house = registry()
    cases = []
    for spec in house.tasks.values():
        if spec.id.endswith("/random-init") or (modality and spec.modality != modality):
            continue
        if provider and house.provider(spec)[0] != provider:
            continue
        cases.append(TaskCase(spec))
    return cases


def leak_cases(modality: str = "", provider: str = "") -> list[LeakCase]:
    """Every transformation task on each kind of its modality's noise rows; arguments as in :func:`task_cases`.

    A modality that registers none has one case with no name, which fails.
    """
    transformations = [case.spec for case in task_cases(modality, provider) if case.spec.family == "transformation"]
    return [LeakCase(spec, noise=noise) for spec in transformations for noise in (noise_kinds(spec.modality) or [""])]


def all_specs(provider: str = "") -> list[specs.Spec]:
    """Every registered spec, of one distribution or of all."""
    house = registry()
    kinds = (
        house.modalities, house.tasks, house.objectives, house.backbones, house.evaluators, house.datasets, house.benchmarks,
        house.commands, house.loggers, house.executors,
    )  # fmt: skip
    found: list[specs.Spec] = [spec for kind in kinds for spec in kind.values()]
    return [spec for spec in found if not provider or house.provider(spec)[0] == provider]


def backbone_cases(
    modality: str = "", provider: str = "", members: Mapping[str, Mapping[str, Any]] | None = None
) -> list[BackboneCase]:
    """Every registered backbone of its own name, and members of families.

    Args:
        modality: only this one's.
        provider: only those that this distribution brings.
        members: id of a member of a family (``transformers/bert`` of ``transformers/*``) to its options, small ones.
    """
    house = registry()
    found = [
        BackboneCase(spec.id, spec.modality)
        for spec in house.backbones.values()
        if not spec.id.endswith("/*")
        and (not modality or spec.modality == modality)
        and (not provider or house.provider(spec)[0] == provider)
    ]
    for id_, options in (members or {}).items():
        found.append(BackboneCase(id_, house.get("backbone", id_).modality, options))
    return found


def check_plugin(distribution: str, entry_module: str, device: str = "cpu") -> list[CheckResult]:
    """Run every check on what a distribution registers; the results in the order they were made.

    A check that cannot be met yet is named, with the reason, in the entry module: ``SELFSUP_EXPECTED_FAILURES = {("vision/x",
    "check_learning"): "its queue is longer than the run"}``, by the id that the results have. It is run all the same, and a
    reason for what passes, or for what is not run, is a failure.

    Args:
        distribution: name of the installed distribution.
        entry_module: the module that its entry point names.
        device: where tasks are checked (``cpu`` or ``cuda``).

    Raises:
        ConfigError: the device is not there.
        PluginError: a reason is empty, or the mapping is malformed.
    """
    check_device(device)
    expected = expected_failures(entry_module)
    cases = [case.on(device) for case in task_cases(provider=distribution)]
    todo: list[tuple[str, Callable[..., None], object]] = [("plugin", check_entry_module_is_light, entry_module)]
    todo += [(spec.id, check_spec, spec) for spec in all_specs(distribution)]
    todo += [(case.id, check, case) for case in backbone_cases(provider=distribution) for check in backbone_checks(case)]
    todo += [(case.spec.id, check, case) for case in cases for check in task_checks(case)]
    todo += [(str(case), check, case) for case in leak_cases(provider=distribution) for check in LEAK_CHECKS]
    results = [_run(id_, check, argument, expected.pop((id_, check.__name__), "")) for id_, check, argument in todo]
    unknown = "no such check is run; remove it, or correct its names"
    return [*results, *(CheckResult(id_, check, f"{EXPECTED_FAILURES}: {unknown}") for id_, check in expected)]


def expected_failures(entry_module: str) -> dict[tuple[str, str], str]:
    """What a plugin expects to fail: (id, name of the check) to the reason.

    Raises:
        PluginError: a reason is empty, or the mapping is malformed.
    """
    found: object = getattr(importlib.import_module(entry_module), EXPECTED_FAILURES, {})
    if not isinstance(found, Mapping):
        raise PluginError(f"{entry_module}.{EXPECTED_FAILURES} is a {type(found).__name__}, not a mapping.")
    for key, reason in found.items():
        pair = isinstance(key, tuple) and len(key) == 2 and all(isinstance(name, str) for name in key)
        if not (pair and isinstance(reason, str) and reason.strip()):
            raise PluginError(
                f"{entry_module}.{EXPECTED_FAILURES} has {key!r}: {reason!r}; an entry is (id, name of the check): reason."
            )
    return dict(found)


def _run(id_: str, check: Callable[..., None], argument: object, expected: str) -> CheckResult:
    try:
        check(argument)
    except Exception as error:
        return CheckResult(id_, check.__name__, f"{type(error).__name__}: {error}", expected)
    return CheckResult(id_, check.__name__, "", expected)

"""Make pytest parameters of the checks and all that is registered.

In a plugin's own tests::

    from selfsup.testing import parametrize_specs, parametrize_tasks

    @parametrize_tasks(modality="vision")
    def test_task(case, check):
        check(case)

    @parametrize_backbones(modality="vision")
    def test_backbone(case, check):
        check(case)

A check that a task cannot meet is not left out but expected to fail, with a reason, and the test fails once it passes::

    @parametrize_tasks(modality="vision", expected_failures={("vision/x", "check_learning"): "why"})

For a modality whose rows join several parts the same calls also run :data:`~selfsup.testing.PART_TASK_CHECKS` and
:data:`~selfsup.testing.PART_BACKBONE_CHECKS`. Tasks that predict a transformation must not do better than chance on noise::

    @parametrize_leaks(modality="vision")
    def test_leak(case, check):
        check(case)

With several modalities there are many tasks with the same code: ``parametrize_tasks(every_pair=False)`` then leaves out checks
that cannot find anything new. :data:`FOUND_IN_TWO_TASKS` and :data:`FOUND_IN_TWO_TASKS_IF_POOLED` say which and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfsup.registry import registry, specs
from selfsup.testing.kit.cases import TaskCase, all_checks_needed
from selfsup.testing.kit.conformance import (
    Check,
    all_specs,
    backbone_cases,
    backbone_checks,
    leak_cases,
    task_cases,
    task_checks,
)
from selfsup.testing.kit.distributed_checks import check_accumulated_chunks
from selfsup.testing.kit.leak_checks import LEAK_CHECKS
from selfsup.testing.kit.parts_checks import joins_parts
from selfsup.testing.kit.task_checks import (
    check_determinism,
    check_fake_cuda,
    check_global_random_state,
    check_half_precision,
    check_labels_unseen,
    check_learning,
    check_state_round_trip,
)

FOUND_IN_TWO_TASKS: tuple[Check, ...] = (
    check_determinism,
    check_global_random_state,
    check_labels_unseen,
    check_state_round_trip,
    check_learning,
)
"""Checks whose faults are those of one piece of code: the objective, the backbone, the views or the task family.

Such a fault shows in whatever task the code is a part of. So a task needs these checks only if it has code of its own or is one
of two tasks of its objective (:func:`~selfsup.testing.kit.cases.all_checks_needed`). Wrong shapes and parameters without a
gradient come from two pieces that do not fit together: ``check_loss`` and ``check_gradients`` run on every task."""

FOUND_IN_TWO_TASKS_IF_POOLED: tuple[Check, ...] = (check_fake_cuda, check_half_precision, check_accumulated_chunks)
"""Checks whose faults may come from a pair of objective and modality: padding, kinds of targets, token lattices, absent parts.

An objective that compares pooled embeddings sees [B, P] tensors in full precision and nothing else of the modality. Its tasks
need these checks as they need :data:`FOUND_IN_TWO_TASKS`; all other tasks need them always."""


def parametrize_tasks(
    *,
    modality: str = "",
    provider: str = "",
    expected_failures: Mapping[tuple[str, str], str] | None = None,
    every_pair: bool = True,
) -> Any:
    """A pytest decorator for ``test(case, check)`` over the checks of all tasks.

    Args:
        modality: only tasks of this one.
        provider: only tasks that this distribution brings.
        expected_failures: (id of the task, name of the check) to the reason.
        every_pair: whether each check runs on each task; False: only where it can find something new
            (:data:`FOUND_IN_TWO_TASKS`).
    """
    cases = task_cases(modality, provider)
    full = {case.spec.id for case in cases} if every_pair else all_checks_needed(case.spec for case in cases)

    def checks(case: TaskCase) -> list[Check]:
        left_out = () if case.spec.id in full else FOUND_IN_TWO_TASKS
        if left_out and _is_pooled(case.spec):
            left_out += FOUND_IN_TWO_TASKS_IF_POOLED
        return [check for check in task_checks(case) if check not in left_out]

    return _parametrize(cases, checks, expected_failures)


def _is_pooled(spec: specs.TaskSpec) -> bool:
    """Whether the task compares pooled embeddings of rows that lack no part."""
    compares_tokens = spec.objective and registry().get("objective", spec.objective).compares_tokens
    return spec.family == "joint-embedding" and not compares_tokens and not joins_parts(spec.modality)


def parametrize_leaks(
    *, modality: str = "", provider: str = "", expected_failures: Mapping[tuple[str, str], str] | None = None
) -> Any:
    """A pytest decorator for ``test(case, check)`` over both leak checks of all transformation tasks, on each kind of noise.

    ``expected_failures`` goes by the case's name (``"video/frame-order-8 frames"``) and the check's.
    """
    return _parametrize(leak_cases(modality, provider), lambda _: LEAK_CHECKS, expected_failures)


def _parametrize(
    cases: Sequence[TaskCase],
    checks: Callable[[Any], Sequence[Callable[..., None]]],
    failures: Mapping[tuple[str, str], str] | None,
) -> Any:
    import pytest

    expected = dict(failures or {})
    params = []
    for case in cases:
        for check in checks(case):
            reason = expected.pop((str(case), check.__name__), "")
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            params.append(pytest.param(case, check, id=f"{case}-{check.__name__}", marks=marks))
    if expected:
        raise ValueError(f"expected_failures names checks that are not run: {sorted(expected)}")
    return pytest.mark.parametrize(("case", "check"), params)


def parametrize_backbones(
    *, modality: str = "", provider: str = "", members: Mapping[str, Mapping[str, Any]] | None = None
) -> Any:
    """A pytest decorator for ``test(case, check)`` over all checks of all backbones.

    For the arguments see :func:`backbone_cases`. Each family of backbones needs a member.
    """
    import pytest

    house = registry()
    found = {id_.split("/")[0] for id_ in members or {}}
    for spec in house.backbones.values():
        chosen = (not modality or spec.modality == modality) and (not provider or house.provider(spec)[0] == provider)
        if chosen and spec.id.endswith("/*") and spec.id.removesuffix("/*") not in found:
            raise ValueError(f"no member of the family of backbones {spec.id} is named: members={{'{spec.id[:-1]}...': {{}}}}")
    params = [
        pytest.param(case, check, id=f"{case}-{check.__name__}")
        for case in backbone_cases(modality, provider, members)
        for check in backbone_checks(case)
    ]
    return pytest.mark.parametrize(("case", "check"), params)


def parametrize_specs(*, provider: str = "") -> Any:
    """A pytest decorator for ``test(spec)`` over all registered specs."""
    import pytest

    return pytest.mark.parametrize(
        "spec", [pytest.param(spec, id=f"{type(spec).__name__}-{spec.id}") for spec in all_specs(provider)]
    )

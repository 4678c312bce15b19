"""Everything that is registered, composed tasks included, meets the conformance kit."""

import pytest

from selfsup.testing import (
    check_entry_module_is_light,
    check_spec,
    check_two_processes,
    parametrize_leaks,
    parametrize_specs,
    parametrize_tasks,
    task_cases,
)

ENTRY_MODULES = (
    "selfsup.registry.builtin",
    "selfsup_audio.plugin",
    "selfsup_multimodal.plugin",
    "selfsup_tabular.plugin",
    "selfsup_text.plugin",
    "selfsup_video.plugin",
    "selfsup_vision.plugin",
    "selfsup_bench.plugin",
)


def test_entry_modules_are_light():
    for module in ENTRY_MODULES:
        check_entry_module_is_light(module)


@parametrize_specs()
def test_spec(spec):
    check_spec(spec)


@parametrize_tasks()
def test_task(case, check):
    check(case)


@parametrize_leaks()
def test_leak(case, check):
    check(case)


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one():
    assert check_two_processes(task_cases()) == {}

"""Everything that is registered, composed tasks included, meets the conformance kit."""

import pytest

from selfsup.registry import registry
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


def test_each_modality_has_every_objective_on_embeddings_and_tokens_and_says_what_it_is():
    house = registry()
    assert sorted(house.modalities) == ["audio", "multimodal", "tabular", "text", "video", "vision"]
    for modality in house.modalities:
        for name, objective in house.objectives.items():
            if objective.family in ("joint-embedding", "masked-modeling", "latent-prediction"):
                spec = house.get("task", f"{modality}/{name}")
                assert spec.family == objective.family
                assert spec.paper
                assert spec.summary


def in_full():
    """Ids of the tasks that all checks run on: those that have a recipe, and each objective composed with two modalities.

    A composed task has code of its objective and of its modality, and none of its own.
    """
    tasks = registry().tasks.values()
    found = {task.id for task in tasks if not task.composed or not task.objective}
    for number, objective in enumerate(sorted({task.objective for task in tasks if task.composed} - {""})):
        composed = sorted(task.id for task in tasks if task.composed and task.objective == objective)
        found |= {composed[number % len(composed)], composed[(number + len(composed) // 2) % len(composed)]}
    return found


OF_ONE_PART = (
    "check_determinism", "check_global_random_state", "check_labels_unseen", "check_state_round_trip", "check_learning",
)  # fmt: skip
"""What an objective or a modality can get wrong by itself. Shapes, types, devices and absent parts may fail in one pair."""
IN_FULL = in_full()
TASK_CHECKS = parametrize_tasks().args[1]


@pytest.mark.parametrize(
    ("case", "check"),
    [each for each in TASK_CHECKS if each.values[0].spec.id in IN_FULL or each.values[1].__name__ not in OF_ONE_PART],
)
def test_task(case, check):
    check(case)


def test_each_check_runs_on_each_objective_and_modality():
    def those(checks):
        return {(check.__name__, part) for case, check in checks for part in (case.spec.objective, case.spec.modality)}

    run = [each.values for each in test_task.pytestmark[0].args[1]]
    assert those(run) == those(each.values for each in TASK_CHECKS)
    assert len(run) < len(TASK_CHECKS)


@parametrize_leaks()
def test_leak(case, check):
    check(case)


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one():
    assert check_two_processes(task_cases()) == {}


def test_specs_are_hashable():
    assert len(set(registry().tasks.values())) == len(registry().tasks)

"""Everything that is registered, composed tasks included, meets the conformance kit."""

import pytest

from selfsup.registry import registry
from selfsup.testing import (
    check_entry_module_is_light,
    check_spec,
    check_training_on_devices,
    check_two_processes,
    parametrize_leaks,
    parametrize_specs,
    parametrize_tasks,
    task_cases,
)
from selfsup.testing.kit.task_checks import check_fake_cuda

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


@parametrize_tasks(every_pair=False)
def test_task(case, check):
    check(case)


def test_each_check_runs_on_each_objective_and_modality():
    def those(parameters):
        return {(check.__name__, part) for case, check in parameters for part in (case.spec.objective, case.spec.modality)}

    run, all_pairs = ([each.values for each in made.args[1]] for made in (test_task.pytestmark[0], parametrize_tasks()))
    assert those(run) == those(all_pairs)
    assert len(run) < 0.8 * len(all_pairs)
    with_local_views = ("dino", "lejepa", "swav")
    local = {case.spec.modality for case, check in run if check is check_fake_cuda and case.spec.objective in with_local_views}
    assert local >= {"audio", "tabular", "text", "video", "vision"}


@parametrize_leaks()
def test_leak(case, check):
    check(case)


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one():
    assert check_two_processes(task_cases()) == {}


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("modality", sorted(registry().modalities))
def test_all_tasks_train_as_in_one_process(modality, strategy, processes):
    assert check_training_on_devices(task_cases(modality), processes=processes, strategy=strategy) == {}


def test_specs_are_hashable():
    assert len(set(registry().tasks.values())) == len(registry().tasks)

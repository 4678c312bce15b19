"""Each check of a task turns red for a fault that is planted for it, and `plugins check` knows failures that are expected."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded, mean_over_tokens
from selfsup.errors import ConfigError, PluginError
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.byol import BYOL
from selfsup.objectives.dino import DINO
from selfsup.objectives.simsiam import SimSiam
from selfsup.objectives.vicreg import VICReg
from selfsup.registry import registry
from selfsup.tasks import PretextTask, StepOutput
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.testing import (
    BACKBONE_CHECKS,
    TASK_CHECKS,
    BackboneCase,
    TaskCase,
    check_entry_module_is_light,
    check_plugin,
    check_spec,
)
from selfsup.testing.kit import backbone_checks, conformance, task_checks
from selfsup.testing.kit.backbone_checks import check_padding
from selfsup.testing.kit.cases import check_device, shortened
from selfsup.testing.kit.objective_checks import check_collapse
from selfsup.testing.kit.task_checks import check_gradients, first_step
from selfsup.testing.toy.sequences.installed import installed
from selfsup.types import Batch

NOISE = torch.Generator().manual_seed(0)


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("toy")):
        yield


class Faulty(PretextTask):
    """Autoencoding of the mean embedding of a few numbers, with one fault."""

    def __init__(self, task: PretextTask, fault: str) -> None:
        super().__init__()
        self.backbone, self.fault = task.backbone, fault
        self.head = nn.Linear(task.backbone.pooled_dim, 4)
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=fault == "check_gradients")
        self.steps = 0
        self.couples_samples = False

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        out = self.head(self.backbone(batch).pooled)
        wanted = torch.stack([(batch["sequence"] % k == 0).float().mean(dim=1) for k in range(2, 6)], dim=1)
        wanted = wanted + 0.01 * torch.rand(wanted.shape, generator=generator, device=wanted.device)
        loss = (out.float() - wanted).square().mean()
        corrupted: dict[str, Callable[[Tensor], Tensor]] = {
            "check_loss": lambda loss: loss.unsqueeze(0),
            "check_determinism": lambda loss: loss + torch.rand((), generator=NOISE, device=loss.device),
            "check_global_random_state": lambda loss: loss + 0 * torch.rand(()),
            "check_fake_cuda": lambda loss: loss + 0 * loss.detach().cpu(),
            "check_half_precision": lambda loss: loss.to(out.dtype),
            "check_labels_unseen": lambda loss: loss + batch["label"].float().mean() if "label" in batch else loss,
            "check_state_round_trip": lambda loss: loss * (1 + self.steps),
            "check_learning": lambda loss: 2 * loss.detach() - loss,
            "check_accumulated_chunks": lambda loss: loss * len(out),
        }
        return StepOutput(corrupted.get(self.fault, lambda loss: loss)(loss), {})

    def after_step(self, progress: float) -> None:
        self.steps += self.fault == "check_state_round_trip"


@dataclass(frozen=True)
class Planted(TaskCase):
    fault: str = ""

    def build(self, seed: int = 0) -> PretextTask:
        task = super().build(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Faulty(task, self.fault)


def planted(fault: str) -> Planted:
    return Planted(registry().get("task", "sequence/simclr"), rows=6, fault=fault)


@pytest.mark.parametrize("check", TASK_CHECKS, ids=lambda check: check.__name__)
def test_each_check_of_a_task_turns_red(check: Callable[[TaskCase], None]) -> None:
    check(planted(""))
    with pytest.raises((AssertionError, RuntimeError)):
        check(planted(check.__name__))


def test_the_checks_of_a_case_share_one_build_and_one_training(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, int] = {"build": 0, "train_step": 0}

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(Planted, "build", counted("build", Planted.build))
    monkeypatch.setattr(task_checks, "train_step", counted("train_step", task_checks.train_step))
    case = planted("none")
    for check in TASK_CHECKS:
        check(case)
    assert calls == {"build": 3, "train_step": 12}  # built again to compare two builds, and to load a state


def test_a_shared_task_or_batch_is_not_what_a_check_changed() -> None:
    case = planted("")
    task, batch = case.task(), case.batch()
    with torch.no_grad():
        next(task.parameters()).add_(1)
    batch["sequence"].zero_()
    assert not torch.equal(next(task.parameters()), next(case.task().parameters()))
    assert case.batch()["sequence"].any()


# Collapse


class NoTarget(SimSiam):
    """Compares two predictions with each other, so that gradient flows through both."""

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        return super().forward(replace(embeddings, target=embeddings.online))


class NoPredictor(BYOL):
    def build_predictor(self) -> None:  # type: ignore[override]
        return None


class NoCentre(DINO):
    def _move_center(self, teacher: list[Tensor], valid: Tensor | None) -> None:
        return None


@pytest.mark.parametrize(
    ("objective", "options", "fault"),
    [
        (NoTarget, {}, "the loss does not depend on the target"),
        (NoPredictor, {}, "training collapses"),
        (NoCentre, {}, "training collapses"),
        (VICReg, {"variance_weight": 0.0}, "training collapses"),
    ],
)
def test_an_objective_that_collapses_is_seen(
    objective: type[JointEmbeddingObjective], options: dict[str, Any], fault: str
) -> None:
    healthy = objective if options else objective.__mro__[1]
    check_collapse(ObjectiveRecipe(objective.Config, healthy))
    with pytest.raises(AssertionError, match=fault):
        check_collapse(ObjectiveRecipe(objective.Config, objective), options)


def test_a_target_with_a_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    case = TaskCase(registry().get("task", "sequence/simsiam"), rows=6)
    check_gradients(case)
    first_step.cache_clear()
    monkeypatch.setattr(JointEmbedding, "_target", lambda self, views, projections, generator: projections)
    with pytest.raises(AssertionError, match="a gradient flows through the target's embeddings"):
        check_gradients(case)
    first_step.cache_clear()


def test_every_check_of_a_backbone_has_a_planted_fault() -> None:
    """They are in ``test_backbone_checks.py``."""
    assert [check.__name__ for check in BACKBONE_CHECKS] == ["check_padding", "check_tokenizer"]


# Batches with two ragged keys


class Two:
    """A processor of batches with two ragged keys, as far as the check asks for it."""

    ragged_keys = ("ids", "times")
    padded_key = ""

    def info(self) -> dict[str, Any]:
        return {}

    def __call__(self, rows: list[tuple[int, int]]) -> Batch:
        widths = [max(row[place] for row in rows) for place in (0, 1)]
        batch = {"fixed": torch.ones(len(rows), 4)}
        for place, (key, mark) in enumerate((("ids", "padding"), ("times", "times_padding"))):
            lengths = torch.tensor([row[place] for row in rows]).unsqueeze(1)
            padding = torch.arange(widths[place]) >= lengths
            batch |= {key: (torch.arange(1.0, widths[place] + 1) * lengths).masked_fill(padding, 0.0), mark: padding}
        return batch


class Means(Backbone):
    modality, embed_dim = "two", 3

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, batch: Batch) -> Encoded:
        assert batch["fixed"].shape[1] == 4, "a key that is not ragged was padded"
        ids = mean_over_tokens(batch["ids"].unsqueeze(2), batch["padding"])
        times = batch["times"].unsqueeze(2)
        read = times.mean(dim=1) if self.fault else mean_over_tokens(times, batch["times_padding"])
        return Encoded(torch.cat([ids, read, batch["fixed"].mean(dim=1, keepdim=True)], dim=1))


@dataclass(frozen=True)
class TwoCase(BackboneCase):
    fault: str = ""

    def build(self, seed: int = 0) -> Backbone:
        return Means(self.fault)


def two_rows(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, int]]) -> None:
    monkeypatch.setattr(backbone_checks, "fitted_processor", lambda modality: Two())
    monkeypatch.setattr(backbone_checks, "load_mock_rows", lambda modality, n: rows)


def test_each_of_two_ragged_keys_is_padded_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    two_rows(monkeypatch, [(4, 9), (7, 5), (4, 4)])
    check_padding(TwoCase("two", "two"))
    with pytest.raises(AssertionError, match="padding changes the embedding"):
        check_padding(TwoCase("two", "two", fault="padding"))


def test_the_second_ragged_key_alone_gives_its_fault_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of real rows it is not seen, where they are of one length under that key: padding of its own shows it."""
    two_rows(monkeypatch, [(4, 5), (7, 5), (4, 5)])
    monkeypatch.setattr(backbone_checks, "_check_uneven", lambda batch, marks: None)
    check_padding(TwoCase("two", "two"))
    with pytest.raises(AssertionError, match=r"filled up to .* \(times_padding\)"):
        check_padding(TwoCase("two", "two", fault="padding"))


def test_mock_rows_of_one_length_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    two_rows(monkeypatch, [(4, 5), (7, 5)])
    with pytest.raises(AssertionError, match=r"all mock rows have 5 steps: give them uneven lengths \(times_padding\)"):
        check_padding(TwoCase("two", "two"))


def test_a_batch_of_uneven_lengths_is_shortened_under_each_mark() -> None:
    batch = Two()([(9, 30), (12, 15)])
    short = shortened(batch, torch.tensor([True, False]))
    assert (~short["padding"]).sum(dim=1).tolist() == [9, 4]
    assert (~short["times_padding"]).sum(dim=1).tolist() == [30, 5]
    assert torch.equal(short["fixed"], batch["fixed"])


def test_a_batch_without_tokens_stays_as_it_is() -> None:
    batch = {"values": torch.randn(4, 6)}
    assert torch.equal(shortened(batch, torch.zeros(4, dtype=torch.bool))["values"], batch["values"])


# Expected failures


def entry_module(monkeypatch: pytest.MonkeyPatch, failures: Any) -> str:
    module = types.ModuleType("planted_entry")
    module.SELFSUP_EXPECTED_FAILURES = failures  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "planted_entry", module)
    return "planted_entry"


@pytest.fixture
def one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin registers a single task whose loss is of the wrong shape."""
    for name in ("all_specs", "backbone_cases", "leak_cases"):
        monkeypatch.setattr(conformance, name, lambda *_, **__: [])
    monkeypatch.setattr(conformance, "check_entry_module_is_light", lambda module: None)
    monkeypatch.setattr(conformance, "task_cases", lambda **_: [planted("check_loss")])
    monkeypatch.setattr(conformance, "task_checks", lambda case: TASK_CHECKS[:1])


@pytest.mark.usefixtures("one_case")
def test_expected_failures_have_reasons_and_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = check_plugin("selfsup-planted", entry_module(monkeypatch, {}))
    assert [result.failed for result in plain] == [False, True]
    known = check_plugin("selfsup-planted", entry_module(monkeypatch, {("sequence/simclr", "check_loss"): "a vector"}))
    assert [(result.failed, result.expected) for result in known] == [(False, ""), (False, "a vector")]
    assert known[1].error
    assert known[1].message == f"a vector ({known[1].error})"


@pytest.mark.usefixtures("one_case")
def test_an_expected_failure_that_passes_or_is_not_run_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "task_cases", lambda **_: [planted("")])
    failures = {("sequence/simclr", "check_loss"): "a vector", ("sequence/byol", "check_loss"): "gone"}
    results = check_plugin("selfsup-planted", entry_module(monkeypatch, failures))
    assert [result.failed for result in results] == [False, True, True]
    assert "passes, though it is expected to fail (a vector)" in results[1].message
    assert "no such check is run" in results[2].message


@pytest.mark.parametrize("failures", [["check_loss"], {"check_loss": "why"}, {("a", "b"): " "}, {("a", "b"): 1}])
def test_a_malformed_list_of_expected_failures_is_refused(failures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match=r"planted_entry\.SELFSUP_EXPECTED_FAILURES"):
        conformance.expected_failures(entry_module(monkeypatch, failures))


@pytest.mark.usefixtures("one_case")
def test_the_command_shows_expected_failures_with_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfsup.cli.plugins import command
    from selfsup.registry import get_plugin_manager

    name = entry_module(monkeypatch, {("sequence/simclr", "check_loss"): "a vector"})
    record = replace(get_plugin_manager().records[0], name="planted", module=name)
    monkeypatch.setattr(get_plugin_manager(), "records", [record])
    done = CliRunner().invoke(command, ["check", "planted"])
    assert done.exit_code == 0
    assert "EXPECTED sequence/simclr check_loss: a vector (" in done.output
    assert "1 checks passed, 0 failed, 1 failed as expected." in done.output
    printed = json.loads(CliRunner().invoke(command, ["check", "planted", "--json"]).output)
    assert printed["checks"][1]["expected"] == "a vector"
    assert [each["failed"] for each in printed["checks"]] == [False, False]


# Devices


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch sees no CUDA device here"):
        check_plugin("selfsup-planted", "planted_entry", "cuda")
    with pytest.raises(ConfigError, match="run on cpu or cuda, not on 'tpu'"):
        check_device("tpu")
    check_device("cpu")


def test_a_case_on_another_device_has_its_task_batch_and_draws_there() -> None:
    """The device without data takes a GPU's place."""
    case = TaskCase(registry().get("task", "sequence/simclr")).on("meta")
    assert {parameter.device.type for parameter in case.build().parameters()} == {"meta"}
    assert {value.device.type for value in case.batch().values()} == {"meta"}


# Specs


def test_an_entry_module_that_imports_torch_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_entry.py").write_text("import torch\n")
    (tmp_path / "broken_entry.py").write_text("import no_such_module\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(AssertionError, match="importing heavy_entry imports torch"):
        check_entry_module_is_light("heavy_entry")
    with pytest.raises(AssertionError, match=r"broken_entry does not import: .*no_such_module"):
        check_entry_module_is_light("broken_entry")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"summary": "x" * 121}, "the summary has 121 characters"),
        ({"paper": ""}, "no paper is named"),
        ({"target": "selfsup.tasks:MAE_FAMILY"}, "the target is TaskFamilyRecipe, not ObjectiveRecipe"),
        ({"target": "selfsup.tasks:DENOISING_FAMILY", "family": "autoregressive"}, "not TaskFamilyRecipe"),
    ],
)
def test_each_fault_of_a_spec_is_seen(changes: dict[str, Any], fault: str) -> None:
    spec = registry().get("objective", "simclr")
    check_spec(spec)
    with pytest.raises(AssertionError, match=fault):
        check_spec(replace(spec, **changes))

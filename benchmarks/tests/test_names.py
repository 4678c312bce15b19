"""Names for people: from the specs into the plan, so that a report needs no registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from selfsup.registry import Registry, registry
from selfsup.registry.specs import BenchmarkSpec, ModalitySpec, ObjectiveSpec, TaskSpec
from selfsup_bench.cells.lines import Line, lines
from selfsup_bench.leaderboard.build import build
from selfsup_bench.planning.make_plan import named
from selfsup_bench.planning.plan import Plan


def _line(task: str, *references: str) -> Line:
    spec = BenchmarkSpec(
        id="b", summary="x", task=task, dataset="d", suites=("s",), steps=1, references=references, evaluators=("linear",),
        headline="linear.accuracy",
    )  # fmt: skip
    return lines([spec], (0,), {"b": (task.partition("/")[0], "net")})[0]


@pytest.mark.parametrize(
    ("task", "name", "family", "raw"),
    [
        ("vision/simclr", "SimCLR", "joint-embedding", "pixels"),
        ("audio/vicreg", "VICReg", "joint-embedding", "mel statistics"),
        ("tabular/scarf", "SCARF", "joint-embedding", "columns"),
        ("text/mlm", "MLM", "masked-modeling", "TF-IDF"),
        ("video/frame-order", "frame order", "transformation", "frame pixels"),
        ("multimodal/clip", "CLIP", "joint-embedding", "raw parts together"),
    ],
)
def test_methods_and_raw_features_have_the_names_of_their_specs(task: str, name: str, family: str, raw: str) -> None:
    line = named(_line(task), registry())
    assert (line.name, line.family, line.raw_titles["raw"]) == (name, family, raw)


def test_further_raw_features_have_names_too() -> None:
    assert named(_line("audio/simclr", "raw-mfcc"), registry()).raw_titles["raw-mfcc"] == "MFCC statistics"


def _registry(modality: ModalitySpec) -> Registry:
    objective = ObjectiveSpec(id="wink", summary="x", target="a:b", family="joint-embedding", paper="p", title="WiNK")
    task = TaskSpec(id="smells/wink", summary="x", target="a:b", modality="smells", family="joint-embedding", paper="p")
    specs: dict[tuple[str, str], Any] = {("task", task.id): task, ("modality", modality.id): modality}
    return cast("Registry", SimpleNamespace(get=lambda kind, id: specs[kind, id], objectives={"wink": objective}))


def test_a_third_partys_names_need_nothing_of_ours() -> None:
    smells = ModalitySpec(id="smells", summary="x", target="a:b", backbone="nose", raw_features="a:b", raw_title="molecules")
    line = named(_line("smells/wink"), _registry(smells))
    assert (line.name, line.raw_titles["raw"]) == ("WiNK", "molecules")
    unnamed = named(_line("smells/wink"), _registry(replace(smells, raw_title="raw input")))
    assert unnamed.raw_titles["raw"] == "raw input"


def test_a_modality_without_raw_features_has_no_such_reference_and_can_have_a_verdict() -> None:
    smells = ModalitySpec(id="smells", summary="x", target="a:b", backbone="nose")
    line = named(_line("smells/wink", "boosting"), _registry(smells))
    assert set(line.cells) == {"task", "random-init", "supervised"}
    plan = Plan("s", (0,), (line,), {})
    plan = replace(plan, keys={cell.key({}): cell.key({}) for cell in plan.cells()})
    assert {row.kind for row in build(plan, {}).tables[0].rows} == {"task", "random-init", "supervised"}


def test_the_plan_on_disk_keeps_the_names(tmp_path: Path) -> None:
    line = named(_line("tabular/scarf"), registry())
    plan = Plan("s", (0,), (line,), {})
    replace(plan, keys={cell.key({}): cell.key({}) for cell in plan.cells()}).write(tmp_path)
    kept = Plan.read(tmp_path).lines[0]
    assert (kept.name, kept.family, kept.raw_titles) == ("SCARF", "joint-embedding", {"raw": "columns"})

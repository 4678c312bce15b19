from __future__ import annotations

from dataclasses import fields, replace

import pytest

from selfsup.errors import SpecError
from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.cells.cell import Cell
from selfsup_bench.cells.lines import distinct, lines, reference

CELL = Cell(
    kind="task",
    modality="toy",
    task="toy/alpha",
    dataset="toyset",
    backbone="net",
    evaluators=("knn",),
    steps=10,
    overrides={
        "objective.temperature": 0.2,
        "backbone.width": 8,
        "optimization.lr": 0.1,
        "optimization.batch_size": 64,
        "evaluators.knn.k": 5,
    },
    seed=1,
)


def test_key_is_stable_and_survives_json() -> None:
    assert CELL.key({"data": "x"}) == Cell.from_dict(CELL.as_dict()).key({"data": "x"})


@pytest.mark.parametrize("name", [f.name for f in fields(Cell)])
def test_key_depends_on_every_field(name: str) -> None:
    other = {
        "evaluators": ("linear",),
        "overrides": {},
        "steps": 11,
        "epochs": 1,
        "train_rows": 9,
        "seed": 2,
        "reading": {"a": 1},
    }.get(name, "raw")
    assert replace(CELL, **{name: other}).key({}) != CELL.key({})


def test_key_depends_on_the_circumstances() -> None:
    assert CELL.key({"data": "x"}) != CELL.key({"data": "y"})


def test_references_keep_what_bears_on_them_only() -> None:
    shared = {"backbone.width": 8, "evaluators.knn.k": 5}
    untrained, supervised, raw = (
        reference(CELL, kind, {**CELL.overrides, "supervised.optimization.lr": 0.3})
        for kind in ("random-init", "supervised", "raw")
    )
    assert dict(untrained.overrides) == shared
    assert (untrained.task, untrained.steps, untrained.seed) == ("toy/random-init", 0, 1)
    assert dict(supervised.overrides) == {**shared, "optimization.batch_size": 64, "optimization.lr": 0.3}
    assert (supervised.task, supervised.steps) == ("toy/supervised", 10)
    assert dict(raw.overrides) == {"evaluators.knn.k": 5}
    assert raw.backbone == ""


def test_tasks_on_one_backbone_share_their_references() -> None:
    specs = [
        BenchmarkSpec(
            id=name,
            summary="x",
            task=f"toy/{name}",
            dataset="toyset",
            suites=("quick",),
            steps=5,
            evaluators=("knn", "linear"),
            overrides={"optimization.lr": 0.1 * i, "supervised.optimization.lr": 0.3},
        )
        for i, name in enumerate(("a", "b", "c"), 1)
    ]
    made = lines(specs, (0, 1), {spec.id: ("toy", "net") for spec in specs})
    cells = distinct(made)
    assert all(dict(cell.overrides).keys() == {"optimization.lr"} for cell in cells if cell.kind in ("task", "supervised"))
    kinds = [cell.kind for cell in cells]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"task": 6, "random-init": 2, "supervised": 2, "raw": 1}
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_further_raw_features_and_another_network_are_references() -> None:
    kinds = ("raw-tones", "supervised-other/net")
    overrides = {**CELL.overrides, "supervised.optimization.lr": 0.3, f"{kinds[1]}.backbone.depth": 2}
    spec = BenchmarkSpec(
        id="a", summary="x", task="toy/a", dataset="toyset", suites=("quick",), steps=5, overrides=overrides, references=kinds,
        evaluators=("knn", "linear"),
    )  # fmt: skip
    (line,) = lines([spec], (0,), {"a": ("toy", "net")})
    assert list(line.cells) == ["task", "random-init", "supervised", "raw", *kinds]
    assert not any(key.startswith("supervised") for key in line.cells["task"][0].overrides)
    raw, other = (line.cells[kind][0] for kind in kinds)
    assert (raw.task, raw.backbone, raw.steps) == ("toy/raw-tones", "", 0)
    assert dict(raw.overrides) == dict(line.cells["raw"][0].overrides)
    assert (other.task, other.backbone, other.steps) == ("toy/supervised", "other/net", 5)
    own = {"optimization.batch_size": 64, "optimization.lr": 0.3, "backbone.depth": 2, "evaluators.knn.k": 5}
    assert dict(other.overrides) == own
    assert [cell.kind for cell in distinct([line])] == ["raw", "raw-tones", "random-init", "supervised", kinds[1], "task"]


@pytest.mark.parametrize("kind", ["trees", "raw-", "supervised-"])
def test_references_that_there_are_not(kind: str) -> None:
    spec = BenchmarkSpec(id="a", summary="x", task="toy/a", dataset="d", suites=("quick",), steps=5, references=(kind,))
    with pytest.raises(SpecError, match=f"names the reference '{kind}'; there is boosting, raw-NAME, supervised-BACKBONE"):
        lines([spec], (0,), {"a": ("toy", "net")})


def test_overrides_of_a_reference_that_is_not_asked_for_are_refused() -> None:
    overrides = {"evaluators.boosting.iterations": 5}
    spec = BenchmarkSpec(
        id="a",
        summary="x",
        task="toy/a",
        dataset="d",
        suites=("quick",),
        steps=5,
        overrides=overrides,
        references=("boosting",),
    )
    assert lines([spec], (0,), {"a": ("toy", "net")})
    with pytest.raises(SpecError, match=r"'a': evaluators\.boosting\.iterations has no effect, as its references do not name"):
        lines([replace(spec, references=())], (0,), {"a": ("toy", "net")})


def test_raw_features_are_not_measured_by_what_compares_parts() -> None:
    own = {"evaluators.retrieval.ks": [1], "evaluators.knn.k": 5, "backbone.width": 8}
    spec = BenchmarkSpec(
        id="alpha-toyset", summary="A toy.", task="toy/alpha", dataset="toyset", suites=("quick",), steps=4,
        evaluators=("knn", "retrieval"), overrides=own,
    )  # fmt: skip
    (line,) = lines([spec], (0,), {spec.id: ("toy", "net")}, of_parts=("retrieval",))
    raw, untrained = line.cells["raw"][0], line.cells["random-init"][0]
    assert (raw.evaluators, dict(raw.overrides)) == (("knn",), {"evaluators.knn.k": 5})
    assert (untrained.evaluators, dict(untrained.overrides)) == (("knn", "retrieval"), own)


def test_training_from_scratch_shares_the_draws_of_the_labels_among_the_seeds() -> None:
    own = {"evaluators.few-labels.per_class": [10, 50], "scratch.min_steps": 100, "supervised.views.flip_p": 0.0}
    spec = BenchmarkSpec(
        id="alpha-toyset", summary="A toy.", task="toy/alpha", dataset="toyset", suites=("quick",), steps=4,
        evaluators=("few-labels", "linear"), overrides={**own, "backbone.width": 8, "optimization.lr": 0.1},
    )  # fmt: skip
    (line,) = lines([spec], (0, 1, 2), {spec.id: ("toy", "net")})
    scratch = line.cells["scratch"]
    few = "evaluators.few-labels."
    assert [(cell.overrides[f"{few}first_draw"], cell.overrides[f"{few}draws"]) for cell in scratch] == [(0, 4), (4, 3), (7, 3)]
    assert [cell.seed for cell in scratch] == [0, 1, 2]
    assert {cell.evaluators for cell in scratch} == {("few-labels",)}
    assert scratch[0].name == "toy-scratch.toyset.net.seed0"
    assert dict(scratch[0].overrides) == {
        "backbone.width": 8,
        f"{few}per_class": [10],
        f"{few}method": "finetune",
        f"{few}finetune.head": "zeros",
        f"{few}finetune.views.flip_p": 0.0,
        f"{few}finetune.min_steps": 100,
        f"{few}first_draw": 0,
        f"{few}draws": 4,
    }
    more = {f"{few}first_draw": 20, f"{few}draws": 4, f"{few}label_noise": 0.3, f"{few}linear.class_weight": "balanced"}
    (noisy,) = lines([replace(spec, overrides={**spec.overrides, **more})], (0, 1, 2), {spec.id: ("toy", "net")})
    drawn = ("first_draw", "draws", "label_noise")
    taken = [tuple(cell.overrides.get(few + key) for key in drawn) for cell in noisy.cells["scratch"]]
    assert taken == [(20, 2, 0.3), (22, 1, 0.3), (23, 1, 0.3)]
    assert not any(key.startswith(f"{few}linear.") for cell in noisy.cells["scratch"] for key in cell.overrides)
    assert "scratch.min_steps" not in line.cells["task"][0].overrides
    assert "scratch" not in lines([replace(spec, evaluators=("linear",), overrides={})], (0,), {spec.id: ("toy", "n")})[0].cells


def test_raw_features_are_probed_where_networks_are_fine_tuned() -> None:
    few = "evaluators.few-labels."
    own = {f"{few}per_class": [10], f"{few}method": "finetune", f"{few}finetune.lr": 1e-3}
    spec = BenchmarkSpec(
        id="alpha-toyset", summary="A toy.", task="toy/alpha", dataset="toyset", suites=("quick",), steps=4,
        evaluators=("few-labels",), overrides=own, references=("boosting",),
    )  # fmt: skip
    (line,) = lines([spec], (0,), {spec.id: ("toy", "net")})
    assert all(dict(line.cells[kind][0].overrides) == own for kind in ("task", "random-init"))
    assert all(dict(line.cells[kind][0].overrides) == {f"{few}per_class": [10]} for kind in ("raw", "boosting"))


def test_boosted_trees_are_measured_with_the_amount_of_labels_that_the_headline_is_of() -> None:
    own = {"evaluators.few-labels.per_class": [10, 2, 50], "evaluators.few-labels.shares": [0.5], "processor.bins": 8}
    spec = BenchmarkSpec(
        id="alpha-toyset", summary="A toy.", task="toy/alpha", dataset="toyset", suites=("quick",), steps=4,
        evaluators=("few-labels", "linear"), overrides=own, references=("boosting",),
    )  # fmt: skip
    (line,) = lines([spec], (0,), {spec.id: ("toy", "net")})
    trees = line.cells["boosting"][0]
    assert trees.evaluators == ("few-labels", "boosting")
    first = {"evaluators.few-labels.per_class": [10], "evaluators.few-labels.shares": []}
    assert dict(trees.overrides) == {"processor.bins": 8, **first}
    assert dict(line.cells["raw"][0].overrides) == own

"""A small benchmark with made-up records: two tasks, three seeds, every reference."""

from __future__ import annotations

import numpy as np
import pytest

from selfsup.specs import BenchmarkSpec
from selfsup_bench.cells import Cell, lines
from selfsup_bench.plan import Plan
from selfsup_bench.records import Projection, Record

SEEDS = (0, 1, 2)
LEVEL = {"raw": 0.88, "random-init": 0.60, "supervised": 0.96, "toy/alpha": 0.90, "toy/beta": 0.75}
SHARES = (1, 5, 10, 100)


@pytest.fixture
def plan() -> Plan:
    """Two benchmarks on one data set and one backbone."""
    specs = [
        BenchmarkSpec(
            id=f"{name}-toyset",
            summary="A toy.",
            task=f"toy/{name}",
            dataset="toyset",
            suites=("quick",),
            steps=40,
            evaluators=("knn", "linear"),
            headline="knn.accuracy",
        )
        for name in ("alpha", "beta")
    ]
    made = lines(specs, SEEDS, {spec.id: ("toy", "toy/net") for spec in specs})
    draft = Plan("quick", SEEDS, tuple(made), {})
    return Plan("quick", SEEDS, tuple(made), {cell.key({}): cell.key({"data": "made up"}) for cell in draft.cells()})


@pytest.fixture
def records(plan: Plan) -> dict[str, Record]:
    """A record for every cell of the plan."""
    return {plan.key(cell): _record(plan.key(cell), cell) for cell in plan.cells()}


def _record(key: str, cell: Cell) -> Record:
    level = LEVEL[cell.task if cell.kind == "task" else cell.kind] + 0.01 * (cell.seed - 1)
    trained = cell.kind in ("task", "supervised")
    metrics = {"knn.accuracy": level, "linear.accuracy": level + 0.02}
    metrics |= {f"label-efficiency.accuracy_{share}pct": level - 0.3 / share for share in SHARES}
    return Record(
        key=key,
        cell=cell,
        status="done",
        metrics=metrics,
        curve=tuple((step, 2.0 + 3.0 / (1 + step) + 0.02 * cell.seed) for step in range(0, 40, 4)) if trained else (),
        samples_per_second=1500.0 + cell.seed if trained else None,
        peak_memory=400_000_000 + cell.seed,
        device="cpu (Test CPU)",
        seconds={"pretrain": 4.0 * trained, "evaluate": 1.0, "total": 5.5},
        projection=_projection(level) if cell.seed == SEEDS[0] else None,
        circumstances={"versions": {"selfsup": "0.1.0", "torch": "2"}, "data": "0123456789abcdef", "threads": 1},
    )


def _projection(level: float) -> Projection:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    angle = labels * 2 * np.pi / 10
    spread = 4 * (1 - level)
    return Projection(
        method="t-SNE",
        x=tuple((np.cos(angle) + spread * rng.standard_normal(200)).round(3).tolist()),
        y=tuple((np.sin(angle) + spread * rng.standard_normal(200)).round(3).tolist()),
        labels=tuple(labels.tolist()),
        class_names=tuple(f"<{i}>" for i in range(10)),
    )

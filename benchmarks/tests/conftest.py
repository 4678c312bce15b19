"""A small benchmark with synthetic records: two tasks, three seeds, ten draws of the labels, every reference."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsup.registry import registry
from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.cells.cell import FEW_LABELS, Cell
from selfsup_bench.cells.lines import lines
from selfsup_bench.cells.run_cell import work
from selfsup_bench.executors import Job, Outcome
from selfsup_bench.executors.base import Machine
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Projection, Record

SEEDS = (0, 1, 2)
FEW: Mapping[str, float] = {
    "raw": 0.72, "random-init": 0.50, "scratch": 0.64, "supervised": 0.90, "toy/alpha": 0.81, "toy/beta": 0.60,
}  # fmt: skip
"""Accuracy with ten labels a class, over seeds and draws."""
ALL: Mapping[str, float] = {"raw": 0.88, "random-init": 0.60, "supervised": 0.96, "toy/alpha": 0.94, "toy/beta": 0.75}
"""Accuracy with all labels."""
COUNTS = (10, 5, 50)
"""Labels a class, the headline first."""
SHARES = (1, 5, 10, 100)
TEST_ROWS = 200


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
            evaluators=("few-labels", "linear"),
            headline="few-labels.accuracy@10",
            overrides={"evaluators.few-labels.per_class": list(COUNTS)},
        )
        for name in ("alpha", "beta")
    ]
    made = lines(specs, SEEDS, {spec.id: ("toy", "toy/net") for spec in specs})
    named = tuple(
        replace(line, title=name, family="joint-embedding", raw_titles={"raw": "pixels"})
        for line, name in zip(made, ("Alpha", "Beta"), strict=True)
    )
    draft = Plan("quick", SEEDS, named, {})
    return Plan("quick", SEEDS, named, {cell.key({}): cell.key({"data": "synthetic"}) for cell in draft.cells()})


@pytest.fixture
def records(plan: Plan) -> dict[str, Record]:
    """A record for every cell of the plan."""
    return {plan.key(cell): made_record(plan.key(cell), cell) for cell in plan.cells()}


@pytest.fixture
def make_record() -> Callable[[str, Cell], Record]:
    """Makes the record of a cell of another plan with the same tasks."""
    return made_record


def made_record(key: str, cell: Cell) -> Record:
    """What a cell of the synthetic benchmark gave; a seed adds 0.01, and a draw what it adds to all rows alike."""
    name = cell.task if cell.kind == "task" else cell.kind
    trained = cell.kind in ("task", "supervised")
    step = 0.0 if cell.kind in ("raw", "scratch") else 0.01 * (cell.seed - 1)
    draws, rows = _few(cell, FEW[name] + step)
    metrics = {metric: float(np.mean(values)) for metric, values in draws.items()}
    if cell.kind != "scratch":
        level = ALL[name] + step
        metrics |= {"linear.accuracy": level, "knn.accuracy": level - 0.02}
        metrics |= {f"label-efficiency.accuracy_{share}pct": level - 0.3 / share for share in SHARES}
    return Record(
        key=key,
        cell=cell,
        status="done",
        metrics=metrics,
        draws=draws,
        rows=rows,
        curve=tuple((step, 2.0 + 3.0 / (1 + step) + 0.02 * cell.seed) for step in range(0, 40, 4)) if trained else (),
        samples_per_second=1500.0 + cell.seed if trained else None,
        peak_memory=400_000_000 + cell.seed,
        device="cpu (Test CPU)",
        measured=f"2026-01-3{cell.seed % 2}T12:00:00Z",
        commit="abc1234",
        seconds={"pretrain": 4.0 * trained, "evaluate": 1.0, "total": 5.5},
        projection=_projection(FEW[name]) if cell.seed == SEEDS[0] else None,
        circumstances={"versions": {"selfsup": "0.1.0", "torch": "2"}, "data": "0123456789abcdef", "threads": 1},
    )


def _few(cell: Cell, level: float) -> tuple[dict[str, tuple[float, ...]], dict[str, tuple[float, ...]]]:
    """Scores a draw and a test row, by metric; more labels a class give more."""
    draws: dict[str, tuple[float, ...]] = {}
    rows: dict[str, tuple[float, ...]] = {}
    prefix = f"evaluators.{FEW_LABELS}."
    first, count = (int(cell.overrides.get(f"{prefix}{key}", usual)) for key, usual in (("first_draw", 0), ("draws", 10)))
    hard = np.random.default_rng(0).random(TEST_ROWS)
    for labels in COUNTS if cell.kind != "scratch" else COUNTS[:1]:
        mean = level + 0.05 * np.log10(labels / 10)
        values = [
            mean + 0.004 * (draw - 4.5) + 0.001 * ((7 * draw + 3 * cell.seed) % 5 - 2) for draw in range(first, first + count)
        ]
        name = f"{FEW_LABELS}.accuracy@{labels}"
        draws[name] = tuple(round(float(value), 5) for value in values)
        # Rows are easy or hard for everyone; what is the same for two encoders drops out of their difference.
        rows[name] = tuple((np.mean(values) + 0.1 * (hard - hard.mean())).round(5).tolist())
    return draws, rows


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


class InProcess:
    """Runs cells in this process, one after the other, which has imported already what each of theirs would import."""

    def __init__(self, on_start: Callable[[Job], None] = lambda job: None) -> None:
        self.on_start = on_start

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        for job in jobs:
            self.on_start(job)
            job.folder.mkdir(parents=True, exist_ok=True)
            work(job.as_dict())
            yield Outcome(job)


@pytest.fixture
def in_process() -> Iterator[type[InProcess]]:
    """An executor of this process, which has its threads again afterwards."""
    threads = torch.get_num_threads()
    yield InProcess
    torch.set_num_threads(threads)


@pytest.fixture
def machine_of() -> Callable[..., Machine]:
    """A machine of one core whose cells an executor runs."""

    def made(make_executor: Any, say: Callable[[str], None] = lambda line: None, *, jobs: int = 1) -> Machine:
        return Machine(registry(), make_executor, jobs=jobs, threads=1, device="cpu", kind="cpu", say=say)

    return made


@pytest.fixture
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of embeddings have few points, since they take longest to draw."""
    monkeypatch.setattr("selfsup_bench.cells.projection.MOST_ROWS", 20)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which an embedded data set is made once for all tests."""
    return tmp_path_factory.mktemp("embedded")


VOID = {"meta", "link", "br"}


@dataclass
class Element:
    """A start tag."""

    tag: str
    attributes: dict[str, str]


@dataclass
class Sortable:
    """A sortable table: what its heads sort by, and the values of its cells."""

    heads: list[dict[str, str]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)


class Page(HTMLParser):
    """Collects elements, and checks that each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[Element] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.tables: list[Sortable] = []
        self.table: Sortable | None = None
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert len(values) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append(Element(tag, values))
        if tag == "script":
            self.scripts.append((values, ""))
        if tag == "table":
            self.table = Sortable() if "data-sortable" in values else None
            self.tables.extend([self.table] if self.table else [])
        if self.table and tag == "tr" and "tbody" in self.open:
            self.table.rows.append([])
        if self.table and tag in ("td", "th"):
            if "thead" in self.open:
                self.table.heads.append(values)
            else:
                self.table.rows[-1].append(values.get("data-v"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.scripts and self.open[-1:] == ["script"]:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open[-1:] != ["style"]:
            self.text += data

    def values(self, *names: str) -> list[str]:
        """The values of attributes."""
        return [value for element in self.elements for name, value in element.attributes.items() if name in names]

    def headings(self) -> list[int]:
        """The ranks of the headings, in order."""
        return [int(element.tag[1]) for element in self.elements if element.tag in ("h1", "h2", "h3", "h4")]


@pytest.fixture
def read_page() -> type[Page]:
    """Reads the HTML of a page, which has to be well-formed."""
    return Page

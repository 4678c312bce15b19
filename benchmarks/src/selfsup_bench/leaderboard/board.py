"""What a leaderboard says, as plain data: rows, comparisons, a verdict a data set, and the matrix across modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from selfsup_bench.cells.cell import Kind
from selfsup_bench.own_data.advice.recommendation import Recommendation
from selfsup_bench.statistics.estimates import Estimate, is_unclear


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A task against a reference of its table, on the same seeds, draws of the labels and test rows."""

    other: str
    """Key of the reference's row."""
    name: str
    """What people call the reference."""
    difference: Estimate
    """The task's score less the reference's."""
    p: float | None
    """Two-sided; None where a single value says nothing of the spread."""
    p_holm: float | None
    """Corrected for all comparisons of the table."""
    verdict: Literal["better", "worse", "unclear"]
    """Whether the corrected p is below 0.05, and in which direction."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A task or a reference on one data set with one backbone."""

    key: str
    """Names the row within its table: the benchmark's id, or the reference's kind and backbone."""
    kind: Kind
    task: str
    name: str
    """What people call it, with the backbone where the name alone would stand twice in the table."""
    family: str = ""
    """Of a task's method."""
    backbone: str
    benchmark: str = ""
    """Id of the benchmark; empty for a reference."""
    score: Estimate | None
    """The headline metric; None where a seed is missing. Supervised training has no score with few labels."""
    all_labels: Estimate | None = None
    """The same metric with all labels, beside a headline with few."""
    gain: Estimate | None = None
    unclear: bool = False
    """Whether the gain's interval is wider than its scale from 0 to 1, so that the gain says nothing."""
    rank: tuple[int, int] | None = None
    """95 % interval of its rank among the tasks of the table; 1 is the best."""
    comparisons: tuple[Comparison, ...] = ()
    """A task against each reference that it must beat."""
    curve: Mapping[int, Estimate] = field(default_factory=dict)
    """Labels a class to the score."""
    note: str = ""
    """Why there is no gain."""
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    samples_per_second: float | None = None
    """Median over the seeds."""
    peak_memory: int | None = None
    """Bytes, the most of any seed."""
    seconds: float = 0.0
    """Median over the seeds of the time of a whole cell."""
    device: str = ""
    missing: tuple[str, ...] = ()
    """Names of cells without a result, with what went wrong."""
    keys: tuple[str, ...] = ()
    """Records, seed by seed."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether pretraining is worth it on one data set."""

    state: Literal["pays", "unclear", "does-not-pay", "incomplete"]
    sentence: str
    """For people: the scores, what follows from them, and the same with all labels."""
    best: str = ""
    """Key of the best task's row."""
    reference: str = ""
    """Key of the best reference's row."""
    difference: Estimate | None = None
    """Best task less best reference."""
    evidence: tuple[str, ...] = ()
    """A sentence a comparison, and how far the best task gets on the way to all labels."""
    doubt: Literal["", "seeds", "draws", "rows"] = ""
    """Where it is unclear: what adds most to the variance of the deciding difference."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """All rows of one data set, the best first; what has no score stands last."""

    dataset: str
    modality: str
    headline: str
    labelled: int | None = None
    """Labelled rows of a draw, where the headline is of few labels and the records say it."""
    rows: tuple[Row, ...]
    verdict: Verdict

    def row(self, key: str) -> Row:
        """The row of a key.

        Raises:
            KeyError: it does not exist.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(key)


@dataclass(frozen=True, kw_only=True)
class MatrixCell:
    """A method in a modality, over all its data sets there."""

    state: Literal["done", "unclear", "failed", "missing"]
    """``unclear``: the gain's interval is wider than its scale, or labels give no advantage; ``missing``: not run yet."""
    gain: Estimate | None = None
    score: Estimate | None = None
    """None, too, where the data sets have different metrics."""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """A method in all modalities that have it."""

    method: str
    """Id: the task's without its modality."""
    name: str
    """What people call it."""
    family: str
    cells: Mapping[str, MatrixCell]
    """Modality to cell; without those that have no benchmark of the method."""
    mean: Estimate | None
    """Mean gain of two or more modalities, each the same; None where a cell failed or is missing, or there is one alone."""

    @property
    def unclear(self) -> bool:
        """Whether the mean's interval is wider than its scale from 0 to 1, so that the mean says nothing."""
        return is_unclear(self.mean)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Gains of methods in modalities, the methods by family."""

    modalities: tuple[str, ...]
    rows: tuple[MatrixRow, ...]


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """Everything that is shown of a benchmark."""

    suite: str
    seeds: tuple[int, ...]
    tables: tuple[Table, ...]
    matrix: Matrix
    failures: tuple[tuple[str, str], ...]
    """(cell, error)."""
    recommendation: Recommendation | None = None
    """What to do, of a benchmark of own data; it is shown first."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

"""The table processor: turns rows into scaled numbers and category codes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from selfsup.config import Config
from selfsup.data import (
    EncodedTable,
    Preview,
    Processor,
    Sample,
    TextPreview,
    arrow_table,
    is_frame,
    table_of_rows,
    text_of_row,
)
from selfsup.errors import ArtifactError, BadRowError, ColumnError, DataError
from selfsup.runtime import Findings, listed_names
from selfsup.types import Batch, Info, Row
from selfsup_tabular.cell_masking import hidden_at_random, hide_cells
from selfsup_tabular.columns.kinds import Markers, class_columns
from selfsup_tabular.columns.plan import MISSING, UNKNOWN, DateColumn, Plan, fit_plan
from selfsup_tabular.columns.sampling import sample_rows
from selfsup_tabular.columns.values import BadCells, one_array
from selfsup_tabular.config import TableProcessorConfig

_FILE = "table_processor.json"
_SEED = 0


class TableProcessor(Processor):
    """Learns the kind of each column, the scales of numbers and the codes of categories.

    A batch holds ``numeric`` [B, Cn] float32 (scaled, 0 if missing), ``missing`` [B, Cn] bool and ``category`` [B, Cc] long
    (0: unknown; 1: missing; 2 and up: by frequency), possibly with no columns.

    :meth:`fit` and calling also take a whole table (pandas, polars, Arrow). Columns are found by name, in any order; columns
    that were not there in training are ignored.
    """

    modality: ClassVar[str] = "tabular"
    Config: ClassVar[type[Config]] = TableProcessorConfig
    columnar: ClassVar[bool] = True
    adjustable: ClassVar[frozenset[str]] = frozenset({"unknown_rate", "missing_rate", "absent_columns"})
    config: TableProcessorConfig

    def __init__(self, config: TableProcessorConfig | None = None) -> None:
        super().__init__(config or TableProcessorConfig())
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """The fitted plan.

        Raises:
            DataError: the processor is not fitted.
        """
        if self._plan is None:
            raise DataError("The table processor has not been fitted: call fit(rows) with training rows first.")
        return self._plan

    def fit(self, rows: Iterable[Row] | Any) -> Self:
        """Learn from about ``fit_rows`` random rows (:class:`~selfsup.data.Rows`, dicts, or a whole table).

        Raises:
            ColumnError: an option names a missing column, or no column is useful.
            SourceError: there are no rows.
        """
        config = self.config
        table = sample_rows(rows, config.fit_rows, _SEED)
        for name in ("_codes", "_digest"):
            self.__dict__.pop(name, None)
        self._plan = fit_plan(
            table,
            {**class_columns(rows, table.column_names), **config.kinds()},
            markers=Markers(frozenset(config.missing_values), config.number_markers),
            decimal=config.decimal,
            date_format=config.date_format,
            scaling=config.scaling,
            knots=config.quantiles,
            max_categories=config.max_categories,
            min_count=config.min_count,
        )
        return self

    def info(self) -> Info:
        """``numeric_columns``, ``category_columns`` (names of cells), ``cardinalities``, ``n_cells``, ``dropped``, and ``plan``
        (a digest of all scales and codes).
        """
        numeric = [name for column in self.plan.numbers for name in column.cell_names()]
        categories = self.plan.categories
        return {
            "numeric_columns": numeric,
            "category_columns": [column.name for column in categories],
            "cardinalities": [column.cardinality for column in categories],
            "n_cells": len(numeric) + len(categories),
            "dropped": dict(self.plan.dropped),
            "plan": self._digest,
        }

    @cached_property
    def _digest(self) -> str:
        """Equal if every number and code has the same meaning."""
        columns = self.plan.model_dump_json(include={"numbers", "categories"})
        return hashlib.sha256(columns.encode()).hexdigest()[:16]

    def check_rows(self, columns: Sequence[str], source: str) -> str:
        """Reject a table that lacks columns, unless they may be absent; name the columns that are ignored."""
        present, wanted = set(columns), self.plan.columns
        absent = [name for name in wanted if name not in present]
        new = [name for name in columns if name not in {*wanted, *self.plan.dropped}]
        if absent and self.config.absent_columns == "error":
            known = f", and has {listed_names(map(repr, new))}, which is new" if new else ""
            raise ColumnError(
                f"The table lacks {listed_names(map(repr, absent))}, which {source} was trained with{known}. Transfer the "
                f"encoder to this table first (selfsup transfer {source} --data SRC --out DIR) and start from DIR; or treat "
                "absent columns as missing (--set processor.absent_columns=missing)."
            )
        return f"The columns {listed_names(new)} are ignored: {source} was trained without them." if new else ""

    @classmethod
    def unlike(cls, theirs: Info, ours: Info) -> str:
        """Say if columns, scales or codes differ."""
        if theirs["plan"] == ours["plan"]:
            return ""
        names = [{*info["numeric_columns"], *info["category_columns"]} for info in (theirs, ours)]
        lost, new = sorted(names[0] - names[1]), sorted(names[1] - names[0])
        differing = [f"it has {listed_names(lost)}" if lost else "", f"these rows have {listed_names(new)}" if new else ""]
        what = " and ".join(filter(None, differing)) or "the scales and the codes of their columns differ"
        return f"it was trained on another table: {what}. Use its own processor."

    def findings(self) -> Findings:
        """Columns by kind, dropped columns with reasons, and columns of numbers with words in them."""
        plan, found = self.plan, Findings()
        dates = [column for column in plan.numbers if isinstance(column, DateColumn)]
        numbers = [column for column in plan.numbers if not isinstance(column, DateColumn)]
        if numbers:
            names = (f"{column.name}{' (decimal comma)' if column.decimal == ',' else ''}" for column in numbers)
            found.add("numbers", f"{len(numbers)}: {listed_names(names)}")
        if plan.categories:
            sizes = (f"{column.name} ({len(column.values)})" for column in plan.categories)
            found.add("categories", f"{len(plan.categories)}: {listed_names(sizes)}")
        if dates:
            shown = (f"{column.name}{f' ({column.form})' if column.form else ''}" for column in dates)
            found.add("dates", f"{len(dates)}: {listed_names(shown)}")
        if plan.dropped:
            reasons = (f"{name} ({reason})" for name, reason in plan.dropped.items())
            found.add("left out", f"{len(plan.dropped)}: {listed_names(reasons)}")
        words = [column.name for column in plan.categories if set(column.values) & {"NA", "None"}]
        if words:
            found.add("missing", f"NA and None are words in {listed_names(words)} (--set processor.missing_values=)")
        found.add("set by", "--numeric, --categorical, --dates, --drop COL,COL")
        for text in plan.warnings:
            found.warn(text)
        return found

    def column_kinds(self) -> dict[str, str]:
        """Column to ``number``, ``date``, ``category`` or the reason why it is dropped."""
        numbers = {column.name: "date" if isinstance(column, DateColumn) else "number" for column in self.plan.numbers}
        categories = {column.name: "category" for column in self.plan.categories}
        return {**numbers, **categories, **{name: f"left out: {reason}" for name, reason in self.plan.dropped.items()}}

    def example_rows(self) -> Sequence[Row]:
        """Rows with the fitted columns and only missing values."""
        return [dict.fromkeys(self.plan.columns) for _ in range(4)]

    def encode(self, row: Row) -> Sample:
        """Encode one row to ``numeric`` ([Cn] float32, NaN if missing) and ``category`` ([Cc])."""
        (result,) = self.encode_rows([row])
        if isinstance(result, BadRowError):
            raise result
        return result

    def preview(self, row: Row) -> Sequence[Preview]:
        """The columns in use, in the table's order, with their values."""
        used = set(self.plan.columns)
        text = text_of_row({name: value for name, value in row.items() if name in used})
        return [TextPreview(text)] if text else []

    def encode_rows(self, rows: Sequence[Row]) -> list[Sample | BadRowError]:
        """Encode many rows, column by column."""
        samples, bad = self.encode_table(table_of_rows(rows))
        return [
            BadRowError(bad[place]) if place in bad else {key: values[place] for key, values in samples.items()}
            for place in range(len(rows))
        ]

    def encode_table(self, table: Any) -> EncodedTable:
        """Encode the rows of a ``pyarrow.Table``.

        Raises:
            ColumnError: a column is missing or has another type than in training.
        """
        plan, words, numbers = self.plan, self.config.missing_values, self.config.number_markers
        self._check_columns(table.column_names)
        present = set(table.column_names)
        bad = BadCells()
        numeric: list[np.ndarray[Any, Any]] = []
        for column in plan.numbers:
            if column.name in present:
                numeric += column.cells(one_array(table.column(column.name)), numbers, bad)
            else:
                numeric += [np.full(table.num_rows, np.nan)] * len(column.cell_names())
        category = np.full((table.num_rows, len(plan.categories)), MISSING, dtype=self._code_type)
        for place, (of_column, codes) in enumerate(zip(plan.categories, self._codes, strict=True)):
            if of_column.name in present:
                category[:, place] = of_column.codes(one_array(table.column(of_column.name)), words, codes)
        stacked = np.stack(numeric, axis=1) if numeric else np.empty((table.num_rows, 0))
        return EncodedTable({"numeric": stacked.astype(np.float32), "category": category}, bad.reasons)

    def training_batch(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Replace random cells by missing values and random categories by unknown ones (``missing_rate``, ``unknown_rate``).

        A code that never occurs in training gets no gradient, so that new categories and missing values would be noise to the
        encoder.
        """
        missing, unknown = self.config.missing_rate, self.config.unknown_rate
        if missing:
            batch = hide_cells(batch, hidden_at_random(batch, missing, generator))
        category = batch["category"]
        if unknown and category.shape[1]:
            drawn = torch.rand(category.shape, generator=generator) < unknown
            batch = {**batch, "category": category.masked_fill(drawn, UNKNOWN)}
        return batch

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Move the flags of missing numbers into their own key."""
        numeric, category = samples["numeric"], samples["category"]
        if not (isinstance(numeric, Tensor) and isinstance(category, Tensor)):
            raise DataError("The samples of a table must have one shape, but these differ; process the rows again.")
        missing = numeric.isnan()
        return {"numeric": numeric.masked_fill(missing, 0.0), "missing": missing, "category": category.long()}

    def __call__(self, rows: Sequence[Row] | Any) -> Batch:
        """Process rows or a whole table into a batch; the first bad row raises."""
        table = arrow_table(rows) if is_frame(rows) else table_of_rows(rows)
        samples, bad = self.encode_table(table)
        for place in sorted(bad):
            raise BadRowError(f"row {place}: {bad[place]}")
        return self.collate({key: torch.from_numpy(values) for key, values in samples.items()})

    @cached_property
    def _codes(self) -> list[dict[str, int]]:
        return [column.table() for column in self.plan.categories]

    @property
    def _code_type(self) -> type[np.signedinteger[Any]]:
        """The smallest type for all codes, to save disk space."""
        return np.int16 if max(self.info()["cardinalities"], default=0) < 2**15 else np.int32

    def _check_columns(self, names: Sequence[str]) -> None:
        absent = [name for name in self.plan.columns if name not in set(names)]
        if absent and self.config.absent_columns == "error":
            raise ColumnError(
                f"The table has no column {', '.join(map(repr, absent))}, which the processor was fitted with; it has "
                f"{', '.join(names) or 'none'}. If that is the label, pretrain again and name it with --label; if a column no "
                "longer exists, pretrain without it (--drop), or with --set processor.absent_columns=missing."
            )

    def save(self, directory: Path) -> None:
        """Write config and plan as JSON."""
        text = f'{{"config": {self.config.model_dump_json()},\n "plan": {self.plan.model_dump_json()}}}\n'
        (Path(directory) / _FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        path = Path(directory) / _FILE
        try:
            state = _Saved.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path} is not a saved table processor ({error}); save the encoder again.") from error
        processor = cls(state.config)
        processor._plan = state.plan
        return processor


class _Saved(Config):
    """The content of the file."""

    config: TableProcessorConfig
    plan: Plan

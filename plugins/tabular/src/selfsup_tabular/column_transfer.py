"""Transfers an encoder to a table with partly different columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from selfsup.artifacts import Encoder, EncoderLike
from selfsup.data import TableFormat, load_source
from selfsup.errors import ColumnError, ConfigError
from selfsup.registry import registry
from selfsup.runtime import preserved
from selfsup_tabular.carry_over import carry_over, match_cells
from selfsup_tabular.columns.plan import CategoryColumn, DateColumn, NumericColumn, Plan
from selfsup_tabular.processor import TableProcessor

_OPTIONS = {NumericColumn: "numeric", CategoryColumn: "categorical", DateColumn: "dates"}


@dataclass(frozen=True)
class Transferred:
    """An encoder for a new table."""

    encoder: Encoder
    shared: tuple[str, ...]
    """Columns of both tables; they keep their scales, codes and weights."""
    new: tuple[str, ...]
    """Columns of only the new table, with new weights."""
    gone: tuple[str, ...]
    """Columns of only the old table."""


def transfer(
    encoder: EncoderLike,
    data: Any,
    *,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    table: TableFormat | Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Transferred:
    """Transfer an encoder to a table with partly different columns.

    The downstream half of Levin et al. 2022 (arXiv:2206.15306): pretrain upstream, with labels
    (``tabular/supervised-transfer``) or without (any other task), transfer, and fine-tune on the few labels of the new table::

        run = selfsup.pretrain("tabular/supervised-transfer", data="hospital_a.csv", label="outcome")
        moved = transfer(run.encoder, "hospital_b.csv", label="outcome")
        result = selfsup.finetune(moved.encoder, "hospital_b.csv", label="outcome")

    A column is shared if both tables have one of that name and kind. It keeps the scale and codes of the old table, because
    values have the same meaning in both; new categories get additional codes. New columns learn scales and codes from the rows
    of ``data``. The paper predicts columns that are missing downstream with a model of the old table; here they are dropped.

    Args:
        encoder: of tables, or anything that :func:`selfsup.load` takes; it is not changed.
        data: source of the new table's training rows.
        label: its label column, which is left out.
        columns: role to column, as for :func:`selfsup.pretrain`.
        table: separator, decimal mark, encoding, ... of a text table, if they cannot be detected.
        seed: of the new weights.

    Raises:
        ConfigError: the encoder has another modality.
        ColumnError: no column is in both tables.
    """
    from selfsup.artifacts import load

    source = load(encoder)
    if not isinstance(source.processor, TableProcessor):
        raise ConfigError(
            f"Only encoders of tables can be transferred to other columns, but this one is for {source.modality}."
        )
    modality = registry().get("modality", "tabular")
    rows = load_source(data, modality=modality, columns=columns, label=label, table=table).without_labels()
    processor, shared = _processor(source.processor, rows)
    old, new = source.processor.plan, processor.plan
    with preserved():
        torch.manual_seed(seed)
        backbone, _ = registry().build_backbone(source.backbone_id, source.backbone_options, processor.info())
    carry_over(source.backbone, backbone.to(source.device), match_cells(old, new))
    made = Encoder(
        processor,
        backbone,
        backbone_id=source.backbone_id,
        backbone_options=source.backbone_options,
        task=source.task,
        metadata={**source.metadata, "transferred_to": rows.name, "shared_columns": list(shared)},
        pretraining_rows=source.pretraining_rows,
    )
    return Transferred(
        encoder=made.eval(),
        shared=shared,
        new=tuple(name for name in new.columns if name not in shared),
        gone=tuple(name for name in old.columns if name not in shared),
    )


def _processor(old: TableProcessor, rows: Any) -> tuple[TableProcessor, tuple[str, ...]]:
    """A processor for the new table, and the columns that it shares with the old one."""
    present = set(rows.columns)
    kept = {
        key: tuple(name for name in getattr(old.config, key) if name in present)
        for key in ("numeric", "categorical", "dates", "drop")
    }
    fresh = TableProcessor(old.config.model_copy(update=kept)).fit(rows)
    before = {column.name: column for column in (*old.plan.numbers, *old.plan.categories)}
    # Columns dropped because of their values here (constant, row numbers) still carry information for the old encoder.
    for name in fresh.plan.dropped:
        if name in before and name not in old.config.drop:
            kept[_OPTIONS[type(before[name])]] += (name,)
    fresh = TableProcessor(old.config.model_copy(update=kept)).fit(rows)
    plan = fresh.plan
    shared: list[str] = []

    def settled(column: Any) -> Any:
        """The column as in the old table, if it has the same kind."""
        known: Any = before.get(column.name)
        if type(known) is not type(column):
            return column
        shared.append(column.name)
        if isinstance(known, CategoryColumn):
            more = tuple(value for value in column.values if value not in set(known.values))
            return known.model_copy(update={"values": known.values + more})
        if isinstance(known, DateColumn):  # only the time of day may differ
            return known.model_copy(update={"has_times": column.has_times})
        return known

    numbers: tuple[NumericColumn | DateColumn, ...] = tuple(settled(column) for column in plan.numbers)
    categories: tuple[CategoryColumn, ...] = tuple(settled(column) for column in plan.categories)
    if not shared:
        raise ColumnError(
            f"No column of {rows.name} ({', '.join(plan.columns)}) is in the encoder's table ({', '.join(before)}), so nothing "
            "can be transferred. Give columns the same names, or pretrain on the new table."
        )
    processor = TableProcessor(fresh.config)
    processor._plan = Plan(numbers=numbers, categories=categories, dropped=plan.dropped, warnings=plan.warnings)
    return processor, tuple(shared)

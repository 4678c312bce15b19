"""Copies a backbone's weights to a table with partly different columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.errors import ConfigError
from selfsup_tabular.backbones.ft_transformer import CellEmbedding
from selfsup_tabular.backbones.inputs import RowInput
from selfsup_tabular.columns.plan import MISSING, Plan


@dataclass(frozen=True)
class Cells:
    """Indices of a new table's cells in the old table."""

    numeric: list[int]
    """By numeric cell: its index among the old numeric cells, or -1."""
    codes: list[list[int]]
    """By category column and code: the index among the codes of all old category columns, or -1."""
    category: list[int]
    """By category column: its index among the old ones, or -1."""
    old_numeric: int
    """Number of numeric cells of the old table."""
    old_cardinalities: list[int]
    """Number of codes of each of its category columns."""


def match_cells(old: Plan, new: Plan) -> Cells:
    """Find each cell and code of ``new`` in ``old``, by names of columns and values of categories."""
    places = {name: i for i, name in enumerate(name for column in old.numbers for name in column.cell_names())}
    starts, start = {}, 0
    for column in old.categories:
        starts[column.name] = start
        start += column.cardinality
    tables = {column.name: column.table() for column in old.categories}
    order = {column.name: place for place, column in enumerate(old.categories)}
    codes = []
    for column in new.categories:
        if column.name not in tables:
            codes.append([-1] * column.cardinality)
            continue
        table, begin = tables[column.name], starts[column.name]
        known = [begin + table[value] if value in table else -1 for value in column.values]
        codes.append([begin, begin + MISSING, *known])
    return Cells(
        numeric=[places.get(name, -1) for column in new.numbers for name in column.cell_names()],
        codes=codes,
        category=[order.get(column.name, -1) for column in new.categories],
        old_numeric=len(places),
        old_cardinalities=[column.cardinality for column in old.categories],
    )


@torch.no_grad()
def carry_over(old: Backbone, new: Backbone, cells: Cells) -> None:
    """Copy the weights of ``old`` to ``new`` wherever they have the same meaning.

    Weights that do not depend on columns are copied. In a token backbone shared columns keep their vectors, and new columns
    keep their initial ones. In a network on row vectors the input weights of new columns become zero, and the contribution of a
    missing value in a removed column is added to the bias: the network then computes what the old one does with the removed
    columns missing.

    Args:
        old: trained.
        new: of the same kind and options, for the new table.
        cells: from :func:`match_cells`.

    Raises:
        ConfigError: the backbone depends on columns in an unknown way.
    """
    theirs, mine = dict(old.named_modules()), dict(new.named_modules())
    handled: set[str] = set()
    for name, module in mine.items():
        if isinstance(module, CellEmbedding):
            _cell_embedding(theirs[name], module, cells)
            handled |= {f"{name}.{key}" for key, _ in module.named_parameters()}
        elif isinstance(module, RowInput):
            first = next(key for key, layer in mine.items() if isinstance(layer, nn.Linear) and layer.in_features == module.dim)
            _row_input(theirs[name], module, theirs[first], mine[first], cells)
            handled |= {f"{name}.{key}" for key, _ in module.named_parameters()} | {f"{first}.weight", f"{first}.bias"}
    source = {**dict(old.named_parameters()), **dict(old.named_buffers())}
    of_columns = {key for key, _ in new.named_buffers()} - set(new.state_dict())
    for key, target in {**dict(new.named_parameters()), **dict(new.named_buffers())}.items():
        if key in handled or key in of_columns:
            continue
        if key not in source or source[key].shape != target.shape:
            raise ConfigError(
                f"{type(new).__name__} cannot be transferred to other columns: its weight {key!r} depends on them in an "
                "unknown way. Use mlp, tabular-resnet or ft-transformer."
            )
        target.copy_(source[key])


def _cell_embedding(old: nn.Module, new: CellEmbedding, cells: Cells) -> None:
    assert isinstance(old, CellEmbedding)
    if new.n_numeric and old.n_numeric:
        _copy_rows(new.weight, old.weight, cells.numeric)
        _copy_rows(new.missing, old.missing, cells.numeric)
    if new.n_categories and old.n_categories:
        _copy_rows(new.category.weight, old.category.weight, [code for column in cells.codes for code in column])
    columns = cells.numeric + [place if place < 0 else cells.old_numeric + place for place in cells.category]
    _copy_rows(new.column[0], old.column[0], columns)


def _row_input(old: nn.Module, new: RowInput, old_linear: nn.Module, linear: nn.Module, cells: Cells) -> None:
    assert isinstance(old, RowInput)
    assert isinstance(old_linear, nn.Linear)
    assert isinstance(linear, nn.Linear)
    n, m = cells.old_numeric, len(cells.numeric)
    # One row per input: the numbers, their missing flags, then the categories.
    source, target = old_linear.weight.T, linear.weight.T
    target.zero_()
    _copy_rows(target, source, cells.numeric + [place if place < 0 else n + place for place in cells.numeric])
    gone = source[[n + place for place in range(n) if place not in set(cells.numeric)]].sum(dim=0)
    lost = [place for place in range(len(cells.old_cardinalities)) if place not in set(cells.category)]
    if new.embeddings is None or old.embeddings is None:
        _copy_rows(target[2 * m :], source[2 * n :], [code for column in cells.codes for code in column])
        starts = _starts(cells.old_cardinalities)
        gone += source[[2 * n + starts[place] + MISSING for place in lost]].sum(dim=0)
    else:
        tables = [cast(nn.Embedding, table) for table in old.embeddings]
        parts = torch.split(source[2 * n :], [table.embedding_dim for table in tables]) if tables else ()
        begin = 2 * m
        for place, codes, table in zip(cells.category, cells.codes, new.embeddings, strict=True):
            width = cast(nn.Embedding, table).embedding_dim
            # A column whose vectors became wider, because it has many new categories, starts anew.
            if place >= 0 and tables[place].embedding_dim == width:
                first = _starts(cells.old_cardinalities)[place]
                within = [code if code < 0 else code - first for code in codes]
                _copy_rows(cast(nn.Embedding, table).weight, tables[place].weight, within)
                target[begin : begin + width] = parts[place]
            begin += width
        for place in lost:
            gone += tables[place].weight[MISSING] @ parts[place]
    linear.bias.copy_(old_linear.bias + gone)


def _starts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:place]) for place in range(len(sizes))]


def _copy_rows(target: Tensor, source: Tensor, places: list[int]) -> None:
    """Copy row ``places[i]`` of ``source`` to row i of ``target``, unless it is -1."""
    kept = [i for i, place in enumerate(places) if place >= 0]
    target[kept] = source[[places[i] for i in kept]]

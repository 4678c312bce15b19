"""The plan of a benchmark: its lines, their cells, and the key of each. Kept on disk, so that a report needs no registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfsup.errors import BenchmarkError
from selfsup.registry import BenchmarkSpec
from selfsup_bench.cells.cell import Cell, cell_key
from selfsup_bench.cells.lines import Line, distinct
from selfsup_bench.records.record import SCHEMA, read_json, write_json
from selfsup_bench.records.schema import checked

FILE = "benchmark.json"


@dataclass(frozen=True)
class Plan:
    """What a benchmark consists of."""

    suite: str
    seeds: tuple[int, ...]
    lines: tuple[Line, ...]
    keys: Mapping[str, str]
    """``Cell.key({})`` to the key under the circumstances, which names the record."""
    not_chosen: tuple[str, ...] = ()
    """Ids of the suite's benchmarks that ``--modality`` or ``--only`` left out."""

    def key(self, cell: Cell) -> str:
        """The key of a cell's record."""
        return self.keys[cell.key({})]

    def cells(self) -> list[Cell]:
        """Every cell once, in the order in which they run."""
        return distinct(self.lines)

    def write(self, folder: Path) -> None:
        """Keep the plan in a folder.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        lines = [
            {
                "spec": asdict(line.spec),
                "modality": line.modality,
                "backbone": line.backbone,
                "title": line.title,
                "family": line.family,
                "raw_titles": dict(line.raw_titles),
                "cells": {kind: [cell.as_dict() for cell in cells] for kind, cells in line.cells.items()},
            }
            for line in self.lines
        ]
        values = {
            "schema": SCHEMA,
            "suite": self.suite,
            "seeds": list(self.seeds),
            "lines": lines,
            "keys": dict(self.keys),
            "not_chosen": list(self.not_chosen),
        }
        write_json(folder / FILE, values)

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read the plan of a benchmark's folder.

        Raises:
            BenchmarkError: there is none, or it is damaged or of a later version.
        """
        path = folder / FILE
        if not path.is_file():
            raise BenchmarkError(
                f"{folder} holds no benchmark: there is no {FILE} in it. Give the folder that `selfsup benchmark --out` wrote."
            )
        values = checked(read_json(path), "plan", path)
        try:
            lines, keys = tuple(_line(line) for line in values["lines"]), _keys(values, path)
        except BenchmarkError:
            raise
        except Exception as error:  # a benchmark whose fields contradict each other
            raise BenchmarkError(f"{path} is damaged: {error} Run the benchmark again into another folder.") from error
        return cls(str(values["suite"]), tuple(values["seeds"]), lines, keys, tuple(values.get("not_chosen", ())))


def _keys(values: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The keys by those of the cells as this version has them: an earlier one may have had fewer fields."""
    keys: dict[str, str] = {}
    for line in values["lines"]:
        for member in (member for members in line["cells"].values() for member in members):
            written = cell_key(member)
            if written not in values["keys"]:
                raise BenchmarkError(
                    f"{path} is damaged: it has no key for the cell {member['task']!r} with seed {member['seed']}. Run the "
                    "benchmark again into another folder."
                )
            keys[Cell.from_dict(member).key({})] = values["keys"][written]
    return keys


def _line(values: Mapping[str, Any]) -> Line:
    spec = dict(values["spec"])
    for name in ("suites", "evaluators", "references"):
        spec[name] = tuple(spec[name])
    cells = {kind: _cells(members) for kind, members in values["cells"].items()}
    return Line(
        BenchmarkSpec(**spec),
        values["modality"],
        values["backbone"],
        cells,
        title=values.get("title", ""),
        family=values.get("family", ""),
        raw_titles=values.get("raw_titles", {}),
    )


def _cells(members: Sequence[Mapping[str, Any]]) -> tuple[Cell, ...]:
    return tuple(Cell.from_dict(member) for member in members)

"""What a benchmark of own data has decided so far, in its folder: a resumed run keeps all decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from selfsup.errors import BenchmarkError
from selfsup_bench.own_data.rows.divide_rows import Divided
from selfsup_bench.own_data.rows.read_rows import Division, Reading
from selfsup_bench.own_data.schedule import Schedule
from selfsup_bench.records.record import read_json, write_json

FILE = "own.json"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class State:
    """The options, the division of the data, and the schedule once it is made."""

    reading: Reading
    """With absolute paths."""
    given: Mapping[str, Any]
    """What the user gave, as it was written: sources, label, ..."""
    minutes: float
    names: tuple[str, ...]
    """Patterns of the tasks that were asked for; empty: the usual ones."""
    divided: Divided
    draws: int
    """Draws of the few labels."""
    scratch_parts: int
    """Cells among which the draws of training from scratch are shared out."""
    scratch_steps: int = 0
    """Its optimizer steps: :data:`~selfsup_bench.own_data.budget.CONVERGED` where it is not cut; 0: not planned yet."""
    scratch_draws: int = 0
    """Draws of the labels that it takes; 0: all."""
    schedule: Schedule | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    """Benchmark to why its task cannot run on this data."""
    spent: float = 0.0
    """Seconds."""
    enough: float = 0.0
    """Minutes with which tasks would begin to learn and training from scratch converge; 0 where they do."""
    slow: Mapping[str, float] = field(default_factory=dict)
    """Benchmark to the minutes that it needs, where it was left out because its pilot took too long."""
    finished: int = 0
    """Seeds that are whole."""
    extended: float = 0.0
    """Minutes that a later run allowed; 0: those of the first one."""

    def write(self, folder: Path) -> None:
        """Keep it in the folder of the benchmark.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        self.divided.division.save(folder)
        divided = {f.name: getattr(self.divided, f.name) for f in fields(Divided) if f.name != "division"}
        values = {
            "schema": SCHEMA,
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "reading": self.reading.as_dict(),
            "divided": {**divided, "rows_file": self.divided.division.digest},
            "schedule": None if self.schedule is None else self.schedule.as_dict(),
            "spent": round(self.spent, 1),
            "enough": round(self.enough, 1),
        }
        write_json(folder / FILE, values)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """That of a benchmark's folder; None where it has none.

        Raises:
            BenchmarkError: it is damaged or of another version.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        values = read_json(path)
        if values.pop("schema", None) != SCHEMA:
            raise BenchmarkError(f"{path} is of another version of selfsup. Run the benchmark again into another folder.")
        try:
            divided = dict(values["divided"])
            division = Division.load(folder, divided.pop("rows_file"))
            for name in ("classes", "notes"):
                divided[name] = tuple(divided[name])
            made = values["schedule"]
            return cls(
                **{
                    **values,
                    "reading": Reading.from_dict(values["reading"]),
                    "names": tuple(values["names"]),
                    "divided": Divided(division=division, **divided),
                    "schedule": None if made is None else Schedule.from_dict(made),
                }
            )
        except (KeyError, TypeError) as error:
            raise BenchmarkError(f"{path} is damaged: {error!r}. Run the benchmark again into another folder.") from error

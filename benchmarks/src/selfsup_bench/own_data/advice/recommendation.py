"""What a benchmark of own data advises, as plain data: what the terminal and the page show first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from selfsup_bench.records.record import read_json, write_json

FILE = "recommendation.json"

State = Literal["pretrain", "do-not-pretrain", "unclear", "incomplete"]


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One sentence, its evidence, and how to go on."""

    state: State
    sentence: str
    """The advice: "Pretrain with audio/simclr: with 10 labels a class ..."."""
    evidence: tuple[str, ...]
    """Sentences: with all labels, on which rows, with which budget, what would help to decide."""
    task: str = ""
    """Id of the best pretext task; empty where none has a result."""
    encoder: str = ""
    """Folder of its encoder."""
    commands: tuple[tuple[str, str], ...] = ()
    """(what it does, a command to paste)."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        commands = tuple((str(what), str(command)) for what, command in values["commands"])
        return cls(**{**values, "evidence": tuple(values["evidence"]), "commands": commands})

    def write(self, folder: Path) -> None:
        """Keep it in the folder of a benchmark.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        write_json(folder / FILE, self.as_dict())

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """That of a benchmark's folder; None where it has none.

        Raises:
            BenchmarkError: the file is damaged.
        """
        path = folder / FILE
        return cls.from_dict(read_json(path)) if path.is_file() else None

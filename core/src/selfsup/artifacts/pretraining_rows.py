"""Record which rows an encoder was pretrained on, so that an evaluation can tell whether it tests on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from selfsup.data.store.content_hash import HASH_VERSION, HashArray, mixed
from selfsup.errors import ArtifactError
from selfsup.runtime.files import atomic_write

PRETRAINING_ROWS_FILES = "pretraining_rows*.npy"
"""Files of an encoder's folder: ``pretraining_rows.npy``, and ``pretraining_rows.PART.npy`` for each part of a row."""
MAX_HASHES = 1 << 20
"""Different rows whose hashes are kept (8 MB). Of more rows a fixed sample is kept, which gives shares as an estimate."""


@dataclass(frozen=True)
class PretrainingRows:
    """Hashes of the rows that weights have learned from (see :func:`~selfsup.data.row_hashes`); nothing else of the rows."""

    hashes: HashArray = field(repr=False)
    """[n] uint64, sorted, each once: of all different rows, or of those with the smallest hashes of hashes."""
    different: int
    """Different rows in all."""
    roles: tuple[str, ...]
    """What of a row was hashed."""
    holdout: float = 0.0
    """Share of the rows that was held out, by their hashes."""
    source: str = ""
    """Fingerprint of the rows before a part was held out."""
    parts: Mapping[str, PretrainingRows] = field(default_factory=dict)
    """Of rows that join several parts: name of each to the same of that part alone, as rows of its own modality have it.

    Their ``holdout`` is 0: which rows were held out follows from whole rows.
    """

    @classmethod
    def of(cls, hashes: HashArray, roles: Iterable[str], *, holdout: float = 0.0, source: str = "") -> Self:
        """From the hash of each row, [N] uint64."""
        kept = np.unique(hashes)
        different = len(kept)
        if different > MAX_HASHES:
            kept = np.sort(kept[np.argsort(mixed(kept), kind="stable")[:MAX_HASHES]])
        return cls(kept, different, tuple(sorted(roles)), holdout, source)

    def none(self) -> PretrainingRows:
        """The same without any row, for weights that have learned from none."""
        parts = {part: own.none() for part, own in self.parts.items()}
        return replace(self, hashes=self.hashes[:0], different=0, parts=parts)

    def together(self, hashes: HashArray) -> PretrainingRows:
        """These rows and further ones, as after training on both. What is known of parts is then not all, and is left out."""
        if len(self.hashes) < self.different:  # a sample: the number of different rows is an upper bound
            new = hashes[~np.isin(hashes, self.hashes)]
            joined = self.of(np.concatenate([self.hashes, new]), self.roles)
            return replace(self, hashes=joined.hashes, different=self.different + len(np.unique(new)), parts={})
        joined = self.of(np.concatenate([self.hashes, hashes]), self.roles)
        return replace(self, hashes=joined.hashes, different=joined.different, parts={})

    def after(self, former: PretrainingRows) -> PretrainingRows:
        """These rows and those of an encoder that the weights started from, or were taught by.

        What was held out, and from which source, is as here. Former rows that were hashed by other roles cannot be told from
        these, and are kept all the same: rows that hash alike are the same.
        """
        joined = self.together(former.hashes)
        lost = former.different - len(former.hashes)  # rows that the former list keeps a sample of
        # Of a part all is known where both know it.
        parts = {name: own.after(former.parts[name]) for name, own in self.parts.items() if name in former.parts}
        return replace(joined, different=joined.different + lost, parts=parts)

    def seen(self, hashes: HashArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[M] bool, whether each of these rows is among those that are kept."""
        return np.isin(hashes, self.hashes)

    def share(self, hashes: HashArray) -> float | None:
        """Share of rows that were learned from, 0 to 1: an estimate where a sample is kept, None where none can be made."""
        if not len(hashes) or not self.different:
            return 0.0
        if len(self.hashes) < self.different:
            hashes = hashes[mixed(hashes) <= mixed(self.hashes).max()]
            if not len(hashes):
                return None
        return float(self.seen(hashes).mean())

    def as_dict(self) -> dict[str, Any]:
        """All but the hashes, as plain JSON values."""
        return {
            "version": HASH_VERSION,
            "different": self.different,
            "kept": len(self.hashes),
            "roles": list(self.roles),
            "holdout": self.holdout,
            "source": self.source,
            **({"parts": {part: own.as_dict() for part, own in self.parts.items()}} if self.parts else {}),
        }

    def save(self, directory: Path, part: str = "") -> None:
        """Write the hashes into a folder, those of each part into a file of its own.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        atomic_write(directory / _file_name(part), lambda file: np.save(file, self.hashes, allow_pickle=False))
        for name, own in self.parts.items():
            own.save(directory, name)

    @classmethod
    def load(cls, directory: Path, described: Mapping[str, Any] | None, part: str = "") -> PretrainingRows | None:
        """Read what :meth:`save` wrote; None where the folder has no hashes, or such as another selfsup computes.

        Args:
            directory: of the encoder.
            described: what :meth:`as_dict` gave.
            part: name of the part that it is of.

        Raises:
            ArtifactError: the file is damaged.
        """
        path = directory / _file_name(part)
        if described is None or described.get("version") != HASH_VERSION or not path.is_file():
            return None
        try:
            hashes = np.load(path, allow_pickle=False)
            if hashes.dtype != np.uint64 or hashes.shape != (described["kept"],):
                raise ValueError(f"it holds {hashes.dtype} {hashes.shape}")
            parts = {name: cls.load(directory, own, name) for name, own in described.get("parts", {}).items()}
            return cls(
                hashes,
                described["different"],
                tuple(described["roles"]),
                described["holdout"],
                described["source"],
                {name: own for name, own in parts.items() if own is not None},
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise ArtifactError(
                f"{path} is damaged: {error}. Delete it; it is then not known which rows were learned from."
            ) from error


def _file_name(part: str) -> str:
    return f"pretraining_rows.{part}.npy" if part else "pretraining_rows.npy"

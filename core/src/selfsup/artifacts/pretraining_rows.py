"""Record which rows an encoder was pretrained on, so that an evaluation can detect them among its test rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from selfsup.damaged_files import read_npy
from selfsup.data.store.content_hash import HASH_VERSION, HashArray, each_once, mixed
from selfsup.errors import ArtifactError
from selfsup.runtime.files import atomic_write

PRETRAINING_ROWS_FILES = "pretraining_rows*.npy"
"""Files in an encoder's folder: ``pretraining_rows.npy``, and ``pretraining_rows.PART.npy`` for each part of a row."""
MAX_HASHES = 1 << 20
"""Most hashes to keep (8 MB). Of more rows a fixed sample is kept, and shares are estimates."""


@dataclass(frozen=True)
class PretrainingRows:
    """Hashes of the rows that weights were trained on (see :func:`~selfsup.data.row_hashes`), without the rows."""

    hashes: HashArray = field(repr=False)
    """[n] uint64, sorted and unique: of all different rows, or of those with the smallest hashes of hashes."""
    different: int
    """Number of different rows."""
    roles: tuple[str, ...]
    """The roles that were hashed."""
    holdout: float = 0.0
    """Share of the rows that was held out by hash."""
    source: str = ""
    """Fingerprint of the rows before some were held out."""
    parts: Mapping[str, PretrainingRows] = field(default_factory=dict)
    """For rows that join several parts: the same for each part alone, as rows of its own modality.

    Their ``holdout`` is 0, since whole rows decide which are held out.
    """

    @classmethod
    def of(cls, hashes: HashArray, roles: Iterable[str], *, holdout: float = 0.0, source: str = "") -> Self:
        """From the hash of each row, [N] uint64."""
        return cls(*_sampled(hashes), tuple(sorted(roles)), holdout, source)

    def none(self) -> PretrainingRows:
        """The same without any row, for untrained weights."""
        parts = {part: own.none() for part, own in self.parts.items()}
        return replace(self, hashes=self.hashes[:0], different=0, parts=parts)

    def together(self, hashes: HashArray) -> PretrainingRows:
        """These rows and further ones, as after training on both. Parts are dropped, since they are incomplete then."""
        if len(self.hashes) < self.different:  # a sample: the number of different rows is an upper bound
            new = hashes[~np.isin(hashes, self.hashes)]
            joined = self.of(np.concatenate([self.hashes, new]), self.roles)
            return replace(self, hashes=joined.hashes, different=self.different + len(each_once(new)), parts={})
        joined = self.of(np.concatenate([self.hashes, hashes]), self.roles)
        return replace(self, hashes=joined.hashes, different=joined.different, parts={})

    def after(self, former: PretrainingRows) -> PretrainingRows:
        """These rows and those of an encoder that the weights started from or were distilled from.

        Holdout and source stay those of these rows. Former rows are kept even if other roles were hashed.
        """
        joined = self.together(former.hashes)
        lost = former.different - len(former.hashes)  # rows that the former sample lacks
        # A part is complete if both have it.
        parts = {name: own.after(former.parts[name]) for name, own in self.parts.items() if name in former.parts}
        return replace(joined, different=joined.different + lost, parts=parts)

    def seen(self, hashes: HashArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[M] bool, whether each of these rows is among the kept ones."""
        return np.isin(hashes, self.hashes)

    def share(self, hashes: HashArray) -> float | None:
        """Share of rows that were trained on, 0 to 1; an estimate if only a sample is kept, None if it cannot be estimated."""
        if not len(hashes) or not self.different:
            return 0.0
        if len(self.hashes) < self.different:
            hashes = hashes[mixed(hashes) <= mixed(self.hashes).max()]
            if not len(hashes):
                return None
        return float(self.seen(hashes).mean())

    def as_dict(self) -> dict[str, Any]:
        """Everything except the hashes, as plain JSON values."""
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
        """Write the hashes to a folder, with a file for each part.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        atomic_write(directory / _file_name(part), lambda file: np.save(file, self.hashes, allow_pickle=False))
        for name, own in self.parts.items():
            own.save(directory, name)

    @classmethod
    def load(cls, directory: Path, described: Mapping[str, Any] | None, part: str = "") -> PretrainingRows | None:
        """Read what :meth:`save` wrote; None if there are no hashes, or only those of another version.

        Args:
            directory: of the encoder.
            described: from :meth:`as_dict`.
            part: name of the part, or empty.

        Raises:
            ArtifactError: the file is damaged.
        """
        path = directory / _file_name(part)
        if described is None or described.get("version") != HASH_VERSION or not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                hashes = read_npy(file)
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
        except Exception as error:  # what describes it may be damaged, too
            raise ArtifactError(f"{path} is damaged: {error}. Delete it; the pretraining rows are then unknown.") from error


def _sampled(hashes: HashArray) -> tuple[HashArray, int]:
    """The different ones of hashes [N], at most :data:`MAX_HASHES`, and how many are different.

    Takes one part of their range after the other, to need little memory beside the hashes.
    """
    kept, count = hashes[:0], 0
    width = 1 << 64 if len(hashes) <= MAX_HASHES else 1 << 60
    for low in range(0, 1 << 64, width):
        new = each_once(hashes[(hashes >= low) & (hashes <= low + width - 1)])
        count += len(new)
        kept = np.concatenate([kept, new])
        if len(kept) > MAX_HASHES:
            kept = kept[np.argpartition(mixed(kept), MAX_HASHES)[:MAX_HASHES]]
    return np.sort(kept), count


def _file_name(part: str) -> str:
    return f"pretraining_rows.{part}.npy" if part else "pretraining_rows.npy"

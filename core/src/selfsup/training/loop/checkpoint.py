"""Save and load checkpoints: written atomically, read without executing code, refused by other runs."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from selfsup.damaged_files import of_machine, reading, short_reason
from selfsup.errors import CheckpointError
from selfsup.runtime.files import atomic_write

FORMAT = 2
"""Version of a checkpoint's layout. Version 1, without the state of the batches, is still read."""

RESTORE = "restore it, or start a new run in another folder (--out)."
"""What to do about a damaged checkpoint."""

LAST = "last.pt"
BEST = "best.pt"


class _Remembering:
    """A file that remembers why a write failed, since ``torch.save`` raises a RuntimeError for every failure."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def save_checkpoint(path: Path, state: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file.
        state: nested dictionaries and lists of tensors and primitives.
        identity: what a run must agree on to resume from it, such as its task.

    Raises:
        StorageError: the disk is full or cannot be written. The previous checkpoint stays.
    """

    def write(file: BinaryIO) -> None:
        remembering = _Remembering(file)
        try:
            torch.save({"format": FORMAT, "identity": dict(identity), "state": dict(state)}, remembering)  # type: ignore[arg-type]  # it only writes
        except RuntimeError:
            if remembering.error is not None:
                raise remembering.error from None
            raise

    atomic_write(path, write)


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without executing code.

    Raises:
        CheckpointError: it is missing, damaged, of another version, or of another run.
    """
    _check_sums(path)
    found, state = _read(path)
    for key, wanted in identity.items():
        if found.get(key) != wanted:
            raise CheckpointError(
                f"the checkpoint {path} is of another run: its {key} is {found.get(key)!r}, this run's is {wanted!r}. "
                "Resume with the options of its start, or choose another folder (--out)."
            )
    return state


def saved_step(path: Path) -> int:
    """The optimizer step of a checkpoint, without reading its tensors.

    Raises:
        CheckpointError: it is missing, damaged or of another version.
    """
    state = _read(path, mmap=True)[1]
    with reading(path, CheckpointError, RESTORE, what="a checkpoint"):
        return int(state["stepper"]["step"])


def _check_sums(path: Path) -> None:
    """Compare the parts of the file with their checksums, which ``torch.load`` does not look at: a changed bit in a weight
    would train on unnoticed.

    Raises:
        CheckpointError: a part differs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}.") from None
    except Exception as error:  # zip, zlib and struct raise many kinds of errors
        if of_machine(error):
            raise
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({short_reason(error)}). It is damaged: {RESTORE}"
        ) from error
    if damaged is not None:
        raise CheckpointError(
            f"the checkpoint {path} cannot be read: {damaged} differs from its checksum. It is damaged: {RESTORE}"
        )


def _read(path: Path, *, mmap: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Identity and state."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        version, identity, state = content["format"], dict(content["identity"]), dict(content["state"])
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}.") from None
    except pickle.UnpicklingError as error:  # torch's text advises to load it unsafely
        raise CheckpointError(
            f"the checkpoint {path} cannot be read: it holds more than tensors and plain values, and reading these could run "
            f"any code. It is damaged or was not written by selfsup: {RESTORE}"
        ) from error
    except Exception as error:  # on damaged files torch raises errors of many kinds
        if of_machine(error):
            raise
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({short_reason(error)}). It is damaged or was not written by selfsup: "
            f"{RESTORE}"
        ) from error
    if version not in (1, FORMAT):
        raise CheckpointError(f"the checkpoint {path} has format {version}, and this selfsup reads formats up to {FORMAT}.")
    if version == 1 and "random" in state:  # from a store, which gives one batch per step
        state["source"] = [{"batches": state["stepper"]["step"]}]
    return identity, state

"""The contract between data and training: batches by epoch, and a state to resume from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from selfsup.data.batches.loader import Loader
from selfsup.data.store.content_hash import HashArray
from selfsup.types import Batch


@dataclass(frozen=True)
class Share:
    """What one process takes of each batch, and how."""

    batch_size: int
    """Samples of a batch of this process."""
    rank: int = 0
    """Number of this process."""
    world_size: int = 1
    """Number of processes."""
    device: torch.device | str = "cpu"
    """Where batches go."""
    seed: int = 0
    """Of the order of the samples, and of what training draws of each."""
    whole: bool = False
    """Give whole samples (:meth:`Processor.collate_whole`), for a task that cuts its views from them."""


@dataclass(frozen=True)
class SeenRows:
    """Rows that were only known once they were read."""

    hashes: HashArray
    """[n] uint64, of different rows, sorted; of more than are kept those with the smallest hashes of hashes."""
    different: int
    """Different rows in all; an estimate where not all hashes are kept."""
    about: Mapping[str, Any]
    """What ``run.json`` says of the reading: rows that were read, bad and held out ones."""


class BatchSource(ABC):
    """Gives one process its batches of training, epoch after epoch.

    Training knows nothing else of where batches come from: a store that was prepared, or a stream that is decoded on the way.
    All processes call :meth:`batches` together and get equally many batches in an epoch.
    """

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int | None:
        """Batches in an epoch; None where that is not known beforehand."""

    @property
    @abstractmethod
    def epoch(self) -> int:
        """Epoch of the last batch that was given, counted from 0."""

    @property
    def failed_together(self) -> bool:
        """Whether :meth:`batches` has raised an error on all processes, each behind the same batch."""
        return False

    @abstractmethod
    def batches(self) -> Generator[Batch]:
        """The rest of the epoch; the next call gives the next epoch. Errors in reading are raised here."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where this process is: behind the last batch that was given, whatever was read ahead. Tensors and primitives."""

    @abstractmethod
    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what :meth:`state_dict` gave, on each process in the order of their ranks.

        Raises:
            CheckpointError: the batches cannot go on from there.
        """

    def seen(self) -> SeenRows | None:
        """The rows that were given, of all processes, which call this together; None: all rows that are known beforehand."""
        return None


SourceMaker = Callable[[Share], BatchSource]
"""Makes the source of one process, once its share is known."""


class StoreBatches(BatchSource):
    """The batches of a store: which samples make up which batch is a function of seed and epoch.

    Args:
        loader: reads the store.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._taken = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self._loader)

    @property
    def epoch(self) -> int:
        """Epoch of the last batch that was given, counted from 0."""
        return max(self._taken - 1, 0) // len(self._loader)

    def batches(self) -> Generator[Batch]:
        """The rest of the epoch."""
        for batch in self._loader.epoch(*divmod(self._taken, len(self._loader))):
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The number of batches that were given; the same on all processes."""
        return {"batches": self._taken}

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on behind so many batches; their size over all processes must be the same as before."""
        self._taken = int(states[0]["batches"])

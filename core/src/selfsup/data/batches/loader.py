"""Load batches from a store, read ahead by a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

import numpy as np
import torch

from selfsup.data.batches.permutation import IndexArray
from selfsup.data.batches.sampler import Sampler
from selfsup.data.batches.windows import Draw, read_windows
from selfsup.data.processor import Processor
from selfsup.data.sources.columns.labels import LabelArray
from selfsup.data.store.format import Store
from selfsup.errors import DataError
from selfsup.runtime.machine_load import cpu_count
from selfsup.runtime.threads import in_order, read_ahead
from selfsup.types import Batch

_DEVICE_SHARE = 0.1
"""Of a GPU's free memory: what the samples of a store may take there."""
_THREADS = 4
"""Most threads that read batches for a GPU."""
_CHUNK_BYTES = 2**26
"""What is copied to a device at once."""


class Loader:
    """Reads, collates and moves the batches of an epoch while the device is busy with the one before.

    The batches of ``epoch(e, start_batch=k)`` are those of ``epoch(e)`` from the k-th on: nothing depends on what was read
    before.

    For a GPU several threads read. Where the samples of training have one shape and are small, they are copied to the GPU as a
    whole after the first epoch, and only their numbers are sent there from then on; a shorter training reads no more than it
    uses.
    """

    def __init__(
        self,
        store: Store,
        processor: Processor,
        sampler: Sampler,
        device: torch.device | str = "cpu",
        labels: LabelArray | None = None,
        prefetch: int | None = None,
        window_seed: int | None = None,
        whole: bool = False,
        device_bytes: int | None = None,
    ) -> None:
        """Check that the labels fit.

        Args:
            store: processed rows.
            processor: joins samples to a batch.
            sampler: which samples make up which batch.
            device: where the batches go; for a GPU they are pinned first and copied without waiting.
            labels: [len(store)] class ids, [len(store), K] zeros and ones of several classes, or [len(store)] numbers; put into
                the batch as ``label``, ids as int64 and all others as float32. None: the batch holds no label.
            prefetch: batches that may lie ready, for a GPU together with those that are read; None: 2, for a GPU one more than
                threads that read.
            window_seed: of what training draws in each epoch: the windows of samples that are longer than a batch shows
                (:attr:`Processor.window_key`), :meth:`Processor.training_samples` and :meth:`Processor.training_batch`; None:
                batches as evaluation takes them.
            whole: give whole samples (:meth:`Processor.collate_whole`), for a task that cuts its views from them.
            device_bytes: most bytes of samples that may lie on the device; None: a tenth of a CUDA device's free memory.
        """
        if labels is not None and len(labels) != len(store):
            raise DataError(f"There are {len(labels)} labels for {len(store)} samples.")
        self.store, self.processor, self.sampler = store, processor, sampler
        self.device = torch.device(device)
        self.window_seed, self.whole = window_seed, whole
        self._labels = None if labels is None else _label_tensor(labels)
        self._device_bytes = device_bytes
        self._threads = min(_THREADS, max(cpu_count() // 2, 1)) if self.device.type == "cuda" else 1
        self.prefetch = prefetch or (2 if self._threads == 1 else self._threads + 1)
        self._begun = False
        self._on_device: dict[str, torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from ``start_batch`` on. Errors in reading are raised here; dropping it ends the thread."""
        wanted = self.sampler.batches(epoch)[start_batch:]
        if self._on_device is None and self._begun:
            self._on_device = self._copied() if self._fits_device() else {}
        self._begun = True
        if self._on_device:
            for indices in wanted:
                yield self._picked(self._on_device, indices)
            return
        make = partial(self._make, None if self.window_seed is None else (self.window_seed, epoch))
        with closing(self._made(make, wanted)) as batches:
            for batch in batches:
                yield {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}

    def _made(self, make: Callable[[IndexArray], Batch], wanted: Sequence[IndexArray]) -> Generator[Batch]:
        if self._threads > 1:
            return in_order(make, wanted, min(self._threads, self.prefetch), self.prefetch)
        return read_ahead(map(make, wanted), self.prefetch)

    def _fits_device(self) -> bool:
        """Whether the samples of training can lie on the device as a whole."""
        kind = type(self.processor)
        draws = kind.training_samples is not Processor.training_samples or kind.training_batch is not Processor.training_batch
        if self.window_seed is None or not kind.collates_on_device or draws:
            return False
        if any(field.starts for field in self.store.fields.values()):
            return False
        in_full = self.processor.takes_whole() if self.whole else {}
        for key, owner in self.processor.windowed().items():
            if key in self.store.fields and key not in in_full and self.store.fields[key].shape[0] > owner.window_steps:
                return False
        most = self._device_bytes
        if most is None:
            most = int(_DEVICE_SHARE * torch.cuda.mem_get_info(self.device)[0]) if self.device.type == "cuda" else 0
        return sum(field.item_bytes for field in self.store.fields.values()) * len(self.store) <= most

    def _copied(self) -> dict[str, torch.Tensor]:
        """All samples on the device."""
        size = max(sum(field.item_bytes for field in self.store.fields.values()), 1)
        step = max(_CHUNK_BYTES // size, 1)
        copied: dict[str, torch.Tensor] = {}
        for start in range(0, len(self.store), step):
            stop = min(start + step, len(self.store))
            for key, values in self.store.read(range(start, stop)).items():
                assert isinstance(values, torch.Tensor)
                if key not in copied:
                    copied[key] = torch.empty((len(self.store), *values.shape[1:]), dtype=values.dtype, device=self.device)
                copied[key][start:stop] = values
        if self._labels is not None:
            self._labels = self._labels.to(self.device)
        return copied

    def _picked(self, copied: Mapping[str, torch.Tensor], indices: IndexArray) -> Batch:
        numbers = torch.from_numpy(indices)
        if self.device.type == "cuda":
            numbers = numbers.pin_memory().to(self.device, non_blocking=True)
        samples = {key: values.index_select(0, numbers) for key, values in copied.items()}
        batch = self.processor.collate_whole(samples) if self.whole else self.processor.collate(samples)
        if self._labels is not None:
            batch["label"] = self._labels.index_select(0, numbers)
        return batch

    def _make(self, draw: Draw | None, indices: IndexArray) -> Batch:
        samples: Mapping[str, torch.Tensor | Sequence[torch.Tensor]]
        samples = read_windows(self.store, self.processor, indices, draw, whole=self.whole)
        batch = joined(samples, self.processor, draw, int(indices[0]), whole=self.whole)
        if self._labels is not None:
            batch["label"] = self._labels[torch.from_numpy(indices)]
        if self.device.type == "cuda":
            batch = {key: value.pin_memory() for key, value in batch.items()}
        return batch


def joined(
    samples: Mapping[str, torch.Tensor | Sequence[torch.Tensor]],
    processor: Processor,
    draw: Draw | None,
    *first: int,
    whole: bool = False,
) -> Batch:
    """Samples as a batch.

    Args:
        samples: key to [B, ...], or B tensors; cut to their windows.
        processor: made them.
        draw: of training; None: a batch as evaluation takes it.
        first: numbers that say which sample is the first one; what training draws for the batch follows from them.
        whole: give whole samples (:meth:`Processor.collate_whole`).
    """
    generator = None
    if draw is not None:
        generator = torch.Generator().manual_seed(int(np.random.default_rng((*draw, *first)).integers(2**63)))
        samples = processor.training_samples(samples, generator)
    batch = processor.collate_whole(samples) if whole else processor.collate(samples)
    return batch if generator is None else processor.training_batch(batch, generator)


def _label_tensor(labels: LabelArray) -> torch.Tensor:
    ids = labels.ndim == 1 and labels.dtype.kind != "f"
    return torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64 if ids else np.float32))

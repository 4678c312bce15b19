"""The contract of a processor: it turns rows into batches, is fitted once, and saved with the encoder."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from selfsup.config import Config as BaseConfig
from selfsup.data.bad_rows import as_bad_row
from selfsup.data.previews import Preview, TextPreview, text_of_row
from selfsup.data.samples import EncodedTable, Sample, stack_samples
from selfsup.errors import BadRowError, ConfigError
from selfsup.runtime.findings import Findings, of_info
from selfsup.types import Batch, Info, Row

if TYPE_CHECKING:
    from selfsup.data.sources.columns.joined import JoinedColumns, SourceColumns

_REMARKS = threading.Lock()


class Processor(ABC):
    """Turns rows into a batch, deterministically: decodes, tokenizes, resamples, scales.

    ``encode`` does the costly work once per row, and the store keeps its result. ``collate`` joins samples into a batch at
    every step and must be cheap. Augmentation belongs to the views.
    """

    modality: ClassVar[str]
    Config: ClassVar[type[BaseConfig]]

    block_length: int = 0
    """Steps of a sample if pretraining joins rows end to end and cuts them into blocks; 0: a row is a sample.

    All keys of a sample then have the same number of steps, and :meth:`unpacked` encodes for everything but pretraining.
    """
    window_key: ClassVar[str] = ""
    """Key whose tensor is longer than a batch shows: batches get a window of :attr:`window_steps`; empty: whole samples.

    For long rows (recordings, videos). ``encode`` keeps a bounded part that is longer than a window. In training the loader
    draws a new window in every epoch (:meth:`window_start`) and reads only that from the store; evaluation uses a fixed one.

    To use it: set this key, define ``window_steps``, and let ``encode`` return ``[t, ...]`` under the key. Pad shorter rows, so
    that all have one shape. If the batch gives the number of real steps, store it under another key and clip it to
    ``window_steps`` in ``collate``. ``window_start(t, None)``, by default the middle, is the window of evaluation. Overrides
    of ``collate`` call :meth:`cut` first, since samples from :meth:`encode` are whole. Do not join the key into blocks.
    """
    ragged_keys: ClassVar[tuple[str, ...]] = ()
    """Keys whose first dimension differs between rows, if there are several such keys.

    Each has its own padding mask (see :meth:`padding_key`). Naming them keeps the masks the same in every batch, also where the
    lengths happen to be equal.
    """
    free_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """Key of a batch to its axes, beside the first, that vary with the longest sample of the batch.

    Exported programs (ONNX, ``torch.export``) accept every length there.
    """
    padded_key: ClassVar[str] = ""
    """Key of a batch whose samples are padded with zeros along time; ``length`` ([B] long) counts the real steps.

    Empty if batches have no padding, or mark it by ``padding`` ([B, N] bool). No backbone may see padding; the conformance
    kit checks it.
    """
    batch_size: ClassVar[int] = 256
    """Default number of samples of a training step, and of those embedded at a time; lower for large samples."""
    columnar: ClassVar[bool] = False
    """Whether rows of plain values are processed column by column, by :meth:`encode_table`."""

    part_options: ClassVar[str] = ""
    """For a processor of joined rows: the option that holds the options of each part's processor, by the part's name."""
    adjustable: ClassVar[frozenset[str]] = frozenset()
    """Options that may change on a fitted processor without fitting again: see :meth:`adjusted`."""

    collates_on_device: ClassVar[bool] = False
    """Whether :meth:`collate` and :meth:`collate_whole` take samples of one shape on any device.

    A small store then lies on the GPU in training (:class:`~selfsup.data.batches.loader.Loader`).
    """

    def __init__(self, config: BaseConfig) -> None:
        self.config = config

    @classmethod
    def choose_columns(cls, source: SourceColumns, options: Mapping[str, Any]) -> JoinedColumns:
        """Assign the columns of a source to the parts of a row; only for a modality that joins others (``ModalitySpec.joins``).

        ``options`` are those given for the processor, or the :meth:`source_options` of a fitted one.

        Raises:
            ColumnError: a column is missing, ambiguous or of the wrong type.
            MissingPluginError: a part needs a modality whose plugin is not installed.
        """
        raise NotImplementedError(f"{cls.__name__} is of a modality that joins others, and has no choose_columns.")

    def source_options(self) -> dict[str, Any]:
        """The options with which :func:`~selfsup.data.load_source` finds the columns that this processor was fitted to.

        Empty if the modality has fixed roles. Only after :meth:`fit`.
        """
        return {}

    @abstractmethod
    def fit(self, rows: Iterable[Row]) -> Self:
        """Learn from training rows what must be learned (vocabulary, category codes, means, the image size) and return self.

        Skip rows that cannot be read; they are counted when they are encoded.
        """

    def adjusted(self, config: BaseConfig) -> Self:
        """A copy with the same fitted state and other options; only those in :attr:`adjustable` may differ.

        Override it if options decide more than ``config``.
        """
        twin = copy.copy(self)
        twin.config = config
        return twin

    def check_rows(self, columns: Sequence[str], source: str) -> str:
        """Compare the columns of new rows with those it was fitted on, before an encoder is trained further on them.

        Args:
            columns: of the new rows.
            source: the name of the encoder, for the message.

        Returns:
            A remark, such as columns that are ignored; empty for modalities with fixed roles.

        Raises:
            ColumnError: a column is missing; the message names the difference.
        """
        return ""

    @classmethod
    def unlike(cls, theirs: Info, ours: Info) -> str:
        """Why a network trained on batches like ``theirs`` would misread batches like ``ours``; empty if it would not.

        Sizes and lengths do not matter, as networks accept others. Override it if the same number can mean something else (a
        token id, a sample at another rate, a category code).
        """
        return ""

    def unpacked(self) -> Processor:
        """The processor of the same batches with one sample per row: this one, unless it has a ``block_length``."""
        return self

    @property
    def parts(self) -> Mapping[str, Processor]:
        """For rows that join several parts (an image and its caption): the processor of each part, by its name; else empty.

        Each is a processor of the part's own modality, independent of the others. Only after :meth:`fit`.
        """
        return {}

    @classmethod
    def part_modality(cls, part: str, options: Mapping[str, Any]) -> str:
        """The modality of a part, from its name and the given options of this processor, before any row is read.

        Raises:
            ConfigError: the modality does not follow from them.
        """
        raise ConfigError(f"rows of {cls.modality} have no parts, so there is no part {part!r}.")

    def take(self, part: str, processor: Processor) -> Self:
        """Use a fitted processor (an encoder's) for a part of each row; :meth:`fit` does not change it."""
        raise ConfigError(f"rows of {self.modality} have no parts, so there is no part {part!r}.")

    @property
    def window_steps(self) -> int:
        """Steps of ``window_key`` that a batch shows; only used if that key is set, and after :meth:`fit`."""
        raise NotImplementedError(f"{type(self).__name__} has a window_key and no window_steps.")

    def window_start(self, steps: int, generator: np.random.Generator | None) -> int:
        """First step of the window in a stored sample of ``steps`` steps, more than ``window_steps``.

        ``generator`` belongs to this sample in this epoch; without one it is the window of evaluation, by default the middle.
        """
        room = steps - self.window_steps
        return room // 2 if generator is None else int(generator.integers(room + 1))

    def windowed(self) -> Mapping[str, Processor]:
        """Each key that batches show a window of, with the processor that places it (see :attr:`window_key`)."""
        return {self.window_key: self} if self.window_key else {}

    def takes_whole(self) -> Mapping[str, Processor]:
        """The keys of :meth:`windowed` that :meth:`collate_whole` needs in full."""
        return {} if type(self).collate_whole is Processor.collate_whole else self.windowed()

    def training_samples(
        self, samples: Mapping[str, Tensor | Sequence[Tensor]], generator: torch.Generator
    ) -> Mapping[str, Tensor | Sequence[Tensor]]:
        """Choose what training sees of each sample, such as one of several captions; the default changes nothing.

        The loader calls it before :meth:`collate`, with the generator that :meth:`training_batch` gets next. Evaluation takes
        the first caption. Do not change ``samples`` in place.
        """
        return samples

    def training_batch(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Change a batch for training, if the network must learn a value that rows do not show (a table's unknown category).

        The loader calls it for pretraining, the supervised reference and fine-tuning, not for evaluation. Augmentation is not
        done here but in views. Do not change ``batch`` (on the CPU) in place. ``generator`` is a function of the run's seed,
        the epoch and the batch's first sample.
        """
        return batch

    @abstractmethod
    def info(self) -> Info:
        """What a backbone must know about the batches, as plain JSON values. Only after :meth:`fit`."""

    def findings(self) -> Findings:
        """What was detected and decided, for people: sizes, rates, ranges, lengths, kinds of columns. Only after :meth:`fit`.

        Every run shows it once, and pretraining keeps it in ``run.json``. The default shows :meth:`info`; override it to say
        where a value comes from, how to set it (``--set processor.KEY=``), and what was left out.
        """
        return of_info(self.info(), self.config.model_dump())

    def column_kinds(self) -> dict[str, str]:
        """Role to its use (``number``, ``category``, ``left out: ...``), for modalities without fixed roles; else empty.

        Only after :meth:`fit`.
        """
        return {}

    def example_rows(self) -> Sequence[Row]:
        """Rows to try a network with, if the fitted processor decides what a row must hold (a table's columns).

        Empty: any rows of the modality work.
        """
        return []

    def preview(self, row: Row) -> Sequence[Preview]:
        """What the report shows of a row beside its embedding: small texts, images, curves.

        The default shows the row's plain values. Override it to show an image of at most
        :data:`~selfsup.data.previews.PREVIEW_SIDE` pixels per side (:func:`~selfsup.data.previews.thumbnail`) or a waveform
        (:func:`~selfsup.data.previews.envelope`). Only after :meth:`fit`.

        Raises:
            BadRowError: the row cannot be used.
        """
        text = text_of_row(row)
        return [TextPreview(text)] if text else []

    @abstractmethod
    def encode(self, row: Row) -> Sample:
        """Process one row.

        Raises:
            BadRowError: the row cannot be used; the message says why (the caller adds which).
        """

    def encode_rows(self, rows: Sequence[Row]) -> list[Sample | BadRowError]:
        """Process many rows; override it if that is faster than one by one.

        An error of :meth:`encode` makes its row a bad row, except for full memory and errors that are not about a row.
        """
        results: list[Sample | BadRowError] = []
        for row in rows:
            try:
                results.append(self.encode(row))
            except Exception as error:
                results.append(as_bad_row(error))
        return results

    def encode_table(self, table: Any) -> EncodedTable:
        """Process the rows of a ``pyarrow.Table`` with a column per role, for a :attr:`columnar` processor.

        The default goes row by row, which is slow.
        """
        results = self.encode_rows(table.to_pylist())
        bad = {place: str(item) for place, item in enumerate(results) if isinstance(item, BadRowError)}
        good = next((item for item in results if not isinstance(item, BadRowError)), {})
        filled = [good if isinstance(item, BadRowError) else item for item in results]
        return EncodedTable({key: np.stack([np.asarray(item[key]) for item in filled]) for key in good}, bad)

    def remark(self, text: str) -> None:
        """Count a row that can be used but not as it is: values were clipped, or a part was cut off.

        Call it from :meth:`encode`, once per row and text; several threads may. ``prepare`` keeps the counts beside the
        samples, and every command shows them: ``12 of the 400 rows of photos: <text>``.
        """
        with _REMARKS:
            counts: Counter[str] = self.__dict__.setdefault("_remarks", Counter())
            counts[text] += 1

    def take_remarks(self) -> dict[str, int]:
        """What :meth:`remark` counted since the last call: text to number of rows."""
        with _REMARKS:
            return dict(self.__dict__.pop("_remarks", {}))

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Join samples, given by key: a stacked tensor [B, ...] if shapes agree, else a list of B tensors.

        The default cuts samples to the window of evaluation (:meth:`cut`), pads ragged keys with zeros at the end of their
        first dimension, and adds a mask for each ([B, N] bool, True for padding) under :meth:`padding_key`.
        """
        batch: Batch = {}
        cut = self.cut(samples)
        ragged = self.ragged_keys or tuple(key for key, value in cut.items() if not isinstance(value, Tensor))
        for key, value in cut.items():
            if isinstance(value, Tensor):
                batch[key] = value
                continue
            batch[key] = torch.nn.utils.rnn.pad_sequence(list(value), batch_first=True)
            lengths = torch.tensor([len(item) for item in value])
            batch[self.padding_key(key, ragged)] = torch.arange(batch[key].shape[1]).unsqueeze(0) >= lengths.unsqueeze(1)
        return batch

    @staticmethod
    def padding_key(key: str, ragged: Sequence[str]) -> str:
        """Key of the padding mask: ``padding`` for the first of the ragged keys, ``<key>_padding`` for the others."""
        return f"{key}_padding" if key in ragged[1:] else "padding"

    def collate_whole(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Join samples for a task that cuts its views from whole samples (``Views.takes_whole``); by default :meth:`collate`.

        Override it if :meth:`collate` shows only a part of a sample, such as the centre of an image.
        """
        return self.collate(samples)

    def cut(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Mapping[str, Tensor | Sequence[Tensor]]:
        """Samples whose tensors under :attr:`window_key` are cut to the window of evaluation."""
        key = self.window_key
        if not key:
            return samples
        values, parts = samples[key], []
        lengths = {values.shape[1]} if isinstance(values, Tensor) else {len(value) for value in values}
        if all(length <= self.window_steps for length in lengths):
            return samples
        for value in values:
            start = self.window_start(len(value), None) if len(value) > self.window_steps else 0
            parts.append(value[start : start + self.window_steps])
        alike = len({len(part) for part in parts}) == 1
        return {**samples, key: torch.stack(parts) if alike else parts}

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Process rows into a batch; the first bad row raises."""
        encoded = self.encode_rows(rows)
        samples: list[Sample] = []
        for item in encoded:
            if isinstance(item, BadRowError):
                raise item
            samples.append(item)
        return self.collate(stack_samples(samples))

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write config and fitted state into ``directory``, as JSON or another format that executes nothing."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote."""

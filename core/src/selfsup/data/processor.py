"""The contract of a processor: rows in, a batch out; fitted once, saved with the encoder."""

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

    ``encode`` does the costly work, once a row, and its result is kept on disk; ``collate`` joins kept samples into a batch at
    every step and must be cheap. Augmentation belongs to the views.
    """

    modality: ClassVar[str]
    Config: ClassVar[type[BaseConfig]]

    block_length: int = 0
    """Where it is not 0, the rows of pretraining are joined, one behind the other, and cut into samples of so many steps.

    Every key of a sample then has as many steps as every other, and :meth:`unpacked` encodes for everything but pretraining.
    """
    window_key: ClassVar[str] = ""
    """Key of the tensor of a sample that batches show a window of (:attr:`window_steps` at most); empty: whole samples.

    For rows that are longer than a batch can show (recordings, videos). ``encode`` keeps more than a window of them, a bounded
    part. In training the loader draws a new window in every epoch (:meth:`window_start`) and reads only that from the store;
    evaluation always takes the same window.

    How a processor gets it: set this key, define ``window_steps``, and let ``encode`` return ``[t, ...]`` under the key. Fill
    rows shorter than a window up as before, so that they are all of one shape. If the batch says how many steps are real, store
    that number under another key and clip it to ``window_steps`` in ``collate``. Place the stored part so that
    ``window_start(t, None)``, by default the middle, gives the window of evaluation. An override of ``collate`` starts with
    :meth:`cut`, since samples that come from :meth:`encode` are whole. The key must not be joined into blocks.
    """
    ragged_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of samples that differ in their first dimension between rows, where there are several such keys.

    Their padding is marked under a key for each (see :meth:`padding_key`); to name them makes that the same in every batch,
    whichever of them happen to be even in it.
    """
    free_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """Key of a batch to those of its axes, beside the first, that are as long as the batch's longest sample.

    Exported programs (ONNX, ``torch.export``) then take every length.
    """
    padded_key: ClassVar[str] = ""
    """Key of a batch whose samples are filled up with zeros along time, and whose real steps ``length`` ([B] long) counts.

    Empty where batches have no padding, or mark it by ``padding`` ([B, N] bool). No backbone may see padding; the conformance
    kit checks it.
    """
    batch_size: ClassVar[int] = 256
    """Samples that are embedded at a time, and those of a training step, where nobody says otherwise; fewer large ones."""
    columnar: ClassVar[bool] = False
    """Whether rows of plain values are processed column by column: then :meth:`encode_table` is used for many rows."""

    part_options: ClassVar[str] = ""
    """Of a processor of joined rows: the option that holds those of each part's processor, by the part's name."""
    adjustable: ClassVar[frozenset[str]] = frozenset()
    """Options that can be given otherwise to a processor that is fitted, without fitting it again: see :meth:`adjusted`."""

    def __init__(self, config: BaseConfig) -> None:
        self.config = config

    @classmethod
    def choose_columns(cls, source: SourceColumns, options: Mapping[str, Any]) -> JoinedColumns:
        """Say which columns of a source are which part of a row; only of a modality that joins others (``ModalitySpec.joins``).

        Args:
            source: the columns, and what the user says of them.
            options: of the processor, as far as they are given, or what :meth:`source_options` of a fitted one gives.

        Raises:
            ColumnError: a column is missing, ambiguous or of the wrong type.
            MissingPluginError: a part is of a modality whose plugin is not installed.
        """
        raise NotImplementedError(f"{cls.__name__} is of a modality that joins others, and has no choose_columns.")

    def source_options(self) -> dict[str, Any]:
        """What makes :func:`~selfsup.data.load_source` find the columns that this processor was fitted to.

        Empty where the modality says by itself which columns it takes. Only after :meth:`fit`.
        """
        return {}

    @abstractmethod
    def fit(self, rows: Iterable[Row]) -> Self:
        """Learn from training rows what must be learned (vocabulary, category codes, means, the image size) and return self.

        Rows that cannot be read are passed over here; they are counted when they are encoded.
        """

    def adjusted(self, config: BaseConfig) -> Self:
        """The same, as far as it was fitted, with other options: those of :attr:`adjustable` may differ.

        Override it where options decide more than ``config``.
        """
        twin = copy.copy(self)
        twin.config = config
        return twin

    def check_rows(self, columns: Sequence[str], source: str) -> str:
        """Look whether rows of these columns are what it was fitted on, for an encoder that is trained further on other rows.

        Args:
            columns: of the rows.
            source: whose processor it is, for the message.

        Returns:
            What to say: columns that are passed over, and the like; empty for modalities with fixed roles.

        Raises:
            ColumnError: a column is missing; the message names the difference.
        """
        return ""

    @classmethod
    def unlike(cls, theirs: Info, ours: Info) -> str:
        """Why a network that was trained on batches as ``theirs`` would misread batches as ``ours``; empty: it would not.

        Sizes and lengths are no reason: networks take others. Override it where the same number may mean something else (the id
        of a token, a sample at another rate, a code of a category).
        """
        return ""

    def unpacked(self) -> Processor:
        """The processor of the same batches that makes each row a sample: this one, unless it has a ``block_length``."""
        return self

    @property
    def parts(self) -> Mapping[str, Processor]:
        """Of rows that join several parts (a picture and its caption): the processor of each part, by its name; else empty.

        Each is a processor of the part's own modality, and knows nothing of the others. Only after :meth:`fit`.
        """
        return {}

    @classmethod
    def part_modality(cls, part: str, options: Mapping[str, Any]) -> str:
        """The modality of a part of a row, before any row is read.

        Args:
            part: its name.
            options: of this processor, as far as they are known.

        Raises:
            ConfigError: it cannot be told.
        """
        raise ConfigError(f"rows of {cls.modality} have no parts, and so none that is called {part!r}.")

    def take(self, part: str, processor: Processor) -> Self:
        """Use a processor that is fitted already (an encoder's) for a part of each row; :meth:`fit` leaves it as it is."""
        raise ConfigError(f"rows of {self.modality} have no parts, and so none that is called {part!r}.")

    @property
    def window_steps(self) -> int:
        """Steps of ``window_key`` that a batch shows; only asked where that is not empty, and after :meth:`fit`."""
        raise NotImplementedError(f"{type(self).__name__} has a window_key and no window_steps.")

    def window_start(self, steps: int, generator: np.random.Generator | None) -> int:
        """First step of the window of a sample that is longer than it.

        Args:
            steps: of the stored sample, more than ``window_steps``.
            generator: of this sample in this epoch; None: the window that evaluation takes, by default the middle.
        """
        room = steps - self.window_steps
        return room // 2 if generator is None else int(generator.integers(room + 1))

    def windowed(self) -> Mapping[str, Processor]:
        """Key of each tensor that batches show a window of, to the processor that says which (see :attr:`window_key`)."""
        return {self.window_key: self} if self.window_key else {}

    def takes_whole(self) -> Mapping[str, Processor]:
        """The keys of :meth:`windowed` that :meth:`collate_whole` wants in full."""
        return {} if type(self).collate_whole is Processor.collate_whole else self.windowed()

    def training_samples(
        self, samples: Mapping[str, Tensor | Sequence[Tensor]], generator: torch.Generator
    ) -> Mapping[str, Tensor | Sequence[Tensor]]:
        """Samples as training sees them: these, unless a sample has several of a kind (captions): then one is drawn.

        The loader calls it before :meth:`collate`, and never for evaluation, which takes the first of them.

        Args:
            samples: as :meth:`collate` takes them; not to be changed in place.
            generator: of this batch, the one that :meth:`training_batch` gets next.
        """
        return samples

    def training_batch(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A batch as training sees it: this one, unless values must be shown to be learned (a table's unknown category).

        The loader calls it for pretraining, the supervised reference and fine-tuning, and never for evaluation. What helps a
        method to learn is a view and does not belong here.

        Args:
            batch: of :meth:`collate`, on the CPU; not to be changed in place.
            generator: of this batch: a function of the run's seed, the epoch and the batch's first sample.
        """
        return batch

    @abstractmethod
    def info(self) -> Info:
        """What a backbone has to know of the batches, as plain JSON values. Only after :meth:`fit`."""

    def findings(self) -> Findings:
        """What was found and decided, for people: sizes, rates, ranges, lengths, kinds of columns. Only after :meth:`fit`.

        Every run shows it once, and pretraining keeps it in ``run.json``. The default shows what :meth:`info` holds; override
        it to say where a value comes from, how to set it (``--set processor.KEY=``), and what was left out.
        """
        return of_info(self.info(), self.config.model_dump())

    def column_kinds(self) -> dict[str, str]:
        """Role to what it is used as (``number``, ``category``, ``left out: ...``), where the processor decides that.

        For modalities without fixed roles; empty elsewhere. Only after :meth:`fit`.
        """
        return {}

    def example_rows(self) -> Sequence[Row]:
        """Rows to try a network with, where what the processor was fitted on decides what a row must hold (a table's columns).

        Empty: any rows of the modality will do.
        """
        return []

    def preview(self, row: Row) -> Sequence[Preview]:
        """What a person sees of a row in the report's pictures of embeddings: small texts, pictures, curves.

        The default shows the row's plain values. Override it where a row is more than these: a picture of at most
        :data:`~selfsup.data.previews.PREVIEW_SIDE` pixels a side (:func:`~selfsup.data.previews.thumbnail`), a waveform
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
            BadRowError: the row cannot be used; the message says why (not which: the caller knows).
        """

    def encode_rows(self, rows: Sequence[Row]) -> list[Sample | BadRowError]:
        """Process many rows; override where that is faster together than one by one.

        Whatever :meth:`encode` raises makes its row a bad one, full memory and errors about something else than a row excepted.
        """
        results: list[Sample | BadRowError] = []
        for row in rows:
            try:
                results.append(self.encode(row))
            except Exception as error:
                results.append(as_bad_row(error))
        return results

    def encode_table(self, table: Any) -> EncodedTable:
        """Process the rows of a ``pyarrow.Table``, whose columns are the roles; for a :attr:`columnar` processor.

        The default goes row by row; override it where that is slow.
        """
        results = self.encode_rows(table.to_pylist())
        bad = {place: str(item) for place, item in enumerate(results) if isinstance(item, BadRowError)}
        good = next((item for item in results if not isinstance(item, BadRowError)), {})
        filled = [good if isinstance(item, BadRowError) else item for item in results]
        return EncodedTable({key: np.stack([np.asarray(item[key]) for item in filled]) for key in good}, bad)

    def remark(self, text: str) -> None:
        """Count a usable row that the user should know about: its values were clipped, or a part was cut off.

        To be called from :meth:`encode`, once for each such row and text. ``prepare`` keeps the counts beside
        the samples, and every command says them: ``12 of the 400 rows of photos: <text>``. Safe from several threads.
        """
        with _REMARKS:
            counts: Counter[str] = self.__dict__.setdefault("_remarks", Counter())
            counts[text] += 1

    def take_remarks(self) -> dict[str, int]:
        """What :meth:`remark` counted since the last call: text to number of rows."""
        with _REMARKS:
            return dict(self.__dict__.pop("_remarks", {}))

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Join samples, given by key: a stacked tensor [B, ...] where shapes agree, else a list of B tensors.

        The default cuts samples to the window of evaluation (:meth:`cut`), pads ragged keys with zeros at the end of their
        first dimension and adds the ``padding`` of each ([B, N] bool, True where padding) under :meth:`padding_key`.
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
        """Where a batch marks the padding of a key: ``padding`` for the first of its ragged keys, ``<key>_padding`` for others.

        Args:
            key: of the samples.
            ragged: all keys whose first dimension differs between rows.
        """
        return f"{key}_padding" if key in ragged[1:] else "padding"

    def collate_whole(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Join samples for a task that cuts its views from whole ones (``Views.takes_whole``).

        Override it where :meth:`collate` shows a part of a sample only, as the centre of an image. The default is
        :meth:`collate`.
        """
        return self.collate(samples)

    def cut(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Mapping[str, Tensor | Sequence[Tensor]]:
        """Samples with what is longer than a window under :attr:`window_key` cut to the window of evaluation."""
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
        """Process rows into a batch at once; the first bad row raises."""
        encoded = self.encode_rows(rows)
        samples: list[Sample] = []
        for item in encoded:
            if isinstance(item, BadRowError):
                raise item
            samples.append(item)
        return self.collate(stack_samples(samples))

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write config and fitted state as JSON (or another format that executes nothing) into ``directory``."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote."""

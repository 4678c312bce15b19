"""The encoder (processor and backbone): the result of pretraining, to evaluate, share and use."""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.artifacts.saving import save_encoder
from selfsup.backbones import Backbone, TokenBackbone, embed_part, mean_over_tokens
from selfsup.config import Config
from selfsup.data import (
    EpochSampler,
    LengthSampler,
    Loader,
    Processor,
    Rows,
    Sample,
    Sampler,
    Store,
    processor_digest,
    stack_samples,
)
from selfsup.data.bad_rows import encode_list
from selfsup.data.batches.sampler import DividedSampler
from selfsup.data.batches.windows import shown_lengths
from selfsup.data.batches.work_division import work_division
from selfsup.data.sources.row_values import rows_to_embed
from selfsup.errors import ArtifactError, BadRowError, ConfigError, DataWarning
from selfsup.runtime.module_mode import evaluation_mode
from selfsup.runtime.precision import AUTOCAST
from selfsup.runtime.precision import Precision as Precision
from selfsup.types import Batch, Row


class Encoder(nn.Module):
    """A fitted processor and a backbone. Calling it gives the pooled embeddings of a batch.

    Args:
        processor: fitted.
        backbone: the network.
        backbone_id: its id in the registry.
        backbone_options: all of its options, as plain JSON values or as the config itself.
        task: id of the pretext task that trained it, or empty.
        metadata: further facts to keep (data set, steps, seed, ...), as plain JSON values.
        pretraining_rows: hashes of the rows that its weights were trained on; None if unknown.
    """

    def __init__(
        self,
        processor: Processor,
        backbone: Backbone,
        *,
        backbone_id: str,
        backbone_options: Mapping[str, Any] | Config,
        task: str = "",
        metadata: Mapping[str, Any] | None = None,
        pretraining_rows: PretrainingRows | None = None,
    ) -> None:
        super().__init__()
        if processor.modality != backbone.modality:
            raise ArtifactError(f"A {processor.modality} processor does not go with a {backbone.modality} backbone.")
        options = backbone_options.model_dump(mode="json") if isinstance(backbone_options, Config) else dict(backbone_options)
        self.processor = processor
        self.backbone = backbone
        self.backbone_id = backbone_id
        self.backbone_options: dict[str, Any] = options
        self.task = task
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.pretraining_rows = pretraining_rows

    @property
    def modality(self) -> str:
        """Id of its modality."""
        return self.processor.modality

    @property
    def embed_dim(self) -> int:
        """D, the size of an embedding."""
        return self.backbone.pooled_dim

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that its rows join (an image and its caption); empty for one kind of data."""
        return tuple(self.backbone.part_dims)

    def check_part(self, name: str) -> None:
        """Raise a :class:`ConfigError` that lists the parts, if there is no part with this name."""
        if not self.parts:
            raise ConfigError(f"This encoder takes {self.modality} data, which have no parts: leave the part {name!r} out.")
        if name not in self.parts:
            raise ConfigError(f"This encoder has no part {name!r}; its parts are {', '.join(self.parts)}.")

    def part(self, name: str) -> Encoder:
        """The network of one part as an encoder of that part's own modality, with shared weights.

        It is evaluated, fine-tuned, saved and exported like any encoder, on rows of that modality. Its embeddings are those of
        the part's own network; for towers without the projection into their joint space, see :meth:`embed`. ``metadata`` gets
        ``part`` and ``part_of``; ``task`` stays that of the pretraining.

        Raises:
            ConfigError: there is no such part, or it has no network of its own (one network for all parts).
        """
        self.check_part(name)
        id_, options = self.backbone.part_options(name)
        learned = None if self.pretraining_rows is None else self.pretraining_rows.parts.get(name)
        return Encoder(
            self.processor.parts[name],
            self.backbone.part(name),
            backbone_id=id_,
            backbone_options=options,
            task=self.task,
            metadata={**self.metadata, "part": name, "part_of": self.backbone_id},
            pretraining_rows=learned,
        ).train(self.training)

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        tensor = next(iter(self.backbone.state_dict().values()), None)
        return tensor.device if tensor is not None else torch.device("cpu")

    def forward(self, batch: Batch) -> Tensor:
        """Pooled embeddings [B, D] of a batch of the processor, on the same device."""
        pooled: Tensor = self.backbone(batch).pooled
        return pooled

    def embed(
        self, rows: Any, *, part: str | None = None, batch_size: int | None = None, precision: Precision = "32"
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Embeddings [N, D] of rows, in evaluation mode.

        ::

            encoder.embed(["a text", "another"])          # paths of files, for other modalities
            encoder.embed([image, image])                 # PIL images, arrays [H, W, C], tensors
            encoder.embed(array)                          # [N, H, W, C] or [N, C, H, W]; of a table [N, columns]
            encoder.embed([{"array": samples, "sampling_rate": 16000}])
            encoder.embed(frame)                          # a DataFrame, a datasets.Dataset, Rows

        To embed a file or folder, see :func:`selfsup.embed`. To embed many rows more than once,
        :func:`~selfsup.data.store.prepare` and :meth:`embed_store` are faster.

        Args:
            rows: N rows, in any form that :func:`selfsup.data.load_source` takes in memory, or dicts of roles.
            part: for rows that join several parts: embed only this part, as for comparing it with others; NaN if a row lacks
                it. None: all parts of a row, joined.
            batch_size: rows per batch; None: the modality's.
            precision: ``32``, ``bf16`` or ``16`` (autocast).

        Raises:
            BadRowError: a row cannot be processed; the message says which.
            ConfigError: there is no such part.
            SourceError: it is a single row, or holds no rows.
        """
        dim = self._dim_of(part)
        rows = rows_to_embed(rows, self.modality, self.processor.source_options())
        parts: list[Tensor] = []
        self.processor.take_remarks()  # drop those of other rows
        with self._evaluating(precision):
            for start, chunk in _chunks(rows, batch_size or self.processor.batch_size):
                samples: list[Sample] = []
                for place, sample in enumerate(encode_list(self.processor, chunk), start):
                    if isinstance(sample, BadRowError):
                        raise BadRowError(f"Row {place} cannot be embedded: {sample}") from sample
                    samples.append(sample)
                batch = {key: value.to(self.device) for key, value in self.processor.collate(stack_samples(samples)).items()}
                parts.append(self._embedded(batch, part))
        for text, count in self.processor.take_remarks().items():
            warnings.warn(f"{count} of the {sum(map(len, parts))} rows: {text}.", DataWarning, stacklevel=2)
        return torch.cat(parts).numpy() if parts else np.empty((0, dim), dtype=np.float32)

    def embed_store(
        self, store: Store, *, part: str | None = None, batch_size: int | None = None, precision: Precision = "32"
    ) -> Tensor:
        """Embeddings [N, D] of a store's samples, float32 on the CPU, computed in evaluation mode without gradients.

        Args:
            store: from :func:`~selfsup.data.store.prepare` with this encoder's processor.
            part: embed only this part ([N, part_dims[part]]), as for :meth:`embed`.
            batch_size: samples per batch; None: the modality's.
            precision: ``32``, ``bf16`` or ``16`` (autocast).

        Raises:
            ConfigError: there is no such part.
        """
        result = torch.empty((len(store), self._dim_of(part)), dtype=torch.float32)
        with self._evaluating(precision):
            for indices, embeddings in self._of_batches(store, batch_size, lambda batch: self._embedded(batch, part)):
                result[indices] = embeddings
        return result

    def _dim_of(self, part: str | None) -> int:
        if part is None:
            return self.embed_dim
        self.check_part(part)
        return self.backbone.part_dims[part]

    def _embedded(self, batch: Batch, part: str | None) -> Tensor:
        """[B, D] float32 on the CPU: of all parts joined, or of one part with NaN in rows that lack it."""
        if part is None:
            pooled: Tensor = self(batch)
            return pooled.float().cpu()
        return embed_part(self.backbone, batch, part).cpu()

    def embed_layers(self, store: Store, *, batch_size: int | None = None, precision: Precision = "32") -> Tensor:
        """The output of each layer, averaged over the real tokens: [N, L, D], float32 on the CPU.

        The first of the L are the tokens before the first layer, without positions. For the arguments see :meth:`embed_store`.

        Raises:
            ArtifactError: the backbone has no tokens.
        """
        backbone = self.backbone
        if not isinstance(backbone, TokenBackbone):
            raise ArtifactError(
                f"The backbone {self.backbone_id!r} has no layer outputs, since it has no tokens. `selfsup list backbones` "
                "shows which backbones have tokens."
            )

        def layers_of(batch: Batch) -> Tensor:
            tokens = backbone.tokenize(batch)
            layers = [tokens.embeddings, *backbone.layer_outputs(tokens)]
            return torch.stack([mean_over_tokens(layer.float(), tokens.padding) for layer in layers], dim=1).cpu()

        with self._evaluating(precision):
            order, parts = zip(*self._of_batches(store, batch_size, layers_of), strict=True)
        return torch.cat(parts)[torch.cat(order).argsort()]

    def _of_batches(
        self, store: Store, batch_size: int | None, compute: Callable[[Batch], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices of all samples of a store, each once, and what is computed of their batches.

        Within :func:`~selfsup.data.batches.work_division.divided_work` each process computes a part of the batches.
        """
        batch_size = batch_size or self.processor.batch_size
        lengths = shown_lengths(store, self.processor)
        sampler: Sampler = EpochSampler(len(store), batch_size, drop_last=False, shuffle=False)
        if lengths is not None:
            sampler = LengthSampler(lengths, batch_size)
        places, division = sampler.batches(0), work_division()
        own = sampler if division is None else DividedSampler(sampler, division)
        outputs: Iterator[Tensor] = map(compute, Loader(store, self.processor, own, self.device).epoch(0))
        if division is not None:
            outputs = division.outputs(outputs, len(places))
        for indices, output in zip(places, outputs, strict=True):
            yield torch.from_numpy(indices), output

    def config(self) -> dict[str, Any]:
        """The content of ``config.json``, without the versions."""
        return {
            "modality": self.modality,
            "task": self.task,
            "backbone": {"id": self.backbone_id, "options": self.backbone_options},
            "info": dict(self.processor.info()),
            "embed_dim": self.embed_dim,
            **self._described_parts(),
            "metadata": self.metadata,
            "pretraining_rows": None if self.pretraining_rows is None else self.pretraining_rows.as_dict(),
        }

    def _described_parts(self) -> dict[str, Any]:
        """The parts in ``config.json``, for people; loading uses the weights and the processor."""
        if not self.parts:
            return {}
        dims = self.backbone.part_dims
        return {
            "parts": {name: {"modality": own.modality, "embed_dim": dims[name]} for name, own in self.processor.parts.items()}
        }

    def digest(self) -> str:
        """SHA-256 of weights, backbone and processor: equal for encoders with equal embeddings."""
        digest = hashlib.sha256(processor_digest(self.processor).encode())
        described = {key: value for key, value in self.config().items() if key in ("modality", "backbone", "info")}
        digest.update(json.dumps(described, sort_keys=True).encode())
        hash_weights(digest, self.backbone.state_dict())
        return digest.hexdigest()

    def save(self, directory: str | Path) -> Path:
        """Write it to a folder that does not exist, is empty, or holds an encoder (which is replaced as a whole).

        Raises:
            ArtifactError: the folder holds something else.
            StorageError: the disk is full or cannot be written.
        """
        return save_encoder(self, Path(directory))

    @contextmanager
    def _evaluating(self, precision: Precision) -> Iterator[None]:
        """Evaluation mode without gradients, in this precision; afterwards every module has its former training flag."""
        if precision not in AUTOCAST:
            raise ConfigError(f"precision={precision!r} is not allowed; it is one of {', '.join(AUTOCAST)}.")
        dtype = AUTOCAST[precision]
        autocast = torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)
        with evaluation_mode(self), torch.inference_mode(), autocast:
            yield


def hash_weights(digest: Any, weights: Mapping[str, Tensor]) -> None:
    """Add names, types, shapes and values of weights to a :mod:`hashlib` digest, in the order of their names."""
    for name, tensor in sorted(weights.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"\0{name}\0{values.dtype}\0{tuple(values.shape)}\0".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())


def _chunks(rows: Iterable[Row], size: int) -> Iterator[tuple[int, list[Row]]]:
    if isinstance(rows, Rows):
        for start in range(0, len(rows), size):
            yield start, rows.read(range(start, min(start + size, len(rows))))
        return
    rest, start = iter(rows), 0
    while chunk := list(itertools.islice(rest, size)):
        yield start, chunk
        start += len(chunk)

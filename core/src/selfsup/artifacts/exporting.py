"""Export encoders to the formats of other programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from selfsup.artifacts.encoder import Encoder
from selfsup.artifacts.loading import EncoderLike, load
from selfsup.batch_parts import MARK
from selfsup.data import Processor
from selfsup.errors import ArtifactError, UsageError
from selfsup.runtime.files import atomic_write, give_folder_name, storage_errors
from selfsup.runtime.module_mode import evaluation_mode
from selfsup.runtime.temporary_files import temporary_folder
from selfsup.types import Batch, Row

_OWN_FORMATS = ("safetensors", "torch-export", "onnx")


def export_formats(encoder: Encoder) -> tuple[str, ...]:
    """The formats for exporting an encoder: those of the core, then the ``export_formats`` of its backbone."""
    return (*_OWN_FORMATS, *getattr(encoder.backbone, "export_formats", ()))


def export(
    encoder: EncoderLike,
    format: str,
    out: str | Path,
    *,
    batch: Batch | None = None,
    checkpoint: str | None = None,
    part: str | None = None,
) -> Path:
    """Write an encoder for use elsewhere.

    Args:
        encoder: as for :func:`selfsup.load`; its weights do not change.
        format: ``safetensors`` (the encoder's folder), ``torch-export`` (a ``.pt2`` program of ``batch -> embedding`` that
            ``torch.export.load`` reads), ``onnx`` (an input per key of the batch, output ``pooled_embedding``), or one of
            the backbone's own ``export_formats``: safetensors of its ``export_state(format)``, or a folder that its
            ``export_folder(format, processor, folder)`` fills.
        out: a folder for ``safetensors`` and for formats that fill a folder, else a file.
        batch: an example batch of at least two samples for ``torch-export`` and ``onnx``; None: synthetic rows of the modality.
            The program takes any number of samples, and any length for modalities with varying lengths (texts).
        checkpoint: ``best`` takes the weights of a run with the best validation probe, see :func:`selfsup.load`.
        part: for rows that join several parts: export the encoder of this part (:meth:`Encoder.part`).

    Returns:
        ``out``.

    Raises:
        UsageError: the format is unknown for this encoder.
        ConfigError: ``checkpoint`` does not go with ``encoder``, or it has no such part.
        ArtifactError: a package for the format is missing, the network cannot be traced, or the folder is not empty.
        StorageError: the disk is full or cannot be written.
    """
    path = Path(out)
    encoder = load(encoder, checkpoint=checkpoint, part=part)
    if format not in export_formats(encoder):
        raise UsageError(f"Cannot export to {format!r}; this encoder can be exported to {', '.join(export_formats(encoder))}.")
    if format == "safetensors":
        return encoder.save(path)
    if format == "torch-export":
        return _export_program(encoder, path, batch)
    if format == "onnx":
        return _export_onnx(encoder, path, batch)
    backbone = cast(Any, encoder.backbone)
    if hasattr(backbone, "export_folder"):
        return _export_folder(encoder, format, path)
    from safetensors.torch import save

    state: dict[str, Tensor] = backbone.export_state(format)
    # The header holds what the other library needs beside the weights (architecture, normalisation of inputs).
    described = backbone.export_metadata(format) if hasattr(backbone, "export_metadata") else {}
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    content = save(tensors, metadata={"format": "pt", **described})
    return atomic_write(path, content)


def _export_folder(encoder: Encoder, format: str, path: Path) -> Path:
    """Fill a folder, in full or not at all."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ArtifactError(f"{path} exists and is not an empty folder; it is not overwritten. Choose another.")
    with storage_errors(path), temporary_folder(path) as temporary:
        cast(Any, encoder.backbone).export_folder(format, encoder.processor, temporary)
        give_folder_name(temporary, path)
    return path


class _Embed(nn.Module):
    """The backbone as a function from a batch to its pooled embeddings."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: Batch) -> Tensor:
        """[B, D]."""
        pooled: Tensor = self.backbone(batch).pooled
        return pooled


def _export_program(encoder: Encoder, path: Path, batch: Batch | None) -> Path:
    program, _ = _trace(encoder, batch)
    return atomic_write(path, lambda file: torch.export.save(program, file))


def _export_onnx(encoder: Encoder, path: Path, batch: Batch | None) -> Path:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ArtifactError(f"Export to ONNX needs {' and '.join(missing)}: pip install onnx onnxscript")
    traced, keys = _trace(encoder, batch)
    try:
        program = torch.onnx.export(traced, dynamo=True, input_names=keys, output_names=["pooled_embedding"], verbose=False)
    except Exception as error:  # the converter raises many kinds of errors
        raise ArtifactError(f"The backbone {encoder.backbone_id!r} cannot be expressed in ONNX: {error}") from error
    if program is None:
        raise ArtifactError(f"The backbone {encoder.backbone_id!r} cannot be expressed in ONNX.")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        program.save(str(path))
    return path


def _trace(encoder: Encoder, batch: Batch | None) -> tuple[torch.export.ExportedProgram, list[str]]:
    """The backbone in evaluation mode as a program for any batch size, and the keys of its batch in order."""
    example, free = _example(encoder, batch)
    module = _Embed(encoder.backbone)
    try:
        with evaluation_mode(module):
            return torch.export.export(module, (example,), dynamic_shapes=(free,)), list(example)
    except Exception as error:  # the tracer raises many kinds of errors
        reason = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"The backbone {encoder.backbone_id!r} cannot be traced: {reason}") from error


def _example(encoder: Encoder, batch: Batch | None) -> tuple[Batch, dict[str, dict[int, Any]]]:
    """A batch to trace with, keys sorted, and by key the axes of variable size.

    These are the first axis (the batch), the ``free_axes`` of the processor, and, with synthetic rows, axes that differ between
    two sets of them.
    """
    examples = [batch] if batch is not None else _synthetic(encoder)
    example = max(examples, key=len)  # some keys exist only if a sample needs them
    keys = sorted(key for key in example if key != "label")
    if batch is not None and (given := len(example[keys[0]])) < 2:
        raise UsageError(
            f"`batch` needs at least two samples, and this one has {given}: a program traced with one takes no other number."
        )
    dynamic, automatic = torch.export.Dim.DYNAMIC, torch.export.Dim.AUTO
    free: dict[str, dict[int, Any]] = {key: {0: dynamic} for key in keys}
    for key in set(keys) & set(encoder.processor.free_axes):
        free[key] |= dict.fromkeys(encoder.processor.free_axes[key], dynamic)
    for other in examples:
        for key in set(keys) & set(other):
            for place, (one, two) in enumerate(zip(example[key].shape, other[key].shape, strict=True)):
                if one != two:
                    free[key].setdefault(place, automatic)
    return {key: example[key].to(encoder.device) for key in keys}, free


def _synthetic(encoder: Encoder) -> list[Batch]:
    processor = encoder.processor
    if own := processor.example_rows():
        return [processor(own)]
    return [processor(_rows_of(processor, 4, seed)) for seed in range(3)]


def _rows_of(processor: Processor, n: int, seed: int) -> list[Row]:
    """Synthetic rows of a modality; for one that joins parts, those of each part side by side."""
    from selfsup.registry import registry

    make = registry().modality_objects(processor.modality).mock_rows
    rows: list[Row] = [] if make is None else make(n, seed)
    held = {key.partition(MARK)[0] for row in rows for key in row if MARK in key}
    if processor.parts and held != set(processor.parts):
        parts = {name: _rows_of(part, n, seed) for name, part in processor.parts.items()}
        rows = [{f"{name}{MARK}{role}": v for name in parts for role, v in parts[name][place].items()} for place in range(n)]
    if not rows:
        raise ArtifactError(f"The {processor.modality} plugin has no synthetic rows; give an example as `batch`.")
    return rows

"""What evaluating, fine-tuning and embedding have in common: their options, and how they load an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch

from selfsup.artifacts import Encoder, EncoderLike, load
from selfsup.data import TableFormat
from selfsup.data.sources.columns.labels import LabelKind
from selfsup.training.device.devices import process_ranks

Source = Any
"""What :func:`selfsup.data.load_source` takes: a name, a path, ``hf://owner/name``, or an object that holds rows."""


class CommonOptions(TypedDict, total=False):
    """Options of :func:`evaluate`, :func:`finetune` and :func:`embed` alike."""

    label: str | None
    """The label column; None: it is found."""
    label_kind: LabelKind | None
    """What the label column holds: ``class``, ``classes`` (several per row: a list, or a text separated by ``|``, ``;`` or
    ``,``) or ``number``; None: it is found."""
    unlabelled: Sequence[str]
    """Labels that mean that a row has no label, in addition to null, NaN and empty texts; such rows are left out."""
    columns: Mapping[str, str] | None
    """Role to column; None: they are found."""
    table: TableFormat | Mapping[str, Any] | None
    """Format of a text table, such as ``{"separator": ";"}`` (:class:`~selfsup.data.TableFormat`); None: it is found."""
    max_bad_rows: float
    """Share of the rows that may be unreadable, 0 to 1 (default 0.01); unreadable rows are left out."""
    checkpoint: str | None
    """``best``: use the weights with which the run's validation probe did best, see :func:`selfsup.load`."""
    part: str | None
    """For an encoder of rows with several parts: use the encoder of this part (:meth:`Encoder.part`), on joined rows that have
    it or on rows of its own modality. Rows without the part are left out and counted in a message."""
    progress: bool
    """Show progress on stderr (default False)."""


def loaded(encoder: EncoderLike, checkpoint: str | None) -> Encoder:
    """The encoder, moved to the GPU if there is one and it was not loaded before."""
    usual = None if isinstance(encoder, Encoder) else f"cuda:{process_ranks()[1]}" if torch.cuda.is_available() else "cpu"
    return load(encoder, checkpoint=checkpoint, device=usual)

"""``selfsup.inspect``: show what a run would find in a source, without training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from selfsup.data import Processor, Rows, Store, TableFormat, available_splits, hold_out, load_source, prepare
from selfsup.data.sources.columns.labels import LabelKind, LabelReader
from selfsup.data.sources.columns.roles import feature_name
from selfsup.errors import ColumnError, ConfigError, TooManyBadRowsError, UnknownIdError
from selfsup.registry import registry
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.files import scratch_folder
from selfsup.runtime.progress import make_reporter
from selfsup.validation import validated

_EXAMPLES = 3
_EXAMPLE_LETTERS = 30
_LABEL_ROWS = 100_000
"""Most rows in which to look for label columns."""
_MOST_CLASSES = 1000
"""A column with more classes, or with more than one class per two rows, is no candidate."""


@dataclass(frozen=True)
class ColumnFound:
    """A column of the source."""

    name: str
    type: str
    used_as: str
    """A role, ``label``, a kind of column, or why the column is left out."""
    missing: int
    """Number of rows of the sample without a value."""
    examples: tuple[str, ...]
    """A few different values, shortened."""


@dataclass(frozen=True)
class LabelCandidate:
    """A column that could be the labels."""

    column: str
    kind: LabelKind
    description: str
    taken: bool
    """Whether it is the label column if the user names none."""


@dataclass(frozen=True)
class Inspection:
    """The result of :func:`inspect`."""

    source: str
    modality: str
    rows: int
    split: str
    splits: tuple[str, ...]
    tested_on: str
    """The rows on which ``evaluate`` and ``finetune`` would test."""
    facts: dict[str, str]
    """Topic to text: how the source was read, and the decisions of the processor."""
    warnings: tuple[str, ...]
    columns: tuple[ColumnFound, ...]
    labels: tuple[LabelCandidate, ...]
    sample_rows: int
    """Number of rows, spread over the source, that were processed."""
    bad_rows: dict[str, int]
    """Bad rows of the sample: row and reason to 1."""
    remarks: dict[str, int]
    """Remarks on rows that can be used, and the number of these rows."""
    samples: dict[str, str]
    """Key of a processed row to type and shape of its array."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def inspect(
    source: Any,
    modality: str | None = None,
    *,
    split: str | None = None,
    label: str | None = None,
    label_kind: LabelKind | None = None,
    unlabelled: Collection[str] = (),
    columns: Mapping[str, str] | None = None,
    table: TableFormat | Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
    holdout: float = 0.0,
    rows: int = 256,
    progress: bool = False,
) -> Inspection:
    """Show what pretraining and evaluation would find in a source.

    Args:
        source: as for :func:`selfsup.data.load_source`.
        modality: id, such as ``vision``; None: that of a registered data set.
        split: of the source; None: ``train`` if there is one, else the first.
        label: the label column; None: detected.
        label_kind: of the label column; None: detected.
        unlabelled: labels that mean "no label".
        columns: role to column, if the type does not tell.
        table: separator, decimal mark, encoding, ... of a text table, if not detected.
        processor: options of the processor.
        holdout: share of the rows that pretraining would leave out.
        rows: number of rows to process, spread evenly over the source.
        progress: show progress on stderr.

    Raises:
        ConfigError: the modality is missing, or an option is not allowed.
        DataError: no row can be used.
    """
    if rows < 1:
        raise ConfigError(f"rows={rows} is not allowed: try at least one row.")
    spec = registry().get("modality", modality or modality_of(source))
    splits = available_splits(source, modality=spec)
    chosen = split or ("train" if "train" in splits else splits[0])
    found = load_source(
        source,
        modality=spec,
        split=chosen,
        columns=columns,
        label=label,
        label_kind=label_kind,
        unlabelled=unlabelled,
        table=table,
        options=processor,
    )
    tested_on = _tested_on(splits)
    if holdout:
        found, held = hold_out(found, holdout)
        tested_on = f"the {len(held)} rows ({100 * holdout:g} %) that are held out"
    kind = registry().processor_class(spec.id)
    with make_reporter(progress) as reporter, caught_noise(reporter.message):
        unfitted = kind(validated(kind.Config, dict(processor or {}), what="the processor's options"))
        fitted = unfitted.fit(found.without_labels())
        places = np.unique(np.linspace(0, len(found) - 1, min(rows, len(found))).astype(np.int64))
        sample = found.select(places)
        bad, remarks, samples = _try(sample.without_labels(), fitted)
    findings = found.findings.joined(fitted.findings())
    return Inspection(
        source=found.name,
        modality=spec.id,
        rows=len(found),
        split=found.split,
        splits=splits,
        tested_on=tested_on,
        facts=findings.facts,
        warnings=tuple(findings.warnings),
        columns=_columns(found, sample, fitted),
        labels=_label_candidates(found, _useless(fitted)),
        sample_rows=len(sample),
        bad_rows=bad,
        remarks=remarks,
        samples=samples,
    )


def modality_of(source: Any) -> str:
    """The modality of a registered data set.

    Raises:
        ConfigError: it is no registered data set, so the user must name the modality.
    """
    known = registry()
    if isinstance(source, str):
        try:
            return str(known.get("dataset", source.partition(":")[0]).modality)
        except UnknownIdError:
            pass
    raise ConfigError(f"Name the kind of data: --modality {', '.join(known.modalities)}.")


def _tested_on(splits: Sequence[str]) -> str:
    own = next((name for name in ("test", "validation") if name in splits and "train" in splits), None)
    return f"the {own} split" if own else "a fifth of the rows, drawn with the seed (or those of pretraining's --holdout)"


def _try(rows: Rows, processor: Processor) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    """Reasons of bad rows, remarks, and types and shapes of processed rows."""
    with scratch_folder() as folder:
        try:
            store = prepare(rows, processor.unpacked(), max_bad_rows=1.0, cache_dir=folder)
        except TooManyBadRowsError as error:
            return {str(error): len(rows)}, {}, {}
        try:
            return {text: 1 for _, text in store.bad_rows}, dict(store.remarks), _shapes(store)
        finally:
            store.close()


def _shapes(store: Store) -> dict[str, str]:
    shapes = {}
    for key, value in store.read(np.arange(len(store))).items():
        if isinstance(value, Tensor):
            shapes[key] = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape[1:])}"
        else:
            lengths = [len(item) for item in value]
            rest = "".join(f", {size}" for size in value[0].shape[1:])
            shapes[key] = f"{str(value[0].dtype).removeprefix('torch.')} [{min(lengths)} to {max(lengths)}{rest}]"
    return shapes


def _columns(rows: Rows, sample: Rows, processor: Processor) -> tuple[ColumnFound, ...]:
    roles = {column: role for role, column in rows.columns.items()}
    kinds = processor.column_kinds()
    view = sample.dataset.with_format("arrow")
    table = view[: len(sample)]
    found = []
    for name, feature in rows.dataset.features.items():
        used = "label" if name == rows.label else kinds.get(roles.get(name, ""), roles.get(name, "not used"))
        values = table.column(name)
        found.append(
            ColumnFound(
                name, feature_name(feature), used, values.null_count, _examples(values, getattr(feature, "names", None))
            )
        )
    return tuple(found)


def _examples(values: Any, names: Sequence[str] | None) -> tuple[str, ...]:
    """The first few different values of an Arrow column, as texts; for ``ClassLabel`` ids their names."""
    seen: dict[str, None] = {}
    for value in values.slice(0, 64).to_pylist():
        if isinstance(value, dict) and {"bytes", "path"} >= set(value):
            value = value.get("path") or f"{len(value.get('bytes') or b'')} bytes"
        if value is None:
            continue
        if names is not None and isinstance(value, int) and 0 <= value < len(names):
            value = names[value]
        text = f"{len(value)} bytes" if isinstance(value, bytes) else " ".join(str(value)[:1000].split())
        seen[text if len(text) <= _EXAMPLE_LETTERS else text[: _EXAMPLE_LETTERS - 3] + "..."] = None
        if len(seen) == _EXAMPLES:
            break
    return tuple(seen)


def _useless(processor: Processor) -> frozenset[str]:
    """Columns that the processor leaves out; ids and columns with one value are no labels either."""
    return frozenset(role for role, kind in processor.column_kinds().items() if kind.startswith("left out"))


def _label_candidates(rows: Rows, useless: Collection[str]) -> tuple[LabelCandidate, ...]:
    """Columns that could be the labels: the label column first, columns of numbers last."""
    dataset = rows.dataset if len(rows) <= _LABEL_ROWS else rows.dataset.select(range(_LABEL_ROWS))
    taken_by_role = set(rows.columns.values()) if rows.media or len(rows.columns) == 1 else set()
    found = []
    for name in dataset.column_names:
        if name in taken_by_role or (name in useless and name != rows.label):
            continue
        try:
            own = rows.label == name
            kind, none = (rows.label_kind, rows.unlabelled) if own else (None, ())
            reader = LabelReader.find(dataset, name, kind, none)
        except ColumnError as error:
            if own:
                found.append(LabelCandidate(name, "class", f"cannot be used: {error}", taken=True))
            continue
        if own or (reader.kind == "number" or 2 <= len(reader.names) <= min(_MOST_CLASSES, len(dataset) / 2)):
            found.append(LabelCandidate(name, reader.kind, reader.describe(), taken=own))
    return tuple(sorted(found, key=lambda item: (not item.taken, item.kind == "number")))

"""Choose the role of each column of a source, its label column, and the folder of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsup.data.rows import Rows
from selfsup.data.sources.columns.joined import JoinedColumns, SourceColumns
from selfsup.data.sources.columns.labels import LabelKind
from selfsup.data.sources.columns.roles import MEDIA, feature_fits, find_columns, find_label
from selfsup.data.sources.columns.segments import SEGMENT_ROLES, segment_columns
from selfsup.data.sources.folders import walk_files
from selfsup.data.sources.media.folders import find_folder, paths_in
from selfsup.data.sources.path_lists import find_path_columns, sample_values
from selfsup.errors import ColumnError
from selfsup.runtime.findings import Findings, listed_names

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec


@dataclass(frozen=True)
class FoundSource:
    """A source before the roles of its columns are known."""

    dataset: Any
    name: str
    split: str
    fingerprint: str
    outside: str = ""
    """A media file outside of the class folders; empty if there is none."""
    label: str | None = None
    root: Path | None = None
    findings: Findings = field(default_factory=Findings)
    categories: tuple[str, ...] = ()
    named_by: str = ""
    """A column that only names the rows."""
    tables: tuple[str, ...] = ()
    """Tables beside media files."""
    beside: Path | None = None
    """A folder whose tables should list its files."""


def as_rows(
    found: FoundSource,
    modality: ModalitySpec,
    columns: Mapping[str, str] | None,
    label: str | None,
    needs_label: bool,
    label_kind: LabelKind | None,
    unlabelled: Collection[str],
    options: Mapping[str, Any],
) -> Rows:
    """The rows with a role for each column; for the arguments see :func:`~selfsup.data.load_source`."""
    given = dict(columns or {})
    features = found.dataset.features
    if needs_label and label is None and found.outside:
        raise ColumnError(
            f"{found.name} has no labels, and they are needed: {found.outside} is in no class folder (it should be "
            f"{found.root}/CLASS/{found.outside}).{_beside(found)}"
        )
    if label is not None and label not in features and found.tables:
        raise ColumnError(f"{found.name} is a folder of files, which have no column {label!r}.{_beside(found)}")
    wants_label = label if label is not None else found.label if found.label in features else None
    label_column = find_label(features, wants_label, needed=needs_label, name=found.name, taken=given.values())
    if label_column is None and (label_kind is not None or unlabelled):
        raise ColumnError(
            f"{found.name} has no label column, so --label-kind and --unlabelled have no effect. Name one with --label."
        )
    choose = _joined_columns if modality.joins else _plain_columns
    chosen = choose(found, modality, given, label_column, options)
    root = found.root
    if modality.joins and root is not None:
        root = _root_of_files(found, chosen, root, options)
    key = json.dumps([found.fingerprint, sorted(chosen.columns.items())])
    return Rows(
        dataset=found.dataset,
        columns=chosen.columns,
        label=label_column,
        label_kind=label_kind,
        unlabelled=tuple(unlabelled),
        name=found.name,
        split=found.split,
        fingerprint=hashlib.sha256(key.encode()).hexdigest(),
        root=root,
        media=chosen.media,
        categories=frozenset(found.categories),
        findings=found.findings.joined(chosen.findings),
        parts=chosen.parts,
    )


def _plain_columns(
    found: FoundSource, modality: ModalitySpec, given: Mapping[str, str], label: str | None, options: Mapping[str, Any]
) -> JoinedColumns:
    """The columns of the roles, for rows of one modality."""
    features = found.dataset.features
    given = {**given, **find_path_columns(found.dataset, modality, given, label, found.name)}
    others = SEGMENT_ROLES if modality.segments else ()
    roles = find_columns(features, modality.columns, given, label=label, name=found.name, others=others)
    if modality.segments:
        roles |= segment_columns(features, given, taken=roles, label=label, name=found.name)
    media = frozenset(role for role in roles if modality.columns.get(role, "").lower() in MEDIA)
    findings = _column_findings(features, modality.columns, roles, label, found.named_by)
    return JoinedColumns(roles, {}, media, findings)


def _joined_columns(
    found: FoundSource, modality: ModalitySpec, given: Mapping[str, str], label: str | None, options: Mapping[str, Any]
) -> JoinedColumns:
    """The columns of the roles of each part, as the processor class chooses them."""
    from selfsup.registry import registry

    source = SourceColumns(
        features={name: feature for name, feature in found.dataset.features.items() if name != found.named_by},
        sample=lambda column: sample_values(found.dataset, column),
        given=given,
        label=label,
        name=found.name,
    )
    chosen = registry().processor_class(modality.id).choose_columns(source, options)
    if label is not None:
        chosen.findings.add("label", f"column {label!r}")
    return chosen


def _root_of_files(found: FoundSource, chosen: JoinedColumns, root: Path, options: Mapping[str, Any]) -> Path:
    """The folder of relative paths in media columns; a finding names it if it is not that of the source."""
    columns = dict.fromkeys(chosen.columns[role] for role in sorted(chosen.media))
    paths = [path for column in columns for path in paths_in(sample_values(found.dataset, column))]
    folder = find_folder(root, paths, str(options.get("folder") or ""), str(options.get("known_folder") or ""))
    if folder != root:
        chosen.findings.add("files", f"paths of the table are relative to {folder} (--set processor.folder=)")
    if found.beside is not None:
        _warn_unlisted(found, chosen, folder)
    return folder


def _warn_unlisted(found: FoundSource, chosen: JoinedColumns, folder: Path) -> None:
    """Warn of files beside a table that it does not list."""
    features = found.dataset.features
    for role in sorted(chosen.media):
        column = chosen.columns[role]
        if not feature_fits(features[column], "string"):
            continue
        named = {str(value) for value in found.dataset.with_format("arrow")[:].column(column).to_pylist() if value}
        suffixes = tuple({Path(name).suffix.lower() for name in named} - {""})
        there = [file.relative for file in walk_files(folder, suffixes)] if suffixes else []
        if unlisted := [name for name in there if name not in named]:
            chosen.findings.warn(
                f"{len(unlisted)} of the {len(there)} files below {folder} are in no row of the table and are left out: "
                f"{listed_names(unlisted, 3)}."
            )


def _beside(found: FoundSource) -> str:
    """Advice on tables beside media files, as a sentence; empty if there are none."""
    return f" If {found.tables[0]} lists the files with their labels, give it as the source." if found.tables else ""


def _column_findings(
    features: Mapping[str, Any], wanted: Mapping[str, str], roles: Mapping[str, str], label: str | None, named_by: str
) -> Findings:
    """The column of each role, and unused columns. If every column is a role, the processor describes them instead."""
    found = Findings()
    if wanted:
        taken = [role if role == column else f"{role} is column {column!r}" for role, column in roles.items()]
        found.add("columns", listed_names(taken))
        idle = [column for column in features if column not in {label, named_by, *roles.values()}]
        if segment := [role for role in SEGMENT_ROLES if role in roles]:
            switch = " ".join(f"--column {role}=" for role in segment)
            found.add("segments", f"rows are parts of files, by {listed_names(segment)} in seconds ({switch} turns that off)")
        if idle:
            found.add("columns", f"not used: {listed_names(idle)} (--column ROLE=NAME chooses)")
    if label is not None:
        found.add("label", f"column {label!r}")
    return found

"""Load data sets of plugins and of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.tables.read import quiet_datasets, root_cause
from selfsup.errors import SelfsupError, SourceError

if TYPE_CHECKING:
    from selfsup.registry.specs import DatasetSpec

_CHUNK = 1024


def load_from_hub(source: str, split: str) -> tuple[Any, str]:
    """The data set of ``hf://owner/name[/config][:split]``, and its split. No code of the repository is run.

    Raises:
        SourceError: the text is malformed, there is no network, or the hub has no such data set or split.
    """
    import datasets

    name, config, part = hub_name(source, split)
    with quiet_datasets():
        try:
            dataset = datasets.load_dataset(name, config, split=part)
        except Exception as error:  # the errors of the hub's client have no common base class
            raise SourceError(_failed(source, part, error)) from error
    if len(dataset) == 0:
        raise SourceError(f"{source} holds no row.")
    return dataset, part


def hub_name(source: str, split: str) -> tuple[str, str | None, str]:
    """Repository, configuration and split that ``hf://owner/name[/config][:split]`` names.

    Raises:
        SourceError: the text is malformed.
    """
    match = re.fullmatch(r"hf://([^/:]+/[^/:]+)(?:/([^/:]+))?(?::([\w.\[\]%+-]+))?", source)
    if match is None:
        raise SourceError(f"{source!r} is not of the form hf://owner/name[/config][:split].")
    return match[1], match[2], match[3] or split


def load_registered(spec: DatasetSpec, split: str) -> Any:
    """One split of a registered data set.

    Raises:
        SourceError: there is no such split, or it cannot be loaded (for most data sets: there is no network).
    """
    from selfsup.registry import registry

    if split not in spec.splits:
        raise SourceError(f"Data set {spec.id!r} has no {split!r} split; it has {', '.join(spec.splits)}.")
    target = registry().load(spec)
    with quiet_datasets():
        try:
            dataset = target(split)
        except SelfsupError:
            raise
        except Exception as error:  # a plugin's loader may raise anything
            if spec.embedded:
                cause = root_cause(error)
                raise SourceError(f"Data set {spec.id!r} cannot be loaded: {type(cause).__name__}: {cause}") from error
            raise SourceError(_failed(f"Data set {spec.id!r}", split, error)) from error
    if len(dataset) == 0:
        raise SourceError(f"Split {split!r} of data set {spec.id!r} holds no row.")
    return dataset


def content_fingerprint(dataset: Any) -> str:
    """A hash that is the same for the same rows.

    It hashes rows in memory. Files in the ``datasets`` cache may be too large to read, so it uses the library's fingerprint,
    which follows from the repository's revision and all changes since.
    """
    if dataset.cache_files:
        return f"datasets-{dataset._fingerprint}"
    import pyarrow as pa

    digest = hashlib.sha256()
    view = dataset.with_format("arrow")
    digest.update(repr(dataset.features).encode())
    for start in range(0, len(view), _CHUNK):
        sink = pa.BufferOutputStream()
        table = view[start : start + _CHUNK].combine_chunks()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        digest.update(sink.getvalue())
    return digest.hexdigest()


def _failed(source: str, split: str, error: Exception) -> str:
    cause = root_cause(error)
    kinds = {type(item).__name__ for item in (error, cause)}
    offline = any(isinstance(item, ConnectionError) for item in (error, cause)) or kinds & {
        "OfflineModeIsEnabled", "ConnectError", "ConnectTimeout", "LocalEntryNotFoundError", "gaierror",
    }  # fmt: skip
    if offline:
        return (
            f"{source} must be fetched from the network, which cannot be reached ({type(cause).__name__}: {cause}). "
            "Connect, or put its files below a folder named by SELFSUP_DATA, as <modality>/<name>/<split>.parquet."
        )
    return f"{source} (split {split!r}) cannot be loaded: {type(error).__name__}: {error}"

"""Read a folder of images, recordings or videos at a URL, file by file."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.data.sources.layout import SPLIT_OF
from selfsup.data.sources.streams.files import MAGIC, braced, kind_of, listing_errors, mark_of, media_column
from selfsup.data.sources.streams.samples import SAMPLE_BYTES
from selfsup.data.sources.streams.shards import read_file, within
from selfsup.runtime.threads import in_order

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

_REQUESTS = 16
"""Files that are fetched at a time."""
_SHARD_FILES = 1024
"""Most files in a shard."""
_SHARDS = 64
_SAMPLE_FILES = 512
"""Most files of the sample: each is a request."""


@dataclass(frozen=True)
class MediaShard:
    """A stretch of the files of a folder."""

    name: str
    column: str
    urls: Sequence[str] = field(repr=False)

    def count(self) -> int:
        """Its number of files."""
        return len(self.urls)

    def records(self, start: int) -> Iterator[Mapping[str, Any]]:
        """The files from the ``start``-th on, several fetched at a time."""
        return in_order(self._record, self.urls[start:], _REQUESTS)

    def _record(self, url: str) -> Mapping[str, Any]:
        return {self.column: {"bytes": read_file(url), "path": url}}


def media_files(text: str, modality: ModalitySpec, split: str) -> dict[str, Any]:
    """URL to a mark of its content, of the files that fit a URL or lie below it; none where archives or tables lie there.

    Args:
        text: a URL, of a folder or a pattern.
        modality: whose suffixes count.
        split: files below a folder of its name, where the top folders are splits.

    Raises:
        SourceError: the file system cannot be listed.
    """
    import fsspec  # type: ignore[import-untyped]

    found: dict[str, Any] = {}
    if not media_column(modality):
        return found
    with listing_errors(text):
        system, _ = fsspec.core.url_to_fs(text)
        for url in braced(text):
            place = system._strip_protocol(url)
            if MAGIC.search(place):
                listed, top = system.glob(place, detail=True), ""
            elif (
                (kind_of(place) and not url.endswith("/"))  # a file; no request is needed to know it
                or not system.isdir(place)
                or any(kind_of(item) in (".tar", ".parquet") for item in system.ls(place, detail=False))
            ):
                continue
            else:
                listed, top = system.find(place, detail=True), f"{place.rstrip('/')}/"
            names = {name: name.removeprefix(top).split("/") for name in sorted(listed)}
            media = {name: parts for name, parts in names.items() if parts[-1].lower().endswith(modality.suffixes)}
            media = {name: parts for name, parts in media.items() if not any(part.startswith(".") for part in parts)}
            splits = {name: SPLIT_OF.get(parts[0].lower()) for name, parts in media.items() if top and len(parts) > 1}
            if any(splits.values()):
                media = {name: parts for name, parts in media.items() if splits.get(name) == split}
            found |= {system.unstrip_protocol(name): mark_of(listed[name]) for name in media}
    return found


def media_sample(shards: Sequence[MediaShard], modality: ModalitySpec, most: int) -> tuple[Any, str]:
    """Some files, spread over all of them, as a ``datasets.Dataset``, and what to call them."""
    import datasets

    column, urls = shards[0].column, [url for shard in shards for url in shard.urls]
    places = np.unique(np.linspace(0, len(urls) - 1, min(most, _SAMPLE_FILES, len(urls))).astype(np.int64)).tolist()
    chosen = MediaShard("the sample", column, [urls[place] for place in places])
    records = list(within(chosen.records(0), len(places), SAMPLE_BYTES))
    feature = getattr(datasets, modality.columns[column])(decode=False)
    described = f"all {len(urls)} files" if len(records) == len(urls) else f"{len(records)} of {len(urls)} files"
    return datasets.Dataset.from_list(records, features=datasets.Features({column: feature})), described


def media_shards(name: str, column: str, urls: Sequence[str]) -> list[MediaShard]:
    """Files as even shards.

    Each has 16 files or more, so that these are fetched together, and at most 1024. There are 1, 2, 4, ... 32 of them, or a
    multiple of 64, so that as many processes get equally many files.
    """
    count = _SHARDS * math.ceil(len(urls) / (_SHARDS * _SHARD_FILES))
    if len(urls) < _SHARDS * _REQUESTS:
        count = 1 << max((len(urls) // _REQUESTS).bit_length() - 1, 0)
    edges = [len(urls) * number // count for number in range(count + 1)]
    return [
        MediaShard(f"{name}, files {first} to {end - 1}", column, urls[first:end]) for first, end in itertools.pairwise(edges)
    ]


def media_fingerprint(marks: Mapping[str, Any]) -> str:
    """Hash of the names and the contents' marks of all files."""
    return hashlib.sha256(json.dumps(marks).encode()).hexdigest()

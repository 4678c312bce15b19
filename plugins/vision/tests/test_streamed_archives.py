"""Images in tar archives, read row by row."""

from __future__ import annotations

import io
import resource
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup.data import load_source
from selfsup.data.batches.source import Share
from selfsup.data.batches.stream import StreamBatches, StreamOptions
from selfsup.data.sources.streams.load import open_stream
from selfsup.registry import registry

ROWS = 24


def picture(number: int) -> bytes:
    """A PNG whose pixels say its number."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number % 256, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_archive(path: Path, numbers: range, *, extra: int = 0, kinds: Sequence[str] = "012") -> None:
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            for suffix, content in (("png", picture(number) + bytes(extra)), ("cls", kinds[number % len(kinds)].encode())):
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def batches_of(source: object, *, workers: int = 0, batch: int = 4) -> StreamBatches:
    modality = registry().get("modality", "vision")
    stream = open_stream(source, modality=modality, sample_rows=10)
    kind = registry().processor_class("vision")
    processor = kind(kind.Config()).fit(stream.sample)
    return StreamBatches(stream, processor, Share(batch, seed=1), StreamOptions(buffer=6, workers=workers))


def test_rows_are_those_of_the_prepared_source(tmp_path: Path) -> None:
    write_archive(tmp_path / "a-000.tar", range(15))
    write_archive(tmp_path / "a-001.tar", range(15, ROWS))
    pattern = str(tmp_path / "a-{000..001}.tar")
    given = [batch for _ in range(2) for batch in batches_of(pattern).batches()]
    assert set(given[0]) == {"image"}  # the class is no part of it
    numbers = [int(value) for batch in given for value in batch["image"][:, 0, 0, 0]]
    assert sorted(numbers[:ROWS]) == sorted(numbers[ROWS:]) == list(range(ROWS))
    rows = load_source(tmp_path, modality=registry().get("modality", "vision"))
    assert len(rows) == ROWS
    assert sorted(row["image"]["bytes"] for row in rows) == sorted(
        row["image"]["bytes"] for shard in (0, 1) for row in batches_of(pattern)._stream.read(shard)
    )


def test_a_class_of_another_type_than_in_the_sample_is_no_error(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tar", range(ROWS), kinds=[*"01201201201", "n/a"])
    given = [int(value) for batch in batches_of(tmp_path / "a.tar").batches() for value in batch["image"][:, 0, 0, 0]]
    assert sorted(given) == list(range(ROWS))


def test_goes_on_in_the_middle_of_an_archive(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tar", range(ROWS))
    whole = [batch["image"] for batch in batches_of(tmp_path / "a.tar").batches()]
    source = batches_of(tmp_path / "a.tar")
    iterator = source.batches()
    for _ in range(3):
        next(iterator)
    resumed = batches_of(tmp_path / "a.tar")
    resumed.load_state_dict([source.state_dict()])
    iterator.close()
    rest = [batch["image"] for batch in resumed.batches()]
    assert all(torch.equal(one, other) for one, other in zip(rest, whole[3:], strict=True))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say how much memory a process has")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tar", range(2000), extra=50_000)  # 100 MB
    source = batches_of(tmp_path / "a.tar", batch=50)
    iterator = source.batches()
    for _ in range(10):
        next(iterator)
    before = resident()
    later = [resident() for _ in iterator]
    assert len(later) == 30
    assert max(later) - before < 40e6


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

"""Images of a tar archive, decoded while they are read: time to the first batch, and images a second."""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from selfsup.data.batches.source import Share
from selfsup.data.batches.stream import StreamBatches, StreamOptions
from selfsup.data.sources.streams.load import open_stream
from selfsup.registry import registry
from speed.apart import apart
from speed.measure import Figure, Settings, in_turn, peer, ratio_figure
from speed.synthetic_data import images

BATCH, WORKERS, BUFFER, SIZE = 256, 2, 1000, 32
_ROWS = 5000


def first_batch_figure(settings: Settings) -> Figure:
    """Seconds from an archive's path to the first batch; ours fits its processor on a sample of the rows first."""
    found = _figure(settings, "stream-first", "seconds to the first batch", 0, "s", compare="<=", goal=10.0)
    return replace(found, value=found.ours, goal_of_ours=True)


def rate_figure(settings: Settings) -> Figure:
    """Images a second over an archive, from its first batch on."""
    return _figure(settings, "stream-rate", "images a second", 1, "img/s", compare=">=", goal=1.0)


def _figure(settings: Settings, name: str, what: str, place: int, unit: str, *, compare: Any, goal: float) -> Figure:
    n = settings.rows or _ROWS
    with tempfile.TemporaryDirectory() as base, apart() as there:
        archive = Path(base) / "images.tar"
        write_archive(archive, n)

        def side(function: Any) -> float:
            return float(function(archive)[place])

        mine, other = in_turn(partial(side, streamed), partial(side, there(webdataset_loaded)), repeats=settings.repeats)
    return ratio_figure(
        name,
        f"{what} of a tar archive of {n:,} JPEG files at {SIZE}x{SIZE}, batch {BATCH}, shuffled among {BUFFER}, {WORKERS} "
        "processes that decode, against webdataset",
        mine,
        other,
        unit=unit,
        compare=compare,
        goal=goal,
        note="one archive: webdataset gives it to one of its processes",
    )


def write_archive(path: Path, n: int) -> None:
    """A tar archive of ``n`` JPEG files."""
    from PIL import Image

    with tarfile.open(path, "w") as archive:
        for start in range(0, n, 500):
            for number, image in enumerate(images(min(500, n - start), SIZE, seed=start), start):
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, "JPEG")
                member = tarfile.TarInfo(f"{number:08d}.jpg")
                member.size = buffer.tell()
                buffer.seek(0)
                archive.addfile(member, buffer)


def streamed(archive: Path) -> tuple[float, float]:
    """Seconds to the first batch, and images a second from there on, of a stream."""
    began = time.perf_counter()
    stream = open_stream(archive, modality=registry().get("modality", "vision"), sample_rows=10_000)
    kind = registry().processor_class("vision")
    processor = kind(kind.Config()).fit(stream.sample)
    source = StreamBatches(stream, processor, Share(BATCH), StreamOptions(buffer=BUFFER, workers=WORKERS))
    return _timed((batch["image"] for batch in source.batches()), began)


def webdataset_loaded(archive: Path) -> tuple[float, float]:
    """The same of webdataset, with torchvision's tensors as its users have them."""
    wds = peer("webdataset")
    transforms = peer("torchvision.transforms.v2.functional", "torchvision")
    began = time.perf_counter()
    data = wds.WebDataset(str(archive), shardshuffle=False, empty_check=False).shuffle(BUFFER).decode("pil").to_tuple("jpg")
    data = data.map_tuple(transforms.pil_to_tensor).batched(BATCH, partial=False)
    loader = wds.WebLoader(data, batch_size=None, num_workers=WORKERS)
    return _timed((batch[0] for batch in loader), began)


def _timed(batches: Any, began: float) -> tuple[float, float]:
    next(batches)
    first = time.perf_counter()
    seen = sum(len(batch) for batch in batches if isinstance(batch, torch.Tensor | list))
    return first - began, seen / (time.perf_counter() - first)

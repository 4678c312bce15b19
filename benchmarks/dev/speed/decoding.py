"""Random clips of videos over some epochs: decoded once into the cache, against decoded anew for every sample."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from selfsup.config import validated
from selfsup.data import EpochSampler, Loader, load_source, prepare
from selfsup.registry import registry
from selfsup.runtime import cpu_count
from speed.apart import apart
from speed.measure import Figure, Settings, in_turn, peer, ratio_figure
from speed.synthetic_data import write_videos

EPOCHS, BATCH, WORKERS = 3, 32, 2
SIZE, STRIDE, WINDOW = 64, 2, 8
"""Pixels a side, source frames from one kept frame to the next, and frames of a clip."""
_FRAMES, _SIDE = 64, 160
"""Frames and pixels a side of a synthetic video."""


def decoding_figure(settings: Settings) -> Figure:
    """Clips a second over three epochs, what decodes and writes the cache included; a random clip of each video in each epoch.

    Ours keeps every second frame of the whole video; the other side is a map-style data set that opens the file, decodes from
    its beginning to the end of the clip and scales the frames of the clip, in a ``DataLoader`` of two workers that live on.
    """
    torch.set_num_threads(cpu_count())
    n = settings.rows or 256
    with tempfile.TemporaryDirectory() as base, apart() as there:
        folder = Path(base) / "videos"
        write_videos(folder, n, size=_SIDE, frames=_FRAMES)
        ours = partial(cached_clips, folder)
        theirs = partial(there(decoded_clips), folder)
        mine, other = in_turn(ours, theirs, repeats=settings.repeats)
    return ratio_figure(
        "decoding",
        f"random clips of {WINDOW} frames at {SIZE}x{SIZE} of {n:,} MP4 files ({_FRAMES} frames, {_SIDE}x{_SIDE}), "
        f"{EPOCHS} epochs, against a per-sample PyAV data set in a {WORKERS}-worker DataLoader",
        mine,
        other,
        unit="clips/s",
        compare=">=",
        goal=2.0,
        note="ours includes decoding and writing the cache",
    )


def cached_clips(folder: Path) -> float:
    """Clips a second of the processor, the store and windows on the device."""
    found = registry()
    clips = peer("selfsup_video.clips", "selfsup-video")
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        rows = load_source(str(folder), modality=found.get("modality", "video")).without_labels()
        kind = found.processor_class("video")
        options = {"frames": _FRAMES // STRIDE, "stride": STRIDE, "image_size": SIZE}
        processor = kind(validated(kind.Config, options, what="the processor's options")).fit(rows)
        store = prepare(rows, processor, cache_dir=cache)
        sampler = EpochSampler(len(store), BATCH, drop_last=False)
        loader = Loader(store, processor, sampler, torch.device("cpu"))
        seen = 0
        for epoch in range(EPOCHS):
            for batch in loader.epoch(epoch):
                window = clips.random_window(batch["video"], processor.info(), WINDOW, generator)
                seen += len(window.of(batch["video"])["video"])
        return seen / (time.perf_counter() - began)


class PeerClips(torch.utils.data.Dataset[Any]):
    """A random clip of each video file, decoded when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.iterdir())

    def __len__(self) -> int:
        """Number of files."""
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        """[8, 3, 64, 64] uint8."""
        av = peer("av")
        with av.open(str(self.files[index])) as container:
            stream = container.streams.video[0]
            first = int(torch.randint(stream.frames - (WINDOW - 1) * STRIDE, ()))
            wanted = range(first, first + WINDOW * STRIDE, STRIDE)
            frames = []
            for place, frame in enumerate(container.decode(stream)):
                if place in wanted:
                    frames.append(torch.from_numpy(frame.reformat(SIZE, SIZE, format="rgb24").to_ndarray()))
                if len(frames) == WINDOW:
                    break
        return torch.stack(frames).permute(0, 3, 1, 2)


def decoded_clips(folder: Path) -> float:
    """Clips a second of the per-sample data set in a DataLoader."""
    loader = torch.utils.data.DataLoader(
        PeerClips(folder), batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    began = time.perf_counter()
    seen = sum(len(batch) for _ in range(EPOCHS) for batch in loader)
    return seen / (time.perf_counter() - began)

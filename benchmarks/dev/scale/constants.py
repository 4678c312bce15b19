"""Measure what the cost model multiplies: each constant on this machine, in seconds or bytes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scale.network import network
from scale.shards import write_shards
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.data import EpochSampler, prepare
from selfsup.data.batches.shuffle import ShuffledRows, Split
from selfsup.data.batches.source import Share
from selfsup.data.batches.stream import StreamBatches, StreamOptions
from selfsup.data.sources.streams.load import open_stream
from selfsup.errors import BenchmarkError
from selfsup.registry import registry
from selfsup.runtime import cpu_count, device_name
from selfsup.runtime.files import utc_now
from selfsup.training.loop.checkpoint import save_checkpoint
from speed.records import commit

_FOLDER = Path(__file__).parents[1]
_MBIT = 100.0


@dataclass(frozen=True)
class Constants:
    """What one machine measured. Seconds are those of one core."""

    image_size: int
    """S of the images that were measured, in pixels; files have 8/7 of it."""
    file_bytes: float
    """Of a JPEG file (synthetic, quality 95) in an archive."""
    decode_seconds: float
    """To read a row from an archive, hash and decode it, and put it into a batch."""
    pass_seconds: float
    """To read a row from an archive that another process takes (``streaming.split=rows``)."""
    resume_seconds: float
    """To find again, for each row that was given, where an interrupted epoch was."""
    store_bytes: float
    """Of a row in a store, as the processor gives it."""
    hash_bytes: float
    """Peak of memory to record which rows were trained on, for each row of a store."""
    order_bytes: float
    """Peak of memory of the order of an epoch whose rows are drawn at once, for each row and process."""
    order_seconds: float
    """To draw it, for each row."""
    computed_order_seconds: float
    """To compute the order of very many rows, for each row."""
    checkpoint_bytes: float
    """Of a checkpoint for each parameter, with AdamW."""
    checkpoint_seconds: float
    """To write a byte of it."""
    link_share: float
    """Of a link's bandwidth that an all-reduce of gloo fills, of 2 (N - 1) / N times its bytes, in a simulated network."""
    agreement_seconds: float
    """For all processes to agree that each has a batch: an all-reduce of one number in that network."""


def measure(*, size: int = 224, rows: int = 256, nodes: int = 8, isolate: bool | None = None) -> dict[str, Any]:
    """All constants, with the machine and the commit, as JSON values.

    Args:
        size: S of the images in pixels.
        rows: images to decode.
        nodes: of the simulated network.
        isolate: make network namespaces; None: where that is possible.
    """
    measured = about()
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        found: dict[str, float] = {"image_size": size, **_of_rows(folder, size, rows), **_of_memory(), **_of_checkpoint(folder)}
        found |= _of_network(folder, nodes, isolate)
    return {"constants": asdict(Constants(**found)), "network_nodes": nodes, **measured}  # type: ignore[arg-type]


def about() -> dict[str, Any]:
    """The machine, the commit and the time of a measurement."""
    return {
        "device": device_name("cpu"),
        "cores": cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "commit": commit(),
        "date": utc_now()[:10],
    }


def _cpu(work: Callable[[], Any]) -> float:
    """Seconds of this process's cores: other programs make it wait, and change these little."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _of_rows(folder: Path, size: int, rows: int) -> dict[str, float]:
    shards = write_shards(folder / "shards", 4, -(-rows // 4), size * 8 // 7)
    stream = open_stream(str(shards.folder), modality=registry().get("modality", "vision"), sample_rows=32)
    kind: Any = registry().processor_class("vision")
    processor = kind(kind.Config(image_size=size)).fit(stream.sample)
    batches = StreamBatches(stream, processor, Share(32), StreamOptions(buffer=64))
    for _ in batches.batches():  # a whole epoch: libraries start
        pass
    seen = list[int]()
    decode = _cpu(lambda: seen.extend(len(batch["image"]) for batch in batches.batches())) / sum(seen)
    passed = _cpu(lambda: [sum(1 for _ in stream.read(shard)) for shard in range(shards.count)]) / shards.rows
    count = 200_000
    shuffled = ShuffledRows(stream, Split(32), seed=0, epoch=0, buffer=1000, counts=dict.fromkeys(range(shards.count), count))
    given = shuffled._shuffle.through(shuffled._positions())  # what it does before the first row that is read
    resume = _cpu(lambda: [shuffled._held.pop(next(given), None) for _ in range(count)]) / count
    store = prepare(stream.sample, processor)
    nbytes = sum(field.item_bytes for field in store.fields.values())
    return {
        "file_bytes": shards.nbytes / shards.rows, "decode_seconds": decode, "pass_seconds": passed, "resume_seconds": resume,
        "store_bytes": nbytes,
    }  # fmt: skip


def _peak(work: Callable[[], Any]) -> int:
    """Bytes that Python and numpy allocate at most at a time."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _of_memory() -> dict[str, float]:
    n, batch = 4_000_000, 4096
    hashes = np.random.default_rng(0).integers(2**64, size=2 * n, dtype=np.uint64)
    kept = [_peak(partial(PretrainingRows.of, hashes[:count], ["image"])) for count in (n, 2 * n)]
    sampler, many = EpochSampler(n, batch), EpochSampler(1_000_000_000, batch)
    of_order = _peak(lambda: sampler.batches(0))
    computed = many.batches(0)

    def compute() -> Iterator[int]:
        yield from (len(computed[number]) for number in range(100))

    return {
        "hash_bytes": hashes.itemsize + (kept[1] - kept[0]) / n,  # without the sample, whose size is fixed
        "order_bytes": of_order / n,
        "order_seconds": _cpu(lambda: sampler.batches(1)) / n,
        "computed_order_seconds": _cpu(lambda: sum(compute())) / (100 * batch),
    }


def _of_checkpoint(folder: Path) -> dict[str, float]:
    parameters = 4_000_000
    weight = torch.nn.Parameter(torch.zeros(parameters))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(parameters)
    optimizer.step()
    path, seconds = folder / "last.pt", []
    for _ in range(3):
        began = time.perf_counter()
        save_checkpoint(path, {"task": {"weight": weight.detach()}, "optimizer": optimizer.state_dict()}, {})
        seconds.append(time.perf_counter() - began)
    nbytes = path.stat().st_size
    return {"checkpoint_bytes": nbytes / parameters, "checkpoint_seconds": statistics.median(seconds) / nbytes}


def _of_network(folder: Path, nodes: int, isolate: bool | None) -> dict[str, float]:
    results = folder / "network.json"
    with network(nodes, _MBIT, isolate=isolate) as net:
        processes = []
        for rank in range(nodes):
            own = {**os.environ, "GLOO_SOCKET_IFNAME": net.interface(rank), "OMP_NUM_THREADS": "1"}
            words = [net.address(0), str(rank), str(nodes), str(results)]
            command = [*net.command(rank), sys.executable, "-m", "scale.collectives", *words]
            processes.append(subprocess.Popen(command, cwd=_FOLDER, env=own, stderr=subprocess.PIPE, text=True))
        for process in processes:
            _, errors = process.communicate(timeout=300)
            if process.returncode:
                raise BenchmarkError(f"a process of the network failed: {errors[-1000:]}")
        isolated = net.isolated
    found = json.loads(results.read_text())
    wanted = 2 * (nodes - 1) / nodes * found["bytes"] / (_MBIT * 1e6 / 8)
    return {
        "link_share": wanted / found["seconds"] if isolated else 1.0,
        "agreement_seconds": found["agreement"],
    }

"""Reads a stream in several gloo processes; run by ``test_stream.py``.

Writes ``OUT/<rank>.json``: for each way to split the rows, the numbers of the rows
of each batch by epoch, what was said and what was counted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from selfsup.data.batches.agreement import Agreement
from selfsup.data.batches.source import Share
from selfsup.data.batches.stream import StreamBatches, StreamOptions
from selfsup.data.sources.streams.load import open_stream
from selfsup.errors import SourceError
from selfsup.registry import registry
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig


def read(folder: Path, rank: int, processes: int, *, by_shards: bool) -> dict[str, Any]:
    stream = open_stream(folder, modality=registry().get("modality", "sequence"), sample_rows=10)
    processor = SequenceProcessor(SequenceProcessorConfig()).fit(stream.sample)
    processor.fitted["vocabulary"] = 100  # the sample has not seen all of them
    said: list[str] = []
    options = StreamOptions(buffer=8, by_shards=by_shards, max_bad_rows=0.5)
    source = StreamBatches(stream, processor, Share(8 // processes, rank, processes, seed=3), options, warn=said.append)
    epochs = [[batch["sequence"][:, 1].tolist() for batch in source.batches()] for _ in range(2)]
    seen = source.seen()
    counts = source.state_dict()["counts"]
    again = StreamBatches(stream, processor, Share(8 // processes, rank, processes, seed=3), options)
    states: list[Any] = [None] * processes
    dist.all_gather_object(states, source.state_dict())
    again.load_state_dict(states)
    known = sum(again.state_dict()["counts"].values())
    return {
        "counts": counts,
        "known": known,
        "epochs": epochs,
        "said": said,
        "about": dict(seen.about),
        "different": seen.different,
    }


def process(rank: int, folder: str, out: str, processes: str) -> None:
    """Read as one of the processes."""
    dist.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=int(processes))
    agreement = Agreement(2)
    assert agreement.from_first(lambda: {"of": rank}) == {"of": 0}

    def failing() -> None:
        raise SourceError(f"process {rank} failed")

    with pytest.raises(SourceError, match="process 0 failed"):
        agreement.from_first(failing)
    found = {name: read(Path(folder), rank, int(processes), by_shards=name == "shards") for name in ("rows", "shards")}
    (Path(out) / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()

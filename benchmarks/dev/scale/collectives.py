"""Time all-reduces of gloo: ``python -m scale.collectives HOST RANK PROCESSES RESULTS`` is one of the processes."""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

_PORT = 29518
_NUMBERS = 1 << 19


def main(host: str, rank: int, processes: int, results: Path) -> None:
    """Write the median seconds of an all-reduce of 2 MB, and of one number, on the first process."""
    where = f"tcp://{host}:{_PORT}"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=processes, timeout=timedelta(seconds=200))

    def timed(tensor: torch.Tensor, repeats: int) -> float:
        seconds = []
        for _ in range(repeats):
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(tensor)
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds[1:])

    large, agreement = timed(torch.zeros(_NUMBERS), 4), timed(torch.zeros(1), 20)
    if rank == 0:
        found = {"bytes": 4 * _NUMBERS, "seconds": large, "agreement": agreement}
        results.write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))

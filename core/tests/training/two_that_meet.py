"""Two processes make calls together, and then one of them makes a call alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

from selfsup.data.batches import work_division
from selfsup.errors import RunError
from selfsup.evaluation.on_devices import together


def process(rank: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    device = torch.device("cpu")
    counts: list[list[int]] = []
    for _ in range(4):
        with together(device):
            division = work_division.work_division()
            assert division is not None
            own = [10 * item for item in division.own(range(5))]
            assert list(division.outputs(own, 5)) == [0, 10, 20, 30, 40]
        if Path("/proc/self/fd").exists():
            counts.append([len(list(Path("/proc/self", name).iterdir())) for name in ("fd", "task")])
    assert all(count == counts[0] for count in counts), counts
    work_division.MEETING_SECONDS = 1
    if rank == 0:
        with pytest.raises(RunError, match="take the call out of `if rank == 0:`"), together(device):
            pass
    else:
        threading.Event().wait(2)
    os._exit(0)

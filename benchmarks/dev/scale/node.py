"""One process of a simulated run: trains as ``selfsup.pretrain`` does, with a step that sleeps as long as a device would work.

As a program (``python -m scale.node PLAN``) it reads a JSON file and writes what it measured to another one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Clock:
    """Times calls of functions by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def timed(self, owner: Any, name: str, label: str = "") -> None:
        """Replace a function of a module or class with one that is timed."""
        original, into = getattr(owner, name), self.seconds.setdefault(label or name, [])

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                into.append(time.perf_counter() - began)

        setattr(owner, name, call)


def main(plan: dict[str, Any]) -> None:
    """Take part in a run and write down its times."""
    begun = float(plan["begun"])
    rank = int(os.environ.get("RANK", "0"))
    import selfsup
    from selfsup.data.batches.agreement import Agreement
    from selfsup.data.batches.stream import StreamBatches
    from selfsup.runtime import peak_memory
    from selfsup.training.loop import trainer
    from selfsup.training.loop.stepper import Stepper
    from selfsup.training.run import streaming

    imported = time.time()
    clock, taken = Clock(), list[float]()
    clock.timed(streaming, "open_stream")
    clock.timed(Agreement, "all_have", "agreement")
    clock.timed(trainer, "save_checkpoint")
    clock.timed(StreamBatches, "_end_epoch", "end of epoch")
    step: Callable[..., Any] = Stepper.take

    def take(self: Stepper, batch: Any, *rest: Any) -> Any:
        taken.append(time.time())
        time.sleep(plan["device_seconds"])  # a device would be busy now; the processor is free, as it would be then
        return step(self, batch, *rest)

    Stepper.take = take  # type: ignore[method-assign, assignment]
    run = selfsup.pretrain(
        "vision/simclr", plan["data"].replace("NODE", str(rank)), out=plan["out"], stream=True, progress=False,
        backbone="resnet-narrow", accelerator="cpu", precision="32", devices=1, nodes=plan["nodes"],
        batch_size=plan["batch_size"] * plan["nodes"], steps=plan["steps"],
        overrides={
            "backbone.width": 8, "objective.hidden_dim": 64, "objective.output_dim": 64, "processor.image_size": 32,
            "streaming.split": plan["split"], "streaming.workers": 0, "streaming.sample_rows": plan["sample_rows"],
            "streaming.rows": plan["rows"], "checkpoint_every": plan["checkpoint_every"],
        },
    )  # fmt: skip
    found = {
        "rank": rank,
        "import": imported - begun,
        "open_stream": sum(clock.seconds["open_stream"]),
        "first_step": taken[0] - begun,
        "steps": taken,
        "agreement": clock.seconds["agreement"],
        "end_of_epoch": clock.seconds["end of epoch"],
        "checkpoint": clock.seconds["save_checkpoint"],
        "peak_memory": peak_memory(),
        "read": run_info(run.dir) if rank == 0 else {},
    }
    Path(plan["results"], f"{rank}.json").write_text(json.dumps(found))


def run_info(folder: Path) -> dict[str, Any]:
    """What the run says of its rows, and how large its checkpoint is."""
    info = json.loads((folder / "run.json").read_text())
    checkpoint = folder / "checkpoints" / "last.pt"
    rows = json.loads((folder / "encoder" / "config.json").read_text()).get("pretraining_rows", {})
    return {**info.get("read", {}), "checkpoint_bytes": checkpoint.stat().st_size, "different": rows.get("different")}


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))

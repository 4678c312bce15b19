"""Runs one cell, in the cell's own process: ``python -m selfsup_bench.cells.run_cell JOB.json``.

Whatever goes wrong becomes a record; only a death of the process itself (a signal, no memory) leaves none.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsup.errors import SelfsupError
from selfsup_bench.cells.cell import EVALUATOR_PREFIX, Cell, is_raw, is_supervised, options_under
from selfsup_bench.cells.time_limit import time_limit
from selfsup_bench.executors.base import Ending, Job
from selfsup_bench.planning.provenance import commit_of
from selfsup_bench.records.record import Projection, Record, RecordStore, read_json

if TYPE_CHECKING:
    from selfsup import Encoder

_LACK = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""Messages of PyTorch for exhausted memory where it has no error class (the CPU's allocator, cuBLAS, cuDNN)."""
CURVE_POINTS = 200
"""Points of a loss curve that are kept at most."""


@dataclass
class Trained:
    """An encoder and how it came about."""

    encoder: Encoder
    curve: tuple[tuple[int, float], ...] = ()
    samples_per_second: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Sources:
    """What a cell reads: the name of a registered data set, or the rows of own data."""

    train: Any
    """To pretrain on."""
    labelled: Any
    """To fit probes on, and for supervised training."""
    test: Any = None
    """That the numbers are of; None: the test split."""


def sources_of(job: Job) -> Sources:
    """What the cell of a job reads.

    Raises:
        SelfsupError: own data has changed, or cannot be read any more.
    """
    cell = job.cell
    if not cell.reading:
        return Sources(cell.dataset, cell.dataset)
    from selfsup_bench.own_data.rows.read_rows import parts_of_cell

    parts = parts_of_cell(cell.reading, job.out, options_under("processor.", cell.overrides))
    return Sources(parts.train, parts.labelled, parts.test)


def work(values: Mapping[str, Any]) -> Ending:
    """Run a cell and write its record.

    A failure takes the place of no finished record. Where the cells of a killed benchmark go on (Slurm), the same cell can run
    twice at a time, and the second one then finds its folder in use.

    Args:
        values: ``Job.as_dict()``.

    Returns:
        How it ended.
    """
    job = Job.from_dict(values)
    how: Ending = "done"
    store = RecordStore(job.out)
    try:
        with time_limit(job.seconds):
            record = measure(job)
    except Exception as error:
        traceback.print_exc()
        if store.finished(job.key):
            return "failed"  # so that this process takes no further cell
        how = "out-of-memory" if lacks_memory(error) else "failed"
        reason = str(error) if isinstance(error, SelfsupError) else f"{type(error).__name__}: {error}"
        record = Record(key=job.key, cell=job.cell, status="failed", error=reason, circumstances=job.circumstances)
    store.write(record)
    return how


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _LACK):
            return True
        error = error.__cause__ or error.__context__
    return False


def measure(job: Job) -> Record:
    """Train and evaluate.

    Raises:
        SelfsupError: the run or an evaluation cannot be done.
    """
    import torch

    from selfsup.runtime import device_name, peak_memory
    from selfsup_bench.cells.measure import measure_encoder

    began = time.perf_counter()
    limit_threads(job.threads)
    cell = job.cell
    device = _device(job.device)
    sources = sources_of(job)
    trained = _raw(cell, sources) if is_raw(cell.kind) else _pretrained(job, sources)
    encoder = trained.encoder.to(device)
    evaluation_began = time.perf_counter()
    measured = measure_encoder(encoder, cell, job.folder / "results", data=sources.labelled, test=sources.test)
    evaluated = time.perf_counter()
    memory = peak_memory(device)
    # Trees have no embedding, and the network that is trained from scratch is the untrained one before that.
    drawn = job.draw and cell.kind not in ("boosting", "scratch")
    projection = _projection(encoder, job, sources) if drawn else None
    return Record(
        key=job.key,
        cell=cell,
        status="done",
        metrics=measured.metrics,
        draws=measured.draws,
        rows=measured.rows,
        labels=measured.labels,
        curve=trained.curve,
        samples_per_second=trained.samples_per_second,
        peak_memory=memory,
        device=device_name(torch.device(device)),
        measured=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=commit_of(Path(__file__)),
        seconds={
            "pretrain": round(trained.seconds, 3),
            "evaluate": round(evaluated - evaluation_began, 3),
            "total": round(time.perf_counter() - began, 3),
        },
        projection=projection,
        circumstances=job.circumstances,
        results=measured.results,
    )


def limit_threads(threads: int) -> None:
    """Set the number of CPU threads, in torch and in the libraries below numpy and scikit-learn."""
    import torch

    torch.set_num_threads(threads)
    importlib.import_module("threadpoolctl").threadpool_limits(threads)


def run_options(cell: Cell, sources: Sources | None = None) -> dict[str, Any]:
    """The arguments of ``selfsup.pretrain`` for the cell.

    Args:
        cell: of a task, or of a reference that has a network.
        sources: what it reads; None: its data set.
    """
    overrides = {key: value for key, value in cell.overrides.items() if not key.startswith(EVALUATOR_PREFIX)}
    budget = {"epochs": cell.epochs} if cell.epochs else {"steps": cell.steps}
    data: Any = cell.dataset
    if sources is not None:
        data = sources.labelled if is_supervised(cell.kind) else sources.train
    return {
        "task": cell.task,
        "data": data,
        "backbone": cell.backbone,
        "seed": cell.seed,
        "rows": cell.train_rows,
        "overrides": overrides,
        **budget,
    }


def _pretrained(job: Job, sources: Sources) -> Trained:
    import selfsup

    began = time.perf_counter()
    out = job.folder / "run"
    # An attempt that was cut short left a folder that is in the way. It goes on from its last checkpoint.
    run = selfsup.pretrain(**run_options(job.cell, sources), accelerator=job.device, out=out, resume=True, progress=False)
    lines = [line for line in run.metrics if "loss" in line]
    speeds = sorted(line["samples_per_second"] for line in lines[1:] or lines if "samples_per_second" in line)
    return Trained(
        selfsup.load(run.dir),
        curve=thin([(int(line["step"]), float(line["loss"])) for line in lines]),
        # The median over the logged stretches; the first one holds what happens only once.
        samples_per_second=speeds[len(speeds) // 2] if speeds else None,
        seconds=time.perf_counter() - began,
    )


def thin(curve: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """At most :data:`CURVE_POINTS` points of a curve, the first and the last among them."""
    if len(curve) <= CURVE_POINTS:
        return tuple(curve)
    places = {round(i * (len(curve) - 1) / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)}
    return tuple(curve[place] for place in sorted(places))


def _raw(cell: Cell, sources: Sources) -> Trained:
    from selfsup_bench.cells.raw_features import fitted_raw_encoder

    return Trained(fitted_raw_encoder(cell.modality, sources.train, kind=cell.kind, overrides=cell.overrides))


def _projection(encoder: Encoder, job: Job, sources: Sources) -> Projection:
    from selfsup.data import load_source, prepare
    from selfsup.registry import registry
    from selfsup_bench.cells.previews import keep_previews
    from selfsup_bench.cells.projection import drawn_places, label_groups, project

    cell = job.cell
    modality = registry().get("modality", cell.modality)
    options = encoder.processor.source_options()
    data = cell.dataset if sources.test is None else sources.test
    rows = load_source(data, modality=modality, split="test", needs_label=True, options=options).labelled()
    groups, names = label_groups(rows.labels(), rows.class_names)
    places = drawn_places(len(rows))
    # The evaluation has already checked how many of all rows are bad.
    store = prepare(rows if len(places) == len(rows) else rows.select(places), encoder.processor, max_bad_rows=1)
    kept = places[store.kept]
    made = project(encoder.embed_store(store).numpy(), groups[kept], places=kept, class_names=names)
    return replace(made, previews=keep_previews(job.out, rows, places.tolist(), encoder.processor))


def _device(choice: str) -> str:
    import torch

    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if choice == "gpu" else choice


def main() -> int:
    """Run the job in the file that the only argument names."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m selfsup_bench.cells.run_cell JOB.json\n")
        return 2
    work(read_json(Path(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A grid of methods, data sets and seeds: each cell is one training, scored with few and with many labels."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from selfsup.errors import SelfsupError
from selfsup_bench.executors.local import cpu_count
from selfsup_bench.planning.provenance import code_digest, versions
from selfsup_bench.quality.grid_cell import GridCell, Scores
from selfsup_bench.records.record import read_json, write_json


def run_grid(
    cells: Sequence[GridCell],
    out: Path,
    *,
    jobs: int = 0,
    done: Callable[[GridCell, int, int, str], None] = lambda cell, ended, total, error: None,
) -> tuple[dict[GridCell, Scores], dict[GridCell, str]]:
    """Measure every cell that the folder holds no result of, several at a time, one thread each.

    Args:
        cells: what to measure.
        out: folder of the results, one JSON file a cell; what an earlier call with the same code left there is taken as it is.
        jobs: processes; 0: one a core.
        done: called as each cell ends, with how many have, of how many, and what went wrong (empty: nothing).

    Returns:
        Scores by cell, and errors by cell.

    Raises:
        StorageError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    code = _code(cells)
    found: dict[GridCell, Scores] = {}
    failed: dict[GridCell, str] = {}
    for cell in cells:
        path = out / f"{cell.name()}.json"
        if path.is_file() and (kept := read_json(path)).get("code") == code:
            found[cell] = kept["scores"]
    waiting = [cell for cell in cells if cell not in found]
    for ended, (cell, scores, error) in enumerate(_measured(waiting, jobs), start=len(found) + 1):
        if scores is None:
            failed[cell] = error
        else:
            found[cell] = scores
            write_json(out / f"{cell.name()}.json", {"cell": cell.model_dump(mode="json"), "code": code, "scores": scores})
        done(cell, ended, len(cells), error)
    return found, failed


def _code(cells: Sequence[GridCell]) -> dict[str, Any]:
    """Versions and sources that the results depend on."""
    packages = {"selfsup", "selfsup_bench", *(f"selfsup_{cell.modality}" for cell in cells)}
    names = sorted(package.replace("_", "-") for package in packages)
    return {"versions": versions(names), "sources": code_digest(sorted(packages - {"selfsup_bench"}))}


def _measured(cells: Sequence[GridCell], jobs: int) -> Iterator[tuple[GridCell, Scores | None, str]]:
    if not cells:
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs or cpu_count(), mp_context=context, initializer=_start_worker) as pool:
        futures: dict[Future[Scores], GridCell] = {pool.submit(_measure, cell): cell for cell in cells}
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is None:
                    yield futures[future], future.result(), ""
                else:
                    yield futures[future], None, str(error) or type(error).__name__
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    from selfsup_bench.cells.run_cell import limit_threads

    limit_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would go on with what is waiting, and nobody would take the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure(cell: GridCell) -> Scores:
    from selfsup_bench.quality.measure import measure

    try:
        with tempfile.TemporaryDirectory() as folder:
            return measure(cell, Path(folder))
    except SelfsupError as error:
        raise RuntimeError(str(error)) from None
    except Exception as error:
        # The other process shows the message alone.
        raise RuntimeError("".join(traceback.format_exception_only(error)).strip()) from error

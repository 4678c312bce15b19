"""The user's own data as a benchmark: is pretraining worth it there, and which task?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup_bench.leaderboard.board import Leaderboard

__all__ = ["benchmark"]


def benchmark(
    data: str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    jobs: int = 0,
    threads: int = 1,
    device: str = "auto",
    **options: Any,
) -> Leaderboard:
    """Find out whether pretraining is worth it on some data, and with which task; as ``selfsup benchmark --data``.

    ::

        found = benchmark("photos/", minutes=30)
        print(found.recommendation.sentence)
        encoder = selfsup.load(found.recommendation.encoder)

    It starts processes, so a script that calls it needs ``if __name__ == "__main__":`` around its own work.

    Args:
        data: name or path of the rows to pretrain on; some of them may have labels.
        out: folder for records, report and encoder; None: ``benchmark-results/own-TIME``.
        resume: go on with the benchmark in ``out``.
        jobs: cells at a time; 0: one a core, and on a GPU as many as fit.
        threads: CPU threads of a cell.
        device: ``auto``, ``cpu`` or ``gpu``.
        **options: fields of :class:`~selfsup_bench.own_data.command.Asked`: ``label``, ``labelled``, ``test``, ``modality``,
            ``minutes``, ``names`` (of tasks), ``per_class``, ``label_kind``, ``unlabelled``, ``columns``, ``table``.

    Returns:
        The leaderboard; its ``recommendation`` says what to do.

    Raises:
        SelfsupError: the data cannot be used, has too few labels, or no task can be trained on it.
    """
    from selfsup_bench.commands import results_folder
    from selfsup_bench.executors.make_executor import machine_here
    from selfsup_bench.own_data.command import Asked, own_benchmark

    for name in ("labelled", "test"):
        if name in options:
            options[name] = str(options[name] or "")
    for name in ("unlabelled", "names"):
        options[name] = tuple(options.get(name) or ())
    asked = Asked(data=str(data), **options)
    folder = Path(out) if out is not None else results_folder("own", resume=resume)
    return own_benchmark(asked, folder, machine_here(jobs=jobs, threads=threads, device=device), resume=resume)[0]

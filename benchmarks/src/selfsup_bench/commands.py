"""``selfsup benchmark`` and ``selfsup report``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfsup.cli import emit, json_option, result_console
from selfsup.errors import ConfigError
from selfsup_bench.executors.make_executor import device_kind, executor_factory, machine_here, parse_pairs
from selfsup_bench.own_data.options import OwnOptions, is_own, own_options, refuse_for_own, refuse_without_data, was_given

if TYPE_CHECKING:
    from selfsup.registry import BenchmarkSpec, Registry
    from selfsup_bench.leaderboard.board import Leaderboard
    from selfsup_bench.planning.make_plan import Planned

RESULTS = Path("benchmark-results")


@click.command()
@own_options
@click.option("--suite", default="quick", show_default=True, help="Suite of benchmarks: quick, standard, ...")
@click.option(
    "--modality", "modalities", multiple=True, metavar="M", help="Only tasks of this modality; repeatable. Of --data: its kind."
)
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Only benchmarks or tasks of this name (* for anything); repeatable."
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Seeds 0, 1, ... of every cell.")
@click.option("--executor", default="local", show_default=True, help="Where cells run: local, submitit, ray, ...")
@click.option("--executor-option", "pairs", multiple=True, metavar="KEY=VALUE", help="Option of the executor; repeatable.")
@click.option(
    "--jobs", type=click.IntRange(0), default=0, help="Cells at a time. [default: one a core; on a GPU no more than fit]"
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads of a cell.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True, help="What cells run on."
)
@click.option("--resume", is_flag=True, help="Skip the cells that --out (or the newest folder of the suite) holds finished.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for records and report. [default: benchmark-results/SUITE-TIME]"
)
@click.option(
    "--compare",
    "folders",
    nargs=2,
    metavar="DIR1 DIR2",
    type=click.Path(path_type=Path),
    help="Run nothing; compare the results in DIR2 with those in DIR1.",
)
@json_option
@click.pass_context
def benchmark(
    context: click.Context,
    folders: tuple[Path, Path] | None,
    suite: str,
    modalities: tuple[str, ...],
    only: tuple[str, ...],
    seeds: int,
    executor: str,
    pairs: tuple[str, ...],
    jobs: int,
    threads: int,
    device: str,
    resume: bool,
    out: Path | None,
    as_json: bool,
    own: OwnOptions,
) -> None:
    """Compare pretext tasks with each other, with supervised training and with no training.

    Prints the leaderboard and writes records and report.html. The exit status is 1 if a cell failed.

    With --data it is a benchmark of your own data: is pretraining worth it there, and with which task? It takes --minutes,
    prints a recommendation, and keeps the best encoder in OUT/encoder.

    \b
    selfsup benchmark --data photos/ --minutes 30
    selfsup benchmark --data table.csv --label income
    selfsup benchmark --data corpus.txt --labelled headlines.csv

    With --compare it shows what differs between two folders: packages, scores with the interval of their difference, speed. The
    exit status is 1 if a score is significantly worse or lost. A row that is missing in DIR2 is lost, too, unless --modality,
    --only or another suite left it out.
    """
    if folders is not None:
        compare_folders(context, *folders, as_json=as_json)
        return
    if own.data or (resume and out is not None and is_own(out)):
        refuse_for_own(context)
        run_own(
            own,
            modalities=modalities,
            only=only,
            jobs=jobs,
            threads=threads,
            device=device,
            executor=executor,
            pairs=parse_pairs(pairs),
            resume=resume,
            out=out,
            as_json=as_json,
        )
        return
    refuse_without_data(context)
    from selfsup.registry import registry
    from selfsup_bench.planning.make_plan import choose
    from selfsup_bench.planning.templates import expand
    from selfsup_bench.runner import REPORT, run

    found = registry()
    specs = choose(expand(found.benchmarks.values(), found), suite=suite, modalities=modalities, only=only)
    make_executor = executor_factory(found, executor, jobs=jobs, options=parse_pairs(pairs))
    folder = out or results_folder(suite, resume=resume)
    if executor == "local":
        from selfsup_bench.executors.local import warm_up
        from selfsup_bench.planning.make_plan import modules_of

        warm_up(modules_of(found, specs))
    planned = plan_on_device(specs, suite=suite, seeds=seeds, found=found, device=device, threads=threads)
    board = run(planned, folder, make_executor=make_executor, resume=resume, threads=threads, device=device)
    show(board, folder / REPORT, as_json=as_json)


def compare_folders(context: click.Context, before: Path, after: Path, *, as_json: bool) -> None:
    """Compare two benchmarks; exit status 1 if a score is worse or lost.

    Raises:
        ConfigError: another option was given.
    """
    from selfsup_bench.compare.compare import compare
    from selfsup_bench.compare.text import print_compared

    alone = ("folders", "as_json")
    given = [each for each in context.command.params if each.name and each.name not in alone and was_given(context, each.name)]
    if given:
        raise ConfigError(f"{given[0].opts[0]} has no effect with --compare, which runs nothing. Leave it out.")
    compared = compare(before, after)
    emit(compared.as_dict(), as_json=as_json, text=lambda: print_compared(compared, result_console()))
    if compared.regressions:
        sys.exit(1)


def run_own(
    own: OwnOptions,
    *,
    modalities: tuple[str, ...],
    only: tuple[str, ...],
    jobs: int,
    threads: int,
    device: str,
    executor: str,
    pairs: dict[str, str],
    resume: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """The benchmark of own data."""
    from selfsup_bench.own_data.command import own_benchmark
    from selfsup_bench.runner import REPORT

    machine = machine_here(jobs=jobs, threads=threads, device=device, executor=executor, options=pairs)
    folder = out or results_folder("own", resume=resume)
    try:
        board, _ = own_benchmark(own.asked(modalities, only), folder, machine, resume=resume)
    except KeyboardInterrupt:
        shown = f" {folder / REPORT} has what there is." if (folder / REPORT).is_file() else ""
        further = f" Go on with --resume --out {folder}." if is_own(folder) else ""
        click.echo(f"Stopped.{shown}{further}", err=True)
        raise
    show(board, folder / REPORT, as_json=as_json)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "md"]),
    default="text",
    show_default=True,
    help="md prints a page of results in Markdown: date, commit, device, verdicts and tables.",
)
@json_option
def report(folder: Path, form: str, as_json: bool) -> None:
    """Print the leaderboard of a benchmark's folder and write its report.html again.

    With --format md it prints a page of results in Markdown instead, and writes nothing.

    Raises:
        ConfigError: both ``--format md`` and ``--json`` are given.
    """
    from selfsup_bench.runner import REPORT, read_results, write_report

    if form == "text":
        show(write_report(folder), folder / REPORT, as_json=as_json)
        return
    if as_json:
        raise ConfigError("--json has no effect with --format md. Leave one of them out.")
    from selfsup_bench.report.markdown_page import render_markdown

    board, plan, records = read_results(folder)
    click.echo(render_markdown(board, plan, records), nl=False)
    exit_if_incomplete(board)


def show(board: Leaderboard, page: Path, *, as_json: bool) -> None:
    """Print the leaderboard; exit status 1 if a cell has no result."""
    from selfsup_bench.leaderboard.tables import print_leaderboard

    emit({**board.as_dict(), "report": str(page)}, as_json=as_json, text=lambda: print_leaderboard(board, result_console()))
    click.echo(f"report: {page.resolve().as_uri()}", err=True)
    exit_if_incomplete(board)


def exit_if_incomplete(board: Leaderboard) -> None:
    """Exit status 1 if a cell has no result."""
    if board.failures:
        click.echo(f"{len(board.failures)} cells have no result; `--resume` tries them again.", err=True)
        sys.exit(1)


def results_folder(suite: str, *, resume: bool) -> Path:
    """A new folder named after the suite and the time; to resume, the newest one of the suite."""
    if resume:
        earlier = sorted(path for path in RESULTS.glob(f"{suite}-*") if path.is_dir())
        if earlier:
            return earlier[-1]
    return RESULTS / f"{suite}-{time.strftime('%Y%m%d-%H%M%S')}"


def plan_on_device(
    specs: Sequence[BenchmarkSpec], *, suite: str, seeds: int, found: Registry, device: str, threads: int
) -> Planned:
    """The plan, and on stderr what is left out of it."""
    from selfsup_bench.planning.make_plan import make_plan

    planned = make_plan(specs, suite=suite, seeds=range(seeds), registry=found, device=device_kind(device), threads=threads)
    for line in planned.left_out:
        click.echo(f"left out: {line}", err=True)
    return planned

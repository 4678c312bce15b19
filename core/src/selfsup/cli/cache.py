"""``selfsup cache``: list and clear what is kept between runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from selfsup.cli.output import emit, json_option, print_table

if TYPE_CHECKING:
    from selfsup.data.store.cache_entries import Entry


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List or clear what is kept between runs: decoded samples, tables, embedded data sets.

    The cache is the folder SELFSUP_CACHE (default: ~/.cache/selfsup). Everything in it is recomputed when needed.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_command, as_json=False)


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the entries with size, source, age and the runs that used them."""
    from selfsup.data.store.cache_entries import entries
    from selfsup.runtime.cache_folder import cache_path

    root = cache_path()
    found = entries(root)
    total = sum(entry.size for entry in found)
    document = {"path": root, "size": total, "entries": [entry.as_dict() for entry in found]}

    def text() -> None:
        print_table(["KEY", "SIZE", "LAST USED", "SOURCE", "RUNS"], [_row(entry) for entry in found])
        click.echo(f"{root}: {len(found)} entries, {shown_size(total)}", err=True)

    emit(document, as_json=as_json, text=text)


@command.command("clear")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="All entries.")
@click.option("--older-than", "age", metavar="AGE", help="Only entries not used for this time: 30d, 12h, 2w.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@json_option
def clear_command(keys: tuple[str, ...], everything: bool, age: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove entries: those of KEY (a prefix, or a kind such as stores), all, or the old ones.

    Entries that a process is using are always kept.
    """
    if everything and (keys or age is not None):
        raise click.UsageError("--all removes everything: leave the keys and --older-than out.")
    if not (everything or keys or age is not None):
        raise click.UsageError("say what to remove: a KEY of `selfsup cache list`, --older-than AGE, or --all.")
    from selfsup.data.store.cache_entries import clear, parse_age
    from selfsup.runtime.cache_folder import cache_path

    older_than = None if age is None else parse_age(age)
    cleared = clear(cache_path(), keys, older_than=older_than, dry_run=dry_run)
    freed = sum(entry.size for entry in cleared.removed)
    document: dict[str, Any] = {
        "removed": [entry.key for entry in cleared.removed],
        "kept": [entry.key for entry in cleared.kept],
        "size": freed,
        "dry_run": dry_run,
    }

    def text() -> None:
        for entry in cleared.kept:
            click.echo(f"{entry.key} is in use and is kept.", err=True)
        verb = "Would remove" if dry_run else "Removed"
        click.echo(f"{verb} {len(cleared.removed)} entries, {shown_size(freed)}.")

    emit(document, as_json=as_json, text=text)


def _row(entry: Entry) -> list[str]:
    runs = [f"{run} (unfinished)" if run in entry.unfinished else run for run in entry.runs]
    more = f" and {len(runs) - 2} more" if len(runs) > 2 else ""
    used = "now" if entry.in_use else shown_age(time.time() - entry.used)
    return [entry.key, shown_size(entry.size), used, entry.source, ", ".join(runs[-2:]) + more]


def shown_size(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def shown_age(seconds: float) -> str:
    """An age for people."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"

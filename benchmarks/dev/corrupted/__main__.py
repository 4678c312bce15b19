"""Run it: ``python -m corrupted --inputs 10000``; one input again: ``python -m corrupted --kind png --seed 123``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from corrupted.hostile import HOSTILE
from corrupted.saved_files import make_base
from corrupted.trials import KINDS, per_job
from corrupted.watch import OUTCOMES, Figures, Watched, run

_SHOWN = 8


def shares(inputs: int, kinds: tuple[str, ...]) -> dict[str, int]:
    """Kind to its number of inputs, at least ``inputs`` in all; of a hostile file there is one."""
    several = [kind for kind in kinds if kind not in HOSTILE]
    each = -(-inputs // max(len(several), 1))
    return {kind: 1 if kind in HOSTILE else each for kind in kinds}


def table(found: dict[str, Figures]) -> str:
    """The figures, a line per kind."""
    lines = [f"{'kind':34}{'inputs':>8}" + "".join(f"{name:>9}" for name in OUTCOMES) + f"{'grew MiB':>10}{'slowest s':>11}"]
    total = Figures()
    for kind, figures in found.items():
        lines.append(_line(kind, figures))
        total.counts += figures.counts
        total.grown, total.slowest = max(total.grown, figures.grown), max(total.slowest, figures.slowest)
    return "\n".join([*lines, _line("all", total)])


def _line(kind: str, figures: Figures) -> str:
    counts = "".join(f"{figures.counts[name]:>9}" for name in OUTCOMES)
    return f"{kind:34}{figures.counts.total():>8}{counts}{figures.grown >> 20:>10}{figures.slowest:>11.1f}"


@click.command()
@click.option("--inputs", default=10_000, show_default=True, help="Number of inputs, of all kinds together.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([*KINDS, *HOSTILE]), help="Kinds to try; all without it.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Only these seeds of each kind.")
@click.option("--first", default=0, show_default=True, help="First seed.")
@click.option("--messages", is_flag=True, help="Print the message of each refused input.")
def main(inputs: int, kinds: tuple[str, ...], seeds: tuple[int, ...], first: int, *, messages: bool) -> None:
    """Try damaged inputs, and print what became of them."""
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="corrupted-base-") as name:
        make_base(Path(name))
        with Watched(Path(name)) as watched:
            for kind, count in shares(inputs, kinds or (*KINDS, *HOSTILE)).items():
                began = time.monotonic()
                chosen = [0] if kind in HOSTILE else seeds or range(first, first + count)
                figures = run(watched, kind, chosen, per_job(kind))
                found[kind] = figures
                click.echo(f"{_line(kind, figures)}   ({time.monotonic() - began:.0f} s)")
                for fault in figures.faults[:_SHOWN]:
                    click.echo(f"  {fault}")
                for seed, text in figures.texts if messages else ():
                    click.echo(f"  [{seed}] {text}")
                for text, times in figures.unforeseen.most_common(5):
                    click.echo(f"  unforeseen x{times}: {text}")
    click.echo(table(found))


if __name__ == "__main__":
    main()

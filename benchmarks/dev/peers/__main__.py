"""``python -m peers simclr|pairs`` in ``benchmarks/dev``: comparisons with lightly and open_clip on real data."""

from __future__ import annotations

import click

from peers.pairs import pairs
from peers.simclr import simclr


@click.group()
def main() -> None:
    """Comparisons with peers. SELFSUP_DATA=DIR names the folder with DIR/<modality>/<name>/{train,test}.parquet."""


for command in (simclr, pairs):
    main.add_command(command)

if __name__ == "__main__":
    main()

"""``python -m selfsup_bench.quality``: a command for each modality."""

from __future__ import annotations

import click

from selfsup_bench.quality.audio import audio
from selfsup_bench.quality.tabular import tabular
from selfsup_bench.quality.text import text
from selfsup_bench.quality.video import video


@click.group()
def main() -> None:
    """Comparisons on real data. SELFSUP_DATA=DIR names the folder with DIR/<modality>/<name>/{train,test}.parquet."""


for command in (text, tabular, audio, video):
    main.add_command(command)

if __name__ == "__main__":
    main()

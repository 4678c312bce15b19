"""``python -m selfsup_bench.quality simclr`` and ``tasks`` (both vision), and a command for each other modality."""

from __future__ import annotations

import click

from selfsup_bench.quality.audio import audio
from selfsup_bench.quality.multimodal import multimodal
from selfsup_bench.quality.tabular import tabular
from selfsup_bench.quality.text import text
from selfsup_bench.quality.video import video
from selfsup_bench.quality.vision import simclr, tasks


@click.group()
def main() -> None:
    """Comparisons on real data. SELFSUP_DATA=DIR names the folder with DIR/<modality>/<name>/{train,test}.parquet."""


for command in (simclr, tasks, text, tabular, audio, video, multimodal):
    main.add_command(command)

if __name__ == "__main__":
    main()

"""``python -m selfsup_bench.quality audio``: every audio task against no training, from scratch, mel and MFCC statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from selfsup_bench.quality.cells import Chosen, Grid, GridData
from selfsup_bench.quality.options import grid_options, measure_grid
from selfsup_bench.suites.shared import adamw

_LABELS = ("50", "200", "all")
"""Of ten classes: 5 and 20 of each, and all."""
_HEAD = {"objective.hidden_dim": 512, "objective.output_dim": 512}
_OWN = {
    # Heads for small networks, in the place of those for networks of 2,048.
    "vicreg": _HEAD,
    "barlow-twins": _HEAD,
    # HuBERT's 500 clusters are for 960 hours of speech.
    "hubert": {"task.n_latent_clusters": 100},
}
GRID = Grid(
    modality="audio",
    data={
        # Spoken digits; the speakers of the test rows are in no training row. Clips are short enough for larger batches.
        "fsdd": GridData(labels=_LABELS, overrides={"finetune.batch_size": 128}, own=_OWN),
        # Sounds of five seconds, 32 of each class to train.
        "esc10": GridData(labels=_LABELS, overrides={"optimization.batch_size": 32}, own=_OWN),
    },
    other=GridData(labels=_LABELS, own=_OWN),
    tasks=(
        "wav2vec2",
        "hubert",
        "data2vec",
        "masked-spectrogram",
        "mockingjay",
        "tera",
        "apc",
        "cpc",
        "segment-order",
        "byol-a",
        "cola",
        "simclr",
        "vicreg",
        "barlow-twins",
    ),
    references=("random-init", "scratch", "raw", "raw-mfcc"),
    backbone="mel-cnn",
    shared={**adamw(lr=1e-3), "optimization.batch_size": 64},
    # Networks that a CPU trains in minutes.
    of_backbone={"mel-cnn": {"backbone.channels": 32, "backbone.embed_dim": 256}},
)


@click.command()
@grid_options(seeds=3, steps=200)
def audio(out: Path, jobs: int, as_json: bool, **chosen: Any) -> None:
    """Accuracy with 5, 20 and all labels a class: untrained, from scratch, statistics of spectra, every task at one budget."""
    measure_grid(GRID, Chosen(**chosen), out, jobs=jobs, as_json=as_json)

"""``python -m selfsup_bench.quality text``: every text task against no training, training from scratch and TF-IDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from selfsup_bench.quality.cells import Chosen, Grid, GridData
from selfsup_bench.quality.options import grid_options, measure_grid

# Small models learn more where more is hidden (Wettig et al. 2022, arXiv 2202.08005).
_DATA = GridData(labels=("100", "1000", "all"), own={"mlm": {"task.rate": 0.3}})
GRID = Grid(
    modality="text",
    # English and Chinese: sentiment of sentences, of film and of hotel reviews, and topics of headlines.
    data=dict.fromkeys(("sst2", "imdb_12k", "zh_chnsenticorp_hotel", "zh_thucnews_titles"), _DATA),
    other=_DATA,
    tasks=(
        "mlm",
        "clm",
        "span-corruption",
        "electra",
        "simcse",
        "tsdae",
        "sentence-order",
        "data2vec",
        "word2vec",
        "vicreg",
        "barlow-twins",
        "byol",
    ),
    references=("random-init", "scratch", "tf-idf"),
    backbone="text-encoder-small",
    shared={"optimization.batch_size": 64, "processor.vocab_size": 8000, "processor.max_length": 128},
)


@click.command()
@grid_options(seeds=3, steps=1500)
def text(out: Path, jobs: int, as_json: bool, **chosen: Any) -> None:
    """Accuracy with 100, 1000 and all labels: untrained, from scratch, TF-IDF, and every task at one budget."""
    measure_grid(GRID, Chosen(**chosen), out, jobs=jobs, as_json=as_json)

"""``python -m selfsup_bench.quality text``: every text task against no training, training from scratch and TF-IDF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from selfsup_bench.quality.cells import Chosen, Grid, GridData
from selfsup_bench.quality.options import grid_options, measure_grid
from selfsup_bench.suites.shared import adamw

_HEADS = {"objective.hidden_dim": 512, "objective.output_dim": 512}
"""Of methods whose papers have heads of thousands behind networks of 2,048."""
_OWN: Mapping[str, Mapping[str, Any]] = {
    # Small models learn more where more is hidden (Wettig et al. 2022, arXiv 2202.08005).
    "mlm": {"task.rate": 0.3},
    **dict.fromkeys(("vicreg", "barlow-twins", "byol"), _HEADS),
    # Each word has a row of its own, which few steps reach: its rate is twenty times that of networks.
    "word2vec": {"optimization.lr": 2e-2},
}


def _texts(max_length: int) -> GridData:
    """Texts of which so many tokens are kept."""
    return GridData(labels=("100", "1000", "all"), overrides={"processor.max_length": max_length}, own=_OWN)


GRID = Grid(
    modality="text",
    # English and Chinese: sentiment of sentences, of film and of hotel reviews, and topics of headlines.
    data={
        "sst2": _texts(64),
        "imdb_12k": _texts(128),
        "zh_chnsenticorp_hotel": _texts(128),
        "zh_thucnews_titles": _texts(32),
    },
    other=_texts(128),
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
    shared={**adamw(lr=1e-3), "optimization.batch_size": 32, "processor.vocab_size": 4000},
)


@click.command()
@grid_options(seeds=3, steps=500)
def text(out: Path, jobs: int, as_json: bool, **chosen: Any) -> None:
    """Accuracy with 100, 1000 and all labels: untrained, from scratch, TF-IDF, and every task at one budget."""
    measure_grid(GRID, Chosen(**chosen), out, jobs=jobs, as_json=as_json)

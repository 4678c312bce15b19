"""``python -m selfsup_bench.quality text``: every text task against no training, training from scratch and TF-IDF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from selfsup_bench.quality.grid import GridCell
from selfsup_bench.quality.options import chosen_references, chosen_tasks, grid_options, run_and_show, split_labels

DATASETS = ("sst2", "imdb_12k", "zh_chnsenticorp_hotel", "zh_thucnews_titles")
"""English and Chinese: sentiment of sentences, of film and of hotel reviews, and topics of headlines."""
TASKS = (
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
)
REFERENCES = ("random-init", "scratch", "tf-idf")
LABELS = ("100", "1000", "all")
ENCODER = "text-encoder-small"

SHARED: Mapping[str, Any] = {"optimization.batch_size": 64, "processor.vocab_size": 8000, "processor.max_length": 128}
"""The same for every method."""
OWN: Mapping[str, Mapping[str, Any]] = {"mlm": {"task.rate": 0.3}}
"""What differs from a task's defaults: small models learn more where more is hidden (Wettig et al. 2022, arXiv 2202.08005)."""


@click.command()
@grid_options(seeds=3, steps=1500)
def text(
    datasets: tuple[str, ...],
    methods: tuple[str, ...],
    labels: str,
    steps: int,
    seeds: int,
    finetune: bool,
    jobs: int,
    out: Path,
    as_json: bool,
) -> None:
    """Accuracy with 100, 1000 and all labels: untrained, from scratch, TF-IDF, and every task at one budget."""
    from selfsup.registry import registry

    found = registry()
    tasks = chosen_tasks(found, "text", methods, usual=TASKS, references=REFERENCES)
    spec = found.get("modality", "text")
    backbones = {task.id.partition("/")[2]: task.backbone or spec.backbone for task in tasks}
    kinds = sorted({ENCODER, *backbones.values()})
    references = chosen_references(methods, REFERENCES)
    pairs = [*backbones.items(), *(("random-init", backbone) for backbone in kinds)]
    pairs += [(name, ENCODER if name == "scratch" else "") for name in references if name != "random-init"]
    cells = [
        GridCell(
            modality="text",
            dataset=dataset,
            label="",
            method=method,
            backbone=backbone,
            seed=seed,
            labels=split_labels(labels, LABELS),
            repeats=1 if finetune or method == "scratch" else 3,
            steps=steps,
            finetune_epochs=10,
            finetune=finetune and method in backbones,
            overrides=tuple({**SHARED, **OWN.get(method, {})}.items()),
        )
        for dataset in datasets or DATASETS
        for seed in range(seeds)
        for method, backbone in pairs
    ]
    run_and_show(cells, dict.fromkeys(datasets or DATASETS, "accuracy"), out, jobs=jobs, as_json=as_json)

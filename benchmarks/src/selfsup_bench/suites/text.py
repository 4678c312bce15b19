"""Benchmarks of text: lines of documentation in minutes, headlines and reviews over night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfsup.registry import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, Setting, heads, of_views, one_optimizer

_VECTORS: Mapping[str, Any] = {
    # Each word has a row of its own, which few steps reach: its rate is ten times that of networks.
    **one_optimizer(lr=2e-2),
    "scratch.lr": 2e-2,
    "optimization.batch_size": 256,
}
"""A table of word vectors, whose mean stands for a text: strong where words say it, and seconds on a CPU."""
_ENCODER: Mapping[str, Any] = {**one_optimizer(lr=1e-3), "optimization.batch_size": 64}
"""A BERT of two layers of 128."""
_THINNED: Mapping[str, Any] = {"views.global_share": [1.0, 1.0], "views.deletion": 0.5, "views.dropout": 0.0}
"""Views that share half of their words; each keeps half of the text's. Word vectors have no dropout."""
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {**_THINNED, "objective.hidden_dim": 256, "objective.temperature": 0.2},
    "vicreg": {**_THINNED, "objective.hidden_dim": 256, "objective.output_dim": 256},
    # Small models learn more where more is hidden (Wettig et al. 2022, arXiv 2202.08005).
    "mlm": {"task.rate": 0.3},
}

_QUICK = Setting(
    modality="text",
    suites=("quick", "matrix"),
    prefix="library-docs",
    rows="6,400 lines of documentation",
    dataset="library-docs",
    backbone="word-vectors",
    steps=500,
    overrides={**_VECTORS, "processor.vocab_size": 4000, "processor.max_length": 32, **CURVE},
)
QUICK: tuple[BenchmarkSpec, ...] = (
    *(_QUICK.line(task, _OPTIONS.get(task)) for task in ("word2vec", "simclr", "vicreg")),
    replace(_QUICK, suites=("quick",)).template("others"),
)
MATRIX: tuple[BenchmarkSpec, ...] = (
    replace(_QUICK, suites=("matrix",), prefix="matrix-text").template("all", {**of_views(_THINNED), **heads(256)}),
    replace(_QUICK, suites=("matrix",), prefix="matrix-text-tokens", backbone="text-encoder-small", steps=300).template(
        "all", {**_ENCODER, "scratch.lr": 1e-3, **heads(256)}
    ),
)
"""Every objective on the quick data set; what needs tokens on a transformer."""


def _real(dataset: str, max_length: int, vocab_size: int) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="text",
        suites=("real",),
        prefix=f"real-{dataset}",
        rows=dataset,
        dataset=dataset,
        backbone="word-vectors",
        steps=3000,
        overrides={
            "processor.vocab_size": vocab_size,
            "processor.max_length": max_length,
            "evaluators.few-labels.per_class": (10, 2, 5, 25, 100),
        },
    )
    vectors, encoder = shared.on("word-vectors", _VECTORS), replace(shared.on("text-encoder-small", _ENCODER), steps=2000)
    return [
        *(vectors.line(task, _OPTIONS.get(task)) for task in ("word2vec", "simclr", "vicreg")),
        *(encoder.line(task, _OPTIONS.get(task)) for task in ("tsdae", "simcse", "mlm")),
    ]


REAL: tuple[BenchmarkSpec, ...] = (*_real("zh_thucnews_titles", 32, 6000), *_real("sst2", 64, 8000))
"""Topics of Chinese headlines, and whether a sentence of a film review praises or blames."""

_OWN = Setting(
    modality="text",
    suites=("own",),
    prefix="own-text",
    rows="the user's own texts",
    backbone="word-vectors",
    overrides={
        "processor.vocab_size": 8000,
        "processor.max_length": 64,
        "gpu.processor.vocab_size": 16000,
        "gpu.processor.max_length": 128,
        "gpu.optimization.batch_size": 256,
    },
)
_WIDE: Mapping[str, Any] = {"gpu.backbone.hidden_size": 256, "gpu.backbone.layers": 4, "gpu.backbone.heads": 4}
_ON_VECTORS = _OWN.on("word-vectors", {**_VECTORS, "gpu.backbone.dim": 300})
OWN: tuple[BenchmarkSpec, ...] = (
    *(_ON_VECTORS.line(task, _OPTIONS.get(task)) for task in ("word2vec", "simclr", "vicreg")),
    _OWN.on("text-encoder-small", {**_ENCODER, **_WIDE}).line("tsdae"),
)
"""What is worth trying on own texts, the likeliest first."""

_WIDE_HEADS: Mapping[str, Any] = {"objective.hidden_dim": 512, "objective.output_dim": 512}
"""In the place of the papers', which are for networks of 2,048."""


def _texts(dataset: str, max_length: int, per_class: tuple[int, int]) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="text",
        suites=("tasks",),
        prefix=f"tasks-{dataset}",
        rows=dataset,
        dataset=dataset,
        backbone="text-encoder-small",
        steps=500,
        headline=f"few-labels.accuracy@{per_class[0]}",
        overrides={
            **one_optimizer(lr=1e-3),
            "optimization.batch_size": 32,
            "processor.vocab_size": 4000,
            "processor.max_length": max_length,
            "evaluators.few-labels.per_class": per_class,
        },
    )
    tasks = {
        "text-encoder-small": [
            "mlm",
            "span-corruption",
            "electra",
            "simcse",
            "tsdae",
            "sentence-order",
            "data2vec",
            "vicreg",
            "barlow-twins",
            "byol",
        ],
        "text-decoder-small": ["clm"],
        "word-vectors": ["word2vec"],
    }
    # Small models learn more where more is hidden (Wettig et al. 2022, arXiv 2202.08005).
    own = {"mlm": {"task.rate": 0.3}, **dict.fromkeys(("vicreg", "barlow-twins", "byol"), _WIDE_HEADS)}
    return shared.lines(tasks, {"word-vectors": {**_VECTORS, "optimization.batch_size": 32}}, own)


# English and Chinese: topics of headlines; sentiment of sentences, of film and of hotel reviews. 100 and 1,000 labels.
TASKS: tuple[BenchmarkSpec, ...] = (
    *_texts("zh_thucnews_titles", 32, (10, 100)),
    *_texts("sst2", 64, (50, 500)),
    *_texts("imdb_12k", 128, (50, 500)),
    *_texts("zh_chnsenticorp_hotel", 128, (50, 500)),
)
"""Every task at one budget that a CPU can do: how much does each learn, on its own network?"""

BENCHMARKS = (*QUICK, *MATRIX, *REAL, *OWN, *TASKS)

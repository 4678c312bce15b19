"""Benchmarks of text: lines of documentation in minutes, headlines and reviews over night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, heads, of_views, one_optimizer

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

_LIBRARY_DOCS: Mapping[str, Any] = {
    **_VECTORS,
    "processor.vocab_size": 4000,
    "processor.max_length": 32,
    **CURVE,
}
_STEPS = 500


def _quick(task: str) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"library-docs-{task}",
        summary=f"{task} on 6,400 lines of documentation, {_STEPS} steps of 256.",
        task=f"text/{task}",
        dataset="library-docs",
        suites=("quick", "matrix"),
        backbone="word-vectors",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_LIBRARY_DOCS, **_OPTIONS.get(task, {})},
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("word2vec"),
    _quick("simclr"),
    _quick("vicreg"),
    BenchmarkSpec(
        id="library-docs",
        summary=f"* on 6,400 lines of documentation, {_STEPS} steps of 256.",
        task="text/*",
        objectives="others",
        dataset="library-docs",
        suites=("quick",),
        backbone="word-vectors",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides=_LIBRARY_DOCS,
    ),
)
"""A minute or two on two CPU cores."""

MATRIX: tuple[BenchmarkSpec, ...] = (
    BenchmarkSpec(
        id="matrix-text",
        summary=f"* on 6,400 lines of documentation, {_STEPS} steps of 256.",
        task="text/*",
        objectives="all",
        dataset="library-docs",
        suites=("matrix",),
        backbone="word-vectors",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_LIBRARY_DOCS, **of_views(_THINNED), **heads(256)},
    ),
    BenchmarkSpec(
        id="matrix-text-tokens",
        summary="* on 6,400 lines of documentation, 300 steps of 64.",
        task="text/*",
        objectives="all",
        dataset="library-docs",
        suites=("matrix",),
        backbone="text-encoder-small",
        evaluators=FEW_LABELS,
        steps=300,
        overrides={
            **_LIBRARY_DOCS,
            **_ENCODER,
            "scratch.lr": 1e-3,
            **heads(256),
        },
    ),
)
"""Every objective on the quick data set; what needs tokens on a transformer."""


def _real(dataset: str, task: str, backbone: str, *, max_length: int, vocab_size: int) -> BenchmarkSpec:
    vectors = backbone == "word-vectors"
    steps = 3000 if vectors else 2000
    return BenchmarkSpec(
        id=f"real-{dataset}-{task}",
        summary=f"{task} on {dataset}, {steps} steps.",
        task=f"text/{task}",
        dataset=dataset,
        suites=("real",),
        backbone=backbone,
        evaluators=FEW_LABELS,
        steps=steps,
        overrides={
            **(_VECTORS if vectors else _ENCODER),
            "processor.vocab_size": vocab_size,
            "processor.max_length": max_length,
            "evaluators.few-labels.per_class": (10, 2, 5, 25, 100),
            **{key: value for key, value in _OPTIONS.get(task, {}).items() if vectors or key not in _THINNED},
        },
    )


REAL: tuple[BenchmarkSpec, ...] = tuple(
    _real(dataset, task, backbone, max_length=max_length, vocab_size=vocab_size)
    # Topics of Chinese headlines, and whether a sentence of a film review praises or blames.
    for dataset, max_length, vocab_size in (("zh_thucnews_titles", 32, 6000), ("sst2", 64, 8000))
    for task, backbone in (
        ("word2vec", "word-vectors"),
        ("simclr", "word-vectors"),
        ("vicreg", "word-vectors"),
        ("tsdae", "text-encoder-small"),
        ("simcse", "text-encoder-small"),
        ("mlm", "text-encoder-small"),
    )
)
"""On the shared data sets, an hour or two on two CPU cores."""


def _own(task: str, backbone: str) -> BenchmarkSpec:
    vectors = backbone == "word-vectors"
    wide = (
        {"gpu.backbone.dim": 300}
        if vectors
        else {"gpu.backbone.hidden_size": 256, "gpu.backbone.layers": 4, "gpu.backbone.heads": 4}
    )
    return BenchmarkSpec(
        id=f"own-text-{task}",
        summary=f"{task} on the user's own texts.",
        task=f"text/{task}",
        suites=("own",),
        backbone=backbone,
        overrides={
            **(_VECTORS if vectors else _ENCODER),
            **wide,
            "processor.vocab_size": 8000,
            "processor.max_length": 64,
            "gpu.processor.vocab_size": 16000,
            "gpu.processor.max_length": 128,
            "gpu.optimization.batch_size": 256,
            **_OPTIONS.get(task, {}),
        },
    )


OWN: tuple[BenchmarkSpec, ...] = (
    _own("word2vec", "word-vectors"),
    _own("simclr", "word-vectors"),
    _own("vicreg", "word-vectors"),
    _own("tsdae", "text-encoder-small"),
)
"""What is worth trying on own texts, the likeliest first."""

BENCHMARKS = (*QUICK, *MATRIX, *REAL, *OWN)

"""Every task of a modality at one budget on data sets of ``SELFSUP_DATA``: how much does each learn, on its own network?

Small networks and few steps, so that a CPU needs minutes a task. The references of each network stand beside its tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.suites.shared import FEW_LABELS, Setting, heads, one_optimizer
from selfsup_bench.suites.text import VECTORS
from selfsup_bench.suites.video import SINGLE

SUITE = "tasks"
_HEAD: Mapping[str, Any] = {"objective.hidden_dim": 512, "objective.output_dim": 512}
"""Of methods whose papers have heads of thousands behind networks of 2,048."""


def _every(
    shared: Setting,
    tasks: Mapping[str, Sequence[str]],
    networks: Mapping[str, Mapping[str, Any]],
    own: Mapping[str, Mapping[str, Any]],
) -> list[BenchmarkSpec]:
    """A line for each task.

    Args:
        shared: by all of them.
        tasks: backbone to its tasks.
        networks: backbone to the options that it needs.
        own: task to options of its own.
    """
    return [
        shared.on(backbone, networks.get(backbone, {})).line(task, own.get(task))
        for backbone, names in tasks.items()
        for task in names
    ]


_CIFAR = Setting(
    modality="vision",
    suites=(SUITE,),
    prefix=f"{SUITE}-cifar10",
    rows="cifar10",
    dataset="cifar10",
    backbone="resnet-narrow",
    steps=200,
    evaluators=("knn", "linear"),
    headline="knn.accuracy",
    overrides={**one_optimizer(lr=1e-3), "optimization.batch_size": 128},
)
_RESNET = _CIFAR.on("resnet-narrow", {"backbone.width": 16})
_VIT = _CIFAR.on("vit-tiny", {"backbone.embed_dim": 96, "backbone.depth": 4, "backbone.heads": 3})
VISION: tuple[BenchmarkSpec, ...] = (
    *(_RESNET.line(task) for task in ("rotation", "patch-position", "jigsaw", "colorization", "inpainting")),
    _RESNET.template("all", heads(512)),
    replace(_VIT, prefix=f"{SUITE}-cifar10-tokens").template("all", heads(512)),
)


def _texts(dataset: str, max_length: int, per_class: tuple[int, int]) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="text",
        suites=(SUITE,),
        prefix=f"{SUITE}-{dataset}",
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
        "text-encoder-small": (
            *("mlm", "span-corruption", "electra", "simcse", "tsdae", "sentence-order", "data2vec", "vicreg", "barlow-twins"),
            "byol",
        ),
        "text-decoder-small": ("clm",),
        "word-vectors": ("word2vec",),
    }
    # Small models learn more where more is hidden (Wettig et al. 2022, arXiv 2202.08005).
    own = {"mlm": {"task.rate": 0.3}, **dict.fromkeys(("vicreg", "barlow-twins", "byol"), _HEAD)}
    return _every(shared, tasks, {"word-vectors": {**VECTORS, "optimization.batch_size": 32}}, own)


# English and Chinese: topics of headlines; sentiment of sentences, of film and of hotel reviews. 100 and 1,000 labels.
TEXT: tuple[BenchmarkSpec, ...] = (
    *_texts("zh_thucnews_titles", 32, (10, 100)),
    *_texts("sst2", 64, (50, 500)),
    *_texts("imdb_12k", 128, (50, 500)),
    *_texts("zh_chnsenticorp_hotel", 128, (50, 500)),
)

_TABLE_TASKS = {
    "mlp": ("scarf", "vime", "subtab", "denoising-autoencoder", "vicreg", "barlow-twins", "byol", "simsiam"),
    "ft-transformer": ("saint", "masked-cells", "jepa"),
}
_TABLE_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "ft-transformer": {"backbone.dim": 64, "backbone.depth": 2, "backbone.heads": 4}
}
_TABLE = Setting(
    modality="tabular",
    suites=(SUITE,),
    prefix=f"{SUITE}-table",
    rows="a table",
    backbone="mlp",
    steps=500,
    # With two classes of unequal size accuracy says little.
    headline="few-labels.auroc@1%",
    overrides={
        **one_optimizer(lr=1e-3),
        "optimization.batch_size": 128,
        "evaluators.few-labels.per_class": (),
        "evaluators.few-labels.shares": (0.01, 0.05, 0.25),
    },
    references=("boosting",),
)


def _table(dataset: str, options: Mapping[str, Any] | None = None, **changes: Any) -> Setting:
    made = replace(_TABLE, prefix=f"{SUITE}-{dataset}", rows=f"the table {dataset}", dataset=dataset, **changes)
    return made.on("mlp", options or {})


_DIGITS_TABLE = _table(
    "digits-table",
    {"evaluators.few-labels.per_class": (10, 2, 5), "evaluators.few-labels.shares": ()},
    headline="few-labels.accuracy@10",
    steps=1500,
)
# With six of ten pixels replaced, as SCARF's default has it, little is left to tell one digit from another.
_SCARF: Mapping[str, Any] = {"views.rate": 0.4, "objective.temperature": 0.5}
_TABLES = (
    _table("adult"),
    # How long the call took is known only after it, as its outcome is.
    _table("bank_marketing", {"processor.drop": "duration"}),
    _table("credit_default"),
    _table("letter", headline="few-labels.accuracy@1%"),
    _table("online_shoppers"),
    _table("telco_churn"),
)
TABULAR: tuple[BenchmarkSpec, ...] = (
    *(spec for table in _TABLES for spec in _every(table, _TABLE_TASKS, _TABLE_NETWORKS, {})),
    *_every(_DIGITS_TABLE, _TABLE_TASKS, _TABLE_NETWORKS, {"scarf": _SCARF}),
)

_NOISY = replace(
    _table("adult", {"evaluators.few-labels.label_noise": 0.3, "evaluators.few-labels.shares": (0.01, 0.05, 0.25, 1.0)}),
    suites=("label-noise",),
    prefix="label-noise-adult",
    rows="the table adult with 30 % of the training labels wrong",
)
NOISE = tuple(_NOISY.line(task) for task in ("scarf", "vime", "subtab", "vicreg"))


def _sounds(dataset: str, steps: int, batch: int) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="audio",
        suites=(SUITE,),
        prefix=f"{SUITE}-{dataset}",
        rows=dataset,
        dataset=dataset,
        backbone="mel-cnn",
        steps=steps,
        headline="few-labels.accuracy@20",
        overrides={
            **one_optimizer(lr=1e-3),
            "optimization.batch_size": batch,
            "evaluators.few-labels.per_class": (20, 5),
        },
        references=("raw-mfcc",),
    )
    tasks = {
        "mel-cnn": ("segment-order", "byol-a", "cola", "simclr", "vicreg", "barlow-twins"),
        "gru": ("apc", "cpc"),
        "mel-transformer": ("mockingjay", "tera"),
        "mel-vit": ("masked-spectrogram",),
        "wave-transformer-small": ("wav2vec2", "hubert", "data2vec"),
    }
    # HuBERT's 500 clusters are for 960 hours of speech.
    own = {"vicreg": _HEAD, "barlow-twins": _HEAD, "hubert": {"task.n_latent_clusters": 100}}
    return _every(shared, tasks, {"mel-cnn": {"backbone.channels": 32, "backbone.embed_dim": 256}}, own)


# Spoken digits, whose test speakers are in no training row; sounds of five seconds, 32 of each class to train.
AUDIO: tuple[BenchmarkSpec, ...] = (*_sounds("fsdd", 200, 64), *_sounds("esc10", 100, 32))

_VIDEO_TASKS = {
    "conv3d-small": (*("frame-order", "clip-order", "arrow-of-time", "playback-speed", "cvrl", "simclr", "vicreg", "byol"),),
    "video-vit-small": ("videomae", "vjepa"),
}
_VIDEO_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "conv3d-small": {"backbone.width": 16},
    "video-vit-small": {"backbone.embed_dim": 96, "backbone.depth": 4},
}
_VIDEO_OWN: Mapping[str, Mapping[str, Any]] = {
    "vicreg": _HEAD,
    # The papers' decoder of four layers and predictor of twelve are for encoders of twelve and more.
    "videomae": {"task.decoder_depth": 2},
    # At 1e-3 its targets lose half of their spread within 200 steps; the authors' rate is 5e-5 for a batch of 256.
    "vjepa": {"task.predictor_depth": 2, "optimization.lr": 2e-4},
}


def _videos(dataset: str, rows: str, steps: int, headline: str, overrides: Mapping[str, Any]) -> Setting:
    return Setting(
        modality="video",
        suites=(SUITE,),
        prefix=f"{SUITE}-{dataset}",
        rows=rows,
        dataset=dataset,
        backbone="conv3d-small",
        steps=steps,
        evaluators=(*FEW_LABELS, "retrieval"),
        headline=headline,
        overrides={
            **one_optimizer(lr=1e-3),
            "optimization.batch_size": 32,
            f"{SINGLE}.backbone.width": 16,
            **overrides,
        },
        references=(SINGLE,),
    )


_MOVING = _videos(
    "moving-digits",
    "1,600 videos of moving digits",
    200,
    "few-labels.accuracy@20",
    {
        # A digit moves by three to six pixels from one of these frames to the next.
        **one_optimizer(lr=2e-3),
        "optimization.batch_size": 64,
        "processor.frames": 8,
        "processor.stride": 2,
        "evaluators.few-labels.per_class": (20, 5),
        # Mirrored, a motion is another one.
        "supervised.views.flip_p": 0.0,
        "scratch.augment": False,
        f"{SINGLE}.backbone.stages": 3,
    },
)
_MOVING_OWN: Mapping[str, Mapping[str, Any]] = {
    **_VIDEO_OWN,
    **{task: {**_VIDEO_OWN.get(task, {}), "views.flip_p": 0.0} for task in ("cvrl", "simclr", "vicreg", "byol")},
    # With the paper's four paces, two of the eight frames would be left to see.
    "playback-speed": {"transformation.paces": (1, 2)},
}
_SMALL: Mapping[str, Any] = {"processor.image_size": 64}
VIDEO: tuple[BenchmarkSpec, ...] = (
    # 32 pixels are too few for a fourth stage.
    *_every(
        _MOVING, _VIDEO_TASKS, {**_VIDEO_NETWORKS, "conv3d-small": {"backbone.width": 16, "backbone.stages": 3}}, _MOVING_OWN
    ),
    *(
        spec
        for dataset, headline, curve in (
            ("lung_ultrasound", "few-labels.macro_f1@5", (5,)),
            ("surveillance_fight", "few-labels.accuracy@20", (20, 5)),
        )
        for spec in _every(
            _videos(dataset, dataset, 100, headline, {**_SMALL, "evaluators.few-labels.per_class": curve}),
            _VIDEO_TASKS,
            _VIDEO_NETWORKS,
            _VIDEO_OWN,
        )
    ),
)

_PAIRS = Setting(
    modality="multimodal",
    suites=(SUITE,),
    prefix=f"{SUITE}-fashion_products",
    rows="fashion_products (64x64)",
    dataset="fashion_products",
    backbone="towers",
    steps=600,
    evaluators=(*FEW_LABELS, "cross-modal-retrieval", "zero-shot", "missing-part"),
    overrides={
        **one_optimizer(lr=1e-3),
        "optimization.batch_size": 256,
        "processor.parts": ("vision", "text"),
        "processor.options.vision.image_size": 64,
        "processor.options.text.max_length": 24,
        "processor.options.text.vocab_size": 4000,
        "evaluators.missing-part.probe": "knn",
    },
    references=("raw-vision", "raw-text"),
)
MULTIMODAL = tuple(_every(_PAIRS, {"towers": ("clip", "siglip"), "fusion": ("mae",)}, {}, {}))
"""Retrieval and zero-shot of photographs and titles. For an accelerator."""

BENCHMARKS: tuple[BenchmarkSpec, ...] = (*VISION, *TEXT, *TABULAR, *AUDIO, *VIDEO, *MULTIMODAL, *NOISE)

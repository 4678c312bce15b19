"""Which figures there are, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from speed.measure import Figure, Settings

NAMES: Mapping[str, tuple[str, ...]] = {
    "vision": (
        "views-32",
        "views-96",
        "step",
        "attention",
        "end-to-end",
        "end-to-end-cifar-stem",
        "knn",
        "knn-memory",
        "linear",
        "help",
        "memory",
        "accumulation-time",
        "accumulation-memory",
        "stream-first",
        "stream-rate",
    ),
    "text": ("mlm", "text-memory"),
    "tabular": ("scarf", "table-memory"),
    "audio": ("audio-memory",),
    "video": ("decoding", "video-memory"),
    "multimodal": (),
}
"""Names of the figures of each modality, known without importing torch."""

PRETRAINING: Mapping[str, tuple[str, ...]] = {
    "vision": ("simclr-resnet18", "simclr-resnet18-256", "simclr-resnet50", "dino-vit-small"),
    "text": ("mlm-bert-base",),
    "audio": ("wav2vec2-base",),
    "video": ("videomae-vit-small",),
    "multimodal": ("clip-vit-b-32",),
}
"""Names of the figures of pretraining on a GPU (:mod:`speed.workloads`); on a CPU they are small, to test them."""


def names(modality: str) -> tuple[str, ...]:
    """All figures of a modality."""
    return (*NAMES[modality], *PRETRAINING.get(modality, ()))


def measurements(modality: str) -> dict[str, Callable[[Settings], Figure]]:
    """Name to how it is measured."""
    from speed.pretraining import pretraining_figures

    makers = {"vision": _vision, "text": _text, "tabular": _tabular, "audio": _audio, "video": _video}
    own = makers[modality]() if modality in makers else {}
    return {**own, **pretraining_figures(modality)}


def _vision() -> dict[str, Callable[[Settings], Figure]]:
    from speed import accumulation, attention, probes, program, streaming, training, views

    return {
        "views-32": lambda s: views.views_figure(32, goal=5, n=4096, repeats=s.repeats),
        "views-96": lambda s: views.views_figure(96, goal=3, n=1536, repeats=s.repeats),
        "step": lambda s: training.step_figure(repeats=s.repeats),
        "attention": lambda s: attention.attention_figure(repeats=s.repeats),
        "end-to-end": lambda s: training.end_to_end_figure(cifar_stem=False, goal=3, repeats=s.repeats),
        "end-to-end-cifar-stem": lambda s: training.end_to_end_figure(cifar_stem=True, goal=3, repeats=min(s.repeats, 3)),
        "knn": lambda s: probes.knn_figure(repeats=s.repeats),
        "knn-memory": lambda s: probes.knn_memory_figure(repeats=s.repeats),
        "linear": lambda s: probes.linear_figure(repeats=s.repeats),
        "help": lambda s: program.help_figure(repeats=s.repeats),
        "memory": lambda s: program.memory_figure(repeats=s.repeats),
        "accumulation-time": lambda s: accumulation.time_figure(repeats=s.repeats),
        "accumulation-memory": lambda s: accumulation.memory_figure(),
        "stream-first": streaming.first_batch_figure,
        "stream-rate": streaming.rate_figure,
    }


def _text() -> dict[str, Callable[[Settings], Figure]]:
    from speed import memory, mlm

    return {"mlm": mlm.mlm_figure, "text-memory": memory.text_memory_figure}


def _tabular() -> dict[str, Callable[[Settings], Figure]]:
    from speed import memory, scarf

    return {"scarf": scarf.scarf_figure, "table-memory": memory.table_memory_figure}


def _audio() -> dict[str, Callable[[Settings], Figure]]:
    from speed import memory

    return {"audio-memory": memory.audio_memory_figure}


def _video() -> dict[str, Callable[[Settings], Figure]]:
    from speed import decoding, memory

    return {"decoding": decoding.decoding_figure, "video-memory": memory.video_memory_figure}

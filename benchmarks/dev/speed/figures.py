"""Which figures there are, where each can be measured, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from speed.measure import Figure, Settings

Measurement = Callable[[Settings], "Figure | Sequence[Figure]"]
"""Measures a figure, or several that share the other side."""

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
    "vision": ("simclr-resnet18", "simclr-resnet18-256", "simclr-resnet18-256-read", "simclr-resnet50", "dino-vit-small"),
    "text": ("mlm-bert-base",),
    "audio": ("wav2vec2-base",),
    "video": ("videomae-vit-small",),
    "multimodal": ("clip-vit-b-32",),
}
"""Names of the figures of pretraining on a GPU (:mod:`speed.pretraining.workloads`); on a CPU they are small, to test them."""

_BOTH = ("views-32", "views-96", "step", "knn", "linear", "accumulation-time", "mlm", "scarf")
"""Of :data:`NAMES`, those of a CPU and of a GPU; all others but the next are of a CPU."""
_GPU_ONLY = ("accumulation-memory",)


def names(modality: str) -> tuple[str, ...]:
    """All figures of a modality."""
    return (*NAMES[modality], *PRETRAINING.get(modality, ()))


def measurable(modality: str, device: str) -> tuple[str, ...]:
    """The figures of a modality that can be measured on ``cpu`` or ``cuda``."""
    if device == "cpu":
        return tuple(name for name in names(modality) if name not in _GPU_ONLY)
    return (*PRETRAINING.get(modality, ()), *(name for name in NAMES[modality] if name in (*_BOTH, *_GPU_ONLY)))


def usual(modality: str, device: str) -> tuple[str, ...]:
    """The figures that one command measures: all that the device can, but pretraining in small, which says nothing."""
    small = PRETRAINING.get(modality, ()) if device == "cpu" else ()
    return tuple(name for name in measurable(modality, device) if name not in small)


def measurements(modality: str) -> dict[str, Measurement]:
    """Name to how it is measured."""
    from speed.pretraining.figure import pretraining_figures

    makers = {"vision": _vision, "text": _text, "tabular": _tabular, "audio": _audio, "video": _video}
    own = makers[modality]() if modality in makers else {}
    return {**own, **pretraining_figures(modality)}


def _vision() -> dict[str, Measurement]:
    from speed import attention, probes, program, streaming, views
    from speed.pretraining import accumulation, training

    return {
        "views-32": lambda s: views.views_figure(32, goal=5, n=4096, settings=s),
        "views-96": lambda s: views.views_figure(96, goal=3, n=1536, settings=s),
        "step": training.step_figure,
        "attention": lambda s: attention.attention_figure(repeats=s.repeats),
        "end-to-end": lambda s: training.end_to_end_figure(cifar_stem=False, goal=3, repeats=s.repeats),
        "end-to-end-cifar-stem": lambda s: training.end_to_end_figure(cifar_stem=True, goal=3, repeats=min(s.repeats, 3)),
        "knn": probes.knn_figure,
        "knn-memory": lambda s: probes.knn_memory_figure(repeats=s.repeats),
        "linear": probes.linear_figure,
        "help": lambda s: program.help_figure(repeats=s.repeats),
        "memory": lambda s: program.memory_figure(repeats=s.repeats),
        "accumulation-time": lambda s: accumulation.time_figure(device=s.device, repeats=s.repeats),
        "accumulation-memory": lambda s: accumulation.memory_figure(),
        "stream-first": streaming.first_batch_figure,
        "stream-rate": streaming.rate_figure,
    }


def _text() -> dict[str, Measurement]:
    from speed import memory
    from speed.pretraining import mlm

    return {"mlm": mlm.mlm_figure, "text-memory": memory.text_memory_figure}


def _tabular() -> dict[str, Measurement]:
    from speed import memory
    from speed.pretraining import scarf

    return {"scarf": scarf.scarf_figure, "table-memory": memory.table_memory_figure}


def _audio() -> dict[str, Measurement]:
    from speed import memory

    return {"audio-memory": memory.audio_memory_figure}


def _video() -> dict[str, Measurement]:
    from speed import decoding, memory

    return {"decoding": decoding.decoding_figure, "video-memory": memory.video_memory_figure}

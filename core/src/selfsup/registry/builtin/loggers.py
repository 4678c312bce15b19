"""Loggers of the core. ``metrics.jsonl`` is written by every run and needs none of them."""

from __future__ import annotations

from selfsup.registry.specs import LoggerSpec

SPECS: list[LoggerSpec] = [
    LoggerSpec(
        id="tensorboard",
        summary="Metrics as TensorBoard event files in RUN/tensorboard.",
        target="selfsup.training.observe.loggers:TensorBoardLogger",
        requires=("tensorboard",),
        install='pip install "selfsup[tensorboard]"',
    ),
    LoggerSpec(
        id="wandb",
        summary="Metrics to Weights & Biases (project selfsup, or WANDB_PROJECT).",
        target="selfsup.training.observe.loggers:WandbLogger",
        requires=("wandb",),
        install='pip install "selfsup[wandb]"',
    ),
    LoggerSpec(
        id="trackio",
        summary="Metrics to a trackio dashboard (project selfsup, or TRACKIO_PROJECT).",
        target="selfsup.training.observe.loggers:TrackioLogger",
        requires=("trackio",),
        install='pip install "selfsup[trackio]"',
    ),
]

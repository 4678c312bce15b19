"""``python -m selfsup_bench.quality video``: every video task against no training, from scratch, pixels and a single frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from selfsup_bench.quality.cells import Chosen, Grid, GridData
from selfsup_bench.quality.options import grid_options, measure_grid
from selfsup_bench.suites.shared import adamw

_SMALL = {"processor.image_size": 64}
_UNMIRRORED = ("cvrl", "simclr", "vicreg", "byol")
"""Tasks whose views may be mirrored, which makes another motion of a motion."""
_HEADS: Mapping[str, Mapping[str, Any]] = {
    # Heads for small networks, in the place of those for networks of 2,048.
    "vicreg": {"objective.hidden_dim": 512, "objective.output_dim": 512},
    # The papers' decoder of four layers and predictor of twelve are for encoders of twelve and more.
    "videomae": {"task.decoder_depth": 2},
    # At 1e-3 its targets lose half of their spread within 200 steps; the authors' rate is 5e-5 for a batch of 256.
    "vjepa": {"task.predictor_depth": 2, "optimization.lr": 2e-4},
}
_DIGITS = {
    # As in the quick suite: a digit moves by three to six pixels from one of these frames to the next.
    **adamw(lr=2e-3),
    "optimization.batch_size": 64,
    "processor.frames": 8,
    "processor.stride": 2,
    "finetune.augment": False,
}
GRID = Grid(
    modality="video",
    data={
        "lung_ultrasound": GridData(metric="macro_f1", labels=("15", "all"), overrides=_SMALL, own=_HEADS),
        "surveillance_fight": GridData(labels=("10", "40", "all"), overrides=_SMALL, own=_HEADS),
        "moving-digits": GridData(
            labels=("40", "160", "all"),
            overrides=_DIGITS,
            # 32 pixels are too few for a fourth stage.
            of_backbone={name: {"backbone.stages": 3} for name in ("conv3d-small", "single-frame")},
            own={
                **_HEADS,
                **{name: {**_HEADS.get(name, {}), "views.flip_p": 0.0} for name in _UNMIRRORED},
                # With the paper's four paces, two of the eight frames would be left to see.
                "playback-speed": {"transformation.paces": (1, 2)},
            },
        ),
    },
    other=GridData(labels=("5%", "all"), overrides=_SMALL, own=_HEADS),
    tasks=(
        "frame-order",
        "clip-order",
        "arrow-of-time",
        "playback-speed",
        "cvrl",
        "videomae",
        "vjepa",
        "simclr",
        "vicreg",
        "byol",
    ),
    references=("random-init", "scratch", "raw"),
    backbone="conv3d-small",
    single="single-frame",
    shared={**adamw(lr=1e-3), "optimization.batch_size": 32},
    # Networks that a CPU trains in minutes.
    of_backbone={
        "conv3d-small": {"backbone.width": 16},
        "single-frame": {"backbone.width": 16},
        "video-vit-small": {"backbone.embed_dim": 96, "backbone.depth": 4},
    },
)


@click.command()
@grid_options(seeds=3, steps=200)
def video(out: Path, jobs: int, as_json: bool, **chosen: Any) -> None:
    """Scores and retrieval: untrained, from scratch, pixels, a single frame, and every task at one budget."""
    measure_grid(GRID, Chosen(**chosen), out, jobs=jobs, as_json=as_json)

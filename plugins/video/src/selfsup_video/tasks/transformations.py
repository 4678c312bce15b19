"""Tasks that name a change of time: order, direction, speed.

Each sees one random crop of a clip, mirrored or not, alike in all frames. All take AdamW at one rate in the place of the
papers' SGD, which ran for hundreds of epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selfsup.config import Config
from selfsup.tasks import TaskRecipe, Transformation
from selfsup.tasks.augmented import augmented
from selfsup.tasks.transformation import transformation_recipe
from selfsup.types import Info
from selfsup_video.augmentations.supervised import SUPERVISED_RECIPE as CLIP_VIEWS
from selfsup_video.transformations.arrow_of_time import ArrowOfTime, ArrowOfTimeConfig
from selfsup_video.transformations.clip_order import ClipOrder, ClipOrderConfig
from selfsup_video.transformations.frame_order import FrameOrder, FrameOrderConfig
from selfsup_video.transformations.playback_speed import PlaybackSpeed, PlaybackSpeedConfig

_OPTIMIZATION: dict[str, Any] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "warmup_fraction": 0.05}


def _recipe(config: type[Config], build: Callable[[Any, Info], Transformation], **head: Any) -> TaskRecipe:
    recipe = transformation_recipe(config, build, optimization=_OPTIMIZATION, **head)
    return augmented(recipe, CLIP_VIEWS, {"flip_p": 0.5})


FRAME_ORDER = _recipe(FrameOrderConfig, FrameOrder)
CLIP_ORDER = _recipe(ClipOrderConfig, ClipOrder, head_dims=(512,), dropout=0.5)
ARROW_OF_TIME = _recipe(ArrowOfTimeConfig, ArrowOfTime)
PLAYBACK_SPEED = _recipe(PlaybackSpeedConfig, PlaybackSpeed)

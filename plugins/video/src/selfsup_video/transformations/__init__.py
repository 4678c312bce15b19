"""Transformations of videos: the kind of the change is the label."""

from selfsup_video.transformations.arrow_of_time import ArrowOfTime, ArrowOfTimeConfig
from selfsup_video.transformations.clip_order import ClipOrder, ClipOrderConfig
from selfsup_video.transformations.frame_order import FrameOrder, FrameOrderConfig
from selfsup_video.transformations.playback_speed import PlaybackSpeed, PlaybackSpeedConfig

__all__ = [
    "ArrowOfTime",
    "ArrowOfTimeConfig",
    "ClipOrder",
    "ClipOrderConfig",
    "FrameOrder",
    "FrameOrderConfig",
    "PlaybackSpeed",
    "PlaybackSpeedConfig",
]

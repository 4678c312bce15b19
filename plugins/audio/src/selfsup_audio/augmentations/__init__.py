"""Batched random views of recordings, on the device, each sample with its own parameters."""

from selfsup_audio.augmentations.views import (
    RECIPE,
    SUPERVISED_RECIPE,
    AudioViews,
    AudioViewsConfig,
    SupervisedAudioViewsConfig,
)

__all__ = ["RECIPE", "SUPERVISED_RECIPE", "AudioViews", "AudioViewsConfig", "SupervisedAudioViewsConfig"]

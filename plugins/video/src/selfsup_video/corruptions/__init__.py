"""What spoils a video, and what gives it back."""

from selfsup_video.corruptions.noise import RECIPE, Noise, NoiseConfig

__all__ = ["RECIPE", "Noise", "NoiseConfig"]

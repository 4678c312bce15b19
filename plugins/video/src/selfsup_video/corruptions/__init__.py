"""Corruptions of videos, and the decoder that predicts the original."""

from selfsup_video.corruptions.noise import RECIPE, Noise, NoiseConfig

__all__ = ["RECIPE", "Noise", "NoiseConfig"]

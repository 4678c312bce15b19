"""wav2vec 2.0 on recordings."""

from __future__ import annotations

from selfsup.tasks.latent.wav2vec2 import wav2vec2_recipe

RECIPE = wav2vec2_recipe()
"""wav2vec 2.0's BASE (Baevski et al. 2020, arXiv 2006.11477), on the waveform."""

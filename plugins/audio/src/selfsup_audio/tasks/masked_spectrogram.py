"""Masked autoencoding of spectrograms."""

from __future__ import annotations

from selfsup.tasks.masked.masked_modeling import masked_recipe

RECIPE = masked_recipe("mae", mask_ratio=0.8, decoder_depth=4)
"""Audio-MAE (Huang et al. 2022, arXiv 2207.06405): 80 % of the patches, in no order, squared error of normalised patches.

The paper's decoder has 16 layers with shifted windows, and its second stage masks time and frequency; here it is the plain
decoder of 4 layers, for networks of 4. SSAST (Gong et al. 2021, arXiv 2110.09784) adds a contrast between the hidden patches.
"""

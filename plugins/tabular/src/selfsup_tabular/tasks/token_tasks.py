"""The core's masked modelling and latent prediction, with the settings of the papers that took them to tables."""

from __future__ import annotations

from selfsup.tasks.latent import ijepa_recipe
from selfsup.tasks.masked.masked_modeling import masked_recipe

MASKED_CELLS = masked_recipe(
    "mae",
    mask_ratio=0.5,
    decoder_depth=1,
    normalize_targets=False,
    optimization={"lr": 1e-3, "weight_decay": 0.01, "batch_size": 256},
)
"""Masked encoding of tables after MET (Majmundar et al. 2022, arXiv:2206.08564).

The encoder sees the kept cells only, a shallow transformer gives the hidden ones back. MET adds an adversarial step in the
input, compares all cells and not the hidden ones alone, and hides 70 % of them.
"""

JEPA = ijepa_recipe(
    masking="random",
    n_targets=4,
    target_scale=(0.15, 0.4),
    context_scale=(0.85, 1.0),
    context_share=0.5,
    min_context=2,
    predictor_depth=2,
    backbone={"reg_tokens": 1},
    optimization={"lr": 1e-3, "weight_decay": 0.01, "batch_size": 256},
)
"""Latent prediction for tables after T-JEPA (Thimonier et al. 2024, arXiv:2410.05016): sets of random cells for blocks.

A regularization token, without which the paper sees collapse, is part of the sequence in both encoders (``reg_tokens`` of
``ft-transformer``; ``--set backbone.reg_tokens=0`` leaves it out). It is never predicted, and its output is dropped. Unlike the
authors' code, targets are layer-normalised and compared by smooth L1, as in I-JEPA, and not as they are by squared error.
"""

"""Losses on tokens."""

from __future__ import annotations

from selfsup.specs import ObjectiveSpec

SPECS: list[ObjectiveSpec] = [
    ObjectiveSpec(
        id="mae",
        summary="Masked autoencoder: encode the few kept tokens, predict the hidden ones.",
        target="selfsup.tasks.masked_modeling:MAE_OBJECTIVE",
        family="masked-modeling",
        paper="He et al. 2021, arXiv 2111.06377",
    ),
    ObjectiveSpec(
        id="simmim",
        summary="Masked modelling with mask tokens in the encoder and a linear head.",
        target="selfsup.tasks.masked_modeling:SIMMIM_OBJECTIVE",
        family="masked-modeling",
        paper="Xie et al. 2021, arXiv 2111.09886",
    ),
    ObjectiveSpec(
        id="ijepa",
        summary="Predict a teacher's representation of blocks from a context.",
        target="selfsup.tasks.ijepa:IJEPA_OBJECTIVE",
        family="latent-prediction",
        paper="Assran et al. 2023, arXiv 2301.08243",
    ),
    ObjectiveSpec(
        id="data2vec",
        summary="Predict a teacher's averaged layers at masked tokens.",
        target="selfsup.tasks.data2vec:DATA2VEC_OBJECTIVE",
        family="latent-prediction",
        paper="Baevski et al. 2022, arXiv 2202.03555",
    ),
    ObjectiveSpec(
        id="next-token",
        summary="Predict each token, or the one some steps on, from those before it.",
        target="selfsup.tasks.autoregressive:NEXT_TOKEN_OBJECTIVE",
        family="autoregressive",
        paper="Radford et al. 2018 (GPT); Chung et al. 2019, arXiv 1904.03240 (APC)",
    ),
    ObjectiveSpec(
        id="denoising-autoencoder",
        summary="Give back what a corruption of the input has spoiled.",
        target="selfsup.tasks.reconstruction:DENOISING_OBJECTIVE",
        family="reconstruction",
        paper="Vincent et al. 2008, ICML",
    ),
]
"""Each becomes ``<modality>/<id>`` in every modality that has a token backbone, a causal one, or a corruption."""

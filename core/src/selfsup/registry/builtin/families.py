"""Losses on tokens."""

from __future__ import annotations

from selfsup.registry.specs import ObjectiveSpec

SPECS: list[ObjectiveSpec] = [
    ObjectiveSpec(
        id="mae",
        title="MAE",
        summary="Masked autoencoder: encode the few kept tokens, predict the hidden ones.",
        target="selfsup.tasks.masked.masked_modeling:MAE_FAMILY",
        family="masked-modeling",
        paper="He et al. 2021, arXiv 2111.06377",
    ),
    ObjectiveSpec(
        id="simmim",
        title="SimMIM",
        summary="Masked modelling with mask tokens in the encoder and a linear head.",
        target="selfsup.tasks.masked.masked_modeling:SIMMIM_FAMILY",
        family="masked-modeling",
        paper="Xie et al. 2021, arXiv 2111.09886",
    ),
    ObjectiveSpec(
        id="cluster-prediction",
        summary="Name the k-means cluster of hidden tokens, at first of the input, later of the network's own outputs.",
        target="selfsup.tasks.masked.cluster_prediction:CLUSTER_PREDICTION_FAMILY",
        family="masked-modeling",
        paper="Hsu et al. 2021, arXiv 2106.07447 (HuBERT)",
    ),
    ObjectiveSpec(
        id="wav2vec2",
        title="wav2vec 2.0",
        summary="Tell the quantized content of hidden tokens from that of the sample's other hidden tokens.",
        target="selfsup.tasks.latent.wav2vec2:WAV2VEC2_FAMILY",
        family="latent-prediction",
        paper="Baevski et al. 2020, arXiv 2006.11477",
    ),
    ObjectiveSpec(
        id="ijepa",
        title="I-JEPA",
        summary="Predict a teacher's representation of blocks from a context.",
        target="selfsup.tasks.latent.ijepa:IJEPA_FAMILY",
        family="latent-prediction",
        paper="Assran et al. 2023, arXiv 2301.08243",
    ),
    ObjectiveSpec(
        id="data2vec",
        title="data2vec",
        summary="Predict a teacher's averaged layers at masked tokens.",
        target="selfsup.tasks.latent.data2vec:DATA2VEC_FAMILY",
        family="latent-prediction",
        paper="Baevski et al. 2022, arXiv 2202.03555",
    ),
    ObjectiveSpec(
        id="next-token",
        summary="Predict each token, or the one some steps on, from those before it.",
        target="selfsup.tasks.autoregressive.next_token:NEXT_TOKEN_FAMILY",
        family="autoregressive",
        paper="Radford et al. 2018 (GPT); Chung et al. 2019, arXiv 1904.03240 (APC)",
    ),
    ObjectiveSpec(
        id="cpc",
        title="CPC",
        summary="Tell the content of tokens some steps on from that of random ones, by those before.",
        target="selfsup.tasks.autoregressive.cpc:CPC_FAMILY",
        family="autoregressive",
        paper="van den Oord et al. 2018, arXiv 1807.03748",
    ),
    ObjectiveSpec(
        id="denoising-autoencoder",
        summary="Give back what a corruption of the input has spoiled.",
        target="selfsup.tasks.reconstruction:DENOISING_FAMILY",
        family="reconstruction",
        paper="Vincent et al. 2008, ICML",
    ),
]
"""Each becomes ``<modality>/<id>`` in every modality that has a token backbone, a causal one, or a corruption."""

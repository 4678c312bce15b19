"""Methods on tokens and on corrupted inputs."""

from __future__ import annotations

from selfsup.registry.specs import ObjectiveSpec

SPECS: list[ObjectiveSpec] = [
    ObjectiveSpec(
        id="mae",
        title="MAE",
        summary="Masked autoencoder: encode the visible tokens only and reconstruct the masked ones.",
        target="selfsup.tasks.masked.masked_modeling:MAE_FAMILY",
        family="masked-modeling",
        paper="He et al. 2021, arXiv 2111.06377",
    ),
    ObjectiveSpec(
        id="simmim",
        title="SimMIM",
        summary="Replace tokens by mask tokens and predict their content with a linear head.",
        target="selfsup.tasks.masked.masked_modeling:SIMMIM_FAMILY",
        family="masked-modeling",
        paper="Xie et al. 2021, arXiv 2111.09886",
    ),
    ObjectiveSpec(
        id="cluster-prediction",
        summary="Predict the k-means cluster of masked tokens: clusters of the input first, then of the network's outputs.",
        target="selfsup.tasks.masked.cluster_prediction:CLUSTER_PREDICTION_FAMILY",
        family="masked-modeling",
        paper="Hsu et al. 2021, arXiv 2106.07447 (HuBERT)",
    ),
    ObjectiveSpec(
        id="wav2vec2",
        title="wav2vec 2.0",
        summary="Contrast the quantized content of masked tokens with that of the sample's other masked tokens.",
        target="selfsup.tasks.latent.wav2vec2:WAV2VEC2_FAMILY",
        family="latent-prediction",
        paper="Baevski et al. 2020, arXiv 2006.11477",
    ),
    ObjectiveSpec(
        id="ijepa",
        title="I-JEPA",
        summary="Predict a momentum teacher's representations of target blocks from a context block.",
        target="selfsup.tasks.latent.ijepa:IJEPA_FAMILY",
        family="latent-prediction",
        paper="Assran et al. 2023, arXiv 2301.08243",
    ),
    ObjectiveSpec(
        id="data2vec",
        title="data2vec",
        summary="Predict a momentum teacher's averaged top layers at masked tokens.",
        target="selfsup.tasks.latent.data2vec:DATA2VEC_FAMILY",
        family="latent-prediction",
        paper="Baevski et al. 2022, arXiv 2202.03555",
    ),
    ObjectiveSpec(
        id="next-token",
        summary="Predict the next token, or the one some steps ahead.",
        target="selfsup.tasks.autoregressive.next_token:NEXT_TOKEN_FAMILY",
        family="autoregressive",
        paper="Radford et al. 2018 (GPT); Chung et al. 2019, arXiv 1904.03240 (APC)",
    ),
    ObjectiveSpec(
        id="cpc",
        title="CPC",
        summary="Contrast the tokens some steps ahead with random ones, given the tokens so far (InfoNCE).",
        target="selfsup.tasks.autoregressive.cpc:CPC_FAMILY",
        family="autoregressive",
        paper="van den Oord et al. 2018, arXiv 1807.03748",
    ),
    ObjectiveSpec(
        id="denoising-autoencoder",
        summary="Reconstruct the clean input from a corrupted one.",
        target="selfsup.tasks.reconstruction:DENOISING_FAMILY",
        family="reconstruction",
        paper="Vincent et al. 2008, ICML",
    ),
]
"""Each becomes ``<modality>/<id>`` in every modality that has a token backbone, a causal one, or a corruption."""

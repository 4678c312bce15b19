"""The tasks of this plugin with a recipe of their own, as light specs, and the backbone that two of them need."""

from __future__ import annotations

from selfsup.registry.specs import BackboneSpec, Family, TaskSpec


def _spec(
    name: str,
    family: Family,
    summary: str,
    paper: str,
    *,
    title: str = "",
    backbone: str,
    objective: str = "",
    tokens: bool = True,
) -> TaskSpec:
    return TaskSpec(
        id=f"audio/{name}",
        target=f"selfsup_audio.tasks.{name.replace('-', '_')}:RECIPE",
        title=title,
        summary=summary,
        paper=paper,
        modality="audio",
        family=family,
        objective=objective,
        backbone=backbone,
        needs_tokens=tokens,
    )


SPECS: list[TaskSpec] = [
    _spec("wav2vec2", "latent-prediction", "Tell the quantized content of hidden spans from that of other hidden ones.",
          "Baevski et al. 2020, arXiv 2006.11477", backbone="wave-transformer-small", objective="wav2vec2"),
    _spec("hubert", "masked-modeling", "Name the k-means cluster of hidden frames, of MFCC first, of a layer's output later.",
          "Hsu et al. 2021, arXiv 2106.07447", backbone="wave-transformer-small", objective="cluster-prediction",
          title="HuBERT"),
    _spec("data2vec", "latent-prediction", "Predict a teacher's averaged layers in hidden spans.",
          "Baevski et al. 2022, arXiv 2202.03555", backbone="wave-transformer-small", objective="data2vec"),
    _spec("masked-spectrogram", "masked-modeling", "Encode a fifth of the patches of a spectrogram, and draw the others.",
          "Huang et al. 2022, arXiv 2207.06405 (Audio-MAE); Gong et al. 2021, arXiv 2110.09784 (SSAST)", backbone="mel-vit",
          objective="mae"),
    _spec("mockingjay", "masked-modeling", "Give back frames of the spectrogram that were altered along time.",
          "Liu et al. 2019, arXiv 1910.12638", backbone="mel-transformer", title="Mockingjay"),
    _spec("tera", "masked-modeling", "Give back a spectrogram that was altered along time and frequency, and in magnitude.",
          "Liu et al. 2020, arXiv 2007.06028", backbone="mel-transformer", title="TERA"),
    _spec("apc", "autoregressive", "Foretell the spectrum a few frames on.", "Chung et al. 2019, arXiv 1904.03240",
          backbone="gru", objective="next-token", title="APC"),
    _spec("cpc", "autoregressive", "Tell the frames to come from random ones.", "van den Oord et al. 2018, arXiv 1807.03748",
          backbone="gru", objective="cpc"),
    _spec("segment-order", "transformation", "In which order were the segments of the recording put?",
          "after Noroozi & Favaro 2016, arXiv 1603.09246; Carr et al. 2021, 2103.09879", backbone="mel-cnn", tokens=False),
    _spec("byol-a", "joint-embedding", "Predict a momentum network's projection of the recording, mixed and cropped otherwise.",
          "Niizumi et al. 2021, arXiv 2103.06695", backbone="mel-cnn", objective="byol", tokens=False, title="BYOL-A"),
    _spec("cola", "joint-embedding", "Find the other segment of the same recording in the batch, by a bilinear similarity.",
          "Saeed et al. 2020, arXiv 2010.10915", backbone="mel-cnn", objective="cola", tokens=False),
]  # fmt: skip
"""Tasks of which recordings differ from what the core composes; simclr, vicreg, barlow-twins and others are composed."""

BACKBONES: list[BackboneSpec] = [
    BackboneSpec(
        id="mel-transformer",
        target="selfsup_audio.backbones.mel_transformer:RECIPE",
        summary="A small transformer on whole log-mel frames (Mockingjay, TERA).",
        modality="audio",
        tokens=True,
    )
]

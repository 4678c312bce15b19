"""The tasks of audio that differ from what the core composes, as presets."""

from __future__ import annotations

from typing import Any

from selfsup.registry import Family, TaskSpec, preset

_WAVE = "wave-transformer-small"


def _preset(name: str, family: Family, summary: str, paper: str, backbone: str, **rest: Any) -> TaskSpec:
    objective = rest.pop("objective", "")
    return preset(
        objective, id=f"audio/{name}", family=family, summary=summary, paper=paper, backbone=backbone,
        needs_tokens=family not in ("joint-embedding", "transformation"), **rest,
    )  # fmt: skip


def _frames(name: str, title: str, summary: str, paper: str, lr: float, config: dict[str, Any]) -> TaskSpec:
    return _preset(
        name, "masked-modeling", summary, paper, "mel-transformer", title=title, config=config,
        recipe="selfsup_audio.tasks.frame_reconstruction:FRAME_RECONSTRUCTION",
        optimization={"optimizer": "adamw", "lr": lr, "weight_decay": 0.01, "warmup_fraction": 0.07, "clip": 1.0},
    )  # fmt: skip


SPECS: list[TaskSpec] = [
    # wav2vec 2.0's BASE, on the waveform.
    _preset(
        "wav2vec2", "latent-prediction",
        "Contrast the quantized content of masked spans with that of other masked frames of the recording.",
        "Baevski et al. 2020, arXiv 2006.11477", _WAVE, objective="wav2vec2",
    ),
    TaskSpec(
        id="audio/hubert",
        target="selfsup_audio.tasks.hubert:RECIPE",
        title="HuBERT",
        summary="Predict the k-means cluster of masked frames: clusters of MFCC first, then of a layer's outputs.",
        paper="Hsu et al. 2021, arXiv 2106.07447",
        modality="audio",
        family="masked-modeling",
        objective="cluster-prediction",
        backbone=_WAVE,
        needs_tokens=True,
    ),
    # data2vec for speech (section 4.2).
    _preset(
        "data2vec", "latent-prediction", "Predict a momentum teacher's averaged top layers in masked spans.",
        "Baevski et al. 2022, arXiv 2202.03555", _WAVE, objective="data2vec",
        config={
            "masking": "spans", "top_layers": 8, "beta": None, "teacher": {"start": 0.999, "end": 0.9999, "ramp": 0.075},
        },
        optimization={"optimizer": "adamw", "lr": 5e-4, "betas": (0.9, 0.98), "weight_decay": 0.01, "warmup_fraction": 0.03},
    ),
    # Audio-MAE masks 80 % of the patches at random and compares normalised patches by squared error. The paper's decoder has 16
    # layers with shifted windows, and its second stage masks time and frequency; here it is the plain decoder of 4 layers, for
    # networks of 4. SSAST adds a contrast between the masked patches.
    _preset(
        "masked-spectrogram", "masked-modeling", "Encode 20 % of the spectrogram's patches and reconstruct the masked ones.",
        "Huang et al. 2022, arXiv 2207.06405 (Audio-MAE); Gong et al. 2021, arXiv 2110.09784 (SSAST)", "mel-vit",
        objective="mae", config={"mask_ratio": 0.8, "decoder_depth": 4},
    ),
    # 15 % of the frames along time, 4e-4, 7 % of warm-up.
    _frames("mockingjay", "Mockingjay", "Reconstruct spectrogram frames that were masked or replaced along time.",
            "Liu et al. 2019, arXiv 1910.12638", 4e-4, {}),
    # Time, frequency and magnitude altered, 2e-4, 7 % of warm-up.
    _frames("tera", "TERA", "Reconstruct a spectrogram that was altered along time, along frequency and in magnitude.",
            "Liu et al. 2020, arXiv 2007.06028", 2e-4,
            {"predict": "all", "alteration": {"frequency_share": 0.2, "noise_probability": 0.15}}),
    # Log-mel frames 3 tokens ahead, absolute error; Adam at 1e-3 (1e-4 in the paper).
    _preset(
        "apc", "autoregressive", "Predict the spectrogram a few frames ahead (autoregressive predictive coding).",
        "Chung et al. 2019, arXiv 1904.03240", "gru", title="APC", objective="next-token", config={"steps_ahead": 3},
        optimization={
            "optimizer": "adam", "lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0.0, "final_lr_fraction": 0.0,
            "warmup_fraction": 0.0, "clip": 1.0,
        },
    ),
    # On log-mel frames in place of a waveform, and with a higher learning rate (2e-4 for 300,000 updates in the paper).
    _preset(
        "cpc", "autoregressive", "Contrast the frames ahead with random ones, given the frames so far (InfoNCE).",
        "van den Oord et al. 2018, arXiv 1807.03748", "gru", objective="cpc", optimization={"lr": 1e-3, "clip": 1.0},
    ),
    # After the jigsaw of images, with AdamW.
    _preset(
        "segment-order", "transformation", "Predict the permutation of shuffled segments of the recording.",
        "after Noroozi & Favaro 2016, arXiv 1603.09246; Carr et al. 2021, 2103.09879", "mel-cnn",
        recipe="selfsup_audio.transformations.segment_order:RECIPE", config={"head_dims": (256,)},
        optimization={"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01, "warmup_fraction": 0.05},
    ),
    # Mixup of at most 0.4 of the energy and random resized crops, Adam at 3e-4. Here both change the waveform; in the paper
    # they change the log-mel spectrogram, whose time and pitch are stretched separately. The paper also normalises a batch by
    # its statistics after augmentation; here the backbone normalises each clip.
    _preset(
        "byol-a", "joint-embedding", "Predict the momentum encoder's projection of the recording, mixed and cropped again.",
        "Niizumi et al. 2021, arXiv 2103.06695", "mel-cnn", title="BYOL-A", objective="byol",
        views={
            "longest_seconds": 0.96, "same_segment": True, "speed": (0.6, 1.5), "mixup": 0.4, "equalizer_db": 0.0,
            "noise_p": 0.0, "gain_db": 0.0,
        },
        config={"momentum": {"start": 0.99, "end": 0.99}},
        optimization={"optimizer": "adam", "lr": 3e-4, "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant"},
    ),
    # Segments and nothing else: of 0.96 s, and of half a recording where that is shorter. The learning rate is ten times the
    # paper's, which trains for 500 epochs of two million clips.
    _preset(
        "cola", "joint-embedding", "Find the other segment of the same recording in the batch by a bilinear similarity.",
        "Saeed et al. 2020, arXiv 2010.10915", "mel-cnn", objective="cola",
        views={
            "longest_seconds": 1.92, "global_share": (0.5, 0.5), "speed": (1.0, 1.0), "mixup": 0.0, "equalizer_db": 0.0,
            "noise_p": 0.0, "gain_db": 0.0,
        },
        optimization={"lr": 1e-3},
    ),
]  # fmt: skip
"""Tasks that differ for recordings from what the core composes; simclr, vicreg, barlow-twins and others are composed."""

"""The entry point of the audio plugin: hooks that return specs. Imports nothing heavy."""

from __future__ import annotations

from selfsup.plugins import hookimpl
from selfsup.specs import BackboneSpec, ModalitySpec, TaskSpec
from selfsup_audio import task_specs

SELFSUP_API = 1

_AUGMENTATIONS = "selfsup_audio.augmentations"
_BACKBONES = "selfsup_audio.backbones"


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """Recordings."""
    return [
        ModalitySpec(
            id="audio",
            summary="Recordings: speech, music, sounds; any rate and number of channels that libsndfile reads.",
            target="selfsup_audio.processor:AudioProcessor",
            columns={"audio": "Audio"},
            suffixes=(".wav", ".flac", ".ogg", ".mp3"),
            backbone="mel-cnn",
            token_backbone="mel-vit",
            causal_backbone="gru",
            views=f"{_AUGMENTATIONS}:RECIPE",
            supervised_views=f"{_AUGMENTATIONS}:SUPERVISED_RECIPE",
            corruption="selfsup_audio.corruptions:RECIPE",
            raw_features="selfsup_audio.features:mel_statistics",
            other_raw_features={"mfcc": "selfsup_audio.features:mfcc_statistics"},
            mock_rows="selfsup_audio.mock:mock_rows",
            noise_rows="selfsup_audio.mock:NOISE_ROWS",
        )
    ]


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """Small networks for CPUs, and speech models of transformers."""

    def spec(id: str, target: str, summary: str, *, tokens: bool = True) -> BackboneSpec:
        return BackboneSpec(id=id, target=f"{_BACKBONES}.{target}", summary=summary, modality="audio", tokens=tokens)

    return [
        spec("mel-cnn", "mel_cnn:RECIPE", "BYOL-A's convolutions on a log-mel spectrogram; for CPUs.", tokens=False),
        spec("mel-vit", "mel_vit:RECIPE", "A small transformer on patches of a log-mel spectrogram (AST, SSAST)."),
        spec("gru", "gru:RECIPE", "A recurrent network that reads log-mel frames from first to last (APC)."),
        spec("wave-transformer-small", "wave:RECIPE", "Convolutions on the waveform, then a small transformer (wav2vec 2.0)."),
        spec("transformers-audio/*", "transformers:RECIPE", "Speech models of transformers: wav2vec2, hubert, wavlm, ..."),
        *task_specs.BACKBONES,
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; what the core composes is not among them."""
    return list(task_specs.SPECS)

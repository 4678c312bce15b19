"""The entry point of the audio plugin: hooks that return specs. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, ModalitySpec, TaskSpec, hookimpl
from selfsup_audio import task_specs

SELFSUP_API = 1

_AUGMENTATIONS = "selfsup_audio.augmentations"
_BACKBONES = "selfsup_audio.backbones"
_SOUND_FILES = (
    ".wav .wave .flac .ogg .oga .opus .mp3 .mp2 .aiff .aif .aifc .au .snd .caf .w64 .rf64 .bwf .voc .sph .nist .sf .ircam .paf "
    ".pvf .avr .htk .svx .8svx .iff .xi .wve .mpc2k .sds"
)
"""What libsndfile reads."""
_FFMPEG_FILES = (
    ".m4a .m4b .m4r .aac .adts .ac3 .eac3 .wma .mka .weba .amr .ape .wv .tta .dsf .dff .spx .mpc .mpa .ra .dts .mp4 .mov .mkv "
    ".webm .3gp .ogv"
)
"""What FFmpeg reads as well, if PyAV is installed, the sound of videos included."""


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """Recordings."""
    return [
        ModalitySpec(
            id="audio",
            summary="Recordings: speech, music, sounds; what libsndfile or FFmpeg reads, any rate and channels.",
            target="selfsup_audio.processor:AudioProcessor",
            columns={"audio": "Audio"},
            suffixes=tuple(f"{_SOUND_FILES} {_FFMPEG_FILES}".split()),
            segments=True,
            backbone="mel-cnn",
            token_backbone="mel-vit",
            causal_backbone="gru",
            views=f"{_AUGMENTATIONS}:RECIPE",
            supervised_views=f"{_AUGMENTATIONS}:SUPERVISED_RECIPE",
            corruption="selfsup_audio.corruptions:RECIPE",
            raw_features="selfsup_audio.features:mel_statistics",
            raw_title="mel statistics",
            other_raw_features={"mfcc": "selfsup_audio.features:mfcc_statistics"},
            other_raw_titles={"mfcc": "MFCC statistics"},
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
        spec("mel-cnn", "mel_cnn:RECIPE", "Small CNN on log-mel spectrograms (that of BYOL-A), for CPUs.", tokens=False),
        spec("mel-vit", "mel_vit:RECIPE", "Small transformer on patches of a log-mel spectrogram (AST, SSAST)."),
        spec("gru", "gru:RECIPE", "GRU on log-mel frames, causal (APC, CPC)."),
        spec("wave-transformer-small", "wave:RECIPE", "Convolutions on the waveform and a small transformer (wav2vec 2.0)."),
        spec("transformers-audio/*", "transformers:RECIPE", "Any speech model of transformers: wav2vec2, hubert, wavlm, ..."),
        spec("mel-transformer", "mel_vit:MEL_TRANSFORMER", "Small transformer on whole log-mel frames (Mockingjay, TERA)."),
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; what the core composes is not among them."""
    return list(task_specs.SPECS)

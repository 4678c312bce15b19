"""``transformers-audio/*``: speech models of transformers, from sizes or from pretrained weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedModel, Wav2Vec2FeatureExtractor
from transformers.utils import logging

from selfsup.backbones import (
    Adopted,
    BackboneRecipe,
    Finetuning,
    TokenBackbone,
    Tokens,
    hold_fixed,
    language_transformer_finetuning,
)
from selfsup.config import Config
from selfsup.errors import ArtifactError, ConfigError, SelfsupError
from selfsup.types import Batch, Info
from selfsup_audio.backbones.architecture import (
    MODEL_TYPES,
    make_config,
    no_dropout,
    place,
    read_architecture,
    read_config,
    read_extractor,
)
from selfsup_audio.backbones.convolutions import convolved, positions
from selfsup_audio.backbones.frames import gathered
from selfsup_audio.spectra import LogMel, LogMelConfig
from selfsup_audio.waveforms import standardized, to_float


class TransformersAudioConfig(Config):
    """Options of a speech model of the transformers library."""

    name: str
    """The library's model type: ``wav2vec2``, ``hubert``, ``wavlm`` or ``data2vec-audio``."""
    hidden_size: int | None = Field(None, ge=8)
    """Width D of the layers; None: the model type's own (768)."""
    layers: int | None = Field(None, ge=1)
    """Number of layers; None: the model type's own (12)."""
    heads: int | None = Field(None, ge=1)
    """Attention heads, a divisor of the width; None: the model type's own (12)."""
    normalize: bool = True
    """Give each waveform zero mean and unit variance, as most of these models expect; WavLM base does not. A pretrained model
    brings its own value (``do_normalize`` of its ``preprocessor_config.json``)."""
    n_mels: int = Field(40, ge=4, le=512)
    """Mel bands of the targets of masked tasks that predict spectra; the papers have no such targets."""
    pretrained: str | None = None
    """Folder, or ``hf://owner/name``, of a model of this type to start from; only safetensors are read. Its sampling rate and
    its scaling of waveforms are used too."""
    architecture: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the model's config (``conv_dim``, ...), under the library's names; filled in from ``pretrained``."""

    @model_validator(mode="before")
    @classmethod
    def _described(cls, values: Any) -> Any:
        """Keep the architecture of the pretrained model, so that its encoder can be loaded without that folder."""
        if not isinstance(values, dict) or not values.get("pretrained") or values.get("architecture"):
            return values
        try:
            described = read_architecture(str(values["pretrained"]))
            extractor = read_extractor(str(values["pretrained"]))
        except SelfsupError as error:
            raise ValueError(str(error)) from error
        own = {"normalize": extractor["normalize"]} if "normalize" in extractor else {}
        return {**own, **values, "architecture": described}


class TransformersAudio(TokenBackbone):
    """A model of wav2vec 2.0's shape (Baevski et al. 2020, arXiv:2006.11477) of the transformers library.

    The state dict is the library's own, except for a prefix. A padded recording gets the output that the library gives for it
    alone and without padding: the group norm of the base models uses real samples only, where the library's uses the padding as
    well. Positions come from a convolution over the tokens. With ``keep`` the other tokens are zero in it and masked in
    attention, but still computed, so that this saves no time. Tokens have the windows of
    :class:`~selfsup_audio.spectra.LogMel`, and the targets are the standardised log-mel energies of these windows. The
    embedding is the mean of the last layer at real tokens.

    Args:
        model: without a head.
        info: of the processor.
        normalize: whether waveforms are standardised.
        n_mels: bands of the targets.
    """

    modality: ClassVar[str] = "audio"
    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"
    export_formats: ClassVar[tuple[str, ...]] = ("transformers",)

    def __init__(self, model: PreTrainedModel, info: Info, *, normalize: bool, n_mels: int) -> None:
        super().__init__()
        config: Any = model.config
        self.model: Any = model
        self.normalize = normalize
        self.embed_dim = int(config.hidden_size)
        self.target_dim = n_mels
        self.sample_rate = int(info["sample_rate"])
        self.norm_last = bool(getattr(config, "do_stable_layer_norm", False))
        # The library's own mask token: tasks have theirs, and DDP stops on a weight that nothing uses.
        if getattr(model, "masked_spec_embed", None) is not None:
            hold_fixed(self, "model.masked_spec_embed")
        self.hop, self.reach = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            self.reach += (kernel - 1) * self.hop
            self.hop *= stride
        rate = self.sample_rate
        self.mel = LogMel(LogMelConfig(n_mels=n_mels, window_seconds=self.reach / rate, hop_seconds=self.hop / rate), rate)

    def tokenize(self, batch: Batch) -> Tokens:
        """Convolve and project."""
        length = batch["length"]
        x = standardized(batch["waveform"], length) if self.normalize else to_float(batch["waveform"])
        count = self.mel.n_frames(x.shape[1])
        x = F.pad(x, (0, max(self.reach - x.shape[1], 0)))
        # A recording that is shorter than a token's window is padded with silence to one token.
        features = convolved(self.model.feature_extractor, x, length.clamp(min=self.reach))
        projected = self.model.feature_projection(features.transpose(1, 2))
        embeddings = projected[0] if isinstance(projected, tuple) else projected
        padding = torch.arange(count, device=length.device).unsqueeze(0) >= self.mel.frame_counts(length).unsqueeze(1)
        return Tokens(embeddings, torch.zeros_like(embeddings[:1]), (count,), padding)

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """The convolutions, and the projection of their output."""
        return [*self.model.feature_extractor.parameters(), *self.model.feature_projection.parameters()]

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """The output of the last layer, or that at the kept tokens."""
        return gathered(self._run(tokens, keep)[-1], keep)

    def blocks(self) -> list[nn.Module]:
        """The layers behind the convolutions."""
        return list(self.model.encoder.layers)

    def remember_forward(self) -> Callable[[], AbstractContextManager[None]]:
        """WavLM's layers warn."""
        return _mismatched_masks

    @property
    def finetuning(self) -> Finetuning:
        """That of transformers' example of audio classification, with a higher rate for narrower networks."""
        return language_transformer_finetuning(self.embed_dim)

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each layer."""
        return self._run(tokens, None)

    def describe_input(self) -> str:
        """Whether it scales waveforms."""
        return "each waveform is given zero mean and unit variance" if self.normalize else "waveforms are taken as they are"

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, n_mels]: the standardised log-mel energies of each token's window."""
        with torch.no_grad():
            energies: Tensor = self.mel(batch["waveform"], batch["length"])[0]
            return energies

    def _run(self, tokens: Tokens, keep: Tensor | None) -> list[Tensor]:
        encoder, x = self.model.encoder, tokens.embeddings
        seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if tokens.padding is None else ~tokens.padding
        if keep is not None:
            seen = seen & torch.zeros_like(seen).scatter(1, keep, True)
        # Before the convolution for positions, which would mix unseen tokens in.
        x = x * seen.unsqueeze(-1)
        x = x + positions(encoder.pos_conv_embed, x, seen)
        if not self.norm_last:
            x = encoder.layer_norm(x)
        outputs: list[Tensor] = []
        if self.model.config.model_type == "wavlm":
            outputs = _wavlm_layers(encoder.layers, x, seen, indexed=not self.norm_last)
        else:
            for layer in encoder.layers:
                output = layer(x, attention_mask=seen[:, None, None, :])
                x = output[0] if isinstance(output, tuple) else output  # older releases give a tuple
                outputs.append(x)
        return [*outputs[:-1], encoder.layer_norm(outputs[-1])] if self.norm_last else outputs

    def export_folder(self, format: str, processor: Any, folder: Path) -> None:
        """Write a folder that ``AutoModel`` and ``AutoFeatureExtractor`` read.

        Raises:
            ArtifactError: the format is unknown.
        """
        if format not in self.export_formats:
            raise ArtifactError(f"this backbone has no export format {format!r}; it has: {', '.join(self.export_formats)}.")
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not typed there; standard error belongs to the command
        try:
            self.model.save_pretrained(folder)
        finally:
            if shown:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # not typed there
        extractor: Any = Wav2Vec2FeatureExtractor
        extractor(sampling_rate=self.sample_rate, do_normalize=self.normalize).save_pretrained(folder)


@contextmanager
def _mismatched_masks() -> Iterator[None]:
    """Silence a warning: the library gives torch a mask of another type than its bias, which works but is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask", category=UserWarning)
        yield


def _wavlm_layers(layers: Any, x: Tensor, seen: Tensor, *, indexed: bool) -> list[Tensor]:
    """The outputs of WavLM's layers, which pass a bias of relative positions from one to the next.

    Args:
        layers: of its encoder.
        x: [B, N, D].
        seen: [B, N] bool, which tokens attention may see.
        indexed: whether a layer takes its number.
    """
    outputs: list[Tensor] = []
    bias: Tensor | None = None
    mask = seen.long()
    with _mismatched_masks():
        for index, layer in enumerate(layers):
            number = {"index": index} if indexed else {}
            x, bias = layer(x, attention_mask=mask, position_bias=bias, **number)
            outputs.append(x)
    return outputs


def build_transformers(config: TransformersAudioConfig, info: Info) -> TransformersAudio:
    """Build a model, with fresh weights or from pretrained ones.

    Raises:
        UnknownIdError: the model type is unknown.
        ConfigError: an option does not suit the model, or the pretrained one cannot be read.
    """
    if config.pretrained is not None:
        model = _pretrained(config, config.pretrained, info)
    else:
        sizes = {"hidden_size": config.hidden_size, "layers": config.layers, "heads": config.heads}
        made = make_config(config.name, config.architecture, **sizes)
        automatic: Any = AutoModel
        model = automatic.from_config(made)
    return TransformersAudio(model, info, normalize=config.normalize, n_mels=config.n_mels)


def _pretrained(config: TransformersAudioConfig, source: str, info: Info) -> PreTrainedModel:
    sizes = {"hidden_size": config.hidden_size, "layers": config.layers, "heads": config.heads}
    if given := [name for name, value in sizes.items() if value is not None]:
        raise ConfigError(f"backbone.{given[0]} cannot be set together with backbone.pretrained, whose model has its own.")
    found = read_config(source)
    if found.model_type != config.name:
        raise ConfigError(f"{source} holds a model of type {found.model_type}, and the backbone is {config.name}.")
    rate = read_extractor(source)["sample_rate"]
    if int(info["sample_rate"]) != rate:
        raise ConfigError(
            f"{source} was pretrained on recordings at {rate} Hz, and these have {info['sample_rate']}: "
            f"leave processor.sample_rate out, or set it to {rate}."
        )
    where, local = place(source)
    try:
        model: PreTrainedModel = AutoModel.from_pretrained(
            where, local_files_only=local, use_safetensors=True, trust_remote_code=False, **no_dropout(found)
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"backbone.pretrained={source}: the weights cannot be read ({error}).") from error
    model.to(torch.float32)  # type: ignore[arg-type]  # typed there for devices alone
    return model


def preprocessing(config: TransformersAudioConfig) -> dict[str, Any]:
    """The sampling rate of the recordings that a pretrained model was trained on."""
    return {} if config.pretrained is None else {"sample_rate": read_extractor(config.pretrained)["sample_rate"]}


def adopt(source: str, described: Mapping[str, Any]) -> Adopted | None:
    """The backbone that starts from a speech model of transformers; None for other models.

    Args:
        source: its folder, or ``hf://owner/name``.
        described: its ``config.json``.
    """
    name = described.get("model_type")
    return Adopted(f"transformers-audio/{name}", {"pretrained": source}) if name in MODEL_TYPES else None


RECIPE = BackboneRecipe(config=TransformersAudioConfig, build=build_transformers, preprocessing=preprocessing, adopt=adopt)
"""``transformers-audio/*``."""

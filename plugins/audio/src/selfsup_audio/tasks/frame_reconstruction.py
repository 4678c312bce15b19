"""Reconstruct altered frames of a spectrogram: Mockingjay and TERA."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import MaskedModeling, StepOutput, TaskFamilyRecipe, gather_tokens, mean_term
from selfsup.types import Batch, Info
from selfsup_audio.backbones.mel_vit import MelViT
from selfsup_audio.tasks.alteration import AlterationConfig, alter_frames


class FrameReconstructionConfig(Config):
    """Options of Mockingjay and TERA."""

    predict: Literal["altered", "all"] = "altered"
    """What is reconstructed: the tokens chosen along time, as in Mockingjay, or all, as in TERA."""
    alteration: AlterationConfig = AlterationConfig()
    """How the frames are altered."""


class FrameReconstruction(MaskedModeling):
    """Mockingjay (Liu et al. 2019, arXiv 1910.12638) and TERA (Liu et al. 2020, arXiv 2007.06028).

    The log-mel frames are altered before they are embedded, and a head of two layers reconstructs the original frames, with
    absolute error. Both papers also use linear-scale or other spectra as targets; here input and target are the same.
    """

    backbone: MelViT
    distance = "absolute"

    def __init__(self, config: FrameReconstructionConfig, backbone: MelViT) -> None:
        super().__init__(backbone, backbone.embed_dim, normalize_targets=False)
        self.config = config
        D = backbone.embed_dim
        self.hidden = nn.Sequential(nn.Linear(D, D), nn.GELU(), nn.LayerNorm(D))

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Alter, encode, reconstruct, compare."""
        backbone = self.backbone
        tokens, frames = backbone.tokenize(batch), backbone.targets(batch)
        padding = padding_of(tokens.padding, frames)
        with torch.autocast(frames.device.type, enabled=False):
            lattice = frames.view(*frames.shape[:2], backbone.patch_frames, backbone.patch_mels)
            altered = alter_frames(lattice, padding, self.config.alteration, generator)
        encoded = backbone.encode(replace(tokens, embeddings=backbone.embed(altered.frames.flatten(2))))
        if self.config.predict == "altered":
            hidden = altered.mask.hidden
            prediction, target = self.head(self.hidden(gather_tokens(encoded, hidden))), gather_tokens(frames, hidden)
            weight = altered.mask.weight
        else:
            prediction, target, weight = self.head(self.hidden(encoded)), frames, (~padding).to(frames.dtype)
            hidden = torch.arange(frames.shape[1], device=frames.device).expand(frames.shape[:2])
        loss = backbone.target_loss(prediction, target, hidden, distance=self.distance)
        return StepOutput.of(mean_term(loss, weight))


def padding_of(padding: Tensor | None, frames: Tensor) -> Tensor:
    """[B, N] bool, ``padding`` or False throughout if nothing is padded."""
    return torch.zeros(frames.shape[:2], dtype=torch.bool, device=frames.device) if padding is None else padding


def build_frame_reconstruction(config: FrameReconstructionConfig, backbone: Backbone, info: Info) -> FrameReconstruction:
    """Build the task around a transformer on whole frames.

    Raises:
        ConfigError: the backbone is another one.
    """
    if not isinstance(backbone, MelViT) or not backbone.by_frames:
        raise ConfigError(
            f"Mockingjay and TERA alter the frames of a spectrogram, and {type(backbone).__name__} has no tokens of whole "
            "frames. Take --backbone mel-transformer, or mel-vit with --set backbone.patch_mels=null."
        )
    return FrameReconstruction(config, backbone)


FRAME_RECONSTRUCTION = TaskFamilyRecipe(config=FrameReconstructionConfig, build=build_frame_reconstruction)
"""Mockingjay and TERA, which differ in what is altered and what is reconstructed."""

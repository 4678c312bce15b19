"""timm's plain vision transformers as token backbones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from timm.layers.patch_embed import resample_patch_embed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import (
    Encoded,
    Finetuning,
    TokenBackbone,
    Tokens,
    fit_channels,
    hold_fixed,
    vision_transformer_finetuning,
)
from selfsup.errors import ConfigError
from selfsup.tasks import lattice_positions
from selfsup.types import Batch
from selfsup_images.backbones import IMAGENET_MEAN, IMAGENET_STD
from selfsup_vision.backbones.base import Construction, ImageBackbone


def resampled_positions(positions: Tensor, old: Sequence[int], new: Sequence[int], prefix: int) -> Tensor:
    """timm's ``resample_abs_pos_embed`` as two matrix products, whose gradient is the same every time.

    The gradient of a bicubic resampling adds up in any order on a GPU, so that a resumed run would differ in the last digits.

    Args:
        positions: [1, prefix + old rows * old columns, D].
        old: rows and columns of the lattice.
        new: those wanted.
        prefix: special tokens in front, which stay.

    Returns:
        [1, prefix + new rows * new columns, D].
    """

    def weights(before: int, after: int) -> Tensor:
        # Two columns, since torch 2.14 resamples a single one wrongly.
        unit = torch.eye(before, device=positions.device).view(1, before, before, 1).repeat(1, 1, 1, 2)
        return F.interpolate(unit, size=(after, 2), mode="bicubic", antialias=True)[0, :, :, 0].T

    with torch.autocast(positions.device.type, enabled=False):
        lattice = positions[0, prefix:].float().view(old[0], old[1], -1)
        moved = torch.einsum("yr,xc,rcd->yxd", weights(old[0], new[0]), weights(old[1], new[1]), lattice)
    return torch.cat([positions[:, :prefix], moved.flatten(0, 1).unsqueeze(0).to(positions.dtype)], dim=1)


class ViTBackbone(ImageBackbone, TokenBackbone):
    """A ``timm.models.vision_transformer.VisionTransformer`` (Dosovitskiy et al. 2020, arXiv:2010.11929).

    It also encodes images of other sizes that the patch size divides, with resampled position embeddings. The targets of masked
    modelling are the normalised pixels of each patch, P = patch * patch * C.
    """

    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"
    model: VisionTransformer

    def __init__(
        self,
        model: VisionTransformer,
        construction: Construction,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__(model, construction, mean, std)
        self.embed_dim = int(model.embed_dim)
        self.patch_size = int(model.patch_embed.patch_size[0])
        self.target_dim = self.patch_size**2 * self.channels

    def forward(self, batch: Batch) -> Encoded:
        """Pool as timm's head does (the mean of the tokens, the class token, or attention)."""
        tokens = self.tokenize(batch)
        sequence = self._mix(tokens.embeddings + tokens.positions)
        pooled = self.model.forward_head(sequence, pre_logits=True)
        return Encoded(pooled, sequence[:, self.model.num_prefix_tokens :], tokens.grid)

    def input_projection(self) -> list[nn.Parameter]:
        """Of the patches."""
        return list(self.model.patch_embed.parameters())

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """Take positions of another lattice (bicubic), patches of another size (Beyer et al. 2022, arXiv:2212.08013, FlexiViT)
        and filters for other channels."""
        if name == "model.pos_embed":
            return self._resampled(weight)
        if name == "model.patch_embed.proj.weight" and weight.ndim == 4 and weight.shape[0] == own.shape[0]:
            if weight.shape[2:] != own.shape[2:]:
                weight = resample_patch_embed(weight, [int(side) for side in own.shape[2:]])
            return fit_channels(weight, self.channels) if weight.shape[1] != self.channels else weight
        return super().fit_weight(name, weight, own)

    def _resampled(self, positions: Tensor) -> Tensor | None:
        """Positions [1, prefix + n * n, D] on this network's lattice; special tokens that one of the two lacks are ignored.

        None if their lattice is not square or their width differs.
        """
        if positions.ndim != 3 or positions.shape[2] != self.embed_dim:
            return None
        for prefix in range(min(positions.shape[1], 6)):
            side = math.isqrt(positions.shape[1] - prefix)
            if side * side == positions.shape[1] - prefix:
                break
        else:
            return None
        wanted = list(self.model.patch_embed.grid_size)
        lattice = resample_abs_pos_embed(positions[:, prefix:], new_size=wanted, old_size=[side, side], num_prefix_tokens=0)
        own = self._positioned_prefix
        special = positions[:, :prefix][:, :own]
        missing = own - special.shape[1]
        if missing:
            assert self.model.pos_embed is not None
            special = torch.cat([special, self.model.pos_embed[:, special.shape[1] : own].to(positions.dtype)], dim=1)
        return torch.cat([special, lattice], dim=1)

    def fix_positions(self) -> None:
        """Replace learned positions by fixed sines and cosines of the lattice, with zeros for special tokens.

        As in MAE (He et al. 2021, arXiv:2111.06377) and MoCo v3 (Chen et al. 2021, arXiv:2104.02057). Networks without absolute
        positions do not change.
        """
        positions = self.model.pos_embed
        if positions is None:
            return
        with torch.no_grad():
            positions.zero_()
            grid = tuple(self.model.patch_embed.grid_size)
            fixed = lattice_positions(grid, self.embed_dim, positions.device)
            positions[0, self._positioned_prefix :] = fixed.to(positions.dtype)
        hold_fixed(self, "model.pos_embed")

    def tokenize(self, batch: Batch) -> Tokens:
        """Embed the patches, and resample the learned positions to their lattice."""
        image = self.normalized(batch)
        if image.shape[2] % self.patch_size or image.shape[3] % self.patch_size:
            raise ConfigError(
                f"images of {image.shape[2]}x{image.shape[3]} pixels cannot be cut into patches of {self.patch_size}: choose "
                f"sizes (processor.image_size, views.local_size) that {self.patch_size} divides, or another "
                "backbone.patch_size."
            )
        content = self.model.patch_embed(image)
        grid = (int(content.shape[1]), int(content.shape[2]))
        content = content.flatten(1, 2)
        positions = self._positions(grid)
        if positions is None:
            return Tokens(content, torch.zeros_like(content[:1]), grid)
        return Tokens(content, positions[:, self._positioned_prefix :], grid)

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """Of the patches, and the positions."""
        positions = self.model.pos_embed
        return [*self.input_projection(), *([positions] if isinstance(positions, nn.Parameter) else [])]

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Equal to the patch tokens of timm's ``forward_features`` if all are kept."""
        return self._mix(self._placed(tokens, keep))[:, self.model.num_prefix_tokens :]

    def blocks(self) -> list[nn.Module]:
        """Those of the transformer."""
        return list(self.model.blocks)

    @property
    def finetuning(self) -> Finetuning:
        """As MAE's."""
        return vision_transformer_finetuning(self.embed_dim)

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The patch tokens after each block; the last is normalised, as in :meth:`encode`."""
        sequence = self._with_prefix(self._placed(tokens, None))
        outputs = []
        for block in self.model.blocks:
            sequence = block(sequence)
            outputs.append(sequence)
        outputs[-1] = self.model.norm(sequence)
        return [output[:, self.model.num_prefix_tokens :] for output in outputs]

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, P]: each patch's normalised pixels, as (row, column, channel)."""
        with torch.no_grad():
            return patches(self.normalized(batch), self.patch_size)

    @property
    def _positioned_prefix(self) -> int:
        """Special tokens that have an entry in the position embedding."""
        return 0 if self.model.no_embed_class else int(self.model.num_prefix_tokens)

    def _positions(self, grid: tuple[int, int]) -> Tensor | None:
        if self.model.pos_embed is None:
            return None
        old = tuple(self.model.patch_embed.grid_size)
        if self.model.pos_embed.device.type == "cuda" and grid != old:
            return resampled_positions(self.model.pos_embed, old, grid, self._positioned_prefix)
        positions: Tensor = resample_abs_pos_embed(
            self.model.pos_embed,
            new_size=list(grid),
            old_size=list(self.model.patch_embed.grid_size),
            num_prefix_tokens=self._positioned_prefix,
        )
        return positions

    def _placed(self, tokens: Tokens, keep: Tensor | None) -> Tensor:
        content = tokens.embeddings + tokens.positions
        if keep is None:
            return content
        return content.gather(1, keep.unsqueeze(-1).expand(-1, -1, content.shape[-1]))

    def _with_prefix(self, content: Tensor) -> Tensor:
        """Prepend the special tokens with their positions, then do what timm does before the first block."""
        model = self.model
        special: list[Tensor] = [token for token in (model.cls_token, model.reg_token) if token is not None]
        if special:
            prefix = torch.cat(special, dim=1)
            if self._positioned_prefix and model.pos_embed is not None:
                prefix = prefix + model.pos_embed[:, : self._positioned_prefix]
            content = torch.cat([prefix.expand(content.shape[0], -1, -1).to(content.dtype), content], dim=1)
        placed: Tensor = model.norm_pre(model.pos_drop(content))
        return placed

    def _mix(self, content: Tensor) -> Tensor:
        mixed: Tensor = self.model.norm(self.model.blocks(self._with_prefix(content)))
        return mixed


def patches(image: Tensor, size: int) -> Tensor:
    """[B, C, H, W] to [B, N, size * size * C], row-major over the lattice, each patch as (row, column, channel)."""
    n, channels, height, width = image.shape
    lattice = image.view(n, channels, height // size, size, width // size, size)
    return lattice.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, size * size * channels)


def is_plain_vit(model: Any) -> bool:
    """Whether :class:`ViTBackbone` knows the model's forward pass (subclasses change it)."""
    return type(model) is VisionTransformer and hasattr(model.patch_embed, "patch_size")

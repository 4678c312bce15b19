"""The ``fusion`` backbone: one transformer over the tokens of all parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import (
    Backbone,
    BackboneRecipe,
    Encoded,
    Finetuning,
    TokenBackbone,
    Tokens,
    pooled_over_parts,
    vision_transformer_finetuning,
)
from selfsup.config import Config
from selfsup.data import fill_absent, only_part, part_names, part_of, presence
from selfsup.errors import ConfigError
from selfsup.runtime import full
from selfsup.tasks import Transformer, gather_tokens, lattice_positions
from selfsup.types import Batch, Info
from selfsup_multimodal.backbones.fused_tokens import (
    NUMBERS,
    ConcatenatedHeads,
    FusedTokens,
    numbered_targets,
    part_padding,
    pooled_part,
)
from selfsup_multimodal.backbones.tokenizers import TokenizerConfig, build_tokenizer, keep_parameters, varies
from selfsup_multimodal.joined_info import check_names, joined_parts


class FusionConfig(Config):
    """Options of ``fusion``."""

    tokenizers: dict[str, TokenizerConfig] = Field(default_factory=dict)
    """By part name; the other parts use the defaults of their modality."""
    dim: int = Field(default=192, ge=4)
    """Width D of the fused tokens; 768 in M3AE's ViT-B."""
    depth: int = Field(default=4, ge=1)
    """Blocks; 12 in M3AE's ViT-B."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads, a divisor of the width; None: one for every 32 channels."""


class Fusion(TokenBackbone):
    """One transformer over the tokens of all parts (M3AE: Geng et al. 2022, arXiv:2205.14204).

    A token backbone of its own modality cuts each part into tokens; its other layers are thrown away. The tokens are projected
    to one width. Their positions are the sine-cosine positions on the part's own lattice plus a learned vector per part.
    Missing parts are padding. Parts with a fixed number of tokens come first, so that the others begin at the same index in
    every batch.

    The embedding of a row is the mean of its parts' mean tokens. ``Encoded.parts`` holds the embedding of each part encoded
    alone, so that a picture's embedding does not depend on its caption.

    Targets differ between parts (patches, ids, cells). They are [B, N, 2 + P] float: the number of the part, the index of the
    token in it, and the part's own target (P is the width of the widest). Ids are stored as floats, so ``target_kind`` is
    continuous; :meth:`normalize_targets` and :meth:`target_loss` handle each token by its part.
    ``options`` holds the id and the full options of each tokenizer.
    """

    modality: ClassVar[str] = "multimodal"
    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"

    def __init__(
        self, tokenizers: Mapping[str, TokenBackbone], options: Mapping[str, tuple[str, dict[str, Any]]], config: FusionConfig
    ) -> None:
        super().__init__()
        dim = config.dim
        if config.heads is not None and dim % config.heads:
            raise ConfigError(f"backbone.heads={config.heads} does not divide backbone.dim={dim}.")
        self.embed_dim = dim
        self._options = dict(options)
        self.tokenizers = nn.ModuleDict(tokenizers)
        for tokenizer in tokenizers.values():
            keep_parameters(tokenizer, tokenizer.tokenizer_parameters())
            tokenizer.blocks = list  # type: ignore[method-assign]  # its layers are gone, and it names none
        self.projections = nn.ModuleDict({name: nn.Linear(own.embed_dim, dim, bias=False) for name, own in tokenizers.items()})
        self.part_embedding = nn.Parameter(torch.randn(len(tokenizers), dim) * 0.02)
        self.transformer = Transformer(dim, config.depth, config.heads, shrink_residuals=True)
        self.target_dim = sum(own.target_dim for own in tokenizers.values())
        # Width of each part's targets, known after the first call of `targets`; the same in every batch.
        self._target_widths: dict[str, int] = {}

    @property
    def part_dims(self) -> Mapping[str, int]:
        """D for every part."""
        return dict.fromkeys(self.tokenizers, self.embed_dim)

    @property
    def shares_space(self) -> bool:
        """True: one network makes all embeddings."""
        return True

    def tokenizer(self, name: str) -> TokenBackbone:
        """The token backbone of a part, which cuts it into tokens and defines its targets."""
        return cast(TokenBackbone, self.tokenizers[name])

    def forward(self, batch: Batch) -> Encoded:
        """Encode all parts together and, if there are several, each one alone."""
        tokens = self.tokenize(batch)
        encoded = self.encode(tokens)
        parts = {name: pooled_part(encoded, tokens, name, presence(batch, name)) for name in tokens.spans}
        pooled, valid = pooled_over_parts(parts, shares_space=True), None
        if len(parts) == 1:
            valid = next(iter(parts.values())).valid
        else:
            alone = {name: self.tokenize(only_part(batch, name)) for name in parts}
            parts = {name: pooled_part(self.encode(own), own, name, presence(batch, name)) for name, own in alone.items()}
        return Encoded(pooled, encoded, tokens.grid, tokens.padding, parts, valid)

    def tokenize(self, batch: Batch) -> FusedTokens:
        """Cut each part in the batch into tokens and concatenate them.

        Raises:
            ConfigError: the batch holds no part of this network.
        """
        cut = {name: self.tokenizer(name).tokenize(own) for name, own in self._own_batches(batch).items()}
        if not cut:
            raise ConfigError(f"the batch holds none of the network's parts: {', '.join(self.tokenizers)}.")
        embeddings, positions, paddings, spans, begin = [], [], [], {}, 0
        # With a single part, rows that lack it keep other rows' values, as in a tower: their output is meaningless.
        present = {name: presence(batch, name) if cut.keys() - {name} else None for name in cut}
        padded = any(own.padding is not None or present[name] is not None for name, own in cut.items())
        for name, own in cut.items():
            content = self.projections[name](own.embeddings)
            N = content.shape[1]
            place = lattice_positions(own.grid, self.embed_dim, content.device) + self.part_embedding[self._number(name)]
            learned = self.projections[name](own.positions.to(self.part_embedding.dtype))
            positions.append((learned + place).expand(len(content), -1, -1))
            embeddings.append(content)
            if padded:
                paddings.append(part_padding(own, present[name]))
            spans[name] = (begin, begin + N)
            begin += N
        return FusedTokens(
            embeddings=torch.cat(embeddings, dim=1),
            positions=torch.cat(positions, dim=1),
            grid=(begin,),
            padding=torch.cat(paddings, dim=1) if padded else None,
            spans=spans,
            grids={name: own.grid for name, own in cut.items()},
        )

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Encode the tokens, or only those of ``keep``."""
        return self._mix(tokens, keep)

    def encode_apart(self, tokens: FusedTokens, keep: Tensor, parts: Tensor) -> Tensor:
        """Encode the tokens of ``keep`` without attention between parts; ``parts`` ([K] long) is each kept token's part."""
        return self._mix(tokens, keep, parts.unsqueeze(0))

    def _mix(self, tokens: Tokens, keep: Tensor | None, groups: Tensor | None = None) -> Tensor:
        x, padding = tokens.embeddings + tokens.positions, tokens.padding
        if keep is not None:
            x, padding = gather_tokens(x, keep), None if padding is None else gather_tokens(padding, keep)
        return self.transformer(x, padding, None, groups)  # type: ignore[no-any-return]  # modules are callable as Any

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each block; the last is normalised."""
        return self.transformer.layers(tokens.embeddings + tokens.positions, tokens.padding)

    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks."""
        return list(self.transformer.blocks)

    def input_projection(self) -> list[nn.Parameter]:
        """The input projections of all parts that have one."""
        return [parameter for name in self.tokenizers for parameter in self.tokenizer(name).input_projection()]

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """The parts' tokenizers, the projections to one width and the vector of each part."""
        own = [parameter for name in self.tokenizers for parameter in self.tokenizer(name).tokenizer_parameters()]
        return [*own, *self.projections.parameters(), self.part_embedding]

    @property
    def finetuning(self) -> Finetuning:
        """MAE's settings."""
        return vision_transformer_finetuning(self.embed_dim)

    def full_options(self, given: Config) -> Config:
        """Give the id and the full options of each tokenizer."""
        assert isinstance(given, FusionConfig)
        tokenizers = {name: TokenizerConfig(backbone=id, options=own) for name, (id, own) in self._options.items()}
        return given.model_copy(update={"tokenizers": tokenizers})

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, 2 + P] float: number of the part, index of the token in it, the part's own target, then zeros."""
        found = {name: self.tokenizer(name).targets(own) for name, own in self._own_batches(batch).items()}
        values = {name: target if target.ndim == 3 else target.unsqueeze(2) for name, target in found.items()}
        self._target_widths |= {name: value.shape[2] for name, value in values.items()}
        dtype = torch.promote_types(torch.float32, self.part_embedding.dtype)
        return numbered_targets({self._number(name): value for name, value in values.items()}, dtype)

    def target_weight(self, batch: Batch) -> Tensor | None:
        """[B, N] float, the parts' own weights; None if no part has any."""
        own = self._own_batches(batch)
        weights = {name: self.tokenizer(name).target_weight(part) for name, part in own.items()}
        if all(weight is None for weight in weights.values()):
            return None
        for name, part in own.items():
            if weights[name] is None:
                target = self.tokenizer(name).targets(part)
                weights[name] = torch.ones(target.shape[:2], device=target.device)
        return torch.cat([weight for weight in weights.values() if weight is not None], dim=1)

    def normalize_targets(self, targets: Tensor) -> Tensor:
        """Normalize each target as its part does; the two leading numbers stay."""
        out = full(targets)
        for name, width in self._target_widths.items():
            own = self.tokenizer(name).normalize_targets(out[..., NUMBERS : NUMBERS + width])
            if self.tokenizer(name).target_kind == "categorical":
                continue
            rest = out[..., NUMBERS + width :]
            changed = torch.cat([out[..., :NUMBERS], own.to(out.dtype), rest], dim=-1)
            out = torch.where((out[..., :1] == self._number(name)), changed, out)
        return out

    def target_head(self, dim: int) -> nn.Module:
        """The heads of all parts, their outputs concatenated; each token uses the slice of its part."""
        return ConcatenatedHeads({name: self.tokenizer(name).target_head(dim) for name in self.tokenizers})

    def target_loss(
        self, prediction: Tensor, target: Tensor, index: Tensor, *, distance: Literal["squared", "absolute"] = "squared"
    ) -> Tensor:
        """[B, K], the loss of each token by its part's own ``target_loss``."""
        loss = prediction.new_zeros(index.shape, dtype=torch.promote_types(torch.float32, prediction.dtype))
        predictions = torch.split(prediction, [self.tokenizer(name).target_dim for name in self.tokenizers], dim=-1)
        for name, own in zip(self.tokenizers, predictions, strict=True):
            if name not in self._target_widths:
                continue
            is_own = target[..., 0] == self._number(name)
            loss = loss + torch.where(is_own, self.part_loss(name, own, target, is_own, distance=distance), 0.0)
        return loss

    def part_loss(
        self,
        name: str,
        prediction: Tensor,
        target: Tensor,
        is_own: Tensor | None = None,
        *,
        distance: Literal["squared", "absolute"] = "squared",
    ) -> Tensor:
        """[B, K], the loss of tokens of one part.

        ``prediction`` is [B, K, ...] from the part's own head and ``target`` [B, K, 2 + P] from :meth:`targets`. ``is_own``
        ([B, K] bool, None: all) marks the tokens of this part: the loss of the others is meaningless.
        """
        part = self.tokenizer(name)
        # Targets of other parts are not valid ids or indices of this one.
        target = target if is_own is None else torch.where(is_own.unsqueeze(-1), target, 0.0)
        values = target[..., NUMBERS : NUMBERS + self._target_widths[name]]
        if part.target_kind == "categorical":
            values = values[..., 0].long()
        return part.target_loss(prediction, values, target[..., 1].long(), distance=distance)

    def _number(self, name: str) -> int:
        return list(self.tokenizers).index(name)

    def _own_batches(self, batch: Batch) -> dict[str, Batch]:
        """The batch of each part that is there; rows that lack a part hold other rows' values."""
        held = part_names(batch)
        return {name: fill_absent(part_of(batch, name), presence(batch, name)) for name in self.tokenizers if name in held}


def build_fusion(config: FusionConfig, info: Info) -> Fusion:
    """Build one transformer for all parts of the rows.

    Raises:
        ConfigError: there are no parts, an option names an unknown part, or a part cannot be cut into tokens.
        MissingPluginError: the plugin of a part's modality is not installed; the message says how to install it.
    """
    parts = dict(sorted(joined_parts(info).items(), key=lambda item: varies(item[1])))
    check_names(config.tokenizers, parts, "backbone.tokenizers")
    built = {name: build_tokenizer(part, config.tokenizers.get(name, TokenizerConfig())) for name, part in parts.items()}
    tokenizers = {name: backbone for name, (backbone, _) in built.items()}
    return Fusion(tokenizers, {name: options for name, (_, options) in built.items()}, config)


def fused(backbone: Backbone, method: str) -> Fusion:
    """Return ``backbone`` if it is a :class:`Fusion`.

    Raises:
        ConfigError: it is another backbone.
    """
    if not isinstance(backbone, Fusion):
        raise ConfigError(f"{method} masks tokens of several parts, which {type(backbone).__name__} lacks: take fusion.")
    return backbone


FUSION = BackboneRecipe(config=FusionConfig, build=build_fusion)

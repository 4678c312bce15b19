"""``fusion``: the tokens of all parts of a row through one transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    mean_over_tokens,
    pooled_over_parts,
    vision_transformer_finetuning,
)
from selfsup.config import Config
from selfsup.data import fill_absent, only_part, part_names, part_of, presence
from selfsup.errors import ConfigError
from selfsup.runtime import full
from selfsup.tasks import Transformer, gather_tokens, lattice_positions
from selfsup.types import Batch, Info
from selfsup_multimodal.backbones.tokenizers import TokenizerConfig, build_tokenizer, keep_parameters, varies
from selfsup_multimodal.joined_info import check_names, joined_parts

_MARKS = 2
"""Numbers in front of each target: the part that the token is of, and its place there."""


class FusionConfig(Config):
    """Options of ``fusion``."""

    tokenizers: dict[str, TokenizerConfig] = Field(default_factory=dict)
    """By the name of a part; parts that are not named have the defaults of their modality."""
    dim: int = Field(default=192, ge=4)
    """Width D of the fused tokens; 768 in M3AE's ViT-B."""
    depth: int = Field(default=4, ge=1)
    """Blocks; 12 in M3AE's ViT-B."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads, a divisor of the width; None: one for every 32 channels."""


@dataclass(frozen=True)
class FusedTokens(Tokens):
    """The tokens of all parts, one part behind the other."""

    spans: Mapping[str, tuple[int, int]] | None = None
    """Part to where its tokens begin and end."""
    grids: Mapping[str, tuple[int, ...]] | None = None
    """Part to the lattice of its own tokens."""


class Fusion(TokenBackbone):
    """One transformer over the tokens of all parts (M3AE: Geng et al. 2022, arXiv:2205.14204).

    A token backbone of its own modality cuts each part into tokens, and its other layers are thrown away. The tokens are
    projected to one width; sines and cosines of the place on the part's own lattice and a learned vector for the part are added
    to their positions. Parts that a row lacks are padding. The tokens lie on one axis: parts of a fixed number of tokens first,
    so that the others begin at the same place in every batch.

    The embedding of a row is the mean over the parts that it has of each part's mean token. ``Encoded.parts`` holds what the
    network makes of each part alone, so that a picture's embedding knows nothing of its caption.

    What there is to predict differs between parts (patches, ids, cells): targets are [B, N, 2 + P] float, where the first two
    numbers say which part a token is of and its place there, and P is the widest part's. Ids are among them as numbers, so
    that targets count as continuous; :meth:`normalize_targets` and :meth:`target_loss` treat each token by its part.

    Args:
        tokenizers: token backbones by the name of the part.
        options: id and options in full of each.
        config: the options.
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
        self.projections = nn.ModuleDict({name: nn.Linear(own.embed_dim, dim, bias=False) for name, own in tokenizers.items()})
        self.part_embedding = nn.Parameter(torch.randn(len(tokenizers), dim) * 0.02)
        self.transformer = Transformer(dim, config.depth, config.heads, shrink_residuals=True)
        self.target_dim = sum(own.target_dim for own in tokenizers.values())
        # How many numbers a part's targets have, once they were asked for; the same in every batch.
        self._target_widths: dict[str, int] = {}

    @property
    def part_dims(self) -> Mapping[str, int]:
        """D for each."""
        return dict.fromkeys(self.tokenizers, self.embed_dim)

    @property
    def shares_space(self) -> bool:
        """One network makes all embeddings."""
        return True

    def tokenizer(self, name: str) -> TokenBackbone:
        """What cuts a part into tokens, and knows its targets."""
        return cast(TokenBackbone, self.tokenizers[name])

    def forward(self, batch: Batch) -> Encoded:
        """Encode all parts together, and where there are several, each alone."""
        tokens = self.tokenize(batch)
        encoded = self.encode(tokens)
        together = {name: pooled_part(encoded, tokens, name, presence(batch, name)) for name in tokens.spans or ()}
        pooled = pooled_over_parts(together, shares_space=True)
        parts = together
        if len(together) > 1:
            parts = {name: self._alone(name, batch) for name in together}
        valid = next(iter(together.values())).valid if len(together) == 1 else None
        return Encoded(pooled, encoded, tokens.grid, tokens.padding, parts, valid)

    def _alone(self, name: str, batch: Batch) -> Encoded:
        tokens = self.tokenize(only_part(batch, name))
        return pooled_part(self.encode(tokens), tokens, name, presence(batch, name))

    def tokenize(self, batch: Batch) -> FusedTokens:
        """Cut each part that the batch holds into tokens, and put them one behind the other.

        Raises:
            ConfigError: it holds none of the parts.
        """
        cut = {name: self.tokenizer(name).tokenize(own) for name, own in self._own_batches(batch).items()}
        if not cut:
            raise ConfigError(f"the batch holds none of the parts {', '.join(self.tokenizers)}, which the network is for.")
        embeddings, positions, paddings, spans, begin = [], [], [], {}, 0
        # Rows of a single part that lack it are left with others' values, as a tower has them: what comes out means nothing.
        present = {name: presence(batch, name) if cut.keys() - {name} else None for name in cut}
        padded = any(own.padding is not None or present[name] is not None for name, own in cut.items())
        for name, own in cut.items():
            content = self.projections[name](own.embeddings)
            B, N, _ = content.shape
            place = lattice_positions(own.grid, self.embed_dim, content.device) + self.part_embedding[self._number(name)]
            learned = self.projections[name](own.positions.to(self.part_embedding.dtype))
            positions.append((learned + place).expand(B, -1, -1))
            embeddings.append(content)
            if padded:
                paddings.append(_padding(own, present[name], B, N))
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
        """Mix the tokens, or only those of ``keep``."""
        x, padding = tokens.embeddings + tokens.positions, tokens.padding
        if keep is not None:
            x, padding = gather_tokens(x, keep), None if padding is None else gather_tokens(padding, keep)
        return self.transformer(x, padding)  # type: ignore[no-any-return]  # modules are callable as Any

    def encode_apart(self, tokens: FusedTokens, keep: Tensor, parts: Tensor) -> Tensor:
        """As :meth:`encode` of ``keep``, but no token looks at those of another part.

        Args:
            tokens: from :meth:`tokenize`.
            keep: [B, K] long.
            parts: [K] long, the number of the part that each kept token is of.
        """
        x = gather_tokens(tokens.embeddings + tokens.positions, keep)
        padding = None if tokens.padding is None else gather_tokens(tokens.padding, keep)
        return self.transformer(x, padding, None, parts.unsqueeze(0))  # type: ignore[no-any-return]

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each block; the last is normalised."""
        return self.transformer.layers(tokens.embeddings + tokens.positions, tokens.padding)

    def blocks(self) -> list[nn.Module]:
        """Those of the transformer."""
        return list(self.transformer.blocks)

    def input_projection(self) -> list[nn.Parameter]:
        """Of the parts that have one."""
        return [parameter for name in self.tokenizers for parameter in self.tokenizer(name).input_projection()]

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """Those of all parts' tokens, the projections to one width and the parts' vectors."""
        own = [parameter for name in self.tokenizers for parameter in self.tokenizer(name).tokenizer_parameters()]
        return [*own, *self.projections.parameters(), self.part_embedding]

    @property
    def finetuning(self) -> Finetuning:
        """As MAE's."""
        return vision_transformer_finetuning(self.embed_dim)

    def full_options(self, given: Config) -> Config:
        """Each part's with its id and options in full."""
        assert isinstance(given, FusionConfig)
        own = {name: TokenizerConfig(backbone=id, options=options) for name, (id, options) in self._options.items()}
        return given.model_copy(update={"tokenizers": own})

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, 2 + P] float: the number of the part, the token's place there, and the part's own targets, zeros behind."""
        found = {name: self.tokenizer(name).targets(own) for name, own in self._own_batches(batch).items()}
        values = {name: target if target.ndim == 3 else target.unsqueeze(2) for name, target in found.items()}
        self._target_widths |= {name: value.shape[2] for name, value in values.items()}
        kind = torch.promote_types(torch.float32, self.part_embedding.dtype)
        widest = max(value.shape[2] for value in values.values())
        rows = []
        for name, value in values.items():
            B, N, P = value.shape
            marks = torch.stack([
                torch.full((N,), float(self._number(name)), device=value.device, dtype=kind),
                torch.arange(N, device=value.device, dtype=kind),
            ], dim=1)  # fmt: skip
            rest = value.new_zeros(B, N, widest - P, dtype=kind)
            rows.append(torch.cat([marks.expand(B, -1, -1), value.to(kind), rest], dim=2))
        return torch.cat(rows, dim=1)

    def target_weight(self, batch: Batch) -> Tensor | None:
        """[B, N] float, as the parts say; None where none says anything."""
        own = self._own_batches(batch)
        weights = {name: self.tokenizer(name).target_weight(part) for name, part in own.items()}
        if all(weight is None for weight in weights.values()):
            return None
        filled = []
        for name, part in own.items():
            weight = weights[name]
            if weight is None:
                target = self.tokenizer(name).targets(part)
                weight = torch.ones(target.shape[:2], device=target.device)
            filled.append(weight)
        return torch.cat(filled, dim=1)

    def normalize_targets(self, targets: Tensor) -> Tensor:
        """Each token's as its part has it; the marks in front stay."""
        out = full(targets)
        for name, width in self._target_widths.items():
            own = self.tokenizer(name).normalize_targets(out[..., _MARKS : _MARKS + width])
            if self.tokenizer(name).target_kind == "categorical":
                continue
            rest = out[..., _MARKS + width :]
            changed = torch.cat([out[..., :_MARKS], own.to(out.dtype), rest], dim=-1)
            out = torch.where(self._is_of(name, out).unsqueeze(-1), changed, out)
        return out

    def target_head(self, dim: int) -> nn.Module:
        """The heads of all parts side by side; a token reads its own."""
        return PartHeads({name: self.tokenizer(name).target_head(dim) for name in self.tokenizers})

    def target_loss(
        self, prediction: Tensor, target: Tensor, index: Tensor, *, distance: Literal["squared", "absolute"] = "squared"
    ) -> Tensor:
        """[B, K], the loss of each token as its part has it."""
        loss = prediction.new_zeros(index.shape, dtype=torch.promote_types(torch.float32, prediction.dtype))
        predictions = torch.split(prediction, [self.tokenizer(name).target_dim for name in self.tokenizers], dim=-1)
        for name, own in zip(self.tokenizers, predictions, strict=True):
            if name not in self._target_widths:
                continue
            is_own = self._is_of(name, target)
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

        Args:
            name: of the part.
            prediction: [B, K, ...] from the part's own head.
            target: [B, K, 2 + P] from :meth:`targets`.
            is_own: [B, K] bool, which tokens are of this part; the loss of others means nothing. None: all are.
            distance: of real vectors.
        """
        part = self.tokenizer(name)
        # Other parts' numbers are no ids or places of this one.
        target = target if is_own is None else torch.where(is_own.unsqueeze(-1), target, 0.0)
        values = target[..., _MARKS : _MARKS + self._target_widths[name]]
        if part.target_kind == "categorical":
            values = values[..., 0].long()
        return part.target_loss(prediction, values, target[..., 1].long(), distance=distance)

    def _is_of(self, name: str, target: Tensor) -> Tensor:
        return target[..., 0] == self._number(name)

    def _number(self, name: str) -> int:
        return list(self.tokenizers).index(name)

    def _own_batches(self, batch: Batch) -> dict[str, Batch]:
        """The batch of each part that it holds; rows that lack one hold other rows' values."""
        held = part_names(batch)
        return {name: fill_absent(part_of(batch, name), presence(batch, name)) for name in self.tokenizers if name in held}


class PartHeads(nn.ModuleDict):
    """A head a part, their outputs side by side."""

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., dim] to [..., the sum of the heads' widths]."""
        return torch.cat([head(hidden) for head in self.values()], dim=-1)


def _padding(tokens: Tokens, present: Tensor | None, B: int, N: int) -> Tensor:
    """[B, N] bool; a part that a row lacks is padding."""
    padding = tokens.padding
    if padding is None:
        padding = torch.zeros(B, N, dtype=torch.bool, device=tokens.embeddings.device)
    return padding if present is None else padding | ~present.unsqueeze(1)


def pooled_part(encoded: Tensor, tokens: FusedTokens, name: str, present: Tensor | None) -> Encoded:
    """A part's tokens among encoded ones, and their mean.

    Args:
        encoded: [B, N, D].
        tokens: what was encoded.
        name: of the part.
        present: [B] bool, which rows have it; None: all.
    """
    assert tokens.spans is not None
    assert tokens.grids is not None
    begin, end = tokens.spans[name]
    own = encoded[:, begin:end]
    padding = None if tokens.padding is None else tokens.padding[:, begin:end]
    return Encoded(mean_over_tokens(own, padding), own, tokens.grids[name], padding, None, present)


def build_fusion(config: FusionConfig, info: Info) -> Fusion:
    """One transformer for all parts of the rows.

    Raises:
        ConfigError: there are no parts, options are of none of them, or a part cannot be cut into tokens.
        MissingPluginError: the plugin of a part's modality is not installed; the message says how to install it.
    """
    parts = dict(sorted(joined_parts(info).items(), key=lambda item: varies(item[1])))
    check_names(config.tokenizers, parts, "backbone.tokenizers")
    built = {name: build_tokenizer(part, config.tokenizers.get(name, TokenizerConfig())) for name, part in parts.items()}
    tokenizers = {name: backbone for name, (backbone, _) in built.items()}
    return Fusion(tokenizers, {name: options for name, (_, options) in built.items()}, config)


def fused(backbone: Backbone, method: str) -> Fusion:
    """``backbone``, if it fuses tokens of parts.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(backbone, Fusion):
        raise ConfigError(f"{method} hides tokens of several parts, and {type(backbone).__name__} has none: take fusion.")
    return backbone


FUSION = BackboneRecipe(config=FusionConfig, build=build_fusion)
"""``fusion``."""

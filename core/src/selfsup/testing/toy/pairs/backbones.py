"""Three backbones of pairs: two towers with or without a joint space, and one transformer over the tokens of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import (
    Backbone,
    BackboneRecipe,
    Encoded,
    TokenBackbone,
    Tokens,
    freeze,
    mean_over_tokens,
    pooled_over_parts,
)
from selfsup.batch_parts import fill_absent, part_names, part_of, presence
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.tasks.parts.random_masking import gather_tokens
from selfsup.tasks.parts.transformer import Transformer, lattice_positions
from selfsup.testing.toy.pairs.rows import PARTS
from selfsup.types import Batch, Info


class PairTowersConfig(Config):
    """Options of two towers, one a part."""

    towers: dict[str, str] = Field(default={"first": "sequence/conv", "second": "sequence/transformer"})
    """The backbone of each part."""
    dims: dict[str, int] = Field(default={"first": 24, "second": 32})
    """Its width."""
    joint_dim: int = Field(default=32, ge=0)
    """Width of the space that both are projected into; 0: no projection."""
    frozen: tuple[str, ...] = ()
    """Parts whose towers are not trained."""
    lr_scale: dict[str, float] = Field(default={})
    """Part to the share of the run's learning rate that its tower takes."""


class SeparateTowersConfig(PairTowersConfig):
    """Options of two towers without a joint space."""

    joint_dim: int = Field(default=0, ge=0)
    """Width of the space that both are projected into; 0: no projection."""


class PairFusionConfig(Config):
    """Options of the transformer."""

    dim: int = Field(default=32, ge=2)
    """Width D."""
    depth: int = Field(default=2, ge=1)
    """Number of blocks."""
    heads: int = Field(default=2, ge=1)
    """Attention heads."""


class PairTowers(Backbone):
    """A tower for each sequence, and with ``joint_dim`` a projection of each into one space."""

    modality: ClassVar[str] = "sequence-pair"

    def __init__(self, config: PairTowersConfig, info: Info) -> None:
        super().__init__()
        self.towers, self.projections = nn.ModuleDict(), nn.ModuleDict()
        self.lr_scale = config.lr_scale
        self._options: dict[str, tuple[str, dict[str, Any]]] = {}
        self._dims: dict[str, int] = {}
        for part in PARTS:
            id_ = config.towers[part]
            tower, options = registry().build_backbone(id_, {"dim": config.dims[part]}, info["parts"][part]["info"])
            self._options[part] = (id_, options.model_dump(mode="json"))
            self.towers[part] = tower
            if config.joint_dim:
                self.projections[part] = nn.Linear(tower.pooled_dim, config.joint_dim, bias=False)
            self._dims[part] = config.joint_dim or tower.pooled_dim
            if part in config.frozen:
                freeze(tower)
        self.embed_dim = config.joint_dim or sum(self._dims.values())

    @property
    def part_dims(self) -> Mapping[str, int]:
        """``joint_dim``, or each tower's own width."""
        return self._dims

    @property
    def shares_space(self) -> bool:
        """Whether there is a joint space."""
        return len(self.projections) > 0

    def part(self, name: str) -> Backbone:
        """A tower, without the projection."""
        if name not in self.towers:
            return super().part(name)
        tower = self.towers[name]
        assert isinstance(tower, Backbone)
        return tower

    def part_options(self, name: str) -> tuple[str, dict[str, Any]]:
        """What the tower was built by."""
        self.part(name)
        return self._options[name]

    def lr_scales(self) -> list[tuple[nn.Module, float]]:
        """``lr_scale``, of the towers."""
        return [(self.towers[part], scale) for part, scale in self.lr_scale.items()]

    def blocks(self) -> list[nn.Module]:
        """Those of the transformers among the towers; none where a tower has none."""
        return [block for part in PARTS for block in self.part(part).blocks()]

    def forward(self, batch: Batch) -> Encoded:
        """Encode the parts that the batch holds."""
        parts: dict[str, Encoded] = {}
        for name in part_names(batch):
            present = presence(batch, name)
            encoded = self.towers[name](fill_absent(part_of(batch, name), present))
            pooled = self.projections[name](encoded.pooled) if name in self.projections else encoded.pooled
            parts[name] = encoded._replace(pooled=pooled, valid=present)
        return Encoded(pooled_over_parts(parts, shares_space=self.shares_space), parts=parts)


class PairFusion(TokenBackbone):
    """A transformer over the ids of both sequences; each has a word embedding and ids of its own."""

    modality: ClassVar[str] = "sequence-pair"
    target_kind: ClassVar[Literal["continuous", "categorical"]] = "categorical"

    def __init__(self, config: PairFusionConfig, info: Info) -> None:
        super().__init__()
        infos = {part: info["parts"][part]["info"] for part in PARTS}
        if any(own["kind"] != "ids" for own in infos.values()):
            raise ConfigError("sequence-pair/fusion takes ids, and a part of these rows is of frames.")
        self.embed_dim = config.dim
        self.embeddings = nn.ModuleDict({part: nn.Embedding(own["vocabulary"], config.dim) for part, own in infos.items()})
        self.of_part = nn.ParameterDict({part: torch.randn(config.dim) * 0.02 for part in PARTS})
        self.offsets = {"first": 0, "second": infos["first"]["vocabulary"]}
        self.target_dim = sum(own["vocabulary"] for own in infos.values())
        self.transformer = Transformer(config.dim, config.depth, config.heads)

    @property
    def part_dims(self) -> Mapping[str, int]:
        """D for both."""
        return dict.fromkeys(PARTS, self.embed_dim)

    @property
    def shares_space(self) -> bool:
        """One network gives both."""
        return True

    def blocks(self) -> list[nn.Module]:
        """Those of the transformer."""
        return list(self.transformer.blocks)

    def tokenize(self, batch: Batch) -> Tokens:
        """The tokens of the first sequence, then those of the second; of one that a row lacks all are padding."""
        embeddings, positions, paddings = [], [], []
        for name, (ids, padding) in self._ids(batch).items():
            embeddings.append(self.embeddings[name](ids) + self.of_part[name])
            positions.append(lattice_positions((ids.shape[1],), self.embed_dim, ids.device))
            paddings.append(padding)
        joined = torch.cat(embeddings, dim=1)
        return Tokens(joined, torch.cat(positions).unsqueeze(0), (joined.shape[1],), torch.cat(paddings, dim=1))

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """The word embeddings, and those of the parts."""
        return [*self.embeddings.parameters(), *self.of_part.parameters()]

    def _ids(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """By part its ids [B, N], and its padding [B, N] bool."""
        names = part_names(batch)
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for name in names:
            own, present = part_of(batch, name), presence(batch, name)
            own = fill_absent(own, present)
            ids = own["sequence"]
            padding = own.get("padding", torch.zeros_like(ids, dtype=torch.bool))
            if present is not None and len(names) > 1:  # alone, a row would have no token at all
                padding = padding | ~present.unsqueeze(1)
            found[name] = (ids, padding)
        return found

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Mix the tokens, or only those of ``keep``."""
        x, padding = tokens.embeddings + tokens.positions, tokens.padding
        if keep is not None:
            x, padding = gather_tokens(x, keep), None if padding is None else gather_tokens(padding, keep)
        return self.transformer(x, padding, None)  # type: ignore[no-any-return]  # modules are callable as Any

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each block."""
        return self.transformer.layers(tokens.embeddings + tokens.positions, tokens.padding, None)

    def targets(self, batch: Batch) -> Tensor:
        """[B, N] long, the ids of the second sequence behind those of the first."""
        return torch.cat([ids + self.offsets[name] for name, (ids, _) in self._ids(batch).items()], dim=1)

    def forward(self, batch: Batch) -> Encoded:
        """Pool over the real tokens of each part, then over the parts."""
        tokens = self.tokenize(batch)
        encoded = self.encode(tokens)
        parts: dict[str, Encoded] = {}
        start = 0
        for name, (ids, padding) in self._ids(batch).items():
            own = encoded[:, start : start + ids.shape[1]]
            pooled = mean_over_tokens(own, padding)
            parts[name] = Encoded(pooled, own, (ids.shape[1],), padding, valid=presence(batch, name))
            start += ids.shape[1]
        return Encoded(
            pooled_over_parts(parts, shares_space=self.shares_space), encoded, tokens.grid, tokens.padding, parts=parts
        )


TOWERS = BackboneRecipe(PairTowersConfig, PairTowers)
SEPARATE = BackboneRecipe(SeparateTowersConfig, PairTowers)
FUSION = BackboneRecipe(PairFusionConfig, PairFusion)

"""The FT-Transformer backbone (Gorishniy et al. 2021, arXiv:2106.11959, section 3.3): every cell is a token."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import BackboneRecipe, Encoded, TokenBackbone, Tokens
from selfsup.config import Config
from selfsup.tasks import Transformer, gather_tokens
from selfsup.types import Batch, Info
from selfsup_tabular.layout import CellLayout


class FTTransformerConfig(Config):
    """Options of ``ft-transformer``."""

    dim: int = Field(default=96, ge=4)
    """Width D of the tokens; 192 in the paper."""
    depth: int = Field(default=3, ge=1)
    """Blocks; 3 in the paper."""
    heads: int = Field(default=4, ge=1)
    """Attention heads, a divisor of the width; 8 in the paper."""
    reg_tokens: int = Field(default=0, ge=0)
    """Additional learned tokens whose outputs are dropped; 1 in T-JEPA ([REG], against collapse), none in the paper."""


class CellEmbedding(nn.Module):
    """A vector for the content of each cell, and a vector for its column.

    A number x in column j becomes x · w_j; each category and each missing number has its own vector. The paper's bias b_j is
    the column's position, so that a mask hides the value but not the column. Parameters start uniform in ±1/√D, as in the
    paper's code.
    """

    offsets: Tensor

    def __init__(self, dim: int, layout: CellLayout) -> None:
        super().__init__()
        self.n_numeric, self.n_categories = layout.n_numeric, layout.n_categories
        if layout.n_numeric:
            self.weight = nn.Parameter(torch.empty(layout.n_numeric, dim))
            self.missing = nn.Parameter(torch.empty(layout.n_numeric, dim))
        if layout.n_categories:
            self.category = nn.Embedding(sum(layout.cardinalities), dim)
        self.column = nn.Parameter(torch.empty(1, layout.n_cells, dim))
        starts = [sum(layout.cardinalities[:place]) for place in range(layout.n_categories)]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.long), persistent=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(dim), 1 / math.sqrt(dim))

    def forward(self, batch: Batch) -> Tensor:
        """[B, n_cells, D], without the vectors of the columns."""
        parts = []
        if self.n_numeric:
            values = batch["numeric"].unsqueeze(2) * self.weight
            parts.append(torch.where(batch["missing"].unsqueeze(2), self.missing, values))
        if self.n_categories:
            parts.append(self.category(batch["category"] + self.offsets))
        return torch.cat(parts, dim=1)


class FTTransformerBackbone(TokenBackbone):
    """A transformer over the cells of a row; the embedding is the mean of its outputs.

    Unlike in the paper there is no [CLS] token, which masked tasks would not train, and blocks are the core's: GELU,
    feed-forward width 4 and no dropout (paper: ReGLU, 4/3 and dropout). With ``reg_tokens`` T-JEPA's regularization tokens
    (Thimonier et al. 2024, arXiv:2410.05016) take part in the attention; their outputs are dropped. Targets are the numbers and
    codes of cells that are neither missing nor unknown.
    """

    modality: ClassVar[str] = "tabular"
    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"

    def __init__(self, config: FTTransformerConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim = config.dim
        self.layout = CellLayout(info)
        self.target_dim = self.layout.width
        self.cells = CellEmbedding(config.dim, self.layout)
        self.transformer = Transformer(config.dim, config.depth, config.heads)
        self.reg_tokens: nn.Parameter | None = None
        if config.reg_tokens:
            self.reg_tokens = nn.Parameter(torch.empty(config.reg_tokens, config.dim))
            nn.init.uniform_(self.reg_tokens, -1 / math.sqrt(config.dim), 1 / math.sqrt(config.dim))

    def tokenize(self, batch: Batch) -> Tokens:
        """One token a cell."""
        return Tokens(self.cells(batch), self.cells.column, (self.layout.n_cells,))

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """The embeddings of the cells and columns."""
        return list(self.cells.parameters())

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Encode the tokens, or only those of ``keep``."""
        content = tokens.embeddings + tokens.positions
        return self._mix(content if keep is None else gather_tokens(content, keep))[-1]

    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks."""
        return list(self.transformer.blocks)

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each block."""
        return self._mix(tokens.embeddings + tokens.positions)

    def _mix(self, content: Tensor) -> list[Tensor]:
        """The output of each block, [B, K, D]; the learned tokens are prepended and removed again."""
        if self.reg_tokens is None:
            return self.transformer.layers(content)
        extra = self.reg_tokens.to(content.dtype).expand(len(content), -1, -1)
        outputs = self.transformer.layers(torch.cat([extra, content], dim=1))
        return [output[:, extra.shape[1] :] for output in outputs]

    def targets(self, batch: Batch) -> Tensor:
        """[B, n_cells, 1] float: numbers (NaN if missing) and codes."""
        return self.layout.values(batch).unsqueeze(2)

    def target_weight(self, batch: Batch) -> Tensor:
        """[B, n_cells] float, 0 for missing cells."""
        return self.layout.known(self.layout.values(batch)).float()

    def target_head(self, dim: int) -> nn.Module:
        """A linear layer with an output per number and per code; each cell uses its own."""
        return nn.Linear(dim, self.layout.width)

    def target_loss(
        self, prediction: Tensor, target: Tensor, index: Tensor, *, distance: Literal["squared", "absolute"] = "squared"
    ) -> Tensor:
        """[B, K]: the error of numbers, the cross-entropy of codes, 0 for missing cells."""
        return self.layout.losses(prediction, target.squeeze(-1), index, distance)

    def forward(self, batch: Batch) -> Encoded:
        """Tokenize, encode, average."""
        tokens = self.tokenize(batch)
        encoded = self.encode(tokens)
        return Encoded(encoded.mean(dim=1), encoded, tokens.grid)


FT_TRANSFORMER = BackboneRecipe(FTTransformerConfig, FTTransformerBackbone)

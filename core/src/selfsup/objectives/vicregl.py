"""VICRegL's loss: VICReg on whole embeddings, and on tokens matched between the views by feature and by place."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.config import Config, idle
from selfsup.errors import ConfigError
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.collapse import output_std
from selfsup.objectives.parts.heads import TokenHead, mlp
from selfsup.objectives.parts.valid_rows import in_both_views, only_valid
from selfsup.objectives.vicreg import VICRegTerms, sum_of, vicreg_terms


def match_tokens(
    a: Tensor, b: Tensor, distances: Tensor, n_matches: int, padding_a: Tensor | None = None, padding_b: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Pair tokens of two views: for each of ``a`` its nearest of ``b``, and of these pairs the ``n_matches`` closest.

    Args:
        a: [B, N, P].
        b: [B, M, P].
        distances: [B, N, M], between the tokens or their places.
        n_matches: the paper's gamma; all N where there are fewer.
        padding_a: [B, N] bool, tokens never to be paired; a sample with too few others repeats its closest pair.
        padding_b: [B, M] bool.

    Returns:
        Two tensors [B, min(n_matches, N), P], the closest pair first.
    """
    if padding_a is not None:
        distances = distances.masked_fill(padding_a.unsqueeze(2), float("inf"))
    if padding_b is not None:
        distances = distances.masked_fill(padding_b.unsqueeze(1), float("inf"))
    nearest = distances.min(dim=2)
    closest = nearest.values.topk(min(n_matches, a.shape[1]), dim=1, largest=False)
    chosen = torch.where(closest.values.isinf(), closest.indices[:, :1], closest.indices)
    partner = nearest.indices.gather(1, chosen)
    return _take(a, chosen), _take(b, partner)


def _take(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[B, N, D] and [B, M, D] to [B, N, M]; only their order is of use, so no gradient and no root."""
    a, b = a.detach(), b.detach()
    return a.square().sum(-1, keepdim=True) - 2 * a @ b.mT + b.square().sum(-1).unsqueeze(1)


def _mean_terms(terms: list[VICRegTerms]) -> VICRegTerms:
    return VICRegTerms(*(torch.stack(parts).mean() for parts in zip(*terms, strict=True)))


class VICRegLConfig(Config):
    """VICRegL (Bardes et al. 2022, arXiv:2210.01571)."""

    alpha: float = Field(default=0.75, ge=0, le=1)
    """Weight of the loss on whole embeddings; that on tokens has 1 - alpha (paper: 0.75 for ResNet-50, 0.9 for ConvNeXt)."""
    n_matches: tuple[int, int] = (20, 4)
    """Pairs of tokens kept in the first and the second direction of a match (paper's code: 20 and 4)."""
    invariance_weight: float = Field(default=25.0, ge=0)
    """Lambda, the weight of the distance between views (paper: 25)."""
    variance_weight: float = Field(default=25.0, ge=0)
    """Mu, the weight of the hinge on each dimension's standard deviation (paper: 25)."""
    covariance_weight: float = Field(default=1.0, ge=0)
    """Nu, the weight of the covariances (paper: 1)."""
    hidden_dim: int = Field(default=8192, ge=1)
    """Width of the hidden layers of the expander for whole embeddings (paper: 8192)."""
    output_dim: int = Field(default=8192, ge=1)
    """Width of the whole embedding that is regularised (paper: 8192)."""
    token_dim: int = Field(default=512, ge=1)
    """Width of all three layers of the expander for tokens (paper: 512)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("alpha is 1", self.alpha == 1, "token_dim", "n_matches")


class VICRegL(JointEmbeddingObjective):
    """VICReg on whole embeddings and on matched tokens, the two global views of the paper's ResNet-50.

    As in the authors' code the covariance term is the mean over the views, where VICReg's is the sum. Matches by place need
    views that say where they lie (``crop``); without them tokens are matched by feature only. Pairs stay in the order of their
    distance, as in lightly; the authors' code orders them by token, which changes which tokens of different samples share a
    variance.
    """

    Config = VICRegLConfig
    handles_absent = True
    uses_tokens = True
    config: VICRegLConfig

    def __init__(self, config: VICRegLConfig) -> None:
        super().__init__(config)
        if min(config.n_matches) < 1:
            raise ConfigError(f"objective.n_matches={config.n_matches} must be two positive numbers.")

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Three layers."""
        hidden = self.config.hidden_dim
        return mlp([embed_dim, hidden, hidden, self.config.output_dim])

    def build_token_projector(self, embed_dim: int) -> nn.Module:
        """Three layers, on each token."""
        return TokenHead(mlp([embed_dim, *[self.config.token_dim] * 3]))

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        config = self.config
        weights = (config.invariance_weight, config.variance_weight, config.covariance_weight / 2)
        (a, b), valid = embeddings.online, in_both_views(embeddings)
        whole = vicreg_terms(a, b, valid)
        by_feature = self._matched(embeddings, embeddings.online_tokens, valid)
        matched = [by_feature]
        if embeddings.locations is not None:
            matched.append(self._matched(embeddings, embeddings.locations, valid))
        tokens = sum_of([terms.weighted(*weights) for terms in matched])
        loss = config.alpha * whole.weighted(*weights) + (1 - config.alpha) * tokens
        spread = {"output_std": output_std(a, valid)}
        metrics = {**whole.metrics(), **spread, "token_invariance": by_feature.invariance.detach()}
        if valid is None:
            return LossOutput(loss, metrics)
        parts = [whole.scaled(config.alpha), *(terms.scaled(1 - config.alpha) for terms in matched)]
        joined = VICRegTerms(*(sum_of(same) for same in zip(*parts, strict=True)))
        return LossOutput(loss, metrics, None, joined.by_weight(weights, valid))

    def _matched(self, embeddings: ViewEmbeddings, where: list[Tensor], valid: Tensor | None) -> VICRegTerms:
        """Terms of tokens paired by the distance between ``where`` they are, both directions averaged.

        Both orders of the two views are taken, as the two directions keep different numbers of pairs.
        """
        padding: list[Tensor | None] = [*embeddings.token_padding] if embeddings.token_padding is not None else [None, None]
        views = [only_valid(tokens, valid) for tokens in embeddings.online_tokens]
        distances = _squared_distances(*(only_valid(each, valid) for each in where))
        terms: list[VICRegTerms] = []
        for first, second, between in ((0, 1, distances), (1, 0, distances.mT)):
            a, b = views[first], views[second]
            matches = [match_tokens(a, b, between, n, padding[first], padding[second]) for n in self.config.n_matches]
            terms.extend(vicreg_terms(one, other, valid) for one, other in matches)
        return _mean_terms(terms)


RECIPE = ObjectiveRecipe(
    config=VICRegLConfig,
    build=VICRegL,
    optimization={
        "optimizer": "lars",
        "base_lr": 0.2,
        "weight_decay": 1e-6,
        "warmup_epochs": 10,
        "final_lr_fraction": 0.001,
    },
)

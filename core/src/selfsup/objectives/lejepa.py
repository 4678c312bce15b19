"""LeJEPA's loss: views agree, and embeddings are an isotropic Gaussian along random directions (SIGReg)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, Term, ViewEmbeddings
from selfsup.objectives.parts.collapse import output_std
from selfsup.objectives.parts.heads import mlp
from selfsup.runtime.distributed import from_first_rank, mean_over_ranks, sum_over_ranks, world_size


def random_directions(dim: int, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """[dim, n] unit vectors, uniform on the sphere, the same on every rank; of the type and on the device of ``like``."""
    directions = torch.randn(dim, n, generator=generator, device=like.device, dtype=like.dtype)
    return from_first_rank(directions / directions.norm(dim=0))


def sigreg(x: Tensor, directions: Tensor, n_points: int = 17, t_max: float = 3.0, valid: Tensor | None = None) -> Tensor:
    """Sketched isotropic Gaussian regularisation (Balestriero & LeCun 2025, arXiv:2511.08544, section 4).

    The Epps-Pulley statistic of the global batch along each direction, N times the integral over t of
    ``exp(-t^2/2) * |mean(exp(i t x)) - exp(-t^2/2)|^2`` from -t_max to t_max by the trapezoidal rule. Like the authors' minimal
    example it takes twice the integral from 0, which is the same; t = 0 itself is left out, where the integrand is 0.

    Args:
        x: [..., B, P].
        directions: [P, M], of unit length.
        n_points: points of the rule in 0..t_max, both ends included.
        t_max: end of the integral.
        valid: [..., B] bool, the samples that count, each of the leading dimensions with a number N of its own; None: all.

    Returns:
        Scalar, the mean over the directions and the leading dimensions.
    """
    step = t_max / (n_points - 1)
    t = step * torch.arange(1, n_points, device=x.device, dtype=x.dtype)
    gaussian = (-t.square() / 2).exp()
    phases = (x @ directions).unsqueeze(-1) * t
    if valid is None:
        n: int | Tensor = x.shape[-2] * world_size()
        means = torch.stack([phases.cos().mean(dim=-3), phases.sin().mean(dim=-3)])
    else:
        n = sum_over_ranks(valid.sum(dim=-1).to(x.dtype))
        there = valid[..., None, None] * (world_size() / n.clamp_min(1))[..., None, None, None]
        means = torch.stack([(phases.cos() * there).sum(dim=-3), (phases.sin() * there).sum(dim=-3)])
    real, imaginary = mean_over_ranks(means)
    integrand = gaussian * ((real - gaussian).square() + imaginary.square())
    integral = 2 * step * (integrand.sum(dim=-1) - integrand[..., -1] / 2)
    statistic: Tensor = n * integral.mean() if valid is None else (n * integral.mean(dim=-1)).mean()
    return statistic


class LeJEPAConfig(Config):
    """LeJEPA (Balestriero & LeCun 2025, arXiv:2511.08544)."""

    sigreg_weight: float = Field(default=0.05, ge=0, le=1)
    """Lambda, the weight of SIGReg; that of the agreement of the views is 1 - lambda (paper: 0.05)."""
    n_slices: int = Field(default=1024, ge=1)
    """Random directions, drawn anew in each step (paper: 1024)."""
    n_points: int = Field(default=17, ge=2)
    """Points of the integral (paper: 17)."""
    t_max: float = Field(default=3.0, gt=0)
    """End of the integral (the authors' minimal example: 3; section 4 of the paper has 5)."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layers (authors' code: 2048)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the projection (authors' minimal example: 128, and 16 for ten classes)."""


class LeJEPA(JointEmbeddingObjective):
    """Distance of every view from the mean of the global ones, and SIGReg of each view."""

    Config = LeJEPAConfig
    handles_absent = True
    uses_local_views = True
    config: LeJEPAConfig

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Three layers."""
        hidden = self.config.hidden_dim
        return mlp([embed_dim, hidden, hidden, self.config.output_dim])

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        config = self.config
        views, valid = torch.stack(embeddings.online), None
        if embeddings.valid is None:
            agreement, weight = (views - views[: embeddings.n_global].mean(dim=0)).square().mean(), None
        else:
            valid = torch.stack(embeddings.valid)
            views = torch.where(valid.unsqueeze(-1), views, views.new_zeros(()))
            agreement, weight = _agreement(views, valid, embeddings.n_global)
        directions = random_directions(views.shape[-1], config.n_slices, views, embeddings.generator)
        regularizer = sigreg(views, directions, config.n_points, config.t_max, valid)
        spread, close = config.sigreg_weight * regularizer, (1 - config.sigreg_weight) * agreement
        metrics = {
            "agreement": agreement.detach(),
            "sigreg": regularizer.detach(),
            "output_std": output_std(views[0], None if valid is None else valid[0]),
        }
        terms = () if weight is None else (Term(close, weight), Term(spread))
        return LossOutput(spread + close, metrics, None, terms)


def _agreement(views: Tensor, valid: Tensor, n_global: int) -> tuple[Tensor, Tensor]:
    """The mean squared distance of views ([V, B, P]) from the mean of their sample's global ones, and over how many it is.

    Of those that are there (``valid``, [V, B] bool), of samples that have a global view and one more.
    """
    there = valid.to(views.dtype)
    n = there[:n_global].sum(dim=0)
    center = views[:n_global].sum(dim=0) / n.clamp_min(1).unsqueeze(-1)
    distances = (views - center).square().mean(dim=-1)
    counts = there * ((n > 0) & (there.sum(dim=0) > 1))
    return (distances * counts).sum() / counts.sum().clamp_min(1), counts.sum()


RECIPE = ObjectiveRecipe(
    config=LeJEPAConfig,
    build=LeJEPA,
    optimization={"optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.05, "warmup_epochs": 1, "final_lr_fraction": 0.001},
    views={"n_global": 2, "n_local": 6},
)

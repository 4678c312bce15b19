"""DINO's loss: match the centred and sharpened output of the momentum network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config, idle
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.collapse import assignment_metrics
from selfsup.objectives.parts.heads import CosineLinear, mlp
from selfsup.objectives.parts.valid_rows import counted_everywhere, global_mean, only_valid, pairs_there
from selfsup.runtime.distributed import mean_over_ranks


def dino_loss(
    student: list[Tensor],
    teacher: list[Tensor],
    center: Tensor,
    teacher_temperature: Tensor | float,
    student_temperature: float,
    valid: list[Tensor] | None = None,
) -> Tensor:
    """Cross-entropy of student views with the teacher's other views (Caron et al. 2021, arXiv:2104.14294, equation 3).

    Args:
        student: per view [B, K], the global ones first; logits.
        teacher: per global view [B, K]; logits, without gradient.
        center: [K], subtracted from the teacher's logits.
        teacher_temperature: sharpens the teacher.
        student_temperature: sharpens the student.
        valid: per view [B] bool, the samples that have it; None: all. A pair of views counts where both are.

    Returns:
        Scalar, the mean over the pairs and samples that count.
    """
    with torch.no_grad():
        soft = [F.softmax((logits - center) / teacher_temperature, dim=1) for logits in teacher]
        if valid is not None:
            soft = [only_valid(each, own) for each, own in zip(soft, valid, strict=False)]
        total = torch.stack(soft).sum(dim=0)
    n_pairs = len(student) * len(teacher) - min(len(teacher), len(student))
    loss = total.new_zeros(())
    for index, logits in enumerate(student):
        # One product with the sum of all its teachers, in place of one with each.
        wanted = total - soft[index] if index < len(teacher) else total
        rows = (wanted * F.log_softmax(logits / student_temperature, dim=1)).sum(dim=1)
        loss = loss - (rows.mean() if valid is None else only_valid(rows, valid[index]).sum())
    return loss / (n_pairs if valid is None else pairs_there(valid, len(teacher)).sum().clamp_min(1))


class DINOConfig(Config):
    """DINO (Caron et al. 2021, arXiv:2104.14294)."""

    student_temperature: float = Field(default=0.1, gt=0)
    """Sharpens the student (paper: 0.1)."""
    teacher_temperature: float = Field(default=0.07, gt=0)
    """Sharpens the teacher after the warm-up (paper: 0.07)."""
    warmup_teacher_temperature: float = Field(default=0.04, gt=0)
    """Sharpens the teacher at the beginning (paper: 0.04)."""
    warmup_fraction: float = Field(default=0.1, ge=0, le=1)
    """Part of the run in which the teacher's temperature rises linearly (paper: 30 epochs of 300)."""
    center_momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old centre that an update keeps (paper: 0.9)."""
    freeze_last_layer: float = Field(default=0.01, ge=0, le=1)
    """Part of the run for which the head's last layer stays as it is drawn (paper: 1 epoch of 100)."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the head's two hidden layers (paper: 2048)."""
    bottleneck_dim: int = Field(default=256, ge=1)
    """Width before the last layer (paper: 256)."""
    output_dim: int = Field(default=65536, ge=2)
    """K, the number of outputs (paper: 65536; 4096 lost half a point on ImageNet)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("warmup_fraction is 0", self.warmup_fraction == 0, "warmup_teacher_temperature")


class DINO(JointEmbeddingObjective):
    """Self-distillation with a centre against collapse; the rows of the last layer are kept at unit length."""

    Config = DINOConfig
    handles_absent = True
    target = "momentum"
    uses_local_views = True
    keeps_target = True
    center: Tensor
    teacher_temperature: Tensor
    config: DINOConfig

    def __init__(self, config: DINOConfig) -> None:
        super().__init__(config)
        self.register_buffer("center", torch.zeros(config.output_dim))
        # In a buffer, so that a resumed run goes on with it.
        self.register_buffer("teacher_temperature", torch.tensor(self._temperature(0.0)))
        self._last_layers: list[nn.Module] = []

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Three layers with GELU and no batch norm, then cosines with K unit vectors."""
        config = self.config
        body = mlp([embed_dim, config.hidden_dim, config.hidden_dim, config.bottleneck_dim], norm=False, activation=nn.GELU)
        for layer in body:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        last = CosineLinear(config.bottleneck_dim, config.output_dim)
        # In a list, which does not register it: its owner is the projector.
        self._last_layers.append(last)
        return nn.Sequential(*body, last)

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch, after which the centre moves."""
        valid = embeddings.valid
        there: Sequence[Tensor | None] = valid or [None] * len(embeddings.online)
        student = [only_valid(view, own) for view, own in zip(embeddings.online, there, strict=True)]
        targets = [only_valid(view, own) for view, own in zip(embeddings.target, there, strict=False)]
        center = self.center.to(targets[0].dtype)
        loss = dino_loss(student, targets, center, self.teacher_temperature, self.config.student_temperature, valid)
        with torch.no_grad():
            teacher = F.softmax((targets[0] - center) / self.teacher_temperature, dim=1)
        if self.training:
            self._move_center(targets, None if valid is None else torch.cat(valid[: len(targets)]))
        weight = None if valid is None else pairs_there(valid, len(targets)).sum().to(loss.dtype)
        return LossOutput(loss, assignment_metrics(teacher, valid=there[0]), weight)

    @torch.no_grad()
    def _move_center(self, teacher: list[Tensor], valid: Tensor | None) -> None:
        if valid is None:
            mean = mean_over_ranks(torch.stack(teacher).mean(dim=(0, 1)))
        else:
            count = counted_everywhere(valid, teacher[0])
            mean = torch.where(count > 0, global_mean(torch.cat(teacher), valid), self.center.to(teacher[0].dtype))
        self.center.lerp_(mean.to(self.center.dtype), 1 - self.config.center_momentum)

    def after_backward(self, progress: float) -> None:
        """Leave the last layer alone at first."""
        if progress < self.config.freeze_last_layer:
            for layer in self._last_layers:
                for parameter in layer.parameters():
                    parameter.grad = None

    def after_step(self, progress: float) -> None:
        """Move the teacher's temperature on."""
        self.teacher_temperature.fill_(self._temperature(progress))

    def _temperature(self, progress: float) -> float:
        config = self.config
        part = min(progress / config.warmup_fraction, 1.0) if config.warmup_fraction else 1.0
        return config.warmup_teacher_temperature + part * (config.teacher_temperature - config.warmup_teacher_temperature)


RECIPE = ObjectiveRecipe(
    config=DINOConfig,
    build=DINO,
    optimization={
        "optimizer": "adamw",
        "base_lr": 5e-4,
        "final_lr_fraction": 0.002,
        "weight_decay": 0.04,
        "weight_decay_end": 0.4,
        "warmup_epochs": 10,
        "clip": 3.0,
        "clip_per_parameter": True,
    },
    momentum=(0.996, 1.0),
    views={"n_global": 2, "n_local": 8},
)
"""DINO with the authors' settings for ViT-S/16: momenta for 300 epochs of ImageNet at a batch of 1024, 375,342 updates."""

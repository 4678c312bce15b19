"""Options of fine-tuning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from selfsup.config import Config
from selfsup.evaluation.maths.class_weights import ClassWeight

_EPOCHS, _MIN_STEPS = 30, 200


class FinetuneConfig(Config):
    """Options of fine-tuning."""

    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the training labels to use, equally many from each class (SimCLR: 0.01, 0.1, 1).

    For numbers, equally many from each tenth of them; where rows may have several classes, drawn uniformly.
    """
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the labelled rows; None: 30 (SimCLR: 30 for 10 % of the labels, 60 for 1 %)."""
    min_steps: int | None = Field(default=None, ge=0)
    """Fewest optimizer steps; None: 200 (with few labels, epochs are short), or 0 if ``epochs`` is given."""
    batch_size: int | None = Field(default=None, ge=2)
    """Rows per step, at most as many as there are; None: 128, or the modality's own batch size if that is smaller."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate of AdamW; it rises over the first tenth of the steps and falls along a cosine to 0.

    None: the backbone's own (BERT 3e-5, ViT-B 2.5e-4, most small networks 1e-3), and 1e-3 for untrained networks.
    """
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Factor of the learning rate from each block to the block before it; the input layers have the lowest rate.

    None: the backbone's own (vision transformers 0.75, all others 1), and 1 for an untrained network (Clark et al. 2020,
    ELECTRA, arXiv 2003.10555, section 3.1; Bao et al. 2021, BEiT, arXiv 2106.08254).
    """
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay, except for biases and norms."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes; not for numbers."""
    class_weight: ClassWeight = "none"
    """Weights of rows by class: ``none`` (all 1), ``balanced`` (each class has the same total), or class name to weight."""
    clip: float | None = Field(default=1.0, gt=0)
    """Largest 2-norm of the gradient; None does not clip."""
    augment: bool = True
    """Whether to apply the modality's light supervised augmentation, if it has one, and to draw random windows of long rows."""
    views: dict[str, Any] = Field(default_factory=dict)
    """Options of that augmentation; ``selfsup list options MODALITY/supervised --filter views.`` lists them."""
    head: Literal["probe", "zeros"] = "probe"
    """Initial head: a linear probe (Kumar et al. 2022, LP-FT, arXiv 2202.10054), or zeros."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Arithmetic of the training; ``auto`` uses bf16 if the device is faster with it."""

    checkpoint_activations: bool = False
    """Keep only the inputs of the network's blocks for the backward pass, and compute the rest again there.

    See ``optimization.checkpoint_activations``: the same model, in less memory and more time. Not for networks without blocks.
    """

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if value == 32 else value  # ``--set precision=32`` gives a number

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of a fine-tuning."""
        default = 0 if self.epochs else _MIN_STEPS
        return max((self.epochs or _EPOCHS) * steps_per_epoch, default if self.min_steps is None else self.min_steps)

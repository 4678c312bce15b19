"""The loss on labels of every kind, shared by the supervised reference and fine-tuning."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from selfsup.data.sources.columns.labels import LabelKind


def label_loss(
    kind: LabelKind, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Mean over rows of the cross-entropy, of the binary cross-entropies of all classes, or of the squared error.

    Args:
        kind: of the labels.
        outputs: [B, K] logits, one a class; or [B, 1] where the labels are numbers.
        targets: [B] long; [B, K] zeros and ones; or [B] numbers, standardised.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016, arXiv 1512.00567, section 7);
            where a row may have several, over the two answers for each.
        weights: how much each row counts, [B], or [B, K] for each of several classes; None: all alike.

    Returns:
        A scalar.
    """
    if kind == "number":
        losses = (outputs.squeeze(1) - targets.to(outputs.dtype)).square()
    elif kind == "classes":
        smooth = targets.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
    else:
        losses = F.cross_entropy(outputs, targets, label_smoothing=label_smoothing, reduction="none")
    return losses.mean() if weights is None else (losses * weights.to(losses.dtype)).mean()

"""A fine-tuned model: an encoder with a linear head that predicts labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from selfsup.data.sources.columns.labels import LABEL_KINDS, LabelKind
from selfsup.errors import ArtifactError
from selfsup.runtime.files import atomic_write
from selfsup.runtime.module_mode import evaluation_mode
from selfsup.types import Batch, Row

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder
    from selfsup.evaluation.evaluators.linear import Probe

HEAD_FILE = "head.safetensors"
LABELS_FILE = "labels.json"
_FARTHEST = 10.0
"""Standard deviations that a feature is clamped to: in a batch of 100 rows none is farther from its mean."""


class Head(nn.Module):
    """Standardise each feature by the batch, then a linear layer: embeddings [B, D] to outputs [B, K], in float32.

    Batch norm without weights removes the scale of embeddings, which in a network with batch norm differs between training and
    evaluation (He et al. 2022, MAE, arXiv 2111.06377, A.1).

    A feature that was constant in all training rows has hardly any spread: a new row may be thousands of standard deviations
    away, so that this feature alone would decide. So features are clamped to 10 standard deviations.
    """

    def __init__(self, embed_dim: int, n_outputs: int) -> None:
        super().__init__()
        # The usual eps of 1e-5 would suppress features with a standard deviation below 0.003.
        self.norm = nn.BatchNorm1d(embed_dim, affine=False, eps=1e-12)
        self.linear = nn.Linear(embed_dim, n_outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits [B, K], or [B, 1] of standardised numbers."""
        with torch.autocast(embeddings.device.type, enabled=False):
            outputs: Tensor = self.linear(self.norm(embeddings.float()).clamp(-_FARTHEST, _FARTHEST))
        return outputs

    @torch.no_grad()
    def start_from(self, probe: Probe) -> None:
        """Give the same outputs as a linear probe."""
        scale = probe.standardizer.scale
        self.norm.running_mean = probe.standardizer.mean.clone()
        # The weight of a constant feature is 0. Its variance stays 1, since training may change the feature.
        self.norm.running_var = torch.where(scale > 0, scale.clamp_min(1e-30).pow(-2), 1.0)
        self.linear.weight.copy_(probe.model.weight.view_as(self.linear.weight))
        self.linear.bias.copy_(probe.model.bias.view_as(self.linear.bias))

    @torch.no_grad()
    def settle(self, embeddings: Tensor) -> None:
        """Standardise by the means and variances of these embeddings [N, D] from now on.

        After a few steps of training the running means are still those of the start: numbers would be shifted by many standard
        deviations, and rows with several classes would get all or none.
        """
        variance, mean = torch.var_mean(embeddings, dim=0, correction=0)
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        self.norm.running_mean.copy_(mean)
        self.norm.running_var.copy_(torch.where(variance > 0, variance, self.norm.running_var))


class FinetunedModel(nn.Module):
    """Predicts labels. Saved as the encoder's folder with ``head.safetensors`` and ``labels.json`` in it, and no pickle.

    Args:
        encoder: gives the embeddings.
        head: gives outputs from them: one a class, or one for numbers.
        class_names: K names in the order of the outputs; empty where labels are numbers.
        label_kind: ``class``, ``classes`` (a row may have several) or ``number``.
        mean: of the numbers that the head was trained on, which it gives standardised.
        scale: their standard deviation.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        class_names: Sequence[str] = (),
        *,
        label_kind: LabelKind = "class",
        mean: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.class_names = tuple(class_names)
        self.label_kind = label_kind
        self.mean, self.scale = mean, scale

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, K] of a batch of the processor, or [B, 1] of standardised numbers."""
        outputs: Tensor = self.head(self.encoder(batch))
        return outputs

    def outputs(self, embeddings: Tensor) -> Tensor:
        """What the encoder's embeddings [N, D] say, on the CPU.

        Log-probabilities [N, K] of classes; log-odds [N, K] of each of several classes; or numbers [N] in float64.
        """
        with evaluation_mode(self.head):
            outputs: Tensor = self.head(embeddings.to(self.head.linear.weight.device)).cpu()
        if self.label_kind == "class":
            return outputs.log_softmax(dim=1)
        return outputs if self.label_kind == "classes" else outputs.squeeze(1).double() * self.scale + self.mean

    def predict(self, rows: Iterable[Row]) -> list[str] | list[list[str]] | list[float]:
        """The label of each row: the likeliest class; all classes that are likelier than not; or a number.

        Raises:
            BadRowError: a row cannot be processed.
        """
        outputs = self.outputs(torch.from_numpy(self.encoder.embed(rows)))
        if self.label_kind == "class":
            return [self.class_names[int(i)] for i in outputs.argmax(dim=1)]
        if self.label_kind == "classes":
            return [[self.class_names[int(i)] for i in row.nonzero().flatten()] for row in outputs > 0]
        return [float(number) for number in outputs]

    def save(self, directory: str | Path) -> Path:
        """Write it into a folder that does not exist, is empty, or holds an encoder. ``selfsup.load`` reads the encoder of it.

        Raises:
            ArtifactError: the folder holds something else.
            StorageError: the disk is full or cannot be written.
        """
        from safetensors.torch import save

        path = self.encoder.save(directory)
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.head.state_dict().items()}
        labels = {"kind": self.label_kind, "names": self.class_names, "mean": self.mean, "scale": self.scale}
        atomic_write(path / LABELS_FILE, json.dumps(labels, indent=2, ensure_ascii=False) + "\n")
        atomic_write(path / HEAD_FILE, save(tensors, metadata={"format": "pt"}))
        return path

    @classmethod
    def load(cls, directory: str | Path) -> FinetunedModel:
        """Read what :meth:`save` wrote; nothing of it is executed.

        Raises:
            ArtifactError: the folder holds no head, or a damaged one.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from selfsup.artifacts import load

        encoder = load(directory)
        try:
            labels = json.loads((Path(directory) / LABELS_FILE).read_text(encoding="utf-8"))
            kind, names, mean, scale = (labels[key] for key in ("kind", "names", "mean", "scale"))
            if kind not in LABEL_KINDS:
                raise ValueError(f"labels of kind {kind!r}; there are {', '.join(LABEL_KINDS)}")
            head = Head(encoder.embed_dim, 1 if kind == "number" else len(names))
            head.load_state_dict(load_file(Path(directory) / HEAD_FILE))
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{directory} holds an encoder, but no head that predicts labels: {error.filename} is missing."
            ) from error
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise ArtifactError(f"The head in {directory} cannot be read: {type(error).__name__}: {error}") from error
        return cls(encoder, head, names, label_kind=kind, mean=mean, scale=scale).eval()

"""An encoder with a linear head: what fine-tuning gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from selfsup.errors import ArtifactError
from selfsup.evaluation.views import frozen
from selfsup.files import atomic_write
from selfsup.types import Batch, Row

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

HEAD_FILE = "head.safetensors"
CLASSES_FILE = "classes.json"
_FARTHEST = 10.0
"""Standard deviations from its mean beyond which no feature counts: of a batch of 100 rows none is farther away."""


class Head(nn.Module):
    """Standardise each feature by the batch, then a linear layer: embeddings [B, D] to logits [B, K], in float32.

    Embeddings have any scale, and in a network with batch norm another one in training than in evaluation; batch norm without
    weights of its own takes both away (He et al. 2022, MAE, arXiv 2111.06377, A.1).

    A feature that was silent in all training rows has no spread to speak of, and a new row that wakes it would be thousands of
    standard deviations away: the answer would then be of that feature alone. So what is beyond 10 counts as 10.
    """

    def __init__(self, embed_dim: int, n_classes: int) -> None:
        super().__init__()
        # Small features are features, too: the usual eps of 1e-5 would silence a standard deviation below 0.003.
        self.norm = nn.BatchNorm1d(embed_dim, affine=False, eps=1e-12)
        self.linear = nn.Linear(embed_dim, n_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits [B, K]."""
        with torch.autocast(embeddings.device.type, enabled=False):
            logits: Tensor = self.linear(self.norm(embeddings.float()).clamp(-_FARTHEST, _FARTHEST))
        return logits


class Classifier(nn.Module):
    """Names classes. Saved as the encoder's folder with ``head.safetensors`` and ``classes.json`` in it, and no pickle.

    Args:
        encoder: gives the embeddings.
        head: gives logits from them.
        class_names: K names in the order of the logits.
    """

    def __init__(self, encoder: Encoder, head: Head, class_names: Sequence[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.class_names = tuple(class_names)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, K] of a batch of the processor."""
        logits: Tensor = self.head(self.encoder(batch))
        return logits

    def log_probabilities(self, embeddings: Tensor) -> Tensor:
        """[N, K] in float32 on the CPU, of the encoder's embeddings [N, D]."""
        with frozen(self.head):
            logits: Tensor = self.head(embeddings.to(self.head.linear.weight.device))
        return logits.log_softmax(dim=1).cpu()

    def predict(self, rows: Iterable[Row]) -> list[str]:
        """The most likely class of each row.

        Raises:
            BadRowError: a row cannot be processed.
        """
        embeddings = torch.from_numpy(self.encoder.embed(rows))
        return [self.class_names[int(i)] for i in self.log_probabilities(embeddings).argmax(dim=1)]

    def save(self, directory: str | Path) -> Path:
        """Write it into a folder that does not exist, is empty, or holds an encoder. ``selfsup.load`` reads the encoder of it.

        Raises:
            ArtifactError: the folder holds something else.
            StorageError: the disk is full or cannot be written.
        """
        from safetensors.torch import save

        path = self.encoder.save(directory)
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.head.state_dict().items()}
        atomic_write(path / CLASSES_FILE, json.dumps(self.class_names, indent=2, ensure_ascii=False) + "\n")
        atomic_write(path / HEAD_FILE, save(tensors, metadata={"format": "pt"}))
        return path

    @classmethod
    def load(cls, directory: str | Path) -> Classifier:
        """Read what :meth:`save` wrote; nothing of it is executed.

        Raises:
            ArtifactError: the folder holds no classifier, or a damaged one.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from selfsup.artifacts import load

        encoder = load(directory)
        path = Path(directory) / HEAD_FILE
        try:
            names = json.loads((Path(directory) / CLASSES_FILE).read_text())
            head = Head(encoder.embed_dim, len(names))
            head.load_state_dict(load_file(path))
        except FileNotFoundError as error:
            raise ArtifactError(f"{directory} holds an encoder, but no classifier: {error.filename} is missing.") from error
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ArtifactError(f"The head in {directory} cannot be read: {error}") from error
        return cls(encoder, head, names).eval()

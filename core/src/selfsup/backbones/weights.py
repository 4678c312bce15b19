"""Load a library's model weights from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.errors import ArtifactError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name. Nothing in the file is executed.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote of a state dict, perhaps under ``model`` or ``state_dict``.

    Raises:
        ArtifactError: it cannot be read as tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Any] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("model", state.get("state_dict", state))
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # torch and safetensors have no common base for what they raise
        raise ArtifactError(
            f"{path} cannot be read as tensors ({error}); give a .safetensors file, or a .pth of tensors."
        ) from error


def load_weights(
    model: nn.Module,
    path: Path,
    classifier: str | Sequence[str],
    adapt: Callable[[str, Tensor], Tensor] = lambda name, weight: weight,
) -> None:
    """Load a state dict with the library's own names; a classifier in it is passed over. Nothing in the file is executed.

    Args:
        model: without classifier.
        path: ``.safetensors``, or ``.pth`` of tensors.
        classifier: name or names of the modules that are the classifier.
        adapt: makes each weight fit the model, given its name.

    Raises:
        ArtifactError: the file cannot be read, or does not fit the model.
    """
    try:
        state = read_tensors(path)
    except ArtifactError as error:
        raise ArtifactError(f"backbone.checkpoint={error}") from error
    own = model.state_dict()
    names = (classifier,) if isinstance(classifier, str) else classifier
    state = {k: v for k, v in state.items() if k in own or not any(k.startswith(f"{name}.") for name in names)}
    state = {k: adapt(k, v) for k, v in state.items()}
    wrong = sorted(own.keys() ^ state.keys()) or sorted(k for k in own if own[k].shape != state[k].shape)
    if wrong:
        raise ArtifactError(
            f"backbone.checkpoint={path} does not fit the model: {len(wrong)} entries are missing, unknown or of another "
            f"shape, the first of them {wrong[:3]}."
        )
    model.load_state_dict(state)

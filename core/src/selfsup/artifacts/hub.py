"""Fetch files of the hub, and read models of other libraries."""

from __future__ import annotations

import json
import re
from pathlib import Path

from torch import Tensor

from selfsup.artifacts.saving import WEIGHTS_FILE
from selfsup.backbones import Scaling
from selfsup.backbones.weights import read_tensors
from selfsup.errors import ArtifactError

HUB = "hf://"
"""What the name of a repository of the hub begins with."""


def file_of(source: str, name: str) -> Path:
    """A file of a model of another library, which need not be there.

    Args:
        source: its folder, or ``hf://owner/name[@revision]``, whose file is fetched.
        name: of the file.

    Raises:
        ArtifactError: the hub cannot be asked.
    """
    return (fetch(source, [name]) if source.startswith(HUB) else Path(source).expanduser()) / name


def read_model(source: str) -> dict[str, Tensor]:
    """The tensors of ``model.safetensors`` of a model of another library, by name; ``source`` as for :func:`file_of`.

    Raises:
        ArtifactError: there is no such file, or it cannot be read.
    """
    path = file_of(source, WEIGHTS_FILE)
    if not path.is_file():
        raise ArtifactError(f"{source} holds no {WEIGHTS_FILE}: only safetensors are read.")
    return read_tensors(path)


def image_scaling(source: str, usual: Scaling) -> Scaling:
    """Mean and deviation of each channel that a model of transformers was trained with (``preprocessor_config.json``).

    Args:
        source: as for :func:`file_of`.
        usual: where nothing is said.

    Raises:
        ArtifactError: the file cannot be read.
    """
    path = file_of(source, "preprocessor_config.json")
    try:
        described = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if not described.get("do_normalize", True):
        return (0.0,) * len(usual[0]), (1.0,) * len(usual[1])
    return tuple(described.get("image_mean", usual[0])), tuple(described.get("image_std", usual[1]))


def fetch(source: str, patterns: list[str]) -> Path:
    """Fetch files of a repository of the hub.

    Args:
        source: ``hf://owner/name[@revision]``.
        patterns: names of the files.

    Returns:
        The folder that holds them.

    Raises:
        ArtifactError: they cannot be fetched.
    """
    match = re.fullmatch(r"hf://([^/@]+/[^/@]+)(?:@(.+))?", source)
    if match is None:
        raise ArtifactError(f"{source!r} is not of the form hf://owner/name[@revision].")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(match[1], revision=match[2], allow_patterns=patterns))
    except Exception as error:  # the hub's client has no common base for what it raises
        raise ArtifactError(f"{source} cannot be fetched: {type(error).__name__}: {error}") from error

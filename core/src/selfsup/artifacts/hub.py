"""Fetch files of the hub, and read models of other libraries."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from selfsup.artifacts.saving import WEIGHTS_FILE
from selfsup.backbones import Scaling
from selfsup.backbones.weights import read_tensors
from selfsup.damaged_files import read_json
from selfsup.errors import ArtifactError

HUB = "hf://"
"""Prefix of repositories of the hub."""


def file_of(source: str, name: str) -> Path:
    """The path of a file of a model of another library; it need not exist.

    Args:
        source: the model's folder, or ``hf://owner/name[@revision]``, from which the file is fetched.
        name: of the file.

    Raises:
        ArtifactError: the hub cannot be reached.
    """
    return (fetch(source, [name]) if source.startswith(HUB) else Path(source).expanduser()) / name


def read_model(source: str) -> dict[str, Tensor]:
    """The tensors of ``model.safetensors`` of a model of another library, by name; ``source`` as for :func:`file_of`.

    Raises:
        ArtifactError: there is no such file, or it cannot be read.
    """
    path = file_of(source, WEIGHTS_FILE)
    if not path.is_file():
        raise ArtifactError(f"{source} holds no {WEIGHTS_FILE}; other formats are not read.")
    return read_tensors(path)


def image_scaling(source: str, usual: Scaling) -> Scaling:
    """Mean and deviation of each channel from the ``preprocessor_config.json`` of a transformers model.

    Args:
        source: as for :func:`file_of`.
        usual: the default.

    Raises:
        ArtifactError: the file cannot be read.
    """
    path = file_of(source, "preprocessor_config.json")
    try:
        described = read_json(path) if path.is_file() else {}
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
    except Exception as error:  # the errors of the hub's client have no common base class
        raise ArtifactError(f"{source} cannot be fetched: {type(error).__name__}: {error}") from error

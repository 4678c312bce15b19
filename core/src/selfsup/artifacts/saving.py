"""Save an encoder into a folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import save_model

from selfsup.artifacts.model_card import Described, model_card
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.backbones import Backbone
from selfsup.errors import ArtifactError, StorageError
from selfsup.runtime.environment import package_versions
from selfsup.runtime.files import replace_folder, storage_errors, sync_directory, temporary_path

FORMAT = "selfsup-encoder"
FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
PROCESSOR_FOLDER = "processor"
CARD_FILE = "README.md"


class Saved(Described, Protocol):
    """The parts of an encoder that are saved."""

    pretraining_rows: PretrainingRows | None

    def config(self) -> dict[str, Any]:
        """Everything except the weights."""


def save_encoder(encoder: Saved, directory: Path) -> Path:
    """Write config, weights, processor and model card, in full or not at all."""
    if directory.exists() and not _may_replace(directory):
        raise ArtifactError(f"{directory} exists and is no encoder; it is not overwritten. Choose another folder.")
    temporary = temporary_path(directory)
    with storage_errors(directory):
        try:
            (temporary / PROCESSOR_FOLDER).mkdir(parents=True)
            encoder.processor.save(temporary / PROCESSOR_FOLDER)
            if encoder.pretraining_rows is not None:
                encoder.pretraining_rows.save(temporary)
            (temporary / CARD_FILE).write_text(model_card(encoder))
            _save_weights(encoder.backbone, temporary / WEIGHTS_FILE)
            # safetensors makes its files private; give this one the permissions of the others.
            shutil.copymode(temporary / CARD_FILE, temporary / WEIGHTS_FILE)
            config = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                **encoder.config(),
                "versions": dict(package_versions()),
            }
            (temporary / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
            _sync_files(temporary)
            if directory.exists():
                replace_folder(temporary, directory)
            else:
                temporary.rename(directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_directory(directory.parent)
    return directory


def is_encoder(directory: Path) -> bool:
    """Whether a folder holds an encoder of selfsup."""
    try:
        config = json.loads((directory / CONFIG_FILE).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def _may_replace(directory: Path) -> bool:
    return directory.is_dir() and (is_encoder(directory) or not any(directory.iterdir()))


def _save_weights(backbone: Backbone, path: Path) -> None:
    try:
        save_model(backbone, str(path), metadata={"format": "pt"})
    except SafetensorError as error:
        raise StorageError(f"Cannot write {path.name}: {error}.") from error


def _sync_files(directory: Path) -> None:
    for file in directory.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())

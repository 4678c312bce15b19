"""Save an encoder into a folder."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import save_model

from selfsup.artifacts.model_card import Described, model_card
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.backbones import Backbone
from selfsup.damaged_files import read_json
from selfsup.errors import ArtifactError
from selfsup.runtime.environment import package_versions
from selfsup.runtime.files import give_folder_name, storage_error, storage_errors
from selfsup.runtime.temporary_files import temporary_folder

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
    with storage_errors(directory), temporary_folder(directory) as temporary:
        (temporary / PROCESSOR_FOLDER).mkdir()
        encoder.processor.save(temporary / PROCESSOR_FOLDER)
        if encoder.pretraining_rows is not None:
            encoder.pretraining_rows.save(temporary)
        (temporary / CARD_FILE).write_text(model_card(encoder))
        _save_weights(encoder.backbone, temporary / WEIGHTS_FILE, directory)
        # safetensors makes its files private; give this one the permissions of the others.
        shutil.copymode(temporary / CARD_FILE, temporary / WEIGHTS_FILE)
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **encoder.config(),
            "versions": dict(package_versions()),
        }
        (temporary / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        give_folder_name(temporary, directory)
    return directory


def is_encoder(directory: Path) -> bool:
    """Whether a folder holds an encoder of selfsup."""
    try:
        config = read_json(directory / CONFIG_FILE)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def _may_replace(directory: Path) -> bool:
    return directory.is_dir() and (is_encoder(directory) or not any(directory.iterdir()))


def _save_weights(backbone: Backbone, path: Path, directory: Path) -> None:
    try:
        save_model(backbone, str(path), metadata={"format": "pt"})
    except SafetensorError as error:  # its text ends in the system's error: (os error 28)
        number = re.search(r"os error (\d+)", str(error))
        reason = OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))
        raise storage_error(directory / path.name, reason) from error

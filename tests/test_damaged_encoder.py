"""Encoders whose files contradict each other are refused when they are loaded, with the file's name and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import selfsup
from selfsup.errors import ArtifactError


@pytest.fixture
def encoder(pretrained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained / "encoder", tmp_path / "encoder"))


def change(value: dict[str, Any], *path: str, to: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = to


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (lambda config: change(config, "info", "image_size", to=48), "its image_size is 48, but that of the processor 3"),
        (lambda config: change(config, "backbone", "options", "width", to=512), "it describes a network of [0-9,]+ MB"),
        (lambda config: change(config, "backbone", "options", "unknown", to=1), "there is no option 'unknown'"),
        (lambda config: change(config, "modality", to="smell"), "unknown modality"),
        (lambda config: change(config, "backbone", to=[]), r"its backbone is '\[\]'"),
        (lambda config: change(config, "backbone", to={"id": 3}), ""),
        (lambda config: change(config, "format_version", to="1"), "format_version is no number"),
    ],
)
def test_config_that_does_not_fit(encoder: Path, changes: Callable[[dict[str, Any]], None], reason: str) -> None:
    path = encoder / "config.json"
    config = json.loads(path.read_text())
    changes(config)
    path.write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=rf"encoder/(config\.json|processor) .*{reason}.*Restore"):
        selfsup.load(encoder)


def test_weights_that_are_not_finite(encoder: Path) -> None:
    path = encoder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name, weight in weights.items() if name.endswith("weight") and weight.is_floating_point())
    weights[name].view(-1)[3] = torch.nan
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=rf"model\.safetensors is damaged.*{name} has values that are not finite"):
        selfsup.load(encoder)


def test_names_in_messages_of_the_command_line(cli, photos: Path, tiny: list[str]) -> None:
    (photos / "vertical" / "z\x1b[31m\nError: forged.png").write_text("no picture")
    outcome = cli("pretrain", "vision/simclr", "--data", photos, "--max-bad-rows", "0.1", *tiny)
    assert outcome.status == 0
    assert "z\\x1b[31m\\nError: forged.png" in outcome.err
    assert "\x1b" not in outcome.err
    assert not any(line.startswith("Error") for line in outcome.err.splitlines())


@pytest.mark.parametrize(
    ("path", "value"), [(("config", "seed"), "x"), (("config", "task"), "vision/unknown"), (("config", "optimization"), [3])]
)
def test_stored_options_of_a_run(cli, pretrained: Path, tmp_path: Path, path: tuple[str, ...], value: Any) -> None:
    run = Path(shutil.copytree(pretrained, tmp_path / "run"))
    held = json.loads((run / "run.json").read_text())
    change(held, *path, to=value)
    (run / "run.json").write_text(json.dumps(held))
    outcome = cli("pretrain", "--resume", "--out", run, "--steps", "3")
    assert outcome.status == 1
    assert "run/run.json" in outcome.err
    assert "damaged" in outcome.err
    assert "Traceback" not in outcome.err

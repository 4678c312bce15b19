"""Encoders on disk: they come back the same, and nothing but an encoder is loaded."""

from __future__ import annotations

import errno
import json
import os
import pickle
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch

import selfsup
from selfsup.artifacts import RunDirectory, is_encoder, load
from selfsup.errors import ArtifactError, MissingPluginError, StorageError
from selfsup.registry import registry
from selfsup.testing.toy.sequences.rows import mock_rows


def change_config(directory: Path, **fields) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **fields}))


def test_encoder_comes_back_the_same(encoder, tmp_path):
    path = encoder.save(tmp_path / "deep" / "encoder")
    loaded = selfsup.load(path)
    assert loaded.digest() == encoder.digest()
    assert not loaded.training
    assert (loaded.task, loaded.backbone_id, loaded.metadata) == ("sequence/simclr", "sequence/conv", {"data": "toy"})
    np.testing.assert_array_equal(loaded.embed(mock_rows(9, 1)), encoder.embed(mock_rows(9, 1)))
    assert is_encoder(path)
    assert sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file()) == [
        "README.md", "config.json", "model.safetensors", "processor/processor.json",
    ]  # fmt: skip
    assert (path / "model.safetensors").stat().st_mode == (path / "config.json").stat().st_mode, "others may read it, too"
    config = json.loads((path / "config.json").read_text())
    assert (config["format_version"], config["modality"], config["info"]) == (1, "sequence", encoder.processor.info())
    assert config["backbone"] == {"id": "sequence/conv", "options": {"dim": 8}}
    assert not any("selfsup." in str(value) for value in config.values()), "no name of a class or module is in the file"
    card = (path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: selfsup\n")
    assert "| Data | toy |" in card
    assert '{"sequence": ...}' in card


def test_run_folder_stands_for_its_encoder(encoder, tmp_path):
    run = RunDirectory.create(tmp_path / "run", task="sequence/simclr", config={})
    with pytest.raises(
        ArtifactError, match=r"has no encoder yet \(status running, no step logged\)\. Finish it with: .*--resume"
    ):
        load(run.path)
    encoder.save(run.encoder)
    assert load(run.path).digest() == encoder.digest()


@pytest.mark.parametrize("at_once", [True, False])
def test_saving_again_replaces_the_encoder_as_a_whole(encoder, tmp_path, monkeypatch, at_once):
    """On Linux in one step, so that a process that is killed meanwhile leaves one of the two."""
    path = encoder.save(tmp_path / "encoder")
    if at_once and sys.platform == "linux":
        monkeypatch.setattr(Path, "rename", None)
    elif not at_once:
        monkeypatch.setattr("selfsup.runtime.files._exchanged", lambda *_: False)
    (path / "left-over.txt").touch()
    with torch.no_grad():
        encoder.backbone.norms[0].bias += 1
    encoder.save(path)
    assert load(path).digest() == encoder.digest()
    assert not (path / "left-over.txt").exists()
    assert [item.name for item in tmp_path.iterdir() if item.name != "cache"] == ["encoder"]


def test_other_folders_are_not_overwritten(encoder, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ArtifactError, match="thesis exists and is no encoder; it is not overwritten"):
        encoder.save(tmp_path / "thesis")
    (tmp_path / "empty").mkdir()
    encoder.save(tmp_path / "empty")


def test_full_disk_leaves_the_old_encoder(encoder, tmp_path, monkeypatch):
    path = encoder.save(tmp_path / "encoder")
    digest = encoder.digest()
    with torch.no_grad():
        encoder.backbone.norms[0].bias += 1

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"Cannot write .*encoder: the disk is full"):
            encoder.save(path)
    assert load(path).digest() == digest
    assert [item.name for item in tmp_path.iterdir() if item.name != "cache"] == ["encoder"]


class Bomb:
    """Opens a file for writing when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("name", ["encoder.pt", "encoder.pth", "encoder.PKL", "model.ckpt", "pytorch_model.bin"])
def test_pickles_are_refused_and_not_opened(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(ArtifactError, match=r"can run any code, so it is not loaded.*model\.safetensors"):
        load(tmp_path / name)
    with pytest.raises(ArtifactError, match=rf"neither config\.json nor run\.json\. It holds {name}, a pickle"):
        load(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_other_things_are_refused(tmp_path, encoder):
    path = encoder.save(tmp_path / "encoder")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    change_config(encoder.save(tmp_path / "later"), format_version=7)
    for source, words in (
        (tmp_path / "nowhere", "nowhere does not exist"),
        (path / "model.safetensors", r"is a file\. An encoder is a folder"),
        (tmp_path / "other", "not of a selfsup encoder"),
        (tmp_path / "later", r"written by a later selfsup \(encoder format 7; this one reads up to 1\). Update"),
        ("hf://name", "not of the form hf://owner/name"),
    ):
        with pytest.raises(ArtifactError, match=words):
            load(source)


def test_modality_that_is_not_installed(encoder, tmp_path):
    path = encoder.save(tmp_path / "encoder")
    change_config(path, modality="multimodal")
    if "multimodal" in registry().modalities:
        pytest.skip("the multimodal plugin is installed")
    with pytest.raises(MissingPluginError, match="selfsup-multimodal"):
        load(path)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("metadata", [1], "metadata"),
        ("pretraining_rows", "none", "pretraining_rows"),
        ("backbone", {"id": 3, "options": {}}, r"backbone\.id"),
        ("backbone", {"id": "sequence/conv", "options": ["dim"]}, r"backbone\.options"),
        ("info", {"parts": {"image": "vision"}}, r"info\.parts\.image"),
    ],
)
def test_config_with_a_value_of_another_kind(encoder, tmp_path, field, value, named):
    path = encoder.save(tmp_path / "encoder")
    change_config(path, **{field: value})
    for read in (load, lambda source: selfsup.pretrain("sequence/simclr", mock_rows(8, 0), out=tmp_path / "run", init=source)):
        with pytest.raises(ArtifactError, match=rf"config\.json is damaged: its {named} is .*Restore the folder"):
            read(path)


def test_damaged_encoders(encoder, tmp_path):
    path = encoder.save(tmp_path / "encoder")
    weights = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(weights[:-40])
    with pytest.raises(ArtifactError, match=r"model\.safetensors is damaged"):
        load(path)
    (path / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"model\.safetensors is missing"):
        load(path)
    (path / "model.safetensors").write_bytes(weights)
    change_config(path, backbone={"id": "sequence/conv", "options": {"dim": 6}})
    with pytest.raises(ArtifactError, match="do not fit the backbone 'sequence/conv'"):
        load(path)
    (path / "processor" / "processor.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"processor\.json is not a saved sequence processor \(Expecting"):
        load(path)
    change_config(path, format="selfsup-encoder")
    config = json.loads((path / "config.json").read_text())
    del config["backbone"]
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="it lacks backbone"):
        load(path)


def test_weights_are_never_fetched_for_what_has_them(encoder, tmp_path, monkeypatch):
    """An option ``pretrained`` would download weights, which the file's own replace at once."""
    path = encoder.save(tmp_path / "encoder")
    change_config(path, backbone={"id": "sequence/conv", "options": {"dim": 8, "pretrained": True}})
    seen = {}

    def build(id, options, info):
        seen.update(options)
        return type(registry()).build_backbone(registry(), id, {"dim": options["dim"]}, info)

    monkeypatch.setattr(registry(), "build_backbone", build)
    assert load(path).backbone_options["pretrained"] is True
    assert "pretrained" not in seen


def test_encoder_from_the_hub(encoder, tmp_path, monkeypatch):
    path = encoder.save(tmp_path / "encoder")

    def snapshot_download(name, *, revision, allow_patterns):
        assert (name, revision) == ("owner/name", "v2")
        assert allow_patterns == ["config.json", "model.safetensors", "pretraining_rows*.npy", "processor/*"]
        return str(path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load("hf://owner/name@v2").digest() == encoder.digest()

    def unreachable(*_args, **_options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ArtifactError, match="hf://owner/name cannot be fetched: ConnectionError: no route to host"):
        load("hf://owner/name")


def test_a_backbone_is_told_which_weights_were_saved(encoder, tmp_path, monkeypatch):
    """A part that only some encoders have (a language model's head) can be made before its weights are loaded."""
    kind = type(encoder.backbone)
    monkeypatch.setattr(
        kind, "expect_weights", lambda self, names: "extra.weight" in names and self.add_module("extra", torch.nn.Linear(2, 3))
    )
    plain = load(encoder.save(tmp_path / "plain"))
    assert not hasattr(plain.backbone, "extra")
    plain.backbone.add_module("extra", torch.nn.Linear(2, 3))
    again = load(plain.save(tmp_path / "extra"))
    assert torch.equal(again.backbone.extra.weight, plain.backbone.extra.weight)
    assert again.digest() == plain.digest()

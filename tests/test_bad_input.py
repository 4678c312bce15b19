"""Bad input ends with a message that says what is wrong and what to do, and never with a traceback."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest


def refused(outcome, *words: str, status: int = 1) -> None:
    """The command failed with a message that holds all the words, and without a traceback."""
    assert outcome.status == status, outcome
    assert "Traceback" not in outcome.err
    missing = [word for word in words if word not in outcome.err]
    assert not missing, f"{missing} not in: {outcome.err}"


def test_folder_without_images(cli, tmp_path, tiny):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    refused(cli("pretrain", "vision/simclr", "--data", "empty", *tiny), "empty", ".jpg")


def test_source_that_does_not_exist(cli, tiny):
    refused(cli("pretrain", "vision/simclr", "--data", "nowhere", *tiny), "nowhere")


def test_few_bad_files_are_named_and_skipped(cli, photos, tiny):
    whole = (photos / "vertical" / "000.jpg").read_bytes()
    (photos / "vertical" / "zz-truncated.jpg").write_bytes(whole[: len(whole) // 2])
    outcome = cli("pretrain", "vision/simclr", "--data", photos, "--out", "run", "--max-bad-rows", "0.1", *tiny)
    assert outcome.status == 0, outcome.err
    assert "zz-truncated.jpg" in outcome.err


def test_too_many_bad_files(cli, photos, tiny):
    for number in range(6):
        (photos / "vertical" / f"zz-text-{number}.png").write_text("this is no picture")
    outcome = cli("pretrain", "vision/simclr", "--data", photos, *tiny)
    refused(outcome, "zz-text-0.png", "6 of 30", "max-bad-rows")


def test_one_image(cli, photos, tmp_path, tiny):
    (tmp_path / "one").mkdir()
    shutil.copy(photos / "vertical" / "000.jpg", tmp_path / "one")
    refused(cli("pretrain", "vision/simclr", "--data", "one", *tiny), "1 usable row", "at least two")


def test_batch_larger_than_the_data(cli, photos, tiny):
    refused(cli("pretrain", "vision/simclr", "--data", photos, *tiny, "--batch-size", 64), "64", "24", "--batch-size", status=2)


def test_one_class(cli, pretrained, photos):
    shutil.rmtree(photos / "vertical")
    refused(cli("evaluate", pretrained, "--data", photos, "--evaluators", "linear"), "class", "horizontal")


def test_unlabelled_data_for_an_evaluator_that_needs_labels(cli, pretrained, photos):
    refused(cli("evaluate", pretrained, "--data", photos / "vertical", "--evaluators", "knn"), "label")


def test_label_column_that_is_missing(cli, pretrained, tmp_path, photos):
    import pandas as pd

    paths = sorted(str(path) for path in photos.rglob("*.jpg"))
    pd.DataFrame({"image": paths, "kind": [path.split("/")[-2] for path in paths]}).to_csv("table.csv", index=False)
    refused(cli("evaluate", pretrained, "--data", "table.csv", "--label", "sort"), "sort", "kind")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vision/simcrl"], ["vision/simcrl", "vision/simclr"]),
        (["simclr"], ["vision/simclr"]),
        (["multimodal/simcrl"], ["multimodal/simclr"]),
        (["vision/simclr", "--backbone", "resnet-narow"], ["resnet-narow", "resnet-narrow"]),
        (["vision/simclr", "--backbone", "timm/resnet1"], ["resnet1"]),
        (["vision/simclr", "--set", "objective.temprature=1"], ["temprature", "temperature"]),
        (["vision/simclr", "--set", "temperature=hot"], ["temperature", "hot"]),
        (["vision/simclr", "--set", "temperature"], ["key=value"]),
        (["vision/simclr", "--bath-size", "8"], ["--bath-size", "--batch-size"]),
        (["vision/mae", "--backbone", "resnet-narrow"], ["resnet-narrow", "token"]),
    ],
)
def test_unknown_names(cli, photos, arguments, words):
    refused(cli("pretrain", *arguments, "--data", photos, "--batch-size", "8"), *words, status=2)


def test_output_folder_that_holds_another_run(cli, photos, tiny):
    assert cli("pretrain", "vision/simclr", "--data", photos, "--out", "run", *tiny).status == 0
    refused(cli("pretrain", "vision/simclr", "--data", photos, "--out", "run", *tiny), "run", "--resume")


def test_output_folder_that_holds_something_else(cli, photos, tmp_path, tiny):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    refused(cli("pretrain", "vision/simclr", "--data", photos, "--out", "thesis", *tiny), "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_checkpoint_of_another_task(cli, photos, tiny):
    assert cli("pretrain", "vision/simclr", "--data", photos, "--out", "run", *tiny).status == 0
    outcome = cli("pretrain", "vision/byol", "--data", photos, "--out", "run", "--resume", *tiny)
    refused(outcome, "vision/simclr", "vision/byol")


def test_full_disk(cli, photos, tmp_path, tiny, monkeypatch):
    """The disk is full when the store is written: the message says so, and no half-written file stays."""

    fsync = os.fsync

    def full(descriptor):
        if "stores" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    refused(cli("pretrain", "vision/simclr", "--data", photos, "--out", "run", *tiny), "disk is full")
    assert not list((tmp_path / "run").rglob("*"))
    assert [path.suffix for path in (tmp_path / "cache" / "stores").iterdir()] == [".lock"]
    assert not list((tmp_path / "cache").rglob("*tmp*"))


@pytest.mark.parametrize("name", ["encoder.pkl", "encoder.pt", "model.ckpt"])
def test_pickle_offered_as_an_encoder(cli, photos, tmp_path, name):
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    refused(cli("evaluate", name, "--data", photos), name, "safetensors")
    assert not marker.exists(), "the file was executed"


def test_encoder_of_a_later_version(cli, pretrained, photos, tmp_path):
    shutil.copytree(pretrained / "encoder", tmp_path / "later")
    config = json.loads((tmp_path / "later" / "config.json").read_text())
    config["format_version"] = 999
    (tmp_path / "later" / "config.json").write_text(json.dumps(config))
    refused(cli("evaluate", "later", "--data", photos), "999")

"""Runs by the command line: options of each tower, and networks of parts that start from runs of their own modality."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from selfsup.artifacts import Encoder, RunDirectory, export, load
from selfsup.cli.main import main
from selfsup.testing.toy.sequences.rows import mock_frames, mock_rows

STEPS = ("--batch-size", "16", "--precision", "32", "--set", "backbone.joint_dim=8")
PARTS = ("--set", "parts=[left:sequence,right:sequence]", "--column", "left/sequence=a", "--column", "right/sequence=b")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ids and frames; two rows lack the frames."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    ids, frames = mock_rows(48, 0), mock_frames(48, 0)
    values = [None if row in (3, 9) else frames[row]["sequence"] for row in range(48)]
    pq.write_table(pa.table({"a": [row["sequence"] for row in ids], "b": values}), path)
    return path


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on ids alone, longer ones than the pairs hold."""
    out = tmp_path_factory.mktemp("left") / "run"
    options = ("--backbone", "sequence/transformer", "--set", "backbone.dim=16", "--batch-size", "32", "--precision", "32")
    assert run("sequence/vicreg", "--data", "toy-sequences", "--steps", "2", "--out", str(out), *options) == 0
    return out


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *args])
    return int(ended.value.code or 0)


def same(a: Encoder, b: Encoder) -> bool:
    ours, theirs = a.backbone.state_dict(), b.backbone.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_each_tower_has_its_options(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    towers = (
        "--set", "backbone.towers.right.backbone=sequence/conv",
        "--set", "backbone.towers.right.options.dim=24",
        "--set", "backbone.towers.right.frozen=true",
        "--set", "backbone.towers.left.lr_scale=0.1",
    )  # fmt: skip
    assert run("multimodal/clip", "--data", str(pairs), "--out", str(out), "--steps", "2", *STEPS, *PARTS, *towers) == 0
    given = RunDirectory(out).info()["config"]["backbone_options"]["towers"]
    assert given["right"] == {"backbone": "sequence/conv", "options": {"dim": 24}, "lr_scale": 1.0, "frozen": True}
    assert given["left"]["lr_scale"] == 0.1
    kept = json.loads((out / "encoder" / "config.json").read_text())["backbone"]["options"]["towers"]
    assert kept["left"]["backbone"] == "sequence/transformer"
    assert kept["left"]["options"]["dim"] == 32
    assert kept["right"] == {"backbone": "sequence/conv", "options": {"dim": 24}, "lr_scale": 1.0, "frozen": False}
    encoder = load(out)
    assert encoder.parts == ("left", "right")
    assert encoder.part("right").backbone.embed_dim == 24


def test_a_tower_starts_from_a_run_of_its_modality(pairs: Path, left: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start = ("--init", f"left={left}")
    assert run("multimodal/random-init", "--data", str(pairs), "--out", str(out), *start, *PARTS[:2], *PARTS[2:]) == 0
    theirs, ours = load(left), load(out).part("left")
    assert ours.backbone_id == "sequence/transformer"
    assert same(ours, theirs)
    assert ours.processor.info() == theirs.processor.info()
    record = RunDirectory(out).info()["init"]
    assert record["parts"]["left"]["share"] == 1.0
    assert record["source"] == f"left={left}"
    assert load(out).pretraining_rows.parts["left"].different == theirs.pretraining_rows.different


def test_a_run_goes_on_where_its_source_is_gone(
    pairs: Path, left: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source", tmp_path / "run"
    shutil.copytree(left, source)
    locked = ("--set", "lock.part=left", "--init", f"left={source}")
    assert run("multimodal/lit", "--data", str(pairs), "--out", str(out), "--steps", "2", *STEPS, *PARTS, *locked) == 0
    assert "random weights" not in capsys.readouterr().err
    before = load(out)
    shutil.rmtree(source)
    RunDirectory(out).update(status="stopped")
    assert run("--resume", "--out", str(out)) == 0
    assert "random weights" not in capsys.readouterr().err
    after = load(out)
    assert same(before, after)
    assert same(after.part("left"), load(left))  # it was locked
    assert after.part("left").processor.info() == load(left).processor.info()
    assert after.pretraining_rows.parts["left"].different == before.pretraining_rows.parts["left"].different


def test_all_towers_start_from_a_run_of_the_same_parts(pairs: Path, tmp_path: Path) -> None:
    first, out = tmp_path / "first", tmp_path / "run"
    towers = ("--set", "backbone.towers.right.backbone=sequence/conv", "--set", "backbone.joint_dim=8")
    assert run("multimodal/random-init", "--data", str(pairs), "--out", str(first), "--seed", "5", *PARTS, *towers) == 0
    assert run("multimodal/random-init", "--data", str(pairs), "--out", str(out), *PARTS, "--init", str(first)) == 0
    assert same(load(first), load(out))
    assert load(out).backbone_options == load(first).backbone_options


def test_a_part_of_an_encoder_is_exported_and_then_started_from(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joined, tower, out = tmp_path / "joined", tmp_path / "tower", tmp_path / "run"
    assert run("multimodal/random-init", "--data", str(pairs), "--out", str(joined), "--seed", "5", *PARTS) == 0
    options = ("--data", "toy-sequences", "--steps", "0", "--out", str(out))
    assert run("sequence/vicreg", *options, "--init", str(joined)) != 0
    message = " ".join(capsys.readouterr().err.split())
    assert "is an encoder for multimodal, not for sequence. Its part left or right is for sequence:" in message
    assert "--part left --format safetensors" in message
    export(joined, "safetensors", tower, part="left")
    assert run("sequence/vicreg", *options, "--init", str(tower)) == 0
    assert same(load(out), load(joined).part("left"))


def test_networks_of_any_parts_are_traced(tmp_path: Path) -> None:
    path, out = tmp_path / "ids.parquet", tmp_path / "run"
    ids = [row["sequence"] for row in mock_rows(48, 0)]
    pq.write_table(pa.table({"a": ids, "b": ids[::-1]}), path)
    assert run("multimodal/random-init", "--data", str(path), "--out", str(out), *PARTS) == 0
    encoder = load(out)
    assert encoder.parts == ("left", "right")  # which synthetic rows have not
    program = torch.export.load(export(encoder, "torch-export", tmp_path / "program.pt2")).module()
    batch = encoder.processor([{"left/sequence": ids[row], "right/sequence": ids[-row] if row else None} for row in range(5)])
    with torch.no_grad():
        torch.testing.assert_close(program(batch), encoder(batch))


def test_parts_of_a_file_and_of_the_caller_start_together(pairs: Path, left: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "config.json", tmp_path / "run"
    config.write_text(json.dumps({"init": {"left": str(left)}}))
    options = ("--data", str(pairs), "--out", str(out), "--config", str(config), *PARTS)
    frames = tmp_path / "frames"
    made = ("--data", str(pairs), "--column", "sequence=b", "--max-bad-rows", "0.1", "--seed", "5", "--out", str(frames))
    assert run("sequence/random-init", *made, "--backbone", "sequence/conv", "--set", "backbone.dim=24") == 0
    assert run("multimodal/random-init", *options, "--init", f"right={frames}") == 0
    assert set(RunDirectory(out).info()["init"]["parts"]) == {"left", "right"}
    assert same(load(out).part("left"), load(left))
    assert same(load(out).part("right"), load(frames))


def test_an_encoder_of_one_part_teaches_the_others(pairs: Path, left: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    taught = ("--set", f"objective.teacher={left}")
    assert run("multimodal/distill", "--data", str(pairs), "--out", str(out), "--steps", "2", *STEPS, *PARTS, *taught) == 0
    assert RunDirectory(out).info()["teacher"]["source"] == str(left)
    assert load(out).parts == ("left", "right")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (("middle=X",), "there is no part 'middle'; the parts are left, right"),
        (("left=nowhere",), "nowhere does not exist"),
        (("left=X", "left=Y"), "give one source, or PART=SRC"),
        (("X", "left=Y"), "give one source, or PART=SRC"),
    ],
)
def test_wrong_starts_are_named(
    start: tuple[str, ...], message: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [text for source in start for text in ("--init", source)]
    assert run("multimodal/clip", "--data", str(pairs), "--out", str(tmp_path / "run"), *PARTS, *given) != 0
    assert message in " ".join(capsys.readouterr().err.split())


def test_rows_without_parts_and_fused_tokens_have_no_part_to_start(
    pairs: Path, left: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ("--init", f"left={left}", "--out", str(tmp_path / "run"))
    assert run("sequence/vicreg", "--data", "toy-sequences", *start) != 0
    assert "is by the parts of a row, and rows of sequence have none" in " ".join(capsys.readouterr().err.split())
    assert run("multimodal/mae", "--data", str(pairs), *PARTS, *start) != 0
    assert "fusion has no network of its own for a part" in " ".join(capsys.readouterr().err.split())

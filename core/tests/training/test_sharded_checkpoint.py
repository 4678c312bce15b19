"""Checkpoints of weights that are spread over processes: written in parts, read on any number of processes."""

from __future__ import annotations

import pickletools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from selfsup.errors import CheckpointError
from selfsup.training.loop.sharded_checkpoint import remove_other_parts

pytestmark = pytest.mark.slow

RUN = runpy.run_path(str(Path(__file__).with_name("two_checkpoints.py")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, in_two_processes: Callable[..., None]) -> Path:
    path = tmp_path_factory.mktemp("checkpoints")
    alone = RUN["stepper"](Fabric(accelerator="cpu", devices=1), 0)
    RUN["train"](alone, RUN["BEFORE"])
    state = alone.state_dict()
    assert state.pop("spread") == {}
    torch.save(state, path / "one.pt")
    torch.save(RUN["train"](alone, RUN["AFTER"]), path / "alone-went-on.pt")
    in_two_processes("two_checkpoints", path)
    return path


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def test_what_goes_on_from_its_parts_is_bit_by_bit_what_never_stopped(folder: Path) -> None:
    straight = read(folder / "straight-went-on.pt")
    for way in ("parts", "whole"):
        found = read(folder / f"{way}-went-on.pt")
        assert found.pop("loss") == straight["loss"]
        assert found.keys() == straight.keys() - {"loss"}
        assert [name for name, tensor in found.items() if not torch.equal(tensor, straight[name])] == []


def test_one_process_goes_on_from_the_parts_of_two_and_two_from_one(folder: Path) -> None:
    saved = read(folder / "last.pt")
    stepper = RUN["stepper"](Fabric(accelerator="cpu", devices=1), 4)
    stepper.load_state_dict(saved["stepper"], folder / saved["parts"])
    for name, found in (("straight", RUN["train"](stepper, RUN["AFTER"])), ("alone", read(folder / "one-went-on.pt"))):
        expected = read(folder / f"{name}-went-on.pt")
        assert found.pop("loss") == pytest.approx(expected["loss"], rel=1e-4)
        for key, tensor in found.items():
            if key != "seen":  # it counts the rows of a process
                torch.testing.assert_close(tensor, expected[key], rtol=1e-4, atol=1e-5)


def test_each_process_writes_its_part_and_nothing_can_be_executed(folder: Path) -> None:
    saved = read(folder / "last.pt")
    parts = folder / saved["parts"]
    files = sorted(file.name for file in parts.iterdir())
    assert [name.partition("-model")[0] for name in files] == ["shard-00001", "shard-00002"]
    assert all(name.endswith(".safetensors") for name in files)
    held = sum(value.numel() for value in saved["stepper"]["task"].values())
    assert held < 20  # buffers only
    with pytest.raises(ValueError, match="opcode"):
        list(pickletools.genops((parts / files[0]).read_bytes()))


def test_a_part_that_is_gone_or_damaged_is_named(folder: Path, tmp_path: Path) -> None:
    saved = read(folder / "last.pt")
    stepper = RUN["stepper"](Fabric(accelerator="cpu", devices=1), 4)
    for content in (None, b"half a fi"):
        parts = tmp_path / ("gone" if content is None else "damaged")
        if content is not None:
            parts.mkdir()
            for file in (folder / saved["parts"]).iterdir():
                (parts / file.name).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"the checkpoint's folder {parts} cannot be read"):
            stepper.load_state_dict(saved["stepper"], parts)
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    (file,) = (folder / saved["parts"]).glob("shard-00002*")
    (lacking / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="cannot be read"):
        stepper.load_state_dict(saved["stepper"], lacking)


def test_the_folders_of_other_checkpoints_are_removed(tmp_path: Path) -> None:
    for name in ("last-3-ab", "last-6-cd"):
        (tmp_path / name).mkdir()
    (tmp_path / "last.pt").touch()
    remove_other_parts(tmp_path, "last-6-cd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last-6-cd", "last.pt"]
    remove_other_parts(tmp_path, None)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from selfsup.errors import CheckpointError, StorageError
from selfsup.training.loop.checkpoint import load_checkpoint, save_checkpoint

IDENTITY = {"task": "vision/simclr", "devices": 1}


def test_a_checkpoint_comes_back_bit_by_bit(tmp_path: Path) -> None:
    state = {"weights": torch.randn(3, dtype=torch.float64), "step": 7, "best": None, "losses": [0.1], "betas": (0.9, 0.99)}
    save_checkpoint(tmp_path / "last.pt", state, IDENTITY)
    loaded = load_checkpoint(tmp_path / "last.pt", IDENTITY)
    assert torch.equal(loaded.pop("weights"), state.pop("weights"))
    assert loaded == state


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {}, IDENTITY)
    with pytest.raises(CheckpointError, match="its task is 'vision/simclr', this run's is 'vision/byol'"):
        load_checkpoint(tmp_path / "last.pt", {**IDENTITY, "task": "vision/byol"})


def test_a_missing_and_a_damaged_checkpoint_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(path, IDENTITY)
    save_checkpoint(path, {"weights": torch.zeros(1000)}, IDENTITY)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path, IDENTITY)
    torch.save({"something": "else"}, path)
    with pytest.raises(CheckpointError, match="was not written by selfsup"):
        load_checkpoint(path, IDENTITY)


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"format": 1, "identity": IDENTITY, "state": Bomb()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "last.pt", IDENTITY)
    assert "executed" not in capsys.readouterr().out


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99, "identity": IDENTITY, "state": {}}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="has format 99"):
        load_checkpoint(tmp_path / "last.pt", IDENTITY)


class FullDisk:
    """A file on a disk that is full after 1,000 bytes."""

    def __init__(self, file: Any) -> None:
        self._file, self._written = file, 0

    def write(self, data: Any) -> int:
        self._written += len(data)
        if self._written > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def test_a_full_disk_is_named_and_the_last_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.ones(5000)}, IDENTITY)
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args, **kwargs: FullDisk(opened(self, *args, **kwargs)))
    with pytest.raises(StorageError, match="the disk is full"):
        save_checkpoint(path, {"weights": torch.zeros(5000)}, IDENTITY)
    monkeypatch.undo()
    assert load_checkpoint(path, IDENTITY)["weights"].sum() == 5000
    assert [item.name for item in tmp_path.iterdir()] == ["last.pt"]

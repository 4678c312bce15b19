"""What selfsup saved, damaged in ways that parsers do not notice: each is refused with the file's name."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsup.artifacts import RunDirectory
from selfsup.artifacts.results import ResultRecord
from selfsup.damaged_files import parse_json, reading
from selfsup.data.store.cache_entries import note_use
from selfsup.data.store.format import Store
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import ArtifactError, CheckpointError, RunDirectoryError, SelfsupError, StorageError, one_line
from selfsup.runtime import read_npy
from selfsup.training.loop.checkpoint import load_checkpoint, save_checkpoint
from selfsup.training.loop.sharding import set_states

DEEP = "[" * 100_000 + "]" * 100_000


def test_messages_show_control_characters_as_escapes() -> None:
    error = SelfsupError("no \x1b[2Jfile\x00 caf\udce9 \u202etxt\nat all")
    assert str(error) == "no \\x1b[2Jfile\\x00 caf\\udce9 \\u202etxt\nat all"
    assert one_line("a\nb\tc é") == "a\\nb\\tc é"


def test_json_that_is_nested_too_deeply_is_no_json() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)


@pytest.mark.parametrize(
    "content",
    [
        {"format_version": "1", "task": "a/b", "status": "done", "config": {}},
        {"format_version": 1, "task": ["a"], "status": "done", "config": {}},
        {"format_version": 1, "task": "a/b", "status": "done", "config": None},
        {"format_version": 1, "task": "a/b", "config": {}},
    ],
)
def test_run_file_with_values_of_another_kind(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match=r"run\.json is"):
        RunDirectory.open(tmp_path)
    (tmp_path / "run.json").write_text(DEEP)
    with pytest.raises(RunDirectoryError, match=r"run\.json: it is nested too deeply.*--out"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize("line", [b"{]\n", b"\xff\xfe\n", b"[1]\n", b'{"loss": 1}\n'])
def test_damaged_line_of_the_log(tmp_path: Path, line: bytes) -> None:
    run = RunDirectory(tmp_path)
    run.metrics_file.write_bytes(b'{"step": 1}\n' + line + b'{"step": 3}\n')
    with pytest.raises(RunDirectoryError, match=r"line 2 is .* Remove this line"):
        list(run.metrics())


@pytest.mark.parametrize("content", ['{"schema_version": "x"}', '{"schema_version": null}', DEEP, '{"schema_version": 1}'])
def test_damaged_result_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"a\.json is not a result record.*evaluate again"):
        ResultRecord.read(tmp_path / "a.json")


def test_changed_bit_of_a_weight_in_a_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.arange(1000.0)}, {})
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda item: item.file_size)
    content = bytearray(path.read_bytes())
    place = content.index(np.arange(1000, dtype=np.float32).tobytes()) + 401
    content[place] ^= 1
    path.write_bytes(content)
    assert not torch.load(path, weights_only=True)["state"]["weights"].equal(torch.arange(1000.0)), "torch reads it"
    with pytest.raises(CheckpointError, match=f"{member.filename} differs from its checksum"):
        load_checkpoint(path, {})


def test_optimizer_state_of_another_shape_is_refused() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    held = optimizer.state_dict()
    held["state"][0]["exp_avg"] = torch.zeros(7)
    with pytest.raises(ValueError, match="state of weight has another shape"):
        set_states(layer, optimizer, (layer.state_dict(), held))


def write_store(path: Path) -> Store:
    path.mkdir()
    writer = StoreWriter(path)
    for row in range(4):
        writer.add(row, {"ids": np.arange(row + 1)})
    writer.finish(source_rows=4, bad_rows=[], fingerprint="f", processor="p")
    return Store(path)


@pytest.mark.parametrize("name", ["0.values", "0.values.starts", "kept.int64"])
def test_changed_bit_in_a_store_is_found(tmp_path: Path, name: str) -> None:
    write_store(tmp_path / "store").close()
    file = tmp_path / "store" / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 64
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"Delete .*store; it will be made again"):
        Store(tmp_path / "store")


@pytest.mark.parametrize(
    "header", [{"n": "x"}, {"fields": [{}]}, {"fields": None}, {"bad_rows": 3}, {"remarks": "x"}, {"version": None}]
)
def test_damaged_header_of_a_store(tmp_path: Path, header: dict[str, Any]) -> None:
    write_store(tmp_path / "store").close()
    file = tmp_path / "store" / "header.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **header}))
    with pytest.raises(StorageError, match=r"store.*damaged.*it will be made again"):
        Store(tmp_path / "store")


def npy(shape: str, kind: str = "<f8") -> io.BytesIO:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return io.BytesIO(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))


def test_npy_files_take_no_memory_for_what_they_lack() -> None:
    assert read_npy(npy("(8,)")).tolist() == [0.0] * 8
    for shape in ("(1152921504606846976,)", "(1000000000,)", "(9,)", "(-1,)", "'"):
        with pytest.raises(ValueError, match=r".+"):
            read_npy(npy(shape))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        read_npy(npy("(1,)", "|O"))


@pytest.mark.parametrize(
    "values", [np.arange(6.0), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 2)), np.float32(3)]
)
def test_npy_files_can_stay_on_the_disk(tmp_path: Path, values: Any) -> None:
    path = tmp_path / "a.npy"
    np.save(path, values)
    with path.open("rb") as file:
        mapped = read_npy(file, mapped=True)
    assert (mapped.dtype, mapped.shape) == (values.dtype, values.shape)
    assert np.array_equal(mapped, values)
    assert mapped.size == 0 or not mapped.flags.writeable
    path.write_bytes(path.read_bytes()[: -values.nbytes // 2] if values.nbytes else b"")
    with path.open("rb") as file, pytest.raises(ValueError, match=r".+"):
        read_npy(file, mapped=True)


def test_whatever_a_damaged_file_raises_becomes_one_error(tmp_path: Path) -> None:
    words = r"a\.json is damaged \(IndexError: no\)\. Delete it\."
    with pytest.raises(ArtifactError, match=words), reading(tmp_path / "a.json", ArtifactError, "Delete it."):
        raise IndexError("no\nmore")
    with pytest.raises(CheckpointError, match="other"), reading(tmp_path, ArtifactError, ""):
        raise CheckpointError("other")


def test_damaged_log_of_the_uses_of_a_store_is_left_out(tmp_path: Path) -> None:
    write_store(tmp_path / "store").close()
    note_use(tmp_path / "store", tmp_path / "a")
    (uses,) = (file for file in (tmp_path / "store").iterdir() if b'"run"' in file.read_bytes())
    uses.write_bytes(uses.read_bytes() + b"\xff\xfe\n" + b"[" * 100_000 + b"\n")
    note_use(tmp_path / "store", tmp_path / "b")
    assert [line for line in uses.read_bytes().splitlines() if b"/b" in line]

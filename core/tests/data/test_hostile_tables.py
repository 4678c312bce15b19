"""Tables and archives that are damaged where parsers do not look, or made to fill memory and disk."""

from __future__ import annotations

import errno
import gzip
import io
import os
import tarfile
import zipfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from selfsup.data.sources.array_files import read_arrays
from selfsup.data.sources.file_groups import FileGroups
from selfsup.data.sources.tables import encodings, line_lengths, tars
from selfsup.data.sources.tables.read import read_tables
from selfsup.data.sources.tables.tars import read_tars
from selfsup.errors import SelfsupError, SourceError, StorageError
from selfsup.runtime.findings import Findings
from selfsup.runtime.temporary_files import temporary_file


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


def refuse_tar(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(SourceError, match=rf"a\.tar as a tar archive: {reason}"):
        read_tars([tmp_path / "a.tar"], tmp_path / "rows.arrow", (), lines=False)


def test_damage_in_the_middle_of_an_archive_is_not_its_end(tmp_path: Path) -> None:
    content = bytearray(archive("a.txt", "b.txt", "c.txt"))
    content[1024 + 5] ^= 1
    refuse_tar(tmp_path, bytes(content), "it is damaged at byte 1,024")
    refuse_tar(tmp_path, archive("a.txt", "b.txt")[:1300], "it is damaged at byte 1,024")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
def test_sizes_in_an_archive_are_not_believed(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("b.txt")
    info.size, info.type = 2**40, kind
    content = archive("a.txt")[:1024] + info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)
    refuse_tar(tmp_path, content, "(member 'b.txt' unpacks to|a name or other description of a member takes)")


def test_large_member_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "LEAST_BOMB", 15_000)
    monkeypatch.setattr(tars, "MOST_RATIO", 0)
    (tmp_path / "a.txt").write_bytes(b"a" * 10_000)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.txt", "a.txt")
    dataset, _ = read_tars([tmp_path / "a.tar"], tmp_path / "rows.arrow", (), lines=False)
    assert len(dataset["text"][0]) == 10_000
    monkeypatch.setattr(tars, "LEAST_BOMB", 9_000)
    refuse_tar(
        tmp_path, (tmp_path / "a.tar").read_bytes(), r"member 'a\.txt' unpacks to .*unpack the archive and name the \.tar"
    )


def test_names_of_unread_texts_are_few() -> None:
    groups = FileGroups((), lines=False)
    for n in range(5):
        groups.learn(str(n), {"txt": lambda: b"a\0c"})
    assert len(groups.unread) == 3
    groups.tell(findings := Findings())
    assert findings.warnings == ["Files that cannot be read as text count as missing: 5 (0.txt, 1.txt, 2.txt and 2 more)."]


def test_text_in_an_archive_that_is_none_is_missing(tmp_path: Path) -> None:
    content = archive("a.txt", "b.txt").replace(b"abc", b"a\0c", 1)
    (tmp_path / "a.tar").write_bytes(content)
    dataset, findings = read_tars([tmp_path / "a.tar"], tmp_path / "rows.arrow", (), lines=False)
    assert dataset["text"][:] == [None, "abc"]
    assert findings.warnings == ["Files that cannot be read as text count as missing: 1 (a.txt)."]


def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "LEAST_BOMB", 1 << 20)
    monkeypatch.setattr("selfsup.data.sources.array_files.LEAST_BOMB", 1 << 20)
    for name, start in (("a.csv.gz", b"a,b\n1,2\n"), ("a.jsonl.gz", b'{"a": 1}\n')):
        (tmp_path / name).write_bytes(gzip.compress(start) + gzip.compress(b" " * (1 << 20)) * 4)
        with pytest.raises(SourceError, match=rf"{name} unpacks to more than .* 200 times its size"):
            read_tables([tmp_path / name])
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros(2 << 20, np.uint8))
    with pytest.raises(SourceError, match=r"a\.npz unpacks to"):
        read_arrays(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("rows.csv", "a,b\n" + "1,2\n" * (1 << 19))
    with pytest.raises(SourceError, match=r"a\.csv\.zip unpacks to"):
        read_tables([tmp_path / "a.csv.zip"])


def test_compressed_table_within_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 300_000))
    assert len(read_tables([tmp_path / "a.csv.gz"]).dataset) == 300_000


@pytest.mark.parametrize(("name", "start"), [("a.csv", "a,b\n"), ("a.jsonl", '{"a": 1}\n'), ("a.txt", "a\n")])
def test_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, start: str) -> None:
    monkeypatch.setattr(line_lengths, "MOST_LINE", 1000)
    monkeypatch.setattr(encodings, "_BLOCK", 100)
    (tmp_path / name).write_text(start + "\n" + " " * 5000)
    with pytest.raises(SourceError, match=rf"{name}: the line at byte {len(start) + 1} has more than 1,000 characters"):
        read_tables([tmp_path / name], cells=name.endswith("csv"))


def wrong_offsets(file: Path) -> None:
    """Let the last text of ``["ab", "cd"]`` end far behind the file."""
    right, wrong = (np.array([0, 2, end], dtype=np.int32).tobytes() for end in (4, 1 << 30))
    content = file.read_bytes()
    assert right in content
    file.write_bytes(content.replace(right, wrong))


@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "b.parquet"])
def test_values_that_would_end_the_process_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    table = pa.table({"a": ["ab", "cd"]})
    if name == "b.parquet":
        pq.write_table(pa.table({"a": pa.array([b"ab", b"\xff\xfe"]).view(pa.string())}), file)
    elif name == "a.feather":
        feather.write_feather(table, file, compression="uncompressed")
        wrong_offsets(file)
    else:
        with pa.ipc.new_stream(str(file), table.schema) as writer:
            writer.write_table(table)
        wrong_offsets(file)
    with pytest.raises(SourceError, match=rf"Cannot read .*{name} as"):
        read_tables([file])


def test_footer_of_parquet_that_states_more_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(pq.ParquetFile):
        def iter_batches(self, *args, **options):
            yield from (batch.slice(1) for batch in super().iter_batches(*args, **options))

    pq.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "a.parquet")
    monkeypatch.setattr(pq, "ParquetFile", Short)
    with pytest.raises(SourceError, match="its footer states 3 rows, and it holds 2"):
        read_tables([tmp_path / "a.parquet"])


@pytest.mark.parametrize(("name", "content"), [("a.csv", b"a,b\nab,cd\nef,gh\n"), ("a.txt", b"abcdef\nghijkl\n")])
def test_damaged_conversion_is_made_again(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    first = read_tables([tmp_path / name]).dataset
    rows = first.to_list()
    (converted,) = (tmp_path / "cache" / "tables").rglob("*.arrow")
    whole = converted.read_bytes()
    converted.write_bytes(whole.replace(b"gh", b"\xff\xfe"))
    assert converted.read_bytes() != whole
    assert read_tables([tmp_path / name]).dataset.to_list() == rows


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENOSPC, "full"), MemoryError()])
def test_passing_error_keeps_the_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n")
    read_tables([tmp_path / "a.csv"])
    (converted,) = (tmp_path / "cache" / "tables").rglob("*.arrow")
    before = converted.stat().st_mtime_ns

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("datasets.Dataset.from_file", fail)
        with pytest.raises(SelfsupError):
            read_tables([tmp_path / "a.csv"])
    assert converted.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_conversion_that_was_cut_short_is_made_again_beside_files_in_work(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"".join(b"%d,ab\n" % n for n in range(1000)))
    rows = read_tables([tmp_path / name]).dataset.to_list()
    (converted,) = (tmp_path / "cache" / "tables").rglob("*.arrow")
    (folder,) = (tmp_path / "cache" / "tables").iterdir()
    with temporary_file(folder / "rows.arrow") as locked:
        os.truncate(converted, 2000)
        assert read_tables([tmp_path / name]).dataset.to_list() == rows
        assert locked.exists()
        (work := converted.parent.with_name("other.incomplete")).mkdir()
        (work / "part").touch()
        converted.write_bytes(b"")
        assert read_tables([tmp_path / name]).dataset.to_list() == rows
        assert (work / "part").exists()


@pytest.mark.parametrize(
    ("text", "encoding", "fits"),
    [
        ("a,b\r" * 2000, "utf-8", True),
        ("\u00e9" * 900 + "\n", "utf-8", True),
        ("a" * 900 + "\n", "utf-16", True),
        ("a" * 900 + "\n", "utf-32", True),
        ("a" * 1300 + "\n", "utf-16", False),
        ("\u00e9" * 1300 + "\n", "cp1252", False),
    ],
)
def test_length_of_a_line_is_in_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, encoding: str, fits: bool
) -> None:
    monkeypatch.setattr(line_lengths, "MOST_LINE", 1000)
    monkeypatch.setattr(encodings, "_BLOCK", 100)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    file = tmp_path / "a.csv"
    with nullcontext() if fits else pytest.raises(SourceError, match=r"a\.csv: the line at byte 0 has more than 1,000"):
        encodings.encoding_of_file(file, encoding)
        with encodings.open_text(file, encodings.FoundEncoding(encoding), lines=True) as stream:
            assert "".join(stream) == text


def test_a_disk_that_datasets_finds_full_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises an error without the system's number."""
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n')
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr("datasets.utils.py_utils.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(
        StorageError, match=f"Cannot write {tmp_path / 'cache' / 'tables'}/.*: the disk is full; free some space"
    ):
        read_tables([tmp_path / "a.jsonl"])

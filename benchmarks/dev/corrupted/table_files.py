"""Small tables, archives and arrays of every format."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from corrupted.media_files import picture

_ROWS = 24


def cells(separator: str = ",") -> bytes:
    """Two columns of numbers, one of texts, and a label."""
    draw = np.random.default_rng(1)
    lines = [separator.join(("length", "width", "name", "kind"))]
    for number in range(_ROWS):
        values = (f"{draw.normal():.3f}", f"{draw.integers(100)}", f'"item {number}, red"', "ab"[number % 2])
        lines.append(separator.join(values))
    return ("\n".join(lines) + "\n").encode()


def json_lines() -> bytes:
    """An object with a text and a number per line."""
    texts = ({"text": f"the {number}. sentence is about the sea", "length": number} for number in range(_ROWS))
    return "".join(json.dumps(text) + "\n" for text in texts).encode()


def json_array() -> bytes:
    """The same as one array."""
    return ("[" + ",\n".join(json_lines().decode().splitlines()) + "]").encode()


def columns(write: Callable[[object, io.BytesIO], object]) -> bytes:
    """Columns of numbers, texts, booleans and lists, as one of Arrow's formats."""
    import pyarrow as pa

    draw = np.random.default_rng(1)
    table = pa.table(
        {
            "length": draw.normal(size=_ROWS),
            "count": draw.integers(0, 9, _ROWS),
            "name": pa.array([f"item {number % 5}" for number in range(_ROWS)]).dictionary_encode(),
            "text": [None if number == 3 else f"sentence {number}" for number in range(_ROWS)],
            "kind": [bool(number % 2) for number in range(_ROWS)],
        }
    )
    out = io.BytesIO()
    write(table, out)
    return out.getvalue()


def _parquet(table: object, out: io.BytesIO) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, out, row_group_size=10)


def _feather(table: object, out: io.BytesIO) -> None:
    from pyarrow import feather

    feather.write_feather(table, out, compression="lz4")


def _stream(table: object, out: io.BytesIO) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(out, table.schema) as writer:  # type: ignore[attr-defined]
        writer.write_table(table)


def images_in_parquet() -> bytes:
    """Encoded images in a column, as ``datasets`` writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": picture("PNG"), "path": f"{number}.png"} for number in range(6)]
    out = io.BytesIO()
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 3}), out)
    return out.getvalue()


def archive(mode: str = "w") -> bytes:
    """Images with their classes and fields, as webdataset writes them."""
    out = io.BytesIO()
    tar: Any
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]  # any of its modes
        for number in range(6):
            members = {"png": picture("PNG"), "cls": b"%d" % (number % 2), "json": json.dumps({"size": number}).encode()}
            for suffix, content in members.items():
                info = tarfile.TarInfo(f"{number:03}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def workbook() -> bytes:
    """A sheet of numbers and texts."""
    sheet = [
        '<row r="1"><c r="A1" t="inlineStr"><is><t>length</t></is></c><c r="B1" t="inlineStr"><is><t>kind</t></is></c></row>'
    ]
    for number in range(2, _ROWS):
        text = f'<c r="B{number}" t="inlineStr"><is><t>{"ab"[number % 2]}</t></is></c>'
        sheet.append(f'<row r="{number}"><c r="A{number}"><v>{number / 3:.3f}</v></c>{text}</row>')
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    content = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{content}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{content}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{"".join(sheet)}</sheetData></worksheet>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package_file:
        for name, text in files.items():
            package_file.writestr(name, text)
    return out.getvalue()


def zipped(content: bytes, name: str) -> bytes:
    """A zip archive of one file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr(name, content)
    return out.getvalue()


def arrays(*, named: bool) -> bytes:
    """Images as an array, or named arrays of images and labels."""
    images = np.random.default_rng(1).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    out = io.BytesIO()
    if named:
        np.savez_compressed(out, images=images, labels=np.arange(8) % 2)
    else:
        np.save(out, images)
    return out.getvalue()


TABLES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "csv": ("tabular", cells),
    "tsv": ("tabular", lambda: cells("\t")),
    "csv.gz": ("tabular", lambda: gzip.compress(cells(), mtime=0)),
    "csv.xz": ("tabular", lambda: lzma.compress(cells())),
    "csv.bz2": ("tabular", lambda: bz2.compress(cells())),
    "csv.zip": ("tabular", lambda: zipped(cells(), "rows.csv")),
    "xlsx": ("tabular", workbook),
    "parquet": ("tabular", lambda: columns(_parquet)),
    "arrow": ("tabular", lambda: columns(_stream)),
    "feather": ("tabular", lambda: columns(_feather)),
    "image.parquet": ("vision", images_in_parquet),
    "json": ("text", json_array),
    "jsonl": ("text", json_lines),
    "txt": ("text", lambda: "".join(f"the {n}. sentence is about the sea\n" for n in range(_ROWS)).encode()),
    "tar": ("vision", archive),
    "tar.gz": ("vision", lambda: archive("w:gz")),
    "npy": ("vision", lambda: arrays(named=False)),
    "npz": ("vision", lambda: arrays(named=True)),
}
"""Suffix to the modality of the rows and what makes a whole file."""

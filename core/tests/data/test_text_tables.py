"""Tables that are text, as people have them: separators, encodings, headers, types of columns."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfsup.data import Rows, TableFormat, load_source
from selfsup.data.sources.tables import delimited
from selfsup.errors import ColumnError, ConfigError, SourceError
from selfsup.registry.specs import ModalitySpec

TABLES = ModalitySpec(id="tables", summary="x", target="x:y", backbone="none")
WORDS = ModalitySpec(
    id="words", summary="x", target="x:y", columns={"text": "string"}, suffixes=(".txt", ".md"), backbone="none"
)
N = 30


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Rows]:
    """Writes a file and reads it as a source."""

    def write_and_read(content: str | bytes, name: str = "t.csv", modality: ModalitySpec = TABLES, **table: Any) -> Rows:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return load_source(str(tmp_path / name), modality=modality, table=table)

    return write_and_read


def lines(header: str, row: Callable[[int], str], n: int = N) -> str:
    return "\n".join([header, *map(row, range(n))]) + "\n"


def types(rows: Rows) -> dict[str, str]:
    return {name: str(feature.dtype).removeprefix("large_") for name, feature in rows.dataset.features.items()}


def test_semicolons_and_decimal_commas_are_found(read: Callable[..., Rows]) -> None:
    rows = read(lines("name;price;weight", lambda n: f"n{n};1.{n:03d},5;{n},25"))
    assert types(rows) == {"name": "string", "price": "float64", "weight": "float64"}
    assert rows.dataset[3] == {"name": "n3", "price": 1003.5, "weight": 3.25}
    assert rows.findings.facts == {
        "format": "utf-8, separator ';' (--separator sets it)",
        "decimal": "',' in price, weight (--decimal sets it)",
    }


@pytest.mark.parametrize(("separator", "name"), [
    (",", "t.csv"), (";", "t.csv"), ("\t", "t.csv"), ("|", "t.csv"), ("\t", "t.tsv"), (",", "t.tsv"), ("  ", "t.txt"),
    (",", "t.data"), ("\t", "t.tab"),
])  # fmt: skip
def test_the_separator_is_found_whatever_the_suffix(read: Callable[..., Rows], separator: str, name: str) -> None:
    rows = read(lines(separator.join(("a", "b", "c")), lambda n: separator.join((str(n), "x", f"{n}.5"))), name)
    assert types(rows) == {"a": "int64", "b": "string", "c": "float64"}
    assert len(rows) == N


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_the_encoding_is_found(read: Callable[..., Rows], encoding: str, name: str) -> None:
    text = lines("a,b", lambda n: f"{n},café") if name == "t.csv" else "".join(f'{{"a": {n}, "b": "café"}}\n' for n in range(N))
    rows = read(text.encode(encoding), name)
    assert rows.dataset[0] == {"a": 0, "b": "café"}
    guessed = encoding in ("latin-1", "cp1252")
    assert ("cp1252 (a guess, it reads 'café'; --encoding sets it)" in rows.findings.facts["format"]) == guessed


def test_an_encoding_of_another_script_has_to_be_named(read: Callable[..., Rows]) -> None:
    content = lines("имя,число", lambda n: f"Иван,{n}").encode("cp1251")
    with pytest.raises(SourceError, match=r"t\.csv is not UTF-8.*--encoding: gb18030"):
        read(content)
    assert read(content, encoding="cp1251").dataset[0] == {"имя": "Иван", "число": 0}


def test_a_few_damaged_letters_do_not_change_the_encoding(read: Callable[..., Rows]) -> None:
    rows = read(lines("a,b", lambda n: f"{n},café été").encode() + b"30,caf\xc3\n")
    assert rows.dataset[0]["b"] == "café été"
    assert "bytes that are not valid utf-8" in rows.findings.warnings[0]


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("t", content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("packed", "suffix"), [(gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz"), (zipped, "zip")]
)
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_compressed_tables_are_read(
    read: Callable[..., Rows], packed: Callable[[bytes], bytes], suffix: str, kind: str
) -> None:
    comma = "\t" if kind == "tsv" else ","
    text = (
        "".join(f'{{"a": {n}, "b": "x"}}\n' for n in range(N))
        if kind == "jsonl"
        else lines(f"a{comma}b", lambda n: f"{n}{comma}x")
    )
    assert read(packed(text.encode()), f"t.{kind}.{suffix}").dataset[1] == {"a": 1, "b": "x"}
    with pytest.raises(SourceError, match=f"Cannot read .*broken.{kind}.{suffix}"):
        read(b"a,b\n1,2\n", f"broken.{kind}.{suffix}")


def test_numbers_with_signs_and_marks_are_numbers(read: Callable[..., Rows]) -> None:
    rows = read(lines("price,part,result,gap", lambda n: f'"$1,{n:03d}.50",{n}%,({n}.5),{("-", "NA", "?", n)[n % 4]}'))
    assert types(rows) == {"price": "float64", "part": "float64", "result": "float64", "gap": "int64"}
    assert rows.dataset[7] == {"price": 1007.5, "part": 7, "result": -7.5, "gap": 7}
    assert rows.dataset[1]["gap"] is None
    assert rows.findings.facts["missing"] == "marks for it in gap ('-', '?', 'NA')"
    assert rows.findings.facts["signs"] == "numbers with currency, per cent or thousands marks in price, part, result"


def test_words_that_look_like_marks_stay_words(read: Callable[..., Rows]) -> None:
    rows = read(lines("country,fence", lambda n: f"{('NA', 'DE', '')[n % 3]},{('None', 'wire', 'null')[n % 3]}"))
    assert [rows.dataset[n]["country"] for n in range(3)] == ["NA", "DE", None]
    assert [rows.dataset[n]["fence"] for n in range(3)] == ["None", "wire", None]


def test_a_late_word_makes_a_column_of_words(read: Callable[..., Rows]) -> None:
    rows = read(lines("a,b,c", lambda n: f"{n},1,1", 9000) + "x,2.5,\n")
    assert types(rows) == {"a": "string", "b": "float64", "c": "int64"}
    assert (rows.dataset[0]["a"], rows.dataset[9000]["a"], rows.dataset[9000]["c"]) == ("0", "x", None)


def test_ids_keep_their_zeros_and_their_length(read: Callable[..., Rows]) -> None:
    rows = read(lines("zip,long,truth", lambda n: f"0{1000 + n},{10**20 + n},{('TRUE', 'false', '')[n % 3]}"))
    assert rows.dataset[2] == {"zip": "01002", "long": str(10**20 + 2), "truth": None}
    assert types(rows) == {"zip": "string", "long": "string", "truth": "bool"}


def test_names_of_columns(read: Callable[..., Rows]) -> None:
    rows = read(lines("a,,a,b,", lambda n: f"{n},{n},{n},x,"))
    assert list(types(rows)) == ["a", "Unnamed: 1", "a.1", "b"]
    assert rows.findings.facts["columns"] == (
        "with the same name: the second 'a' is 'a.1'; left out: Unnamed: 4 (empty and without a name)"
    )


@pytest.mark.parametrize(("above", "skipped"), [("Report of May\n\n", 1), ("sep=;\n", 1), ("", 0)])
def test_lines_above_the_header_are_passed_over(read: Callable[..., Rows], above: str, skipped: int) -> None:
    rows = read(above + lines("a;b;c", lambda n: f"{n};x,y;1"))
    assert rows.dataset[0] == {"a": 0, "b": "x,y", "c": 1}
    assert ("header" in rows.findings.facts) == bool(skipped)


def test_names_of_rows_as_r_writes_them(read: Callable[..., Rows]) -> None:
    rows = read(lines('"x","y"', lambda n: f'"row {n}",{n},1'))
    assert rows.dataset[1] == {"Unnamed: 0": "row 1", "x": 1, "y": 1}


@pytest.mark.parametrize(
    ("header", "warned"), [("5.1,3,x", True), ("40,77516,x", True), ("country,2000,2010", False), ("0,1,2", False)]
)
def test_a_first_line_of_numbers_is_warned_of(read: Callable[..., Rows], header: str, warned: bool) -> None:
    row = "x,1,2" if header.startswith("country") else "1,2,x"
    rows = read(lines(header, lambda n: row))
    assert (len(rows.findings.warnings) == 1) == warned
    assert all("--no-header" in text for text in rows.findings.warnings)
    if warned:
        with pytest.raises(ColumnError, match=r"no label column 'y'\..* If it is data: --no-header\."):
            load_source(rows.name, modality=TABLES, label="y")
    rows = read(lines(header, lambda n: row), header=False)
    assert (len(rows), list(types(rows)), rows.findings.warnings) == (N + 1, ["column_0", "column_1", "column_2"], [])


def test_cells_in_quotation_marks_hold_anything(read: Callable[..., Rows]) -> None:
    rows = read(lines("a,b", lambda n: f'{n},"one, two\nand ""three"" {"long " * 40000}"', 2))
    assert rows.dataset[1]["b"].startswith('one, two\nand "three" long long')
    with pytest.raises(SourceError, match="a quotation mark on or after line 3 is never closed"):
        read('a,b\n1,x\n2,"y\n3,z\n')
    assert read(lines("'a','b'", lambda n: f"'{n}','x, y'")).dataset[1] == {"a": 1, "b": "x, y"}
    assert read(lines("text\tlabel", lambda n: f'"so it began\t{n % 2}'), "t.tsv").dataset[0]["text"] == '"so it began'


def test_uneven_rows_are_counted_and_named(read: Callable[..., Rows]) -> None:
    rows = read(lines("a,b,c", lambda n: f"{n},{n},x", 300) + "1,2,3,4\n1,2\n")
    assert len(rows) == 301
    assert rows.findings.warnings == [
        "1 of 302 rows have fewer cells than the header (line 303 has 2); the other cells are missing values.",
        f"1 of 302 rows are left out because they have more cells than the header (line 302 of {rows.name} has 4).",
    ]
    with pytest.raises(SourceError, match="3 of 33 rows have more cells than the header has columns"):
        read(lines("a,b,c", lambda n: f"{n},{n},x") + "1,2,3,4\n" * 3)
    assert len(read(lines("a,b,c", lambda n: f"{n},{n},x,"))) == N


def test_texts_of_one_column_may_hold_commas(read: Callable[..., Rows]) -> None:
    rows = read("text\nHello, world\nwell; well\nend\n")
    assert [row["text"] for row in rows.dataset] == ["Hello, world", "well; well", "end"]


@pytest.mark.parametrize("content", [
    lines("a,b", lambda n: f'{n},"x\ny, {n}"', 9000), "\n\na;b\n1;x\n\n;\n3;\n", "a,b\r1,x\r2,y\r", "a,b\r\n1,x\r\n\r\n2,y\r\n",
    'Title\n\na,b,c\n1,"say ""no""",3\n,,\n4,x"y,6\n',
    '"a\nb",c\n1,2\n3,4\n', "a,b\n1,x\n2,y,\n", " a ,b\n 1 ,x \n", '"x"\n"1",2\n"2",3\n',
    "a,b\n1,x\n2,'y\n", "a\tb\n1\t'\n2\t\n",
])  # fmt: skip
def test_both_parsers_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "t.csv").write_bytes(content.encode())
    found = []
    for place in ("quick", "slow"):
        monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / place))
        if place == "slow":
            monkeypatch.setattr(delimited._TextTable, "is_regular", lambda *_: False)
        rows = load_source(str(tmp_path / "t.csv"), modality=TABLES)
        found.append((types(rows), rows.dataset.to_dict(), rows.findings))
    assert found[0] == found[1]


def test_what_is_given_goes_before_what_is_found(read: Callable[..., Rows]) -> None:
    content = lines("a;b", lambda n: f"1,{n:03d};x,y")
    assert read(content).dataset[2] == {"a": 1002.0, "b": "x,y"}
    assert read(content, decimal=",").dataset[2] == {"a": 1.002, "b": "x,y"}
    assert list(types(read(content, separator="tab"))) == ["a;b"]
    with pytest.raises(ConfigError, match=r"separator = '::' is not allowed|'::' is not one character"):
        read(content, separator="::")
    with pytest.raises(ConfigError, match="is no encoding"):
        read(content, encoding="utf-99")
    with pytest.raises(ConfigError, match="sheet has no effect on"):
        read(content, sheet="May")
    rows = read(content, separator=";")
    assert len(load_source(rows.dataset, modality=TABLES, table=TableFormat(separator=";").where_of_use())) == N
    with pytest.raises(ConfigError, match="--separator has no effect on a Dataset: leave it out"):
        load_source(rows.dataset, modality=TABLES, table={"separator": ";"})


def test_other_words_for_the_same_file_are_kept_apart(read: Callable[..., Rows]) -> None:
    content = lines("a;b", lambda n: f"{n};x")
    assert read(content).fingerprint == read(content).fingerprint != read(content, separator="tab").fingerprint


def test_tables_beside_notes(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(lines("x,y", lambda n: f"{n},1") if name == "a.csv" else lines("y,x", lambda n: f"1,{n}"))
    (tmp_path / "README.txt").write_text("What this is.\n")
    (tmp_path / "meta.json").write_text("{}")
    rows = load_source(str(tmp_path), modality=TABLES)
    assert (len(rows), rows.dataset[N + 2]) == (2 * N, {"x": 2, "y": 1})
    assert rows.findings.facts["files"] == "2 used (a.csv, b.csv); skipped beside the tables: README.txt, meta.json"
    (tmp_path / "b.csv").write_text(lines("x,z", lambda n: f"{n},1"))
    with pytest.raises(SourceError, match=r"b\.csv has the columns x, z, but .*a\.csv x, y"):
        load_source(str(tmp_path), modality=TABLES)


def test_feather_files_and_dictionaries_are_read(tmp_path: Path) -> None:
    feather = pytest.importorskip("pyarrow.feather")
    import pyarrow as pa

    table = pa.table({"a": [1, 2], "b": pa.array(["x", "y"]).dictionary_encode()})
    feather.write_feather(table, str(tmp_path / "t.feather"))
    assert load_source(str(tmp_path / "t.feather"), modality=TABLES).dataset[1] == {"a": 2, "b": "y"}


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return f'<c r="{name}" t="inlineStr"><is><t>{value}</t></is></c>'
    return "" if value is None else f'<c r="{name}"><v>{value}</v></c>'


def workbook(path: Path, sheets: dict[str, list[list[Any]]]) -> None:
    """Write the least that is a workbook."""
    with zipfile.ZipFile(path, "w") as file:
        named = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets))
        file.writestr("xl/workbook.xml", f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{named}</sheets></workbook>')
        sheet = [("worksheet", f"worksheets/sheet{n}.xml") for n in range(len(sheets))]
        for part, targets in (("_rels/.rels", [("officeDocument", "xl/workbook.xml")]), ("xl/_rels/workbook.xml.rels", sheet)):
            links = (f'<Relationship Id="r{n}" Type="{_OFFICE}/{kind}" Target="{to}"/>' for n, (kind, to) in enumerate(targets))
            file.writestr(part, f'<Relationships xmlns="{_PACKAGE}">{"".join(links)}</Relationships>')
        for n, rows in enumerate(sheets.values()):
            cells = (
                "".join(cell(f"{column}{r}", value) for column, value in zip("ABCDEF", row, strict=False))
                for r, row in enumerate(rows, 1)
            )
            lines = "".join(f'<row r="{r}">{line}</row>' for r, line in enumerate(cells, 1))
            file.writestr(
                f"xl/worksheets/sheet{n}.xml", f'<worksheet xmlns="{_MAIN}"><sheetData>{lines}</sheetData></worksheet>'
            )


def test_a_sheet_of_a_workbook_is_a_table(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    path = tmp_path / "t.xlsx"
    body = [[n, f"name {n}", n + 0.5 if n else None, "-" if n == 1 else n, f"0{n}"] for n in range(N)]
    workbook(path, {"May": [["Sales"], [], ["n", "who", "x", "gap", "code"], *body], "June": [["a", "b"], [1, 2], [3, 4]]})
    rows = load_source(str(path), modality=TABLES)
    assert types(rows) == {"n": "int64", "who": "string", "x": "float64", "gap": "int64", "code": "string"}
    assert rows.dataset[0] == {"n": 0, "who": "name 0", "x": None, "gap": 0, "code": "00"}
    assert rows.findings.facts["sheet"] == "'May', of 2 (others: June; --sheet chooses)"
    assert len(load_source(str(path), modality=TABLES, table={"sheet": "June"})) == 2
    with pytest.raises(SourceError, match="has no sheet 'July'; it has May, June"):
        load_source(str(path), modality=TABLES, table={"sheet": "July"})
    (tmp_path / "broken.xlsx").write_bytes(b"PK no workbook")
    with pytest.raises(SourceError, match=r"Cannot read .*broken\.xlsx as a workbook"):
        load_source(str(tmp_path / "broken.xlsx"), modality=TABLES)


def test_a_workbook_without_its_reader_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    (tmp_path / "t.xlsx").write_bytes(b"x")
    with pytest.raises(SourceError, match=r'pip install "selfsup\[xlsx\]"'):
        load_source(str(tmp_path / "t.xlsx"), modality=TABLES)


def test_texts_of_a_folder_are_each_read_in_their_encoding(tmp_path: Path) -> None:
    for place, encoding in enumerate(("utf-8", "latin-1", "utf-16", "cp1252")):
        (tmp_path / f"{place}.md").write_bytes("Ein Café, das schön ist.".encode(encoding))
    rows = load_source(str(tmp_path), modality=WORDS)
    assert {row["text"] for row in rows} == {"Ein Café, das schön ist."}
    assert rows.findings.facts["encoding"].startswith("2 cp1252 (a guess, it reads 'schön'; --encoding sets it), 1 utf-")
    (tmp_path / "9.md").write_bytes("Это по-русски".encode("cp1251"))
    rows = load_source(str(tmp_path), modality=WORDS)
    assert [row["text"] for row in rows].count(None) == 1
    assert "1 files cannot be read as text" in rows.findings.warnings[0]
    assert load_source(str(tmp_path), modality=WORDS, table={"encoding": "cp1251"}).read([4])[0]["text"] == "Это по-русски"

"""Records and plans against their published JSON schemas, and those of earlier versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfsup.errors import BenchmarkError
from selfsup_bench.commands import report
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.migrations import SCHEMA, STEPS
from selfsup_bench.records.record import Record, RecordStore, read_json, write_json
from selfsup_bench.records.schema import fault, file_of, published, write_all

OLD = Path(__file__).with_name("fixtures") / "schema-1"
"""The folder of a benchmark as the version before few labels wrote it: vime on breast-cancer, two seeds."""


def test_published_schemas_are_those_of_the_code(tmp_path: Path) -> None:
    for path in write_all(tmp_path):
        text = (file_of("record").parent / path.name).read_text(encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, "run `python -m selfsup_bench.records.schema` and commit the files"


def test_what_is_written_is_what_the_schemas_say(tmp_path: Path, plan: Plan, records: dict[str, Record]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    plan.write(tmp_path)
    for document in ("plan", "record"):
        jsonschema.Draft202012Validator.check_schema(published(document))
    jsonschema.validate(read_json(tmp_path / "benchmark.json"), published("plan"))
    for record in records.values():
        jsonschema.validate(read_json(RecordStore(tmp_path).write(record)), published("record"))


WRONG: list[tuple[tuple[str, ...], Any, str]] = [
    (("metrics", "a.b"), "high", "the field 'metrics.a.b' holds 'high', and must hold a number or null"),
    (("cell", "steps"), 1.5, "the field 'cell.steps' holds 1.5, and must hold an integer"),
    (("cell", "steps"), True, "the field 'cell.steps' holds True, and must hold an integer"),
    (("cell", "wings"), 2, "the field 'cell.wings' is unknown"),
    (("status",), "lost", "the field 'status' is 'lost', which is none of 'done', 'failed'"),
    (("curve",), [[0, 1.0], [1]], "the field 'curve[1]' has 1 entries in place of 2"),
    (("curve",), [[0, "x"]], "the field 'curve[0][1]' holds 'x', and must hold a number or null"),
    (("rows",), {"a@1": [0.5, "x"]}, "the field 'rows.a@1[1]' holds 'x'"),
    (("projection",), {"method": "PCA"}, "the field 'projection.x' is missing"),
    (("cell",), None, "the field 'cell' holds None, and must hold an object"),
    (("schema",), 99, "is of schema 99"),
]  # fmt: skip
"""Where, what, and what is said of it."""


@pytest.mark.parametrize(("place", "value", "message"), WRONG)
def test_a_fault_that_jsonschema_finds_too_is_named_with_its_file_and_field(
    place: tuple[str, ...], value: Any, message: str, tmp_path: Path, records: dict[str, Record]
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    path = RecordStore(tmp_path).write(next(iter(records.values())))
    values = read_json(path)
    assert fault(values, published("record")) is None
    inner = values
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    assert fault(values, published("record")) is not None
    assert not jsonschema.Draft202012Validator(published("record")).is_valid(values)
    write_json(path, values)
    with pytest.raises(BenchmarkError) as error:
        RecordStore(tmp_path).all()
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "--resume" in str(error.value) or "--upgrade" in str(error.value)


def test_a_file_that_lacks_a_field(tmp_path: Path, records: dict[str, Record]) -> None:
    path = RecordStore(tmp_path).write(next(iter(records.values())))
    values = read_json(path)
    del values["cell"]["seed"]
    write_json(path, values)
    with pytest.raises(BenchmarkError, match=r"is no record of schema 2: the field 'cell\.seed' is missing\. Delete the file"):
        RecordStore(tmp_path).read(path.stem)


def test_every_earlier_version_has_a_migration() -> None:
    assert set(STEPS) == {(document, version) for document in ("record", "plan") for version in range(1, SCHEMA)}


def test_a_folder_of_the_version_before_few_labels_is_read(tmp_path: Path) -> None:
    assert json.loads((OLD / "benchmark.json").read_text())["schema"] == 1
    folder = tmp_path / "old"
    shutil.copytree(OLD, folder)
    plan, found = Plan.read(folder), RecordStore(folder).all()
    assert len(found) == len(plan.cells()) == 10
    assert {plan.key(cell) for cell in plan.cells()} == set(found)
    assert all(record.draws == record.rows == {} for record in found.values())
    result = CliRunner().invoke(report, [str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert "vime" in result.stdout
    assert "few-labels" not in result.stdout
    document = json.loads(CliRunner().invoke(report, [str(folder), "--json"]).stdout)
    rows = {row["kind"]: row for row in document["tables"][0]["rows"]}
    assert document["tables"][0]["headline"] == "linear.accuracy"
    values = [record.metrics["linear.accuracy"] for record in found.values() if record.cell.kind == "task"]
    assert rows["task"]["score"]["mean"] == pytest.approx(sum(values) / 2)
    assert rows["task"]["all_labels"] is None
    assert rows["boosting"]["score"] is not None
    assert (folder / "report.html").read_text().count("<html") == 1

"""``selfsup inspect`` and ``selfsup.inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import selfsup
from selfsup.errors import ConfigError
from selfsup.testing.toy.sequences.rows import id_rows

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """40 rows (two of them bad), a label, an idle column, and a test split."""
    rows = id_rows(40, seed=0)
    for number, row in enumerate(rows):
        row |= {"label": "ab"[number % 2], "stars": number % 5, "name": f"row {number}"}
    rows[7]["sequence"] = rows[20]["sequence"] = None
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_everything_that_a_run_would_find_is_shown(source, cli):
    lines = cli("inspect", source, "--modality", "sequence").out.splitlines()
    assert lines[0] == f"{source}: 40 rows for sequence (split train, of train, test)"
    assert "  columns: sequence; not used: stars, name (--column ROLE=NAME chooses)" in lines
    assert any(line.startswith("sequence\tList\tsequence\t2\t") for line in lines)
    assert "label\tstring\tlabel\t0\ta | b" in lines
    assert "stars\tint64\tnot used\t0\t0 | 1 | 2" in lines
    assert "Labels: label, 2 classes (a, b)" in lines
    assert any(line.startswith("Could be labels: stars, 5 classes (0, 1, 2, 3, 4)") for line in lines)
    assert not any(line.startswith("Could be labels: name") for line in lines)
    assert "Tested on: the test split" in lines
    assert "Sample of 40 rows: 38 can be used" in lines
    assert [line.partition(":")[0] for line in lines if line.startswith("  bad:")] == ["  bad", "  bad"]


def test_json_is_one_document(source, cli):
    found = json.loads(
        cli("inspect", source, "--modality", "sequence", "--split", "test", "--label", "stars", "--rows", 10, "--json").out
    )
    assert (found["rows"], found["split"], found["splits"], found["sample_rows"]) == (40, "test", ["train", "test"], 10)
    assert [(item["column"], item["taken"]) for item in found["labels"]] == [("stars", True), ("label", False)]
    assert found["columns"][0]["used_as"] == "sequence"
    assert found["samples"]


def test_a_registered_data_set_needs_no_modality(cli):
    assert "rows for sequence" in cli("inspect", "toy-sequences").out
    done = cli("inspect", "somewhere")
    assert done.status == 2
    assert "Name the kind of data: --modality sequence, sequence-pair, vector." in done.err


def test_options_are_those_of_a_run(source):
    held = selfsup.inspect(str(source), "sequence", holdout=0.3)
    assert 0 < held.rows < 40
    assert held.tested_on == f"the {40 - held.rows} rows (30 %) that are held out"
    with pytest.raises(ConfigError, match=r"--separator has no effect on .*train\.jsonl"):
        selfsup.inspect(str(source), "sequence", table={"separator": ";"})
    with pytest.raises(ConfigError, match="rows=0 is not allowed"):
        selfsup.inspect(str(source), "sequence", rows=0)

"""Result records: written, read, and those of a later version refused."""

from __future__ import annotations

import json
import math

import pytest

from selfsup.artifacts import ResultRecord, read_results
from selfsup.errors import ArtifactError
from selfsup.runtime import peak_memory
from selfsup.runtime.environment import environment


def record(**fields) -> ResultRecord:
    values = {
        "task": "toy/simclr",
        "backbone": "toy/conv",
        "dataset": "toys",
        "dataset_fingerprint": "f",
        "evaluator": "knn",
        "metrics": {"accuracy": 0.5, "macro_f1": 0.25},
        "n_train": 10,
        "n_test": 5,
        "seed": 0,
        "encoder": "e",
        "seconds": 1.5,
    }
    return ResultRecord(**{**values, **fields})


def test_record_comes_back_the_same(tmp_path):
    memory, found = peak_memory(), environment("cpu")
    assert 20e6 < memory < 1e12, "in bytes"
    assert json.loads(json.dumps(found)) == found
    assert {"torch", "selfsup"} <= set(found["packages"])
    assert found["device"].startswith("cpu")
    assert found["cpu_cores"] >= 1
    written = record(options={"k": 20}, versions=found["packages"], peak_memory=memory, details={"classes": ["a"]})
    path = written.write(tmp_path / "results")
    assert ResultRecord.read(path) == written
    assert written.headline == ("accuracy", 0.5)
    path = record(metrics={"loss": math.inf, "auroc": math.nan}).write(tmp_path)
    json.loads(path.read_text(), parse_constant=pytest.fail)  # JSON has no NaN
    assert str(ResultRecord.read(path).metrics) == "{'loss': inf, 'auroc': nan}"


def test_same_measurement_replaces_its_record(tmp_path):
    record(metrics={"accuracy": 0.1}).write(tmp_path)
    record(metrics={"accuracy": 0.2}).write(tmp_path)
    record(seed=1).write(tmp_path)
    record(options={"k": 5}).write(tmp_path)
    assert len(read_results(tmp_path)) == 3
    assert 0.1 not in [item.metrics["accuracy"] for item in read_results(tmp_path)]
    assert read_results(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not a result record"),
        ("[]", "is not a result record"),
        ('{"schema_version": 1}', "Field required"),
        ('{"schema_version": 9}', r"later selfsup \(record version 9; this one reads up to 1\)"),
    ],
)
def test_files_that_are_no_records(tmp_path, content, words):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ArtifactError, match=words):
        ResultRecord.read(tmp_path / "r.json")

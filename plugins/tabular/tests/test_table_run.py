"""A table from pretraining to an encoder that others use."""

import pandas as pd
import pytest
import torch

import selfsup
from selfsup.artifacts import export
from selfsup.cli.main import main
from selfsup.errors import ColumnError
from selfsup_tabular.mock import mock_rows

COLUMNS = ["a", "b", "c", "d", "count", "region", "size", "positive", "day"]


@pytest.fixture
def table(tmp_path, monkeypatch) -> pd.DataFrame:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    frame = pd.DataFrame(mock_rows(200, 0))
    return frame.assign(kind=[f"kind {row % 3}" for row in range(200)])


def small(**options):
    return {"steps": 3, "batch_size": 32, "progress": False, "precision": "32", "overrides": {"backbone.dim": 16}, **options}


def test_a_csv_becomes_an_encoder_of_the_columns_that_were_asked_for(table, tmp_path, capsys):
    table.to_csv(tmp_path / "table.csv", index=False)
    flags = ["--label", "kind", "--categorical", "count", "--drop", "a,b", "--set", "backbone.dim=16"]
    options = ["--data", tmp_path / "table.csv", "--steps", 3, "--batch-size", 32, "--out", tmp_path / "run"]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "tabular/dcl", *map(str, options), *flags])
    assert ended.value.code in (0, None)
    info = selfsup.load(tmp_path / "run").processor.info()
    assert (info["numeric_columns"][:2], info["category_columns"]) == (["c", "d"], ["count", "region", "size", "positive"])
    assert info["dropped"] == {"a": "as requested", "b": "as requested"}
    with pytest.raises(SystemExit) as ended:
        main(
            ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "table.csv"), "--label", "kind", "--evaluators", "knn"]
        )
    assert ended.value.code in (0, None)
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("backbone", ["mlp", "ft-transformer"])
def test_a_data_frame_is_learned_from_and_exported(table, tmp_path, backbone):
    frame = table.drop(columns="kind")
    run = selfsup.pretrain("tabular/denoising-autoencoder", data=frame, out=tmp_path / "run", backbone=backbone, **small())
    encoder = run.encoder
    shuffled = frame[COLUMNS[::-1]]
    expected = encoder.embed(frame.to_dict("records"))
    assert expected.shape == (200, 16)
    assert (encoder.embed(shuffled.to_dict("records")) == expected).all()
    export(encoder, "torch-export", tmp_path / "program.pt2")
    program = torch.export.load(tmp_path / "program.pt2").module()
    torch.testing.assert_close(program(encoder.processor(frame)), torch.from_numpy(expected), atol=1e-5, rtol=1e-4)


def test_a_label_that_was_a_feature_is_an_error_that_says_what_to_do(table, tmp_path):
    run = selfsup.pretrain("tabular/dcl", data=table, out=tmp_path / "run", **small())
    with pytest.raises(ColumnError, match=r"no column 'kind'.*If that is the label, pretrain again and name it with --label"):
        selfsup.evaluate(run.encoder, table, label="kind", evaluators=["knn"])

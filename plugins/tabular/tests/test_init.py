"""Tables that start from an encoder: its columns, scales and codes stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import selfsup
from selfsup.errors import ColumnError, ConfigError
from selfsup_tabular.column_transfer import transfer

ROWS = [{"age": 20.0 + place, "height": 1.5 + place / 50, "town": "ABC"[place % 3]} for place in range(40)]
OPTIONS: dict[str, Any] = {
    "batch_size": 8, "precision": "32", "overrides": {"objective.hidden_dim": 8, "objective.output_dim": 8}, "backbone": "mlp",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pretrain(rows: Any, out: Path, task: str = "tabular/vicreg", **options: Any) -> selfsup.Run:
    return selfsup.pretrain(task, rows, out=out, **{"progress": False, "steps": 2, **OPTIONS, **options})


@pytest.fixture(scope="module")
def former(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> selfsup.Run:
    return pretrain(ROWS, tmp_path_factory.mktemp("former") / "run")


def test_scales_and_codes_stay_and_new_columns_are_told(
    former: selfsup.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [{**row, "age": row["age"] + 100, "town": "D", "income": place} for place, row in enumerate(ROWS)]
    run = pretrain(others, tmp_path / "run", init=former, steps=0, progress=True)
    assert run.encoder.digest() == former.encoder.digest()
    assert f"The columns income are ignored: {former.dir} was trained without them." in capsys.readouterr().err


def test_a_table_that_lacks_columns_says_what_differs(former: selfsup.Run, tmp_path: Path) -> None:
    others = [{"age": row["age"], "weight": 50.0 + place} for place, row in enumerate(ROWS)]
    with pytest.raises(ColumnError, match=r"lacks 'height', 'town', which .* and has 'weight', which is new.*transfer"):
        pretrain(others, tmp_path / "run", init=former)
    moved = transfer(former.encoder, others)
    run = pretrain(others, tmp_path / "moved", init=moved.encoder.save(tmp_path / "encoder"), steps=0)
    assert run.encoder.digest() == moved.encoder.digest()
    absent = {**OPTIONS["overrides"], "processor.absent_columns": "missing"}
    assert pretrain(others, tmp_path / "absent", init=former, overrides=absent).encoder.embed_dim == former.encoder.embed_dim


def test_a_teacher_of_another_table_is_refused(former: selfsup.Run, tmp_path: Path) -> None:
    other = pretrain([{**row, "age": 3 * row["age"]} for row in ROWS], tmp_path / "other")
    options: dict[str, Any] = {"overrides": {"objective.teacher": str(other.dir)}, "init": former}
    with pytest.raises(ConfigError, match=r"to teach tabular: .* the scales and the codes of their columns differ"):
        pretrain(ROWS, tmp_path / "run", "tabular/distill", **options)
    taught = pretrain(ROWS, tmp_path / "taught", "tabular/distill", overrides={"objective.teacher": str(other.dir)})
    assert taught.encoder.processor.info() == other.encoder.processor.info()
    assert all(torch.isfinite(value).all() for value in taught.encoder.backbone.state_dict().values())

"""Rows that join parts: which rows have one, and the rows of a part as rows of its own modality."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import datasets
import numpy as np
import pytest
import torch
from datasets import Features, List, Value

from selfsup.config import Config
from selfsup.data import EpochSampler, Loader, Processor, Rows, prepare
from selfsup.data.batches.windows import read_windows
from selfsup.data.sources.columns.joined import is_blank, roles_of, split_role
from selfsup.errors import ColumnError, DataError, SpecError
from selfsup.registry.specs import ModalitySpec

FILE = {"bytes": Value("binary"), "path": Value("string")}
FEATURES = {"photo": FILE, "says": List(Value("string")), "price": Value("float64"), "start": Value("float64")}
RECORDS: list[dict[str, Any]] = [
    {"photo": {"bytes": b"x", "path": None}, "says": ["", "a dog"], "price": 1.0, "start": 0.0},
    {"photo": {"bytes": None, "path": ""}, "says": [" ", None], "price": float("nan"), "start": 0.0},
    {"photo": {"bytes": None, "path": "a.jpg"}, "says": [], "price": 0.0, "start": None},
    {"photo": None, "says": ["a cat", "it sits"], "price": None, "start": 1.0},
]
COLUMNS = {"image/image": "photo", "text/text": "says", "table/price": "price", "sound/sound": "photo", "sound/start": "start"}


def joined_rows() -> Rows:
    dataset = datasets.Dataset.from_list(RECORDS, features=Features(FEATURES))
    parts = {name: name for name in ("image", "text", "table", "sound")}
    media = frozenset({"image/image", "sound/sound"})
    return Rows(dataset=dataset, columns=COLUMNS, fingerprint="f", root=Path("/pictures"), media=media, parts=parts)


@pytest.mark.parametrize(
    ("part", "there"),
    [
        ("image", [True, False, True, False]),
        ("text", [True, False, False, True]),
        ("table", [True, False, True, False]),
        ("sound", [True, False, True, False]),  # the times of a segment alone are no sound
    ],
)
def test_a_row_has_a_part_where_a_column_of_it_holds_something(part: str, there: list[bool]) -> None:
    rows = joined_rows()
    assert rows.has_part(part).tolist() == there
    values = [[row[f"{part}/{role}"] for role in roles_of(COLUMNS, part) if role != "start"] for row in rows]
    assert [not is_blank(value) for value in values] == there, "rows in memory go by another rule"


def test_a_number_of_numpy_that_is_none_is_blank() -> None:
    assert is_blank(np.float32("nan"))
    assert not is_blank(np.float32(0))


def test_a_part_as_rows_of_its_own_modality() -> None:
    rows = joined_rows()
    texts = rows.of_part("text")
    assert list(texts) == [{"text": "a dog"}, {"text": "a cat"}]
    assert texts.places is not None
    assert texts.places.tolist() == [0, 3]
    images = rows.of_part("image")
    assert images.media == {"image"}
    assert [row["image"]["path"] for row in images] == [None, "/pictures/a.jpg"]
    assert len({rows.fingerprint, texts.fingerprint, images.fingerprint}) == 3
    with pytest.raises(ColumnError, match="no part 'txt'; its parts are image, text"):
        rows.of_part("txt")
    with pytest.raises(DataError, match="None of the 1 rows"):
        rows.select([1]).of_part("text")


def test_the_names_of_roles() -> None:
    assert split_role("front/image") == ("front", "image")
    assert split_role("image") == ("", "image")


def test_a_modality_that_joins_others_has_no_columns_of_its_own() -> None:
    with pytest.raises(SpecError, match="joins others"):
        ModalitySpec(id="pairs", summary="Pairs.", target="a.b:C", backbone="x", joins=True, columns={"image": "Image"})


class OneWindow(Processor):
    modality: ClassVar[str] = "toy"
    Config = Config
    window_key: ClassVar[str] = "steps"

    def __init__(self, length: int) -> None:
        super().__init__(Config())
        self.length = length

    @property
    def window_steps(self) -> int:
        return self.length

    def fit(self, rows: object) -> Self:
        return self

    def info(self) -> dict[str, Any]:
        return {}

    def encode(self, row: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        return {"steps": np.asarray(row["steps"])}

    def save(self, directory: Path) -> None:
        (directory / "toy.json").write_text(f"{self.length}")

    @classmethod
    def load(cls, directory: Path) -> Self:
        return cls(2)


class TwoWindows(OneWindow):
    """Two keys with a window each, and a sample with several values; training sees one."""

    window_key: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__(0)
        self.owners = {"fast": OneWindow(40), "slow": OneWindow(4)}

    def windowed(self) -> Mapping[str, Processor]:
        return self.owners

    def encode(self, row: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        return {"fast": np.arange(1000), "slow": np.arange(100), "choice": np.arange(5) + 10 * row["n"]}

    def training_samples(self, samples: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        drawn = torch.randint(5, (len(samples["choice"]),), generator=generator)
        return {**samples, "choice": samples["choice"].gather(1, drawn.unsqueeze(1))}

    def collate(self, samples: Mapping[str, Any]) -> dict[str, Any]:
        return {**samples, "choice": samples["choice"][:, :1]}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    dataset = datasets.Dataset.from_dict({"n": list(range(8))})
    return prepare(Rows(dataset=dataset, columns={"n": "n"}, fingerprint="n"), TwoWindows(), cache_dir=tmp_path)


def test_each_key_has_a_window_of_its_own_at_the_same_share_of_the_way(store: Any) -> None:
    places = np.arange(8)
    middle = read_windows(store, TwoWindows(), places)
    assert middle["fast"][:, 0].tolist() == [480] * 8
    assert middle["slow"][:, 0].tolist() == [48] * 8
    drawn = read_windows(store, TwoWindows(), places, (0, 1))
    assert drawn["fast"].shape == (8, 40)
    assert drawn["slow"].shape == (8, 4)
    shares = drawn["fast"][:, 0] / 960, drawn["slow"][:, 0] / 96
    assert len(set(shares[0].tolist())) > 4
    assert (shares[0] - shares[1]).abs().max() < 0.02


def test_training_draws_one_of_several_values_and_evaluation_takes_the_first(store: Any) -> None:
    def values(seed: int | None) -> list[int]:
        loader = Loader(store, TwoWindows(), EpochSampler(8, 8, shuffle=False), window_seed=seed)
        (batch,) = loader.epoch(0)
        return batch["choice"].flatten().tolist()

    assert values(None) == [10 * n for n in range(8)]
    assert values(3) == values(3)
    assert values(3) != values(None)
    assert [value // 10 for value in values(3)] == list(range(8))

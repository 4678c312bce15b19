from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from selfsup.errors import SourceError, StorageError
from selfsup_bench.datasets import images as embedded
from selfsup_bench.datasets import library_docs as library
from selfsup_bench.datasets.cache import split_rows
from selfsup_bench.datasets.captions import NAMES, captioned_digits, describe
from selfsup_bench.datasets.images import digits, mnist_5k
from selfsup_bench.datasets.library_docs import PACKAGES, labelled_sentences, library_docs
from selfsup_bench.datasets.tables import breast_cancer, diabetes, digits_table, wine
from selfsup_bench.datasets.texts import PARTS, labelled_paragraphs, pydoc_topics


@pytest.fixture(autouse=True)
def _cache(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(embedded))


def test_mnist_is_balanced_and_its_splits_share_no_row() -> None:
    train, test = mnist_5k("train"), mnist_5k("test")
    assert np.bincount(train["label"]).tolist() == [400] * 10
    assert np.bincount(test["label"]).tolist() == [100] * 10
    assert train[0]["image"].size == (28, 28)
    raw = [{row["bytes"] for row in split.data.column("image").to_pylist()} for split in (train, test)]
    assert not raw[0] & raw[1]


def test_digits_are_scikit_learns_pixels() -> None:
    rows = digits("train").data.column("image").to_pylist()
    first = np.asarray(Image.open(io.BytesIO(rows[0]["bytes"])))
    assert (first == (load_digits().images[0] * 255 / 16).round()).all()
    assert len(rows) + len(digits("test")) == 1797


def test_split_depends_on_the_order_of_the_rows_alone() -> None:
    labels = np.array([0] * 10 + [1] * 5)
    assert split_rows(labels, "test").tolist() == [4, 14, 9]
    assert sorted([*split_rows(labels, "train"), *split_rows(labels, "test")]) == list(range(15))


def test_unknown_split() -> None:
    with pytest.raises(SourceError, match="no split 'validation': choose train or test"):
        digits("validation")


def test_second_use_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    first = digits("test")._fingerprint
    monkeypatch.setattr(embedded, "_read_digits", lambda: pytest.fail("was read again"))
    assert digits("test")._fingerprint == first


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="SELFSUP_CACHE"):
        digits("test")


def test_paragraphs_have_the_part_that_their_page_is_of() -> None:
    said = "A sentence that is long enough to be taken as a paragraph."
    both = "A sentence on pages of two parts, which says nothing of either of them."
    pages = {
        "assert": f"The title\n*****\n\n{said}\n\n{both}",
        "compound": f"{said}\n\nshort",
        "types": f"{both}\n\n   Another sentence\n   that goes on, in the   next line.",
        "new-topic": "A page of another Python that no part is known of, as long as you like.",
    }
    names = list(PARTS)
    assert labelled_paragraphs(pages) == [
        (said, names.index("statements")),
        ("Another sentence that goes on, in the next line.", names.index("data model")),
    ]


def test_text_is_pythons_own_reference() -> None:
    train, test = pydoc_topics("train"), pydoc_topics("test")
    assert train.features["label"].names == list(PARTS)
    assert len(train) > 900
    assert min(np.bincount(train["label"])) > 60
    assert not set(train["text"]) & set(test["text"])
    assert any("expression" in text for text in test["text"])


def test_first_sentences_have_the_library_that_they_are_of(tmp_path: Path) -> None:
    said, both = "Return the sum of two numbers that are given.", "Raise an error that says what is wrong."
    files = {
        "one/a.py": f'"""{said}\n\nMore of it."""\n\ndef f():\n    """{both}"""\n',
        "one/b.py": f'class A:\n    """{said}"""\n\n    def g(self):\n        """too short."""\n',
        "one/tests/c.py": '"""A sentence of a test, which is left out."""',
        "one/broken.py": '"""A sentence of a file that cannot be read."""\nif',
        "two/a.py": f'async def f():\n    """{both}"""\n\ndef g():\n    """Make a list,\n    e.g. a row of things. Stop."""\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    folders = {name: tmp_path / name for name in ("one", "two")}
    assert labelled_sentences(folders, 10) == [(said, 0), ("Make a list, e.g. a row of things.", 1)]
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="none is installed without"):
        labelled_sentences({**folders, "none": tmp_path / "none"}, 10)


def test_docs_of_eight_libraries_are_nearly_balanced_and_their_splits_share_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    monkeypatch.setattr(library, "_SENTENCES", 50)
    train, test = library_docs("train"), library_docs("test")
    assert train.features["label"].names == list(PACKAGES)
    assert min(np.bincount(train["label"])) >= 36
    assert max(np.bincount(train["label"])) == 40
    assert not set(train["text"]) & set(test["text"])


@pytest.mark.parametrize(("read", "columns", "rows"), [(breast_cancer, 30, 569), (wine, 13, 178), (digits_table, 64, 1797)])
def test_tables_are_scikit_learns(read: Callable[[str], Any], columns: int, rows: int) -> None:
    train, test = read("train"), read("test")
    assert len(train.features) == columns + 1
    assert len(train) + len(test) == rows
    classes = len(train.features["label"].names)
    assert set(train["label"]) == set(test["label"]) == set(range(classes))


def test_a_table_of_numbers_has_them_all_over_its_range_in_both_splits() -> None:
    train, test = diabetes("train"), diabetes("test")
    assert (len(train), len(test)) == (358, 84)
    assert abs(np.mean(train["label"]) - np.mean(test["label"])) < 5
    assert "float" in str(train.features["label"].dtype)


def test_digits_of_the_table_are_those_of_the_images() -> None:
    image = np.asarray(Image.open(io.BytesIO(digits("test").data.column("image").to_pylist()[7]["bytes"])))
    row = digits_table("test")[7]
    del row["label"]
    assert (np.round(np.array(list(row.values())) * 255 / 16) == image.ravel()).all()


def test_captions_say_what_is_in_the_picture() -> None:
    leaning = np.zeros((20, 20), dtype=np.uint8)
    for row in range(20):
        leaning[row, 18 - row // 2] = 255
    assert describe(leaning, "one") == "a thin one, leaning right, without a loop"
    assert describe(leaning[:, ::-1], "one") == "a thin one, leaning left, without a loop"
    ring = np.zeros((20, 20), dtype=np.uint8)
    ring[2:18, 4:16] = 255
    ring[6:14, 8:12] = 0
    assert describe(ring, "digit") == "a bold digit, upright, with a loop"
    ring[9:11, 8:12] = 255
    assert describe(ring, "eight") == "a bold eight, upright, with two loops"


def test_every_second_caption_names_its_digit() -> None:
    train, test = captioned_digits("train"), captioned_digits("test")
    assert (len(train), len(test)) == (4000, 1000)
    for split in (train, test):
        said = [caption.split(",")[0].split()[-1] for caption in split["caption"]]
        names = [NAMES[label] for label in split["label"]]
        assert all(word in ("digit", name) for word, name in zip(said, names, strict=True))
        assert said.count("digit") == len(split) / 2
        shares = [sum(word in caption for caption in split["caption"]) / len(split) for word in ("thin", "plain", "bold")]
        assert min(shares) > 0.2

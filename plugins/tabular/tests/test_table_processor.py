import datetime
import json
import tracemalloc

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from selfsup.data import load_source, prepare, processor_digest
from selfsup.errors import ArtifactError, BadRowError, ColumnError, ConfigError, DataError, SourceError, TooManyBadRowsError
from selfsup.validation import validated
from selfsup_tabular.plugin import selfsup_modalities
from selfsup_tabular.processor import TableProcessor, TableProcessorConfig

(TABULAR,) = selfsup_modalities()

ROWS = [
    {"age": 20, "job": "cook", "paid": 1.5, "member": True, "since": datetime.date(2020, 1, 1)},
    {"age": 40, "job": "smith", "paid": None, "member": False, "since": datetime.date(2020, 7, 1)},
    {"age": 60, "job": "cook", "paid": 2.5, "member": None, "since": None},
    {"age": None, "job": None, "paid": 2.0, "member": True, "since": datetime.date(2021, 1, 1)},
]


def fitted(rows=ROWS, **options) -> TableProcessor:
    return TableProcessor(TableProcessorConfig(**options)).fit(rows)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_batch_by_hand():
    processor = fitted(scaling="standard")
    info = processor.info()
    assert info["numeric_columns"] == [
        "age", "paid", "since.time", "since.year_sin", "since.year_cos", "since.week_sin", "since.week_cos",
    ]  # fmt: skip
    assert info["category_columns"] == ["job", "member"]
    assert info["cardinalities"] == [4, 4]
    assert info["n_cells"] == 9
    assert json.loads(json.dumps(info)) == info
    batch = processor(ROWS)
    assert {key: (tuple(value.shape), value.dtype) for key, value in batch.items()} == {
        "numeric": ((4, 7), torch.float32),
        "missing": ((4, 7), torch.bool),
        "category": ((4, 2), torch.int64),
    }
    torch.testing.assert_close(batch["numeric"][:, 0], torch.tensor([-(1.5**0.5), 0, 1.5**0.5, 0]))
    assert batch["missing"][:, :3].tolist() == [[False] * 3, [False, True, False], [False, False, True], [True, False, False]]
    assert batch["category"].tolist() == [[2, 2], [3, 3], [2, 1], [1, 2]]
    assert not batch["numeric"][batch["missing"]].any()


def test_new_tables_may_have_other_columns_order_and_values():
    processor = fitted()
    row = {**ROWS[0], "job": "pilot", "extra": [1, 2]}
    turned = dict(reversed(row.items()))
    assert equal(processor([row]), processor([turned]))
    assert processor([row])["category"].tolist() == [[0, 2]]
    assert processor([{**row, "age": None, "job": None, "member": None}])["category"].tolist() == [[1, 1]]


def test_a_missing_column_is_an_error_unless_it_may_be_absent():
    row = {key: value for key, value in ROWS[0].items() if key not in ("age", "job", "since")}
    with pytest.raises(
        ColumnError, match=r"no column 'age', 'since', 'job'.*it has paid, member.*--label.*absent_columns=missing"
    ):
        fitted()([row])
    batch = fitted(absent_columns="missing")([row])
    assert batch["missing"].tolist() == [[True, False, True, True, True, True, True]]
    assert batch["category"].tolist() == [[1, 2]]


def test_tables_in_memory_and_rows_give_the_same():
    pl = pytest.importorskip("polars")
    frame = pd.DataFrame(ROWS, index=[9, 8, 7, 6]).astype({"job": "category"})
    processor = fitted()
    for table in (frame, pa.Table.from_pylist(ROWS), pl.DataFrame(ROWS).with_columns(pl.col("job").cast(pl.Categorical))):
        assert equal(processor(table), processor(ROWS)), type(table)
        again = fitted(table)
        assert processor_digest(again) == processor_digest(processor), type(table)


def test_kinds_can_be_overridden():
    rows = [{"code": 1, "text": "5", "day": "2020-01-01", "id": n} for n in range(3)]
    info = fitted(rows).info()
    assert (info["numeric_columns"][:2], info["category_columns"]) == (["code", "day.time"], ["text"])
    assert info["dropped"] == {"id": "it numbers the rows"}
    assert fitted(rows, numeric="id").info()["numeric_columns"][:2] == ["code", "id"]
    info = fitted(rows, categorical="code, day", numeric=["text"], drop="id").info()
    assert (info["numeric_columns"], info["category_columns"]) == (["text"], ["code", "day"])
    assert info["dropped"] == {"id": "as requested"}
    assert fitted(rows, dates="day", drop="code,id,text").info()["numeric_columns"][0] == "day.time"


@pytest.mark.parametrize(("options", "message"), [
    ({"categorical": "a,b", "drop": "b"}, "column 'b' is named by 'categorical' and by 'drop'"),
    ({"scaling": "minmax"}, "scaling = 'minmax' is not allowed"),
])  # fmt: skip
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        validated(TableProcessorConfig, options, what="processor")


def test_tables_that_teach_nothing_are_refused():
    with pytest.raises(ColumnError, match=r"no column 'wage' to use as numeric\. The columns are age,"):
        fitted(numeric="wage")
    with pytest.raises(ColumnError, match=r"No column of the table is useful \(x: it holds no value\)"):
        fitted([{"x": None}])
    with pytest.raises(SourceError, match="no rows"):
        fitted([])
    with pytest.raises(DataError, match=r"call fit\(rows\)"):
        TableProcessor()(ROWS)


def test_one_row_and_all_null_columns_are_handled():
    processor = fitted([{"x": 3.0, "c": "a", "empty": None}])
    assert processor.info()["dropped"] == {"empty": "it holds no value"}
    assert processor([{"x": 3.0, "c": "a", "empty": "now"}])["category"].tolist() == [[2]]
    empty = fitted()([dict.fromkeys(ROWS[0])])
    assert empty["missing"].all()
    assert empty["category"].tolist() == [[1, 1]]


def test_rare_categories_share_the_unknown_code():
    rows = [{"c": value} for value in "aaabbc"]
    assert fitted(rows, min_count=2)(rows)["category"][:, 0].tolist() == [2, 2, 2, 3, 3, 0]
    assert fitted(rows, max_categories=1)(rows)["category"][:, 0].tolist() == [2, 2, 2, 0, 0, 0]


def test_categories_beyond_a_small_integer_are_kept_apart():
    rows = [{"c": n} for n in range(33_000)]
    processor = fitted(rows, categorical="c", max_categories=33_000)
    codes = processor(rows)["category"][:, 0]
    assert codes.unique().numel() == 33_000
    assert int(codes.min()) == 2


def test_a_saved_processor_gives_the_same(tmp_path):
    processor = fitted(drop="member")
    processor.save(tmp_path)
    loaded = TableProcessor.load(tmp_path)
    assert equal(loaded(ROWS), processor(ROWS))
    assert loaded.info() == processor.info()
    assert processor_digest(loaded) == processor_digest(processor)
    (tmp_path / "table_processor.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is not a saved table processor"):
        TableProcessor.load(tmp_path)


def test_an_unreadable_cell_makes_a_bad_row():
    rows = [{"x": value} for value in ("1.5", "2.5", "much")]
    processor = fitted(rows[:2])
    results = processor.encode_rows(rows)
    assert [isinstance(item, BadRowError) for item in results] == [False, False, True]
    with pytest.raises(BadRowError, match="row 2: column 'x' holds 'much', which is not a number"):
        processor(rows)
    with pytest.raises(BadRowError, match="'much'"):
        processor.encode(rows[2])
    source = load_source(pd.DataFrame(rows), modality=TABULAR)
    with pytest.raises(TooManyBadRowsError, match="row 2: column 'x' holds 'much'"):
        prepare(source, processor)
    store = prepare(source, processor, max_bad_rows=0.5)
    assert store.kept.tolist() == [0, 1]
    assert equal(processor.collate(store.read([1])), processor(rows[1:2]))


def test_rows_go_to_the_store_as_they_are_processed_at_once():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=3000), "c": rng.choice(list("abc"), 3000)})
    frame.loc[::5, "x"] = np.nan
    source = load_source(frame, modality=TABULAR)
    processor = fitted(source)
    store = prepare(source, processor)
    assert len(store) == 3000
    order = rng.permutation(3000)
    assert equal(processor.collate(store.read(order)), processor(frame.iloc[order]))


def test_class_labels_are_categories():
    features = datasets.Features({
        "colour": datasets.ClassLabel(names=["red", "green", "blue"]),
        "count": datasets.Value("int64"),
        "label": datasets.ClassLabel(names=["a", "b"]),
    })  # fmt: skip
    columns = {"colour": [0, 2, 2, 1], "count": [0, 2, 2, 1], "label": [0, 1, 0, 1]}
    source = load_source(datasets.Dataset.from_dict(columns, features=features), modality=TABULAR).without_labels()
    info = fitted(source).info()
    assert (info["category_columns"], info["numeric_columns"]) == (["colour"], ["count"])
    assert fitted(source)(source.read([1]))["category"].tolist() == [[2]]
    assert fitted(source, numeric="colour").info()["numeric_columns"] == ["colour", "count"]


def test_scales_are_learned_from_a_sample_of_many_rows():
    frame = pd.DataFrame({"x": np.arange(20_000.0)})
    source = load_source(frame, modality=TABULAR)
    whole, part = fitted(source, scaling="standard"), fitted(source, scaling="standard", fit_rows=2000)
    assert processor_digest(fitted(source, scaling="standard", fit_rows=2000)) == processor_digest(part)
    assert processor_digest(whole) != processor_digest(part)
    assert abs(float(part(frame)["numeric"].mean())) < 0.1
    assert fitted(frame, fit_rows=2000, scaling="standard").plan.numbers[0].scale.center == pytest.approx(1e4, rel=0.05)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    def peak(n: int) -> int:
        file = tmp_path / f"{n}.parquet"
        with pq.ParquetWriter(file, pa.schema({"x": pa.float64(), "c": pa.string()})) as writer:
            for start in range(0, n, 20_000):
                x = np.arange(start, start + 20_000, dtype=np.float64)
                writer.write_table(pa.table({"x": x, "c": pa.array((x % 7).astype(int).astype(str))}))
        rows = load_source(file, modality=TABULAR)
        pool = pa.default_memory_pool()
        tracemalloc.start()
        before = pool.bytes_allocated()
        store = prepare(rows, fitted(rows, fit_rows=5000), workers=1)
        used = tracemalloc.get_traced_memory()[1] + pool.bytes_allocated() - before
        tracemalloc.stop()
        assert len(store) == n
        return used

    peak(20_000)  # imports
    small, large = peak(300_000), peak(900_000)
    # A row is nine bytes and more, in the file as in the store, and its hash another eight, which stays in memory; Arrow's pool
    # gives back its buffers when it likes.
    assert large - small < (8 + 3) * 600_000


def test_lists_are_dropped_and_named(tmp_path):
    rows = load_source(datasets.Dataset.from_dict({"x": [1, 2], "pixels": [[1], [2]]}), modality=TABULAR)
    assert "list" in fitted(rows).info()["dropped"]["pixels"]
    with pytest.raises(ColumnError, match="'pixels' holds list"):
        fitted(rows, categorical="pixels")


def test_so_few_rows_that_none_might_be_drawn_are_refused():
    with pytest.raises(ValueError, match="fit_rows"):
        TableProcessor.Config(fit_rows=99)
    assert TableProcessor.Config(fit_rows=100)


def test_a_category_of_whole_numbers_stays_one(tmp_path):
    codes = [n % 7 for n in range(300)]
    frame = pd.DataFrame({"code": pd.Categorical(codes), "x": np.arange(300) * 0.5})
    for source in (frame, pa.table({"code": pa.array(codes).dictionary_encode(), "x": frame["x"]})):
        assert TableProcessor().fit(source).info()["category_columns"] == ["code"]
        rows = load_source(source, modality=TABULAR).select(range(200))
        assert TableProcessor().fit(rows).info()["category_columns"] == ["code"]
    for name, write in (("t.parquet", frame.to_parquet), ("t.feather", frame.to_feather)):
        write(tmp_path / name)
        rows = load_source(str(tmp_path / name), modality=TABULAR)
        assert TableProcessor().fit(rows).info()["category_columns"] == ["code"]
    many = pd.DataFrame({"code": pd.Categorical(np.arange(300) % 150), "x": np.arange(300) * 0.5})
    assert TableProcessor().fit(many).info()["cardinalities"] == [152]
    assert TableProcessor().fit(many.astype({"code": int})).info()["category_columns"] == []


def test_texts_that_are_numbers_are_read_alike_in_training_and_later():
    gaps = ["-" if n % 9 == 0 else f"${n},000" for n in range(120)]
    frame = pd.DataFrame({"price": [f"{n},5 €" for n in range(120)], "gap": gaps})
    processor = TableProcessor(validated(TableProcessorConfig, {"scaling": "none"}, what="processor")).fit(frame)
    batch = processor(pd.DataFrame({"price": ["7,25", "n/a", "1.000,5 €"], "gap": ["$1,000", "-", "5"]}))
    assert batch["numeric"].tolist() == [[7.25, 1000.0], [0.0, 0.0], [1000.5, 5.0]]
    assert batch["missing"].tolist() == [[False, False], [True, True], [False, False]]


def test_na_is_a_word_where_there_are_words_unless_told():
    rows = [{"country": ("NA", "DE", "None")[n % 3], "x": ("1.5", "NA", "2")[n % 3]} for n in range(30)]
    processor = fitted(rows)
    assert set(processor.plan.categories[0].values) == {"NA", "DE", "None"}
    assert "NA and None are words in country" in processor.findings().facts["missing"]
    told = fitted(rows, missing_values="NA,None")
    assert told.plan.categories[0].values == ("DE",)
    assert "missing" not in told.findings().facts


def test_what_was_found_names_every_column():
    rows = [
        {
            "id": n,
            "age": n % 50,
            "price": "oops" if n == 3 else str(n),
            "town": "ab"[n % 2],
            "one": 1,
            "day": f"2020-01-{1 + n % 28:02d}",
        }
        for n in range(120)
    ]
    found = fitted(rows).findings()
    assert found.facts == {
        "numbers": "1: age",
        "categories": "1: town (2)",
        "dates": "1: day",
        "left out": "3: id (it numbers the rows), price (nearly every row has its own text (120 in 120 rows)), "
        "one (every row holds 1)",
        "set by": "--numeric, --categorical, --dates, --drop COL,COL",
    }
    assert found.warnings[0].startswith("Column 'price' holds numbers in 119 of 120 cells, and 'oops' (1).")
    assert fitted(rows, missing_numbers="oops").info()["numeric_columns"][:2] == ["age", "price"]


def test_dates_of_one_day_are_alike_in_every_form():
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=n) for n in range(60)]
    batches = []
    for form in ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%b %d, %Y"):
        frame = pd.DataFrame({"day": [day.strftime(form) for day in days]})
        processor = TableProcessor().fit(frame)
        batches.append(processor(frame)["numeric"])
        assert torch.equal(batches[0], batches[-1])
    assert processor.findings().facts["dates"] == "1: day (%b %d, %Y)"

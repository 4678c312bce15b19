import datetime

import pyarrow as pa
import pytest

from selfsup_tabular.columns.kinds import Markers, find_kind

MARKERS = Markers(frozenset(("", "?")), frozenset(("", "?", "-", "NA")))


@pytest.mark.parametrize(("values", "kind"), [
    ([1, 2, None], "numeric"),
    ([1.5, float("nan")], "numeric"),
    ([True, False], "category"),
    ([datetime.date(2020, 1, 1), None], "date"),
    (["a", "b", "?"], "category"),
    (["2020-01-01", "2021-12-31", "?"], "date"),
    (["1", "2", "3"], "category"),
    (["1.5", "2", "?"], "numeric"),
    ([str(number) for number in range(101)], "numeric"),
    (["1994", "2001"], "category"),
    (["$1,000.50", "(2.5)", "-", "NA"], "numeric"),
    (["1.234,5", "2,25", "12 %"], "numeric"),
    (["NA", "DE", "None"], "category"),
    ([f"0{number}" for number in range(1000, 1200)] * 2, "category"),
    ([7] * 20, "dropped"),
    ([7] * 20 + [None], "numeric"),
    (["one"] * 20, "dropped"),
    ([False] * 20, "dropped"),
    ([float("nan")] * 3, "dropped"),
    (["?", ""], "dropped"),
    ([[1], [2]], "dropped"),
    ([f"row {number}" for number in range(100)], "dropped"),
    ([f"row {number}" for number in range(99)], "category"),
    ([f"kind {number % 50}" for number in range(100)], "category"),
])  # fmt: skip
def test_the_kind_of_a_column_is_found(values, kind):
    found = find_kind("x", pa.chunked_array([pa.array(values)]), MARKERS)
    assert found.kind == kind
    assert bool(found.reason) == (kind == "dropped")


@pytest.mark.parametrize(("name", "kind"), [
    ("Unnamed: 0", "dropped"), ("", "dropped"), ("index", "dropped"), ("ID", "dropped"), ("PassengerId", "dropped"),
    ("customer_id", "dropped"), ("row number", "dropped"), ("paid", "numeric"), ("humid", "numeric"), ("year", "numeric"),
])  # fmt: skip
def test_columns_that_number_the_rows_are_told_by_their_names(name, kind):
    numbers = pa.chunked_array([pa.array([3, 1, 2, 4])])
    assert find_kind(name, numbers, MARKERS).kind == kind
    assert find_kind(name, pa.chunked_array([pa.array([3, 1, 2, 2])]), MARKERS).kind == "numeric"


def test_a_column_of_numbers_with_some_words_is_warned_of():
    values = [str(number) for number in range(98)] + ["n.d.", "broken"]
    found = find_kind("price", pa.chunked_array([pa.array(values)]), MARKERS)
    assert found.kind == "dropped"
    assert "Column 'price' holds numbers in 98 of 100 cells, and 'broken' (1), 'n.d.' (1)." in found.warning
    assert found.warning.endswith("The column is dropped.")
    assert find_kind("grade", pa.chunked_array([pa.array(["A", "B", "1"])]), MARKERS).warning == ""


@pytest.mark.parametrize(("texts", "form"), [
    (["31/12/2024", "01/02/2024"], "%d/%m/%Y"), (["12/31/2024", "01/02/2024"], "%m/%d/%Y"),
    (["31.12.2024", "1.2.2024"], "%d.%m.%Y"), (["2024/12/31", "?"], "%Y/%m/%d"), (["3 Mar 2024", "12 Dec 2023"], "%d %b %Y"),
    (["31/12/2024 13:45", "01/02/2024 00:00:10"], "%d/%m/%Y"),
    (["2024-12-31 13:45", "2024-01-01"], ""),
])  # fmt: skip
def test_dates_in_other_forms_are_found(texts, form):
    found = find_kind("day", pa.chunked_array([pa.array(texts)]), MARKERS)
    assert (found.kind, found.form, found.warning) == ("date", form, "")


def test_a_day_that_could_be_a_month_is_warned_of():
    column = pa.chunked_array([pa.array(["01/02/2024", "03/04/2024"])])
    found = find_kind("day", column, MARKERS)
    assert (found.form, "--set processor.date_format=%m/%d/%Y" in found.warning) == ("%d/%m/%Y", True)
    told = find_kind("day", column, MARKERS, date_format="%m/%d/%Y")
    assert (told.kind, told.form, told.warning) == ("date", "%m/%d/%Y", "")

import datetime

import pyarrow as pa
import pytest

from selfsup_tabular.columns.kinds import find_kind

MARKERS = ("", "?")


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
    ([float("nan")] * 3, "dropped"),
    (["?", ""], "dropped"),
    ([[1], [2]], "dropped"),
    ([f"row {number}" for number in range(100)], "dropped"),
    ([f"row {number}" for number in range(99)], "category"),
    ([f"kind {number % 50}" for number in range(100)], "category"),
])  # fmt: skip
def test_the_kind_of_a_column_is_found(values, kind):
    found = find_kind(pa.chunked_array([pa.array(values)]), MARKERS)
    assert found.kind == kind
    assert bool(found.reason) == (kind == "dropped")

import datetime

import numpy as np
import pyarrow as pa
import pytest

from selfsup.errors import ColumnError
from selfsup_tabular.columns.values import BadCells, category_key, days_of, keys_of, numbers_of

MARKERS = ("", "?", "NA")


@pytest.mark.parametrize(("array", "expected"), [
    (pa.array([1, None, 3]), [1, np.nan, 3]),
    (pa.array([1.5, float("nan"), None]), [1.5, np.nan, np.nan]),
    (pa.array([True, False, None]), [1, 0, np.nan]),
    (pa.array([" 1.5", "?", "2e3"]), [1.5, np.nan, 2000]),
    (pa.array([None, None, None]), [np.nan] * 3),
    (pa.array([datetime.timedelta(minutes=1), None, datetime.timedelta(0)]), [60, np.nan, 0]),
    (pa.array([datetime.time(1, 0), None, datetime.time(0, 0, 1)]), [3600, np.nan, 1]),
    (pa.array([2**63 + 1, 0, None], type=pa.uint64()), [2.0**63, 0, np.nan]),
])  # fmt: skip
def test_numbers_of_many_types(array, expected):
    bad = BadCells()
    np.testing.assert_array_equal(numbers_of("x", array, MARKERS, bad), expected)
    assert bad.reasons == {}


def test_a_text_that_is_no_number_makes_its_rows_bad():
    bad = BadCells()
    values = numbers_of("age", pa.array(["1", "old", "2", "old"]), MARKERS, bad)
    assert np.isnan(values).tolist() == [False, True, False, True]
    assert bad.reasons == dict.fromkeys((1, 3), "column 'age' holds 'old', which is not a number")


@pytest.mark.parametrize("array", [
    pa.array([datetime.date(1970, 1, 2), None, datetime.date(1969, 12, 31)]),
    pa.array([datetime.datetime(1970, 1, 2), None, datetime.datetime(1969, 12, 31)]),
    pa.array(["1970-01-02", "NA", "1969-12-31"]),
    pa.array(["1970-01-02T00:00:00Z", None, "1969-12-31 01:00:00+01:00"]),
    pa.array([86_400_000, None, -86_400_000], type=pa.timestamp("ms", "Europe/Berlin")),
])  # fmt: skip
def test_days_since_1970_of_many_types(array):
    bad = BadCells()
    np.testing.assert_allclose(days_of("when", array, MARKERS, bad), [1, np.nan, -1])
    assert bad.reasons == {}


def test_a_text_that_is_no_date_makes_its_row_bad():
    bad = BadCells()
    days_of("when", pa.array(["2020-01-01", "yesterday"]), MARKERS, bad)
    assert list(bad.reasons) == [1]
    assert "'yesterday', which is not a date of the form YYYY-MM-DD" in bad.reasons[1]


@pytest.mark.parametrize(("read", "array", "message"), [
    (numbers_of, pa.array([datetime.date(2020, 1, 1)]), "'x' holds date32"),
    (numbers_of, pa.array([[1]]), "numbers are expected"),
    (days_of, pa.array([3]), "dates are expected"),
    (lambda name, array, markers, bad: keys_of(name, array, markers), pa.array([[1]]), "categories are expected"),
    (lambda name, array, markers, bad: keys_of(name, array, markers), pa.array([b"a"]), "categories are expected"),
])  # fmt: skip
def test_a_column_of_another_type_is_an_error(read, array, message):
    with pytest.raises(ColumnError, match=message):
        read("x", array, MARKERS, BadCells())


def test_categories_have_one_key_whatever_their_type():
    for value in (3, 3.0, "3", " 3 "):
        assert category_key(value, MARKERS) == "3"
    for value in (None, float("nan"), "?", " "):
        assert category_key(value, MARKERS) is None
    assert category_key(True, MARKERS) == "true"
    places, keys = keys_of("x", pa.array(["b", None, "a", "b"]), MARKERS)
    assert [keys[place] for place in places] == ["b", None, "a", "b"]

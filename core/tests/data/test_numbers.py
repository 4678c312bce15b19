"""Numbers as people write them."""

from __future__ import annotations

import math

import pytest

from selfsup.data.sources.tables.numbers import as_number, decimal_of


@pytest.mark.parametrize(("text", "value"), [
    ("-1,234.5", -1234.5), ("$1,000", 1000), ("$ -5", -5), ("-$5.20", -5.2), ("US$5", 5), ("R$ 5", 5), ("1 000 EUR", 1000),
    ("5 €", 5), ("(5.00)", -5), ("($1,000)", -1000), ("12 %", 12), ("12.5%", 12.5), ("1'234.50", 1234.5), ("1\u202f234", 1234),
    ("\u22124", -4), ("1,23,456", 123456), ("+3", 3), (".5", 0.5), ("5.", 5), ("1e-3", 0.001), ("Rs. 500", 500),
    ("inf", math.inf),
])  # fmt: skip
def test_a_text_is_a_number(text: str, value: float) -> None:
    assert as_number(text) == value


@pytest.mark.parametrize(("text", "value"), [
    ("1.234,5", 1234.5), ("0,5", 0.5), ("1.234.567", 1234567), ("12,5 %", 12.5), ("1 234,50 €", 1234.5), ("-2,5e3", -2500),
])  # fmt: skip
def test_a_text_is_a_number_with_a_decimal_comma(text: str, value: float) -> None:
    assert as_number(text, ",") == value


@pytest.mark.parametrize("text", [
    "", "-", "NA", "abc", "$", "1,2", "12,34,5", "1 2", "1_000", "5 kg", "10:30", "2024-01-01", "1.2.3", "BMW 320", "R2", "A1",
    "10.0.0.1", "1,234.5,6", "--5", "1-2",
])  # fmt: skip
def test_other_texts_are_none(text: str) -> None:
    assert as_number(text) is None


@pytest.mark.parametrize(("texts", "mark"), [
    (["1,5", "2,25"], ","), (["1.5", "2"], "."), (["1,500", "2,000"], "."), (["1,500", "0,5"], ","), (["1.234,5", "12"], ","),
    (["1.5", "2,5"], ""), (["1,234.5", "7"], "."), (["one"], ""), (["5 €"], "."),
])  # fmt: skip
def test_the_decimal_mark_is_told_by_the_column(texts: list[str], mark: str) -> None:
    assert decimal_of(texts) == mark


def test_where_either_mark_would_do_the_preferred_one_is_taken() -> None:
    assert decimal_of(["1,500"], ",") == ","
    assert decimal_of(["1,5"], ".") == ","

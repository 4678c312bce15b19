import datetime

from selfsup.data import TextPreview
from selfsup_tabular.processor import TableProcessor

ROWS = [
    {"age": 20 + i, "job": "cook" if i % 2 else "smith", "since": datetime.date(2020, 1, 1 + i), "same": 1} for i in range(20)
]


def test_a_row_is_shown_by_the_columns_that_are_used() -> None:
    processor = TableProcessor().fit(ROWS)
    assert "same" in processor.plan.dropped
    assert processor.preview(ROWS[1]) == [TextPreview("age: 21\njob: cook\nsince: 2020-01-02")]
    assert processor.preview({**ROWS[1], "age": None}) == [TextPreview("job: cook\nsince: 2020-01-02")]

import numpy as np

from selfsup.registry import registry
from selfsup_audio.decoding import decode, read_header
from selfsup_audio.mock import mock_rows


def test_there_are_two_kinds_of_raw_features() -> None:
    parts = registry().modality_objects("audio")
    assert parts.raw_features.__name__ == "mel_statistics"
    assert parts.other_raw_features("mfcc").__name__ == "mfcc_statistics"


def test_mock_rows_are_reproducible_and_unlike() -> None:
    rows = mock_rows(6, 3)
    assert rows == mock_rows(6, 3)
    assert rows != mock_rows(6, 4)
    assert all(row.keys() == {"audio"} for row in rows)
    lengths = {read_header(row["audio"]).frames for row in rows}
    assert len(lengths) == 6
    first = decode(rows[0]["audio"], 8000, 4000).astype(float)
    assert 0.05 < np.abs(first).max() / 32768 <= 1

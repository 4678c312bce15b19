"""A processor's file: what was written is read, and whatever is wrong with it is said with the file's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfsup.config import Config
from selfsup.data.processor_state import reading_state, write_state
from selfsup.errors import ArtifactError


class Options(Config):
    """Of some processor."""

    size: int = 3
    """Anything."""


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_state(tmp_path / "p.json", Options(size=5), words=["a", "é"])
    with reading_state(tmp_path / "p.json", "word", Options) as (config, state):
        assert config == Options(size=5)
        assert state["words"] == ["a", "é"]


DAMAGED = ["{", "[]", '{"config": {}}', '{"config": {"size": "many"}, "step": 1}', '{"config": {}, "step": 0}', None]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_or_missing_file_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "p.json").write_text(text)
    words = r"p\.json is not a saved word processor \(.+\); save the encoder again"
    with (
        pytest.raises(ArtifactError, match=words),
        reading_state(tmp_path / "p.json", "word", Options) as (config, state),
    ):
        assert config.size / state["step"]

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from selfsup.testing.toy.sequences.installed import installed


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The toy modality is installed and nothing else; the value is the folder for ``PYTHONPATH`` of other processes."""
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_PLUGINS", "sequences")
        patch.setenv("SELFSUP_CACHE", str(folder / "cache"))
        with installed(folder / "site"):
            yield folder / "site"

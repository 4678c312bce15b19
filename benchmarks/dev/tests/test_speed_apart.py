"""The other side of a comparison runs in one process of its own, without what `import selfsup` has set."""

import os

import pytest

from selfsup.errors import BenchmarkError
from speed.apart import apart
from speed.measure import peer


def test_a_process_of_its_own_without_our_settings(monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "1")
    with apart() as there:
        assert there(os.getenv)("THP_MEM_ALLOC_ENABLE") == "0"
        assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
        first = there(os.getpid)()
        assert first == there(os.getpid)() != os.getpid()


def test_what_is_missing_there_is_said_here():
    with apart() as there, pytest.raises(BenchmarkError, match="pip install lightly"):
        there(peer)("no_such_module", "lightly")

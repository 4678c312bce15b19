from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfsup.runtime import can_fork

PROGRAM = """
import tempfile
from selfsup.runtime.process_server import fork_server
before = tempfile.gettempdir()
process = fork_server([]).Process(target=print, args=("it ran",))
process.start()
process.join()
assert process.exitcode == 0
assert tempfile.gettempdir() == before
"""


@pytest.mark.skipif(not can_fork(), reason="the platform has no fork")
@pytest.mark.parametrize("letters", [1, 120])
def test_processes_start_whatever_the_folder_of_temporary_files_is_called(tmp_path: Path, letters: int) -> None:
    """The path of a socket has 107 bytes at most."""
    folder = tmp_path / ("t" * letters)
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "it ran\n"), run.stderr

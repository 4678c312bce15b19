"""Start processes from a clean server process, which imports once for all of them."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterable
from multiprocessing import util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

_LONGEST = 70
"""Bytes of the path of a folder for sockets: systems allow 104 for a socket's path, and multiprocessing adds 32 of its own."""
_SHORT = "/tmp"


def can_fork() -> bool:
    """Whether the platform has :func:`fork_server` (not Windows)."""
    return "forkserver" in multiprocessing.get_all_start_methods()


def fork_server(preload: Iterable[str]) -> ForkServerContext:
    """The way of ``multiprocessing`` to start processes from a server: a fork of a process with threads might hang.

    The server's socket lies in the folder for temporary files, or in ``/tmp`` where the path of that folder is too long,
    as Python 3.14 does.

    Args:
        preload: modules that the server imports; those that cannot be imported are passed over.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST:
        before, tempfile.tempdir = tempfile.tempdir, _SHORT
        try:
            util.get_temp_dir()  # it is made at the first call, and kept
        finally:
            tempfile.tempdir = before
    return context

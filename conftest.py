"""Tests that run side by side have one thread each; read before torch is imported, and by every process they start."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

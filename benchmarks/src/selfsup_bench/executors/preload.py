"""Imports what takes seconds, for the process that cells are forked from. It starts no thread and touches no device."""

import datasets  # noqa: F401
import lightning_fabric  # noqa: F401
import sklearn.manifold  # noqa: F401

"""Self-supervised learning for every kind of data.

::

    import selfsup

    run = selfsup.pretrain("vision/simclr", data="photos/", epochs=20)
    encoder = selfsup.load(run.dir)  # or a path or hub id
    scores = selfsup.evaluate(encoder, data="labelled/", evaluators=["knn", "linear"])

Names are imported on first use, so that ``import selfsup`` costs no import of torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup import registry
    from selfsup.artifacts import Encoder, export, load
    from selfsup.config import Config
    from selfsup.data.inspect import Inspection, inspect
    from selfsup.errors import SelfsupError
    from selfsup.evaluation.evaluate import embed, evaluate, finetune
    from selfsup.registry import hookimpl
    from selfsup.training.run.pretrain import Run, pretrain

# Linux gives large tensors huge pages where torch asks for them, which it does if this is set before its first allocation. On a
# CPU a convolutional step spends much of its time on page faults otherwise; who sets it to 0 keeps small pages.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__all__ = [
    "Config",
    "Encoder",
    "Inspection",
    "Run",
    "SelfsupError",
    "__version__",
    "embed",
    "evaluate",
    "export",
    "finetune",
    "hookimpl",
    "inspect",
    "load",
    "pretrain",
    "registry",
]

_HOMES = {
    "Config": "selfsup.config",
    "Encoder": "selfsup.artifacts",
    "Inspection": "selfsup.data.inspect",
    "Run": "selfsup.training.run.pretrain",
    "SelfsupError": "selfsup.errors",
    "embed": "selfsup.evaluation.evaluate",
    "evaluate": "selfsup.evaluation.evaluate",
    "export": "selfsup.artifacts",
    "finetune": "selfsup.evaluation.evaluate",
    "hookimpl": "selfsup.registry",
    "inspect": "selfsup.data.inspect",
    "load": "selfsup.artifacts",
    "pretrain": "selfsup.training.run.pretrain",
}
"""Public name to the module that defines it."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("selfsup")
    if name == "registry":
        return importlib.import_module("selfsup.registry")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'selfsup' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

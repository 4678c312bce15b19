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

from selfsup.public_names import lazy_names

if TYPE_CHECKING:
    from selfsup import registry
    from selfsup.artifacts import Encoder, export, load
    from selfsup.config import Config
    from selfsup.data.inspect import Inspection, inspect
    from selfsup.errors import SelfsupError
    from selfsup.evaluation.embedding.embed import embed
    from selfsup.evaluation.evaluate import evaluate, finetune
    from selfsup.registry import hookimpl, preset
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
    "preset",
    "pretrain",
    "registry",
]

_find = lazy_names(
    __name__,
    {
        "selfsup.artifacts": ["Encoder", "export", "load"],
        "selfsup.config": ["Config"],
        "selfsup.data.inspect": ["Inspection", "inspect"],
        "selfsup.errors": ["SelfsupError"],
        "selfsup.evaluation.embedding.embed": ["embed"],
        "selfsup.evaluation.evaluate": ["evaluate", "finetune"],
        "selfsup.registry": ["hookimpl", "preset"],
        "selfsup.training.run.pretrain": ["Run", "pretrain"],
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("selfsup")
    if name == "registry":
        return importlib.import_module("selfsup.registry")
    return _find(name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

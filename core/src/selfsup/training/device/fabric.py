"""Import lightning_fabric without torchmetrics, whose version alone it asks for."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType


@contextmanager
def _only_version_of(package: str) -> Iterator[None]:
    """Put a stand-in that knows its version in the place of a package that is installed and not imported yet."""
    stand_in = ModuleType(package)
    try:
        stand_in.__dict__["__version__"] = metadata.version(package)
    except metadata.PackageNotFoundError:
        yield
        return
    if sys.modules.setdefault(package, stand_in) is not stand_in:
        yield
        return
    try:
        yield
    finally:
        del sys.modules[package]


# A machine of a Slurm cluster may well run a command without srun.
warnings.filterwarnings("ignore", "The `srun` command is available on your system but is not used")

with _only_version_of("torchmetrics"):  # it takes longer to import than torch
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
    from lightning_fabric.wrappers import _FabricModule as FabricModule

__all__ = ["DDPStrategy", "Fabric", "FabricModule", "ModelParallelStrategy", "SLURMEnvironment", "TorchElasticEnvironment"]

"""Import lightning_fabric without torchmetrics, whose version alone it asks for, and without its hint at ``srun``."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType
from typing import Any

from selfsup.errors import ConfigError


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


with _only_version_of("torchmetrics"):  # it takes longer to import than torch
    from lightning_fabric import Fabric as _Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment as _SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
    from lightning_fabric.wrappers import _FabricModule as FabricModule


@contextmanager
def _without_srun_hint() -> Iterator[None]:
    """Leave out Lightning's warning that a machine has ``srun`` and the process was not started by it: most are not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        yield


class Fabric(_Fabric):
    """Lightning's own, without the hint."""

    def __init__(self, *args: Any, **options: Any) -> None:
        with _without_srun_hint():
            super().__init__(*args, **options)


class SLURMEnvironment(_SLURMEnvironment):
    """Lightning's own, without the hint, and only where ``srun`` started several processes.

    A batch script has the number of the job's tasks in ``SLURM_NTASKS``, too; it is one process. ``srun`` alone sets
    ``SLURM_STEP_NUM_TASKS``.
    """

    @staticmethod
    def detect() -> bool:
        """Whether ``srun`` started this process as one of several."""
        with _without_srun_hint():
            return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and _SLURMEnvironment.detect()

    def world_size(self) -> int:
        """Number of the processes."""
        return int(os.environ["SLURM_STEP_NUM_TASKS"])

    @property
    def main_address(self) -> str:
        """Name of the machine of the first process: of this step, which need not be on the first machine of its job."""
        if "MASTER_ADDR" not in os.environ and (machines := os.environ.get("SLURM_STEP_NODELIST")):
            os.environ["MASTER_ADDR"] = self.resolve_root_node_address(machines)
        return super().main_address

    @property
    def main_port(self) -> int:
        """Port of the first process, the same in all, by job and step: a batch script may run several steps at once."""
        if "MASTER_PORT" not in os.environ:
            job, step = (int(os.environ.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
            os.environ["MASTER_PORT"] = str(15_000 + (job + 101 * step) % 10_000)
        return super().main_port

    @staticmethod
    def _validate_srun_variables() -> None:
        """Replaces Lightning's check, which refuses ``srun --ntasks`` even where all machines have as many processes."""
        counts = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
        if "," in counts:  # "2(x3)": two on each of three machines; "3,2": three on the first
            raise ConfigError(
                f"srun started unequal numbers of processes on its machines ({counts}). Start as many on each: "
                "srun --ntasks-per-node=N, with devices=N."
            )


def started_by() -> ClusterEnvironment:
    """What started this process: torchrun (or this package, likewise), ``srun``, or neither."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    return SLURMEnvironment() if SLURMEnvironment.detect() else LightningEnvironment()


__all__ = [
    "DDPStrategy",
    "Fabric",
    "FabricModule",
    "ModelParallelStrategy",
    "SLURMEnvironment",
    "TorchElasticEnvironment",
    "started_by",
]

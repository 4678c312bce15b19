"""Choose devices, processes and precision from a run's config, and build the Fabric."""

from __future__ import annotations

import inspect
import logging
import os
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch.nn.parallel import DistributedDataParallel

from selfsup.errors import ConfigError
from selfsup.runtime.precision import FABRIC_NAMES, Precision, resolve_precision
from selfsup.training.device.fabric import DDPStrategy, Fabric, ModelParallelStrategy, SLURMEnvironment, TorchElasticEnvironment
from selfsup.training.loop.sharding import shard
from selfsup.training.run.config import RunConfig


@dataclass(frozen=True)
class Devices:
    """What a run computes on, and in which arithmetic; :func:`resolve_devices` makes it once."""

    accelerator: Literal["cuda", "mps", "cpu"]
    precision: Precision
    devices: int
    """On this machine."""
    nodes: int
    strategy: Literal["auto", "ddp", "fsdp"]

    @property
    def processes(self) -> int:
        """Number of processes over all machines."""
        return self.devices * self.nodes

    @property
    def rank(self) -> int:
        """Number of this process among all of the run's; it is known before :meth:`connect`."""
        if self.processes == 1:
            return 0
        started_by = next((kind for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()), None)
        return 0 if started_by is None else started_by().global_rank()

    def connect(self) -> Fabric:
        """Connect to the devices; with several processes, each of them calls this."""
        strategy: Any = "auto"
        if self.strategy == "fsdp":
            strategy = ModelParallelStrategy(shard, data_parallel_size=self.processes, tensor_parallel_size=1)
        elif self.strategy == "ddp" or self.processes > 1:
            strategy = _ddp()
        # Fabric says on stderr what run.json and the progress say already.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            strategy=strategy,
            precision=FABRIC_NAMES[self.precision],
        )
        fabric.launch()
        return fabric


def resolve_devices(config: RunConfig) -> Devices:
    """Find out what a run's config means on this machine.

    Raises:
        ConfigError: the devices are not there, do not have the precision, or the processes that were started do not match them.
    """
    check_world(config)
    accelerator = choose_accelerator(config)
    precision = resolve_precision(config.precision, accelerator)
    return Devices(accelerator, precision, config.devices, config.nodes, config.strategy)


def devices_here(device: torch.device, precision: Precision) -> Devices:
    """What a training computes on that takes all processes that were started, such as fine-tuning.

    Args:
        device: of this process; several processes take one device of its kind each.
        precision: of the training.
    """
    processes, nodes = started_processes(), 1
    if TorchElasticEnvironment.detect():
        nodes = processes // int(os.environ["LOCAL_WORLD_SIZE"])
    elif SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
    accelerator = cast(Literal["cuda", "mps", "cpu"], device.type)
    return Devices(accelerator, precision, processes // nodes, nodes, "auto")


def choose_accelerator(config: RunConfig) -> Literal["cuda", "mps", "cpu"]:
    """``cuda``, ``mps`` or ``cpu``.

    Raises:
        ConfigError: a GPU was asked for and there is none, or more devices than there are.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if config.accelerator == "gpu" and not gpus and not mps:
        raise ConfigError("accelerator gpu was asked for, and no GPU that torch can use was found; use --set accelerator=cpu.")
    if config.accelerator == "cpu" or not (gpus or mps):
        return "cpu"
    if not gpus:
        if config.devices > 1:
            raise ConfigError(f"devices={config.devices} was asked for, and this machine has one GPU.")
        return "mps"
    if config.devices > gpus:
        raise ConfigError(f"devices={config.devices} was asked for, and this machine has {gpus} GPU{'' if gpus == 1 else 's'}.")
    return "cuda"


def launched_outside() -> bool:
    """Whether torchrun or srun started this process as one of several."""
    return TorchElasticEnvironment.detect() or SLURMEnvironment.detect()


def started_processes() -> int:
    """How many processes torchrun or srun started over all machines; 1 where neither did."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ.get("SLURM_NTASKS", "1")) if SLURMEnvironment.detect() else 1


def process_ranks() -> tuple[int, int]:
    """The number of this process among those that torchrun or srun started: over all machines, and on this one."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if SLURMEnvironment.detect():
        return int(os.environ.get("SLURM_PROCID", "0")), int(os.environ.get("SLURM_LOCALID", "0"))
    return 0, 0


def check_world(config: RunConfig) -> None:
    """Make sure that as many processes were started as the config says.

    Raises:
        ConfigError: they were not. Each would else be a run of its own that writes into the same folder.
    """
    processes = config.devices * config.nodes
    if launched_outside() and (started := started_processes()) != processes:
        raise ConfigError(
            f"{started} process(es) were started, but devices={config.devices} times nodes={config.nodes} is {processes}: "
            "make --devices and --nodes match what torchrun or srun starts."
        )


def _ddp() -> DDPStrategy:
    """DDP that does not send buffers each step: norm statistics and states of objectives are kept equal by the tasks."""
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its name before torch 2.14
    options: dict[str, Any] = {name: False, "gradient_as_bucket_view": True}
    return DDPStrategy(**options)

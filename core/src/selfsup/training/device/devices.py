"""Choose devices, processes and precision from a run's config, and build the Fabric."""

from __future__ import annotations

import inspect
import logging
import os
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from selfsup.errors import ConfigError
from selfsup.runtime.precision import FABRIC_NAMES, Precision, resolve_precision
from selfsup.training.device.fabric import (
    DDPStrategy,
    Fabric,
    ModelParallelStrategy,
    SLURMEnvironment,
    TorchElasticEnvironment,
    started_by,
)
from selfsup.training.loop.sharding import shard
from selfsup.training.run.config import RunConfig


@dataclass(frozen=True)
class Devices:
    """Devices and precision of a run; :func:`resolve_devices` makes it once."""

    accelerator: Literal["cuda", "mps", "cpu"]
    precision: Precision
    devices: int
    """On this machine."""
    nodes: int
    strategy: Literal["auto", "ddp", "fsdp"]
    bf16_weights: bool = False
    """Whether weights are in bf16, too (``precision=bf16-true``)."""

    @property
    def setting(self) -> Literal["32", "bf16", "bf16-true", "16"]:
        """The value of ``RunConfig.precision``, resolved."""
        return "bf16-true" if self.bf16_weights else self.precision

    @property
    def processes(self) -> int:
        """Number of processes over all machines."""
        return self.devices * self.nodes

    @property
    def rank(self) -> int:
        """Rank of this process among all of the run's; known before :meth:`connect`."""
        return 0 if self.processes == 1 else started_by().global_rank()

    def connect(self) -> Fabric:
        """Connect to the devices; with several processes, each of them calls this."""
        strategy: Any = "auto"
        if self.strategy == "fsdp":
            spread = partial(shard, bf16_blocks=self.bf16_weights)
            strategy = ModelParallelStrategy(spread, data_parallel_size=self.processes, tensor_parallel_size=1)
        elif self.strategy == "ddp" or self.processes > 1:
            strategy = _ddp()
        # Fabric repeats on stderr what run.json and the progress say.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            strategy=strategy,
            precision=FABRIC_NAMES[self.precision],
            plugins=[started_by()],  # else a batch script of Slurm would count as one of the job's tasks
        )
        fabric.launch()
        return fabric


def resolve_devices(config: RunConfig) -> Devices:
    """Resolve a run's devices and precision on this machine.

    Raises:
        ConfigError: devices are missing or lack the precision, or the number of started processes differs.
    """
    check_world(config)
    accelerator = choose_accelerator(config)
    if config.precision == "bf16-true" and accelerator == "mps":
        raise ConfigError("precision bf16-true needs a CUDA GPU or a CPU; use 32, bf16 or --set accelerator=cpu.")
    bf16_weights = config.precision == "bf16-true"
    precision = resolve_precision("bf16" if config.precision == "bf16-true" else config.precision, accelerator)
    return Devices(accelerator, precision, config.devices, config.nodes, config.strategy, bf16_weights)


def devices_here(device: torch.device, precision: Precision) -> Devices:
    """Devices of a training that uses all started processes, such as fine-tuning.

    Args:
        device: of this process; each of several processes uses one device of this kind.
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
        ConfigError: the config asks for a GPU and there is none, or for more devices than there are.
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
    check_gpus(config.devices, gpus)
    return "cuda"


def check_gpus(devices: int, gpus: int) -> None:
    """Make sure that each process gets a GPU of its own.

    Raises:
        ConfigError: there are fewer.
    """
    if devices > gpus:
        raise ConfigError(f"devices={devices} was asked for, and this machine has {gpus} GPU{'' if gpus == 1 else 's'}.")


def launched_outside() -> bool:
    """Whether torchrun or srun started this process as one of several."""
    return TorchElasticEnvironment.detect() or SLURMEnvironment.detect()


def started_processes() -> int:
    """Number of processes that torchrun or srun started over all machines; 1: neither did, as in a batch script of Slurm."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_STEP_NUM_TASKS"]) if SLURMEnvironment.detect() else 1


def process_ranks() -> tuple[int, int]:
    """Rank of this process among those that torchrun or srun started: over all machines, and on this machine."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if SLURMEnvironment.detect():
        return int(os.environ.get("SLURM_PROCID", "0")), int(os.environ.get("SLURM_LOCALID", "0"))
    return 0, 0


def check_world(config: RunConfig) -> None:
    """Check that the config's number of processes was started.

    Raises:
        ConfigError: it differs; each process would be a run of its own in the same folder.
    """
    processes = config.devices * config.nodes
    if launched_outside() and (started := started_processes()) != processes:
        raise ConfigError(
            f"{started} process(es) were started, but devices={config.devices} times nodes={config.nodes} is {processes}: "
            "make --devices and --nodes match what torchrun or srun starts."
        )


def fix_buckets(module: nn.Module) -> None:
    """Lay out for good the buckets in which DDP averages gradients, in the order of the weights; no effect without DDP.

    DDP lays them out anew once, after its first step, in the order in which gradients came. With more than two devices a sum's
    order depends on its place in a bucket, so the first step of a resumed run would differ in the last bits.

    Args:
        module: from ``Fabric.setup_module``; all devices call this together.
    """
    wrapped = getattr(module, "_forward_module", None)
    if not isinstance(wrapped, DistributedDataParallel):
        return
    inner = wrapped.module
    weights = [weight for weight in inner.parameters() if weight.requires_grad]
    inner.forward = lambda: torch.stack([weight.sum().float() * 0 for weight in weights]).sum()
    try:
        wrapped().backward()  # gradients of zero, in the reverse order
    finally:
        del inner.forward
    for weight in weights:
        weight.grad = None


def _ddp() -> DDPStrategy:
    """DDP without a broadcast of buffers: tasks keep norm statistics and states of objectives equal."""
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its name before torch 2.14
    options: dict[str, Any] = {name: False, "gradient_as_bucket_view": True}
    return DDPStrategy(**options)

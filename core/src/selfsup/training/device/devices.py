"""From a run config to Lightning Fabric: which devices, how many processes, which arithmetic."""

from __future__ import annotations

import inspect
import logging
import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch.nn.parallel import DistributedDataParallel

from selfsup.errors import ConfigError
from selfsup.runtime.precision import FABRIC_NAMES, resolve_precision
from selfsup.training.loop.sharding import shard
from selfsup.training.run.config import RunConfig


def make_fabric(config: RunConfig) -> Fabric:
    """Connect to the devices of a run; with several processes, each of them calls this.

    Raises:
        ConfigError: the devices are not there, or the processes that were started do not match them.
    """
    accelerator = choose_accelerator(config)
    check_world(config)
    processes = config.devices * config.nodes
    strategy: Any = "auto"
    if config.strategy == "fsdp":
        strategy = ModelParallelStrategy(shard, data_parallel_size=processes, tensor_parallel_size=1)
    elif config.strategy == "ddp" or processes > 1:
        strategy = _ddp()
    precision = resolve_precision(config.precision, "cuda" if accelerator == "cuda" else accelerator)
    # Fabric says on stderr what run.json and the progress say already.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=strategy,
        precision=FABRIC_NAMES[precision],
    )
    fabric.launch()
    return fabric


def choose_accelerator(config: RunConfig) -> str:
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


def check_world(config: RunConfig) -> None:
    """Make sure that as many processes were started as the config says.

    Raises:
        ConfigError: they were not. Each would else be a run of its own that writes into the same folder.
    """
    processes = config.devices * config.nodes
    if TorchElasticEnvironment.detect():
        started = int(os.environ["WORLD_SIZE"])
    elif SLURMEnvironment.detect():
        started = int(os.environ.get("SLURM_NTASKS", "1"))
    else:
        return
    if started != processes:
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

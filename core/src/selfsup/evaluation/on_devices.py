"""Evaluate, fine-tune and embed in several processes, one for each device: they divide what is computed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.distributed import DistError

from selfsup.artifacts import Encoder, EncoderLike
from selfsup.data import TableFormat
from selfsup.data.batches.work_division import divided_work, meeting
from selfsup.errors import ConfigError
from selfsup.evaluation.common_options import Source
from selfsup.training.device.devices import check_gpus, devices_here, launched_outside, started_processes
from selfsup.training.loop.signals import StopRequest
from selfsup.training.run.launch import accept_requeue, run_processes


def starts_processes(devices: int | None) -> bool:
    """Whether a command has to start processes for the devices that were asked for.

    Args:
        devices: processes on this machine; None: those that torchrun or srun started, else this one.

    Raises:
        ConfigError: torchrun or srun started another number, or there are fewer GPUs.
    """
    if devices is None:
        return False
    if devices < 1:
        raise ConfigError(f"devices={devices} is not allowed; it is 1 or more.")
    if launched_outside():
        if devices != (started := started_processes()):
            raise ConfigError(f"devices={devices}, and {started} process(es) were started: leave --devices out.")
        return False
    if torch.cuda.is_available():
        check_gpus(devices, torch.cuda.device_count())
    return devices > 1


def call_on_devices(call: str, devices: int, encoder: EncoderLike, data: Source, **options: Any) -> Any:
    """Call a function of this package in several processes, which find each other in :func:`together`.

    Args:
        call: ``module:name`` of the function; it takes encoder, data and the options, and gives a JSON value.
        devices: number of processes.
        encoder: one in memory is saved for them.
        data: name or path of a source.
        options: JSON values, paths, or the format of a table.

    Raises:
        ConfigError: the rows are in memory.
        SelfsupError: what a process raised.
    """
    given = {"data": data, "test": options.get("test")}
    if kinds := [type(source).__name__ for source in given.values() if not isinstance(source, str | os.PathLike | None)]:
        raise ConfigError(f"Several devices read the data for themselves: give a name or path instead of a {kinds[0]}.")
    if options.get("table") is not None:
        options["table"] = dict(TableFormat.of(options["table"]).given)
    with tempfile.TemporaryDirectory(prefix="selfsup-encoder-") as folder:
        source = encoder.save(Path(folder) / "encoder") if isinstance(encoder, Encoder) else encoder
        arguments = {"call": call, "encoder": source, "data": data, **options}
        return run_processes(
            f"{__name__}:work", {key: _plain(value) for key, value in arguments.items()}, devices, StopRequest()
        )


def work(stop: StopRequest, *, call: str, **options: Any) -> Any:
    """Make a call of :func:`call_on_devices` as one of its processes; a signal ends it at once."""
    accept_requeue()
    module, _, name = call.partition(":")
    return getattr(import_module(module), name)(**options)


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Connect the processes that :func:`call_on_devices`, torchrun or srun started; they divide what is embedded.

    All of them make the same calls in it, and get the same numbers. In a single process it does nothing.

    Args:
        device: of this process.

    Raises:
        RunError: a process did not come within half an hour, for example since only one of them made the call.
    """
    if started_processes() == 1:
        yield
        return
    with meeting(DistError):
        devices_here(device, "32").connect()
    with divided_work():
        yield


def _plain(value: Any) -> Any:
    """Paths as texts, and other values as JSON has them."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple | set | frozenset) else value

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError
from selfsup.runtime import SynchronizedBatchNorm, randomness
from selfsup.tasks import PretextTask, StepOutput
from selfsup.training.device.tune import put_channels_last
from selfsup.training.loop.signals import StopRequest
from selfsup.training.run import process, setup
from selfsup.training.run.config import OptimizationConfig, RunConfig
from selfsup.types import Batch


class Convolution(Backbone):
    modality = "sequence"
    embed_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, batch: Batch) -> Encoded:
        return Encoded(self.norm(self.convolution(batch["image"])).mean(dim=(2, 3)))


class Task(PretextTask):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Convolution()

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        return StepOutput(self.backbone(batch).pooled.sum(), {})


def run_config(**optimization: Any) -> RunConfig:
    return RunConfig(task="sequence/simclr", data="rows", optimization=OptimizationConfig(**optimization))


@pytest.mark.parametrize(
    ("choice", "precision", "ordered"), [(None, "bf16", True), (None, "32", False), (True, "32", True), (False, "bf16", False)]
)
def test_convolution_weights_and_activations_are_channels_last_if_wanted(
    choice: bool | None, precision: Literal["32", "bf16"], ordered: bool
) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    task = process._place(Task(), run_config(channels_last=choice), fabric, precision)
    weight = task.backbone.convolution.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is ordered
    image = torch.rand(2, 3, 8, 8)
    assert task.backbone.convolution(image).is_contiguous(memory_format=torch.channels_last) is ordered


def test_fsdp_gets_the_plain_order_that_it_can_spread() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    config = run_config().model_copy(update={"strategy": "fsdp"})
    assert process._place(Task(), config, fabric, "bf16").backbone.convolution.weight.is_contiguous()
    wanted = run_config(channels_last=True).model_copy(update={"strategy": "fsdp"})
    with pytest.raises(ConfigError, match="FSDP cannot spread"):
        process._place(Task(), wanted, fabric, "bf16")


def test_images_and_videos_in_one_network_have_each_their_order() -> None:
    network = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.Linear(3, 3)])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = list(network.parameters())
    put_channels_last(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))


def test_norms_are_synchronised_on_several_devices_only(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    assert type(process._place(Task(), run_config(), fabric, "32").backbone.norm) is nn.BatchNorm2d
    monkeypatch.setattr(type(fabric), "world_size", 2)
    assert type(process._place(Task(), run_config(), fabric, "32").backbone.norm) is SynchronizedBatchNorm


def test_a_batch_is_shared_evenly() -> None:
    assert setup.check_batch(OptimizationConfig(batch_size=64), 64, 4) == 16
    assert setup.check_batch(OptimizationConfig(batch_size=64, accumulate=8), 100, 4) == 16
    with pytest.raises(ConfigError, match=r"batch_size=64 is larger than the data, which has 63 usable rows"):
        setup.check_batch(OptimizationConfig(batch_size=64), 63, 1)
    with pytest.raises(ConfigError, match=r"with at least 2 samples a chunk. Use --batch-size 8"):
        setup.check_batch(OptimizationConfig(batch_size=4, accumulate=4), 100, 1)
    with pytest.raises(ConfigError, match=r"over 3 device\(s\).*a multiple of 3.*Use --batch-size 63"):
        setup.check_batch(OptimizationConfig(batch_size=64), 100, 3)


def test_chunks_that_cannot_compare_the_whole_batch_are_warned_of() -> None:
    task, config = Task(), run_config(batch_size=64, accumulate=4)
    assert "batch norm takes its statistics over each chunk of 16 samples" in setup.accumulation_warning(task, config, 64)
    task.couples_samples = True
    warning = setup.accumulation_warning(task, config, 64)
    assert warning.startswith("Warning: accumulate=4 changes what sequence/simclr learns")
    assert "each chunk of 16 samples sees only its own samples" in warning
    assert setup.accumulation_warning(task, run_config(batch_size=64), 64) == ""


def test_a_checkpoint_is_bound_to_what_decides_the_weights() -> None:
    base = setup.identity(run_config(), "f", 1)
    assert base == setup.identity(run_config().model_copy(update={"log_every": 3, "loggers": ("wandb",), "workers": 2}), "f", 1)
    others = [
        setup.identity(run_config(lr=0.1), "f", 1),
        setup.identity(run_config().model_copy(update={"seed": 1}), "f", 1),
        setup.identity(run_config().model_copy(update={"task_options": {"a": 1}}), "f", 1),
        setup.identity(run_config(), "g", 1),
        setup.identity(run_config(), "f", 2),
    ]
    assert all(other != base for other in others)


def test_devices_draw_differently() -> None:
    seeds = {randomness.seed_of_rank(seed, rank) for seed in range(50) for rank in range(50)}
    assert len(seeds) == 2500
    assert randomness.seed_of_rank(7, 0) == 7


def test_rows_are_prepared_before_the_processes_form_a_group(monkeypatch, tmp_path):
    """A collective would wait for it, and NCCL's gives up after minutes."""

    class ConnectedError(Exception):
        pass

    order = []

    def prepare(*_):
        order.append("prepared")
        assert not torch.distributed.is_initialized()

    def connect(_):
        order.append("connected")
        raise ConnectedError

    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    monkeypatch.setattr(process, "prepare", prepare)
    monkeypatch.setattr(process, "origin_of", lambda *_: None)
    monkeypatch.setattr(process.Devices, "connect", connect)
    two = process.Devices("cpu", "32", 2, 1, "ddp")
    with pytest.raises(ConnectedError):
        process.execute(run_config(), two, tmp_path / "run", StopRequest(), resume=False, progress=False)
    assert order == ["prepared", "connected"]


def test_fabric_is_imported_without_torchmetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fabric asks for its version alone, and importing it takes longer than importing torch."""
    (tmp_path / "torchmetrics").mkdir()
    (tmp_path / "torchmetrics" / "__init__.py").write_text("raise AssertionError('it is imported')")
    about = tmp_path / "torchmetrics-1.2.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: torchmetrics\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    fabric = importlib.import_module("selfsup.training.device.fabric")
    for name in list(sys.modules):
        if name.partition(".")[0] in ("lightning_fabric", "torchmetrics"):
            monkeypatch.delitem(sys.modules, name)
    runpy.run_path(str(fabric.__file__))
    assert vars(sys.modules["lightning_fabric.utilities.imports"]).get("_TORCHMETRICS_GREATER_EQUAL_1_0_0", True)
    assert "torchmetrics" not in sys.modules

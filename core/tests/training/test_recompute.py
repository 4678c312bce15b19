"""Activation checkpointing: the same gradient, statistics and random state, in less memory."""

from __future__ import annotations

import copy
import runpy
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import selfsup
from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError, UsageError
from selfsup.objectives import BYOL
from selfsup.runtime.distributed import SynchronizedBatchNorm
from selfsup.tasks import PretextTask, StepOutput, Views
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.tasks.parts.moving_average import MomentumConfig
from selfsup.tasks.parts.transformer import Transformer
from selfsup.training.device.compilation import Compiled
from selfsup.training.device.fabric import Fabric
from selfsup.training.device.recompute import Recomputed, recomputing
from selfsup.training.device.tune import tune_for_device
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.config import OptimizationConfig
from selfsup.types import Batch

LiveBytes = runpy.run_path(str(Path(__file__).with_name("live_bytes.py")))["LiveBytes"]


class DropPath(nn.Module):
    """Leaves out what is added for some samples, drawn from the global random state as timm does."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(0.5) * 2


class Layer(nn.Module):
    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.calls = 0
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.3), norm(6), nn.GELU(), nn.Linear(6, 6), DropPath())

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = x + self.layers(x)
        return out


class Layers(Backbone):
    modality = "toy"
    embed_dim = 6

    def __init__(self, norm: type[nn.Module] = nn.BatchNorm1d) -> None:
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.layers = nn.ModuleList(Layer(norm) for _ in range(3))

    def forward(self, batch: Batch) -> Encoded:
        x = self.first(batch["x"])
        for layer in self.layers:
            x = layer(x)
        return Encoded(x)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)


class Scaled(Views):
    n_global, n_local = 2, 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        return [{"x": batch["x"] + torch.rand(batch["x"].shape, generator=generator)} for _ in range(2)]


def contrast(norm: type[nn.Module] = nn.BatchNorm1d) -> PretextTask:
    """A network and its moving average."""
    torch.manual_seed(0)
    objective = BYOL(BYOL.Config(hidden_dim=8, output_dim=4))
    return JointEmbedding(Layers(norm), Scaled(), objective, MomentumConfig(start=0.9))


def trained(task: PretextTask, wanted: bool, **options: Any) -> dict[str, Tensor]:
    """All weights, statistics and the random states after some steps."""
    task = copy.deepcopy(task)
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    config = OptimizationConfig(optimizer="adamw", lr=0.01, schedule="constant", **options)
    stepper = Stepper(Fabric(accelerator="cpu", devices=1), task, config, total_steps=3, warmup_steps=0, generator=generator)
    with recomputing(task, wanted):
        for step in range(3):
            stepper.take({"x": torch.randn(8, 3, generator=torch.Generator().manual_seed(step))})
    average = {} if stepper.average is None else {f"average.{k}": v for k, v in stepper.average.module.state_dict().items()}
    calls = {f"calls.{name}": torch.tensor(part.calls) for name, part in task.named_modules() if isinstance(part, Layer)}
    state = {**task.state_dict(), **average, "drawn": torch.get_rng_state(), "views": generator.get_state()}
    return {"loss": torch.tensor(stepper.drain()), **state, **calls}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    differing = [name for name in one if not name.startswith("calls") and not torch.equal(one[name], other[name])]
    assert one.keys() == other.keys()
    assert differing == []


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, SynchronizedBatchNorm, nn.LayerNorm])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"ema": 0.9, "clip": 1.0}])
def test_dropout_batch_norm_and_moving_averages_are_those_of_a_run_that_keeps_all(norm: Any, options: dict[str, Any]) -> None:
    task = contrast(norm)
    kept, again = trained(task, False, **options), trained(task, True, **options)
    same(kept, again)
    calls = {name: (int(kept[name]), int(again[name])) for name in kept if name.startswith("calls")}
    # Blocks with gradient were computed twice, and those of the target once.
    online = [pair for name, pair in calls.items() if name.startswith("calls.backbone")]
    target = [pair for name, pair in calls.items() if not name.startswith("calls.backbone")]
    assert len(online) == len(target) == 3
    assert all(again > kept for kept, again in online)
    assert all(again == kept for kept, again in target)


class Tokens(Backbone):
    """A transformer, whose attention a task replaces under autocast on a CPU."""

    modality = "toy"
    embed_dim = 16

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.transformer = Transformer(16, depth, 2)

    def forward(self, batch: Batch) -> Encoded:
        return Encoded(self.transformer(batch["x"]).mean(dim=1))

    def blocks(self) -> list[nn.Module]:
        return list(self.transformer.blocks)


class Squares(PretextTask):
    """Two means over different things, so that a step with chunks goes back through its graph twice."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.backbone = Tokens(depth)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        return StepOutput(self.backbone(batch).pooled.square().mean(), {})


def gradients(task: PretextTask, batch: Batch, wanted: bool, autocast: bool) -> list[Tensor]:
    task = copy.deepcopy(task)
    tune_for_device(task, torch.device("cpu"), "bf16" if autocast else "32")
    with recomputing(task, wanted), torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        loss = task(batch, None).loss
    loss.backward(retain_graph=True)
    loss.backward()
    return [parameter.grad for parameter in task.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("autocast", [False, True])
def test_attention_is_computed_again_as_it_was_also_twice(autocast: bool) -> None:
    torch.manual_seed(0)
    task, batch = Squares(2), {"x": torch.randn(4, 7, 16)}
    for one, other in zip(gradients(task, batch, False, autocast), gradients(task, batch, True, autocast), strict=True):
        assert torch.equal(one, other)


def memory(depth: int, wanted: bool) -> int:
    """Most bytes of activations in one step."""
    torch.manual_seed(0)
    task, batch = Squares(depth), {"x": torch.randn(16, 64, 16)}
    parameters = list(task.parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    with recomputing(task, wanted), LiveBytes([batch["x"], *parameters, *(p.grad for p in parameters)]) as live:
        task(batch, None).loss.backward()
    return int(live.peak)


def test_the_memory_of_a_deep_network_is_that_of_one_block_and_the_inputs_of_all() -> None:
    one_input = 16 * 64 * 16 * 4
    kept, again, shallow = memory(12, False), memory(12, True), memory(1, False)
    assert again < kept / 4
    assert again < shallow + 13 * one_input


def test_blocks_get_their_own_forward_pass_back() -> None:
    task = contrast()
    before = [vars(part).copy() for part in task.modules()]
    recomputed = Recomputed(task)
    assert "forward" in vars(task.backbone.blocks()[0])
    recomputed.undo()
    assert [vars(part) for part in task.modules()] == before


def compiled_gradients(task: PretextTask, batch: Batch, wanted: bool, backend: str) -> list[Tensor]:
    task = copy.deepcopy(task)
    torch.manual_seed(1)
    with recomputing(task, wanted):
        compiled = Compiled(task, backend, ragged=False)
        for _ in range(2):
            task(batch, None).loss.backward()
        compiled.undo()
    assert all("forward" not in vars(part) and part._compiled_call_impl is None for part in task.modules())
    return [parameter.grad for parameter in task.parameters() if parameter.grad is not None]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo looks at it itself
def test_compiled_blocks_are_computed_again_by_the_same_program(compile_backend: Callable[[str, Any], None]) -> None:
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    ran: list[str] = []

    def counting(direction: str) -> Any:
        def compiler(graph: Any, inputs: Any) -> Any:
            ran.append(f"{direction} compiled")

            def run(*args: Any) -> Any:
                ran.append(direction)
                return graph(*args)

            return make_boxed_func(run)

        return compiler

    compile_backend("counted", aot_autograd(fw_compiler=counting("forward"), bw_compiler=counting("backward")))
    torch.manual_seed(0)
    task, batch = Squares(3), {"x": torch.randn(4, 7, 16)}
    for block in task.backbone.blocks():
        block.mlp.append(nn.Dropout(0.3))  # type: ignore[operator,union-attr]
    counts, found = {}, {}
    for wanted in (False, True):
        ran.clear()
        torch.compiler.reset()
        found[wanted] = compiled_gradients(task, batch, wanted, "counted")
        counts[wanted] = Counter(ran)
    assert all(torch.equal(one, other) for one, other in zip(found[False], found[True], strict=True))
    # One program for the first block, whose input has no gradient, and one for the others; two steps of three blocks.
    programs = {"forward compiled": 2, "backward compiled": 2}
    assert counts == {False: {**programs, "forward": 6, "backward": 6}, True: {**programs, "forward": 12, "backward": 6}}


class Plain(Squares):
    def __init__(self) -> None:
        super().__init__(1)
        self.backbone.blocks = list  # type: ignore[method-assign]


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="Tokens has no repeated blocks that are trained"), recomputing(Plain(), True):
        pass
    frozen = contrast()
    frozen.requires_grad_(False)
    with pytest.raises(ConfigError, match="has no repeated blocks that are trained"), recomputing(frozen, True):
        pass


SEQUENCES: dict[str, Any] = {
    "data": "toy-frames", "steps": 3, "batch_size": 8, "progress": False, "precision": "32", "backbone": "sequence/transformer",
}  # fmt: skip


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo looks at it itself
def test_a_run_gives_the_same_encoder(tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "kept": {}, "again": {"checkpoint_activations": True}, "compiled": {"checkpoint_activations": True, "compile": "eager"},
    }  # fmt: skip
    runs = [
        selfsup.pretrain("sequence/mae", out=tmp_path / name, overrides=options, **SEQUENCES)
        for name, options in settings.items()
    ]
    one, *others = (run.encoder.backbone.state_dict() for run in runs)
    for other in others:
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
    with pytest.raises((ConfigError, UsageError), match="has no repeated blocks"):
        selfsup.pretrain(
            "sequence/byol", out=tmp_path / "conv", overrides={"checkpoint_activations": True},
            **{**SEQUENCES, "backbone": "sequence/conv"},
        )  # fmt: skip

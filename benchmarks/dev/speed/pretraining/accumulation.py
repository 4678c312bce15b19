"""A batch in chunks that are compared as a whole: its memory on a GPU, its time, and its gradient against the whole batch."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import BenchmarkError
from selfsup.objectives import SimCLR
from selfsup.tasks import JointEmbedding, Views
from selfsup.training import OptimizationConfig
from selfsup.training.device.fabric import Fabric
from selfsup.training.loop.stepper import Stepper
from selfsup.types import Batch
from speed.measure import Figure, in_turn, ratio_figure

BATCH, CHUNKS, SIZE = 4096, 16, 224


class Images(Backbone):
    """A residual network of 16 convolutions, widths 64 to 512, with group norm: a sample's embedding is its own."""

    modality = "vision"
    embed_dim = 512

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed_dim = 8 * width
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3), nn.GroupNorm(8, width), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList(
            nn.ModuleList([_Block(widths[i], widths[i + 1], 1 if i == 0 else 2), _Block(widths[i + 1], widths[i + 1], 1)])
            for i in range(4)
        )

    def forward(self, batch: Batch) -> Encoded:
        """[B, 3, H, W] to [B, 8 * width]."""
        x = self.stem(batch["image"])
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x)
        return Encoded(x.mean(dim=(2, 3)))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1),
            nn.GroupNorm(8, outputs),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


class Noise(Views):
    """Two views, each a sample and noise of its own."""

    n_global, n_local = 2, 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """Draw them."""
        image = batch["image"]
        return [
            {"image": image + 0.1 * torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)}
            for _ in range(2)
        ]


def make_stepper(device: str, chunks: int, *, width: int = 64, precision: Any = "32-true", caches: bool = True) -> Stepper:
    """SimCLR on :class:`Images`; without ``caches`` each chunk is compared by itself, and embedded once."""
    torch.manual_seed(0)
    task = JointEmbedding(Images(width), Noise(), SimCLR(SimCLR.Config(hidden_dim=256, output_dim=128)))
    # A batch norm would see chunk by chunk.
    assert isinstance(task.projector, nn.Sequential)
    task.projector = nn.Sequential(*(part for part in task.projector if not isinstance(part, nn.BatchNorm1d)))
    task.couples_samples = caches
    fabric = Fabric(accelerator=device, devices=1, precision=precision)
    config = OptimizationConfig(optimizer="sgd", lr=0.01, momentum=0.0, weight_decay=0.0, accumulate=chunks)
    generator = torch.Generator(fabric.device).manual_seed(0)
    return Stepper(fabric, task.to(fabric.device), config, total_steps=100, warmup_steps=0, generator=generator)


def memory_figure(*, batch: int = BATCH, chunks: int = CHUNKS, size: int = SIZE) -> Figure:
    """Peak GPU memory of a step on 4096 images of 224 x 224 in 16 chunks, against a step on 256, besides the batch itself.

    Raises:
        BenchmarkError: there is no CUDA GPU.
    """
    if not torch.cuda.is_available():
        raise BenchmarkError("this figure is of a GPU's memory, and torch finds no CUDA GPU here.")
    ours, seconds = _peak(batch, chunks, size)
    theirs, chunk_seconds = _peak(batch // chunks, 1, size)
    return Figure(
        name="accumulation-memory",
        what=f"peak memory of a step of SimCLR on {batch:,} images of {size} x {size} in {chunks} chunks, besides the images, "
        f"against a step on {batch // chunks}, in bf16",
        ours=ours / 1e6,
        theirs=theirs / 1e6,
        unit="MB",
        value=ours / theirs,
        compare="<=",
        goal=1.2,
        note=f"{seconds:.2f} s against {chunks} x {chunk_seconds:.3f} s; gradients of 64 images in 8 chunks differ by "
        f"{gradient_difference('cuda'):.1e} of their norm from the whole batch's in float32; {torch.cuda.get_device_name()}",
    )


def _peak(batch: int, chunks: int, size: int) -> tuple[int, float]:
    """Bytes on top of weights and images at the worst moment of a step, and the seconds of one."""
    stepper = make_stepper("cuda", chunks, precision="bf16-mixed")
    images = {"image": torch.rand(batch, 3, size, size, device="cuda", dtype=torch.bfloat16)}
    stepper.take(images)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, began = torch.cuda.memory_allocated(), time.perf_counter()
    stepper.take(images)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() - before
    del stepper, images
    torch.cuda.empty_cache()
    return peak, seconds


def gradient_difference(device: str, *, batch: int = 64, chunks: int = 8, size: int = 32, width: int = 16) -> float:
    """How far the gradient of a batch in chunks is from that of the whole batch, in float32, as a share of its norm."""
    images = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    whole, cut = (_gradients(device, images, count, width) for count in (1, chunks))
    return float((whole - cut).norm() / whole.norm())


class _Mirrored(Views):
    """A sample and its mirror image: nothing is drawn, so that chunks and the whole batch have the same views."""

    n_global, n_local = 2, 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        return [{"image": batch["image"]}, {"image": batch["image"].flip(3)}]


def _gradients(device: str, images: Tensor, chunks: int, width: int) -> Tensor:
    stepper = make_stepper(device, chunks, width=width)
    assert isinstance(stepper.task, JointEmbedding)
    stepper.task.views = _Mirrored()
    found: list[Tensor] = []

    def note(progress: float) -> None:
        found.extend(p.grad.double().flatten() for p in stepper.task.parameters() if p.grad is not None)

    stepper.task.after_backward = note  # type: ignore[method-assign]
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        stepper.take({"image": images})
    return torch.cat(found)


def time_figure(
    *, repeats: int, device: str = "cpu", batch: int = 64, chunks: int = 4, size: int = 32, width: int = 16
) -> Figure:
    """A step in chunks that are compared as a whole, against one in which each chunk is compared by itself.

    On a CPU this is the time of one processor, on which other programs do not weigh.
    """
    torch.set_num_threads(1)
    images = {"image": torch.rand(batch, 3, size, size, device=device)}
    cached, plain = (make_stepper(device, chunks, width=width, caches=caches) for caches in (True, False))
    mine, other = in_turn(lambda: _seconds(cached, images), lambda: _seconds(plain, images), repeats=repeats)
    return ratio_figure(
        "accumulation-time",
        f"a step of SimCLR on {batch} images of {size} x {size} in {chunks} chunks that are compared as a whole, against "
        "chunks that are compared by themselves",
        mine,
        other,
        unit="s",
        compare="<=",
        goal=1.5,
        note="one more forward pass",
    )


def _seconds(stepper: Stepper, images: Batch, steps: int = 3) -> float:
    clock = time.perf_counter if stepper.fabric.device.type == "cuda" else time.process_time
    stepper.take(images)
    stepper.drain()
    began = clock()
    for _ in range(steps):
        stepper.take(images)
    stepper.drain()  # waits for the device
    return (clock() - began) / steps

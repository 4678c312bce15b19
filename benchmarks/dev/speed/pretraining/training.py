"""The time of a pretraining step, and of pretraining from end to end."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import selfsup
from selfsup.runtime import cpu_count
from speed.apart import apart
from speed.measure import Figure, Settings, Stretches, in_turn, peer, ratio_figure
from speed.pretraining.profiling import timing
from speed.synthetic_data import as_dataset, images
from speed.views import peer_loader

SIZE = 32


_LIGHTLY_EXAMPLE = {
    "objective.hidden_dim": 512,
    "objective.output_dim": 128,
    "optimization.optimizer": "sgd",
    "optimization.lr": 0.06,
    "optimization.weight_decay": 0.0,
}
"""Head and optimizer of lightly's SimCLR example, so that both sides train the same."""


def our_speed(
    data: Any, *, backbone: str, batch: int, steps: int, overrides: Mapping[str, Any], device: str = "cpu"
) -> tuple[float, Any]:
    """Samples a second of SimCLR by ``selfsup.pretrain``, and the run's config."""
    stretches = Stretches(device, steps=steps, batch=batch)
    with tempfile.TemporaryDirectory() as folder, timing(stretches):
        run = selfsup.pretrain(
            "vision/simclr",
            data,
            out=Path(folder) / "run",
            backbone=backbone,
            steps=steps,
            batch_size=batch,
            log_every=max(1, steps // 4),
            probe_every=10 * steps,
            progress=False,
            overrides={**overrides, "accelerator": "gpu" if device == "cuda" else "cpu"},
        )
    return stretches.rate(), run.config


def step_figure(settings: Settings, *, batch: int = 128) -> Figure:
    """A step of the trainer against a loop by hand with the same task (views, network, loss), optimizer and precision."""
    torch.set_num_threads(cpu_count())
    device, steps = settings.device, settings.steps or (24 if settings.small else 240)
    made = images(2048, SIZE)
    data = as_dataset(made)
    measure = partial(our_speed, data, backbone="resnet-narrow", batch=batch, steps=steps, overrides={}, device=device)
    _, config = measure()
    store = torch.from_numpy(made).permute(0, 3, 1, 2).contiguous().to(device)

    def ours() -> float:
        return batch / measure()[0]

    def theirs() -> float:
        return _hand_written(config, store, steps=steps, batch=batch, device=device)

    theirs()
    mine, other = in_turn(ours, theirs, repeats=settings.repeats)
    return ratio_figure(
        "step",
        f"one SimCLR step (resnet-narrow, batch {batch}, {config.precision}) against a loop by hand with the same parts",
        [1000 * seconds for seconds in mine],
        [1000 * seconds for seconds in other],
        unit="ms/step",
        compare="<=",
        goal=1.05,
    )


def _hand_written(config: Any, store: torch.Tensor, *, steps: int, batch: int, device: str) -> float:
    """Seconds of a step of the plainest loop: index, forward, backward, optimizer."""
    from selfsup.training import build_optimizer
    from selfsup.training.run.setup import build_task

    info = {"image_size": SIZE}
    task, _ = build_task(config, info)
    task = task.to(device).to(memory_format=torch.channels_last)
    task.train()
    optimizer = build_optimizer(task, config.optimization)
    generator = torch.Generator(device).manual_seed(0)
    stretches = Stretches(device, steps=steps, batch=batch)
    for step in range(1, steps + 1):
        images_ = store[torch.randint(0, len(store), (batch,)).to(device)]
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = task({"image": images_}, generator).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        stretches.ended(step)
    return batch / stretches.rate()


def end_to_end_figure(*, cifar_stem: bool, goal: float, repeats: int, steps: int = 5, batch: int = 256) -> Figure:
    """SimCLR from images to weights against lightly as its documentation writes it, on the same network."""
    torch.set_num_threads(cpu_count())
    made = images(batch * (steps + 1), SIZE)
    data = as_dataset(made)
    backbone = "resnet18-cifar" if cifar_stem else "timm/resnet18"
    stem = "a 3x3 stem without pooling" if cifar_stem else "its ImageNet stem, as lightly's example has it"

    def ours() -> float:
        return our_speed(data, backbone=backbone, batch=batch, steps=steps, overrides=_LIGHTLY_EXAMPLE)[0]

    with apart() as there:
        theirs = partial(there(_lightly), n=len(made), cifar_stem=cifar_stem, batch=batch)
        theirs()  # starts the workers, which live on
        mine, other = in_turn(ours, theirs, repeats=repeats)
    return ratio_figure(
        "end-to-end-cifar-stem" if cifar_stem else "end-to-end",
        f"SimCLR, ResNet-18 with {stem}, {SIZE}x{SIZE}, batch {batch}, against lightly's documented example",
        mine,
        other,
        unit="images/s",
        compare=">=",
        goal=goal,
        note="ours with its automatic precision and memory order, lightly's as documented (float32) with two workers",
    )


def _lightly(*, n: int, cifar_stem: bool, batch: int) -> float:
    """Images a second of lightly's SimCLR example: ResNet-18, its head and loss, SGD at 0.06."""
    torch.set_num_threads(cpu_count())
    torchvision, losses = peer("torchvision"), peer("lightly.loss", "lightly")
    heads = peer("lightly.models.modules", "lightly")
    network = torchvision.models.resnet18()
    if cifar_stem:
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    network.fc = nn.Identity()
    head = heads.SimCLRProjectionHead(512, 512, 128)
    criterion = losses.NTXentLoss()
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=0.06)
    stretches = Stretches("cpu", steps=n // batch, batch=batch)
    for step, ((first, second), _) in enumerate(peer_loader(n, SIZE), 1):
        loss = criterion(head(network(first)), head(network(second)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        stretches.ended(step)
    return stretches.rate()

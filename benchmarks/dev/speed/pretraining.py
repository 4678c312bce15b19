"""Samples a second of pretraining on a device, against a peer on the same device, and the share of the device's peak."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import selfsup
from selfsup.data.batches import loader
from selfsup.runtime import cpu_count
from speed.apart import apart
from speed.measure import Figure, Settings, in_turn
from speed.profiling import Profile, counted_operations, peak
from speed.workloads import WORKLOADS, Workload


def pretraining_figures(modality: str) -> dict[str, Callable[[Settings], Figure]]:
    """Name to how it is measured, of a modality's workloads."""
    if modality not in WORKLOADS:
        return {}

    def measure(name: str) -> Callable[[Settings], Figure]:
        def measured(settings: Settings) -> Figure:
            return pretraining_figure(_named(modality, name, settings.small), settings)

        return measured

    return {work.name: measure(work.name) for work in WORKLOADS[modality](True)}


def _named(modality: str, name: str, small: bool) -> Workload:
    return next(work for work in WORKLOADS[modality](small) if work.name == name)


def pretraining_figure(work: Workload, settings: Settings) -> Figure:
    """Measure both sides in turn."""
    device = settings.device
    torch.set_num_threads(cpu_count())
    steps = settings.steps or work.steps
    compiled = settings.compile or ("off" if device == "cpu" else "inductor")
    notes: list[str] = []
    firsts: list[float] = []
    with tempfile.TemporaryDirectory() as folder, _input_as_real(work):
        data = work.data(Path(folder))
        operations = _operations(work, data, Path(folder), device)
        runs = iter(range(1000))
        profile = Profile(device)

        def ours() -> float:
            out = Path(folder) / f"run-{next(runs)}"
            speed, first = _our_speed(work, data, out, steps=steps, device=device, compiled=compiled)
            firsts.append(first)
            return work.scale * speed

        theirs: list[float] = []
        if work.peer is None or settings.alone:
            mine = [ours() for _ in range(settings.repeats)]
        else:
            options = {**work.peer_options, **_prepared(work, data)}
            with apart() as there:
                other = there(work.peer)
                mine, theirs = in_turn(ours, lambda: work.scale * other(device=device, **options), repeats=settings.repeats)
        if settings.profile:
            with profile.measuring():
                ours()
            shares = profile.shares()
            notes.append("ms of a step: " + ", ".join(f"{part} {value:.2f}" for part, value in shares.items()))
    rate = statistics.median(mine)
    reached = operations * rate / work.scale / work.batch
    best = peak(device)
    share = f"{reached / 1e12:.3g} TFLOP/s, {100 * reached / best:.1f} % of {best / 1e12:.3g}"
    notes.insert(0, f"compile={compiled}, first step {firsts[0]:.1f} s; {share}")
    if work.peer_options.get("batch", work.batch) != work.batch:
        notes.append(f"ours in batches of {work.batch}")
    return _figure(work, mine, theirs, "; ".join(notes))


def _figure(work: Workload, mine: list[float], theirs: list[float], note: str) -> Figure:
    against = f", against {work.against} {work.peer_options.get('batch', '')}".rstrip() if theirs else ""
    spread = f"{min(mine):.4g}..{max(mine):.4g}" + (f" against {min(theirs):.4g}..{max(theirs):.4g}" if theirs else "")
    rate, other = statistics.median(mine), statistics.median(theirs) if theirs else None
    return Figure(
        name=work.name,
        what=f"{work.what}, batch {work.batch}{against}",
        ours=rate,
        theirs=other,
        unit=work.unit,
        value=rate / other if other else rate,
        compare=">=",
        goal=work.goal if theirs or work.peer is None else 0.0,
        spread=spread,
        note=note,
    )


@contextmanager
def _input_as_real(work: Workload) -> Iterator[None]:
    """Read batches as those of a large data set are read, unless data of a real size would lie on the device, too."""
    own = loader._DEVICE_SHARE
    loader._DEVICE_SHARE = own if work.on_device else 0.0
    try:
        yield
    finally:
        loader._DEVICE_SHARE = own


def _our_speed(work: Workload, data: Any, out: Path, *, steps: int, device: str, compiled: str) -> tuple[float, float]:
    """Samples a second by ``selfsup.pretrain`` (median of the later two thirds of the logged stretches), seconds of step 1."""
    run = _pretrain(work, data, out, steps=steps, device=device, compiled=compiled)
    first, *speeds = [line["samples_per_second"] for line in run.metrics if "samples_per_second" in line]
    return float(statistics.median(speeds[len(speeds) // 3 :])), work.batch / first


def _pretrain(work: Workload, data: Any, out: Path, *, steps: int, device: str, compiled: str) -> Any:
    overrides: Mapping[str, Any] = {
        **work.overrides,
        "optimization.batch_size": work.batch,
        "optimization.compile": compiled,
        "accelerator": "gpu" if device == "cuda" else "cpu",
    }
    return selfsup.pretrain(
        work.task, data, out=out, backbone=work.backbone, steps=steps, log_every=max(steps // 12, 1),
        probe_every=10 * steps, progress=False, precision="bf16", overrides=dict(overrides),
    )  # fmt: skip


def _operations(work: Workload, data: Any, folder: Path, device: str) -> float:
    """Floating-point operations of a step."""
    with counted_operations() as counts:
        _pretrain(work, data, folder / "counted", steps=2, device=device, compiled="off")
    return float(counts[-1])


def _prepared(work: Workload, data: Any) -> dict[str, Any]:
    """What the other side of a text figure trains on: the very blocks of ours."""
    if work.task != "text/mlm":
        return {}
    from speed import mlm

    processor = {key.removeprefix("processor."): value for key, value in work.overrides.items() if "processor." in key}
    blocks, info = mlm.packed_blocks(data, length=processor["max_length"], vocabulary=processor["vocab_size"])
    return {"blocks": blocks, "info": info}

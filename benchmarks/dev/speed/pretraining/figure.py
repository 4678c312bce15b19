"""Samples a second of pretraining on a device, against a peer on the same device, and the share of the device's peak."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import selfsup
from selfsup.data.batches import loader
from selfsup.runtime import cpu_count
from speed.apart import apart
from speed.measure import Figure, Settings, Stretches, in_turn
from speed.pretraining.profiling import Profile, counted_operations, peak, timing
from speed.pretraining.workloads import WORKLOADS, Workload


def pretraining_figures(modality: str) -> dict[str, Callable[[Settings], list[Figure]]]:
    """Name to how it is measured, of a modality's workloads."""
    if modality not in WORKLOADS:
        return {}

    def measure(name: str) -> Callable[[Settings], list[Figure]]:
        def measured(settings: Settings) -> list[Figure]:
            return workload_figures(_named(modality, name, settings.small), settings)

        return measured

    return {work.name: measure(work.name) for work in WORKLOADS[modality](True)}


def _named(modality: str, name: str, small: bool) -> Workload:
    return next(work for work in WORKLOADS[modality](small) if work.name == name)


def compilers(settings: Settings) -> list[str]:
    """The settings of the compiler that are measured: that of a run by default, and on a GPU what it has beside it."""
    if settings.compile:
        return [settings.compile]
    return ["off"] if settings.device == "cpu" else ["off", "inductor"]


def workload_figures(work: Workload, settings: Settings) -> list[Figure]:
    """Measure both sides in turn: a figure for each of our settings of the compiler, with the same measurements of the peer."""
    device = settings.device
    torch.set_num_threads(cpu_count())
    steps = settings.steps or work.steps
    sides = [_Side(work, compiler) for compiler in compilers(settings)]
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder, _input_as_real(work):
        data = work.data(Path(folder))
        operations = _operations(work, data, Path(folder), device)
        runs = iter(range(1000))

        def ours(side: _Side) -> float:
            out = Path(folder) / f"run-{next(runs)}"
            speed, first = _our_speed(work, data, out, steps=steps, device=device, compiled=side.compiler)
            side.firsts.append(first)
            return work.scale * speed

        def all_ours() -> float:
            for side in sides:
                side.rates.append(ours(side))
            return 0.0

        if work.peer is None or settings.alone:
            for _ in range(settings.repeats):
                all_ours()
        else:
            options = {**work.peer_options, **_prepared(work, data)}
            with apart() as there:
                other = there(work.peer)
                _, theirs = in_turn(all_ours, lambda: work.scale * other(device=device, **options), repeats=settings.repeats)
        if settings.profile:
            for side in sides:
                profile = Profile(device)
                with profile.measuring():
                    ours(side)
                side.profile = "ms of a step: " + ", ".join(f"{part} {ms:.2f}" for part, ms in profile.shares().items())
    best = peak(device)
    return [side.figure(theirs, operations, best) for side in sides]


@dataclass
class _Side:
    """Our side, with one setting of the compiler."""

    work: Workload
    compiler: str
    rates: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    profile: str = ""

    def figure(self, theirs: list[float], operations: float, best: float) -> Figure:
        """The figure, with the share of the device's peak.

        Args:
            theirs: measurements of the peer.
            operations: of a step, in floating-point numbers.
            best: operations a second of the device.
        """
        work = self.work
        rate, other = statistics.median(self.rates), statistics.median(theirs) if theirs else None
        reached = operations * rate / work.scale / work.batch
        notes = [
            f"compile={self.compiler}, first step {self.firsts[0]:.1f} s",
            f"{reached / 1e12:.3g} TFLOP/s, {100 * reached / best:.1f} % of {best / 1e12:.3g}",
        ]
        if work.peer_options.get("batch", work.batch) != work.batch:
            notes.append(f"ours in batches of {work.batch}")
        if self.profile:
            notes.append(self.profile)
        against = f", against {work.against} {work.peer_options.get('batch', '')}".rstrip() if theirs else ""
        spread = f"{min(self.rates):.4g}..{max(self.rates):.4g}"
        spread += f" against {min(theirs):.4g}..{max(theirs):.4g}" if theirs else ""
        place = "samples on the device" if work.on_device else "batches read by threads"
        return Figure(
            name=work.name if self.compiler == "off" else f"{work.name}-{self.compiler}",
            what=f"{work.what}, batch {work.batch}, {place}, compile={self.compiler}{against}",
            ours=rate,
            theirs=other,
            unit=work.unit,
            value=rate / other if other else rate,
            compare=">=",
            goal=work.goal if theirs or work.peer is None else 0.0,
            spread=spread,
            note="; ".join(notes),
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
    """Samples a second by ``selfsup.pretrain``, timed as the peers are, and the seconds of the first step."""
    stretches = Stretches(device, steps=steps, batch=work.batch)
    with timing(stretches) as first:
        _pretrain(work, data, out, steps=steps, device=device, compiled=compiled)
    return stretches.rate(), first[0]


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
    from speed.pretraining import mlm

    processor = {key.removeprefix("processor."): value for key, value in work.overrides.items() if "processor." in key}
    blocks, info = mlm.packed_blocks(data, length=processor["max_length"], vocabulary=processor["vocab_size"])
    return {"blocks": blocks, "info": info}

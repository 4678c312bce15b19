"""What pretraining on very many images costs, and what breaks first: products of measured constants."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from scale.constants import Constants
from selfsup.data.batches.row_tally import MAX_HASHES
from selfsup.data.batches.sampler import MOST_IN_MEMORY
from selfsup.data.sources.streams.samples import SAMPLE_BYTES

RECORDS = Path(__file__).parents[3] / "docs" / "results" / "scale"
_AT_ONCE = 32
"""Shards that are asked for at a time."""
_DAY, _HOUR = 86_400, 3_600
_GB, _TB = 1e9, 1e12
_WEIGHT_BYTES = 4


@dataclass(frozen=True)
class Method:
    """A pretraining that was measured on a GPU."""

    name: str
    rate: float
    """Images a second of one device."""
    parameters: float
    """Numbers whose gradients are joined: of the network and its heads, counted on the task as it is built."""
    source: str


_H100 = "one H100, bf16, torch 2.11"
METHODS = {
    "simclr-resnet50": Method("SimCLR, ResNet-50, 224 px", 1780, 27.97e6, _H100),
    "dino-vits16": Method("DINO, ViT-S/16, 2 x 224 + 8 x 96 px", 869, 43.95e6, _H100),
    "mae-vits16": Method("MAE, ViT-S/16, 224 px", 5900, 25.45e6, _H100),
}


@dataclass(frozen=True)
class Plan:
    """A pretraining to be reckoned."""

    images: float = 1e9
    epochs: float = 10
    device_rate: float = METHODS["simclr-resnet50"].rate
    """Images a second of one device that never waits."""
    parameters: float = METHODS["simclr-resnet50"].parameters
    devices: int = 64
    per_node: int = 8
    """Devices of a machine."""
    batch_size: int = 4096
    """Images of a step, over all devices."""
    node_gbit: float = 100.0
    """Gigabits a second of a machine's network."""
    node_cores: int = 128
    node_memory: float = 1e12
    """Bytes."""
    node_disk: float = 15e12
    """Bytes of its local disk."""
    file_bytes: float = 0.0
    """Of an image's file; 0: as the measured ones."""
    rows_per_shard: int = 10_000
    latency: float = 0.02
    """Seconds from a request to its answer."""
    checkpoint_minutes: float = 10.0
    patience: float = 600.0
    """Seconds that a start or a resumption may take."""


@dataclass(frozen=True)
class Line:
    """A figure of the model."""

    what: str
    value: float
    unit: str
    how: str
    """The product it is."""


@dataclass(frozen=True)
class Limit:
    """What is needed of something, and what there is of it."""

    what: str
    needed: float
    there: float
    unit: str
    remedy: str

    @property
    def load(self) -> float:
        """Needed as a share of what there is; above 1 it breaks."""
        return self.needed / self.there


def recorded_constants() -> Constants:
    """The constants of the record."""
    return Constants(**json.loads((RECORDS / "constants.json").read_text())["constants"])


class Cost:
    """The model of one plan.

    Args:
        plan: what to pretrain, on what.
        constants: measured.
    """

    def __init__(self, plan: Plan, constants: Constants) -> None:
        self.plan, self.constants = plan, constants
        self.file_bytes = plan.file_bytes or constants.file_bytes
        self.shards = math.ceil(plan.images / plan.rows_per_shard)
        self.step = plan.batch_size / plan.devices / plan.device_rate
        self.seconds = plan.images * plan.epochs / plan.device_rate / plan.devices
        ring = 2 * (plan.devices - 1) / plan.devices
        self.all_reduce = ring * _WEIGHT_BYTES * plan.parameters * 8 / (plan.node_gbit * 1e9 * constants.link_share)
        self.checkpoint_bytes = plan.parameters * constants.checkpoint_bytes
        self.checkpoint = self.checkpoint_bytes * constants.checkpoint_seconds
        node_rate = plan.device_rate * min(plan.per_node, plan.devices)
        self.node_gbit = node_rate * self.file_bytes * 8 / 1e9
        self.rows_gbit = self.node_gbit * plan.devices
        self.cores = node_rate * constants.decode_seconds
        self.reader = plan.device_rate * constants.pass_seconds
        self.listing = self.shards * plan.latency / _AT_ONCE
        self.sample = min(10_000 * self.file_bytes, SAMPLE_BYTES) * plan.per_node * 8 / (plan.node_gbit * 1e9)
        self.resume = plan.images / plan.devices * constants.resume_seconds
        self.resume_rows = plan.images * constants.resume_seconds
        self.hashes = plan.images * constants.hash_bytes * plan.per_node
        drawn = plan.images <= MOST_IN_MEMORY
        self.order = plan.images * constants.order_bytes * plan.per_node if drawn else 0.0
        self.store = plan.images * constants.store_bytes
        self.preparation = plan.images * constants.decode_seconds / plan.node_cores

    def lines(self) -> list[Line]:
        """The figures."""
        plan, c = self.plan, self.constants
        return [
            Line("archives", plan.images * self.file_bytes / _TB, "TB", f"images × {self.file_bytes / 1e3:.1f} kB"),
            Line("shards", self.shards, "", f"images / {plan.rows_per_shard:,}"),
            Line("store, on each machine", self.store / _TB, "TB", f"images × {c.store_bytes / 1e3:.0f} kB, not compressed"),
            Line("to prepare it", self.preparation / _HOUR, "h", f"images × {c.decode_seconds * 1e3:.1f} ms / cores"),
            Line("device time", self.seconds * plan.devices / _HOUR, "h", "images × epochs / rate"),
            Line("duration", self.seconds / _DAY, "days", "device time / devices"),
            Line("step", self.step * 1e3, "ms", "batch / devices / rate"),
            Line("decoding", self.cores, "cores a machine", f"rate of a machine × {c.decode_seconds * 1e3:.1f} ms"),
            Line("reading archives", self.reader, "threads a process", f"rate × {c.pass_seconds * 1e6:.0f} µs, split=shards"),
            Line("network, split=shards", self.node_gbit, "Gbit/s a machine", "rate of a machine × file"),
            Line("network, split=rows", self.rows_gbit, "Gbit/s a machine", "the same × devices"),
            Line("all shards' servers", self.node_gbit * plan.devices / plan.per_node, "Gbit/s", "split=shards, all machines"),
            Line("gradients", self.all_reduce * 1e3, "ms a step", f"2 × 4 B × parameters / ({c.link_share:.2f} × link)"),
            Line("agreement", c.agreement_seconds * 1e3, "ms a step", "measured; no device waits for it"),
            Line("checkpoint", self.checkpoint_bytes / _GB, "GB", f"parameters × {c.checkpoint_bytes:.1f} B"),
            Line("to write it", self.checkpoint, "s", f"{1e-9 / c.checkpoint_seconds:.2f} GB/s"),
            Line("to list the shards", self.listing, "s", f"shards × {plan.latency * 1e3:g} ms / {_AT_ONCE}"),
            Line("sample, each process", self.sample, "s", "10,000 rows or 256 MB, over the machine's link"),
            Line("to resume, split=shards", self.resume, "s", f"up to images / devices × {c.resume_seconds * 1e6:.2f} µs"),
            Line("hashes of rows, store", self.hashes / _GB, "GB a machine", f"images × {c.hash_bytes:.0f} B × processes"),
            Line("hashes of rows, stream", 8 * MAX_HASHES / _GB, "GB in all", "a sample of them"),
            Line("order of an epoch, store", self.order / _GB, "GB a machine", f"drawn at once up to {MOST_IN_MEMORY:,} rows"),
        ]  # fmt: skip

    def limits(self) -> list[Limit]:
        """What breaks, the first first."""
        plan = self.plan
        gbit, machine, step = plan.node_gbit, "GB a machine", self.step * 1e3
        found = [
            ("network, split=rows", self.rows_gbit, gbit, "Gbit/s a machine", "`streaming.split=shards`: a shard is read once"),
            ("network, split=shards", self.node_gbit, gbit, "Gbit/s a machine", "smaller files: shorter side 8/7 of the size"),
            ("reading, split=rows", self.reader * plan.devices, 1.0, "threads a process", "`streaming.split=shards`"),
            ("reading, split=shards", self.reader, 1.0, "threads a process", "a store, or fewer images a second a device"),
            ("decoding", self.cores, plan.node_cores, "cores a machine", "smaller files, more cores a device, or a store"),
            ("disk of a store", self.store / _TB, plan.node_disk / _TB, "TB", "`--stream`"),
            ("memory of a store's hashes", self.hashes / _GB, plan.node_memory / _GB, machine, "`--stream`: 8 MB in all"),
            ("gradients", self.all_reduce * 1e3, step, "ms a step", "a larger batch; the backward pass hides a part"),
            ("checkpoints", self.checkpoint, 0.6 * plan.checkpoint_minutes, "s", "`checkpoint_minutes`, `strategy=fsdp`"),
            ("start", self.listing + self.sample, plan.patience, "s", "larger shards, `streaming.sample_rows`"),
            ("resume, split=rows", self.resume_rows, plan.patience, "s", "`streaming.split=shards`"),
            ("resume, split=shards", self.resume, plan.patience, "s", "more devices: each passes over its own rows"),
            ("agreement", self.constants.agreement_seconds * 1e3, step, "ms a step", "a larger batch a device"),
        ]  # fmt: skip
        return sorted((Limit(*values) for values in found), key=lambda limit: -limit.load)

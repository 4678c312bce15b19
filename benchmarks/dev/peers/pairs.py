"""CLIP on real pairs: against open_clip's loop, with first weights from unimodal runs, and with captions missing."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfsup.cli import emit, json_option
from selfsup.errors import SelfsupError
from selfsup_bench.statistics.estimates import Estimate, estimate

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

RECALL = ("recall_at_1", "recall_at_5", "recall_at_10")
METHODS = ("clip", "open_clip", "clip-missing-captions", "clip-from-unimodal", "clip-fewer-rows")
"""What matters most first, where time is short."""
Scores = dict[str, list[dict[str, float]]]
"""Method to the metrics of each seed."""


class Setting:
    """What all methods share.

    Args:
        data: folder with ``train.parquet`` and ``test.parquet`` of pairs.
        device: ``cpu`` or ``cuda``.
        steps: optimizer steps of each training.
        batch: pairs of a step.
        size: side of the pictures in pixels.
        labels: columns whose classes are told by zero-shot and by nearest neighbours.
        share: of the captions that are taken away.
    """

    def __init__(
        self, data: Path, *, device: str, steps: int, batch: int, size: int, labels: tuple[str, ...], share: float, lr: float
    ) -> None:
        self.data, self.device, self.steps, self.labels, self.share = str(data), device, steps, labels, share
        self.overrides: dict[str, Any] = {
            "processor.options.vision.image_size": size,
            "processor.options.text.max_length": 24,
            "processor.options.text.vocab_size": 4000,
            "optimization.optimizer": "adamw",  # so that one rate suits all methods
            "optimization.batch_size": batch,
            "optimization.lr": lr,
            "optimization.warmup_fraction": 0.1,
        }

    @property
    def options(self) -> dict[str, Any]:
        """For ``selfsup.pretrain``."""
        return {"accelerator": "gpu" if self.device == "cuda" else "cpu", "precision": "auto"}


def pretrain(setting: Setting, task: str, seed: int, folder: Path, **more: Any) -> Encoder:
    """The encoder of a run of ours."""
    import selfsup

    overrides = {**setting.overrides, **more.pop("overrides", {})}
    given = {"data": setting.data, "steps": setting.steps, "probe_every": setting.steps + 1, **setting.options, **more}
    run = selfsup.pretrain(task, out=folder / task.replace("/", "-"), seed=seed, overrides=overrides, progress=False, **given)
    return selfsup.load(run.dir, device=setting.device)


def from_unimodal(setting: Setting, seed: int, folder: Path) -> Encoder:
    """CLIP whose towers were first trained alone: pictures by SimCLR, titles by SimCSE, as many steps each."""
    import selfsup

    shared = {key: value for key, value in setting.overrides.items() if key.startswith("optimization.")}
    runs = {}
    for part, task in (("vision", "vision/simclr"), ("text", "text/simcse")):
        start = f"processor.options.{part}."
        own = {f"processor.{k.removeprefix(start)}": v for k, v in setting.overrides.items() if k.startswith(start)}
        runs[part] = selfsup.pretrain(
            task, setting.data, out=folder / part, seed=seed, steps=setting.steps, progress=False,
            overrides={**shared, **own}, columns=_columns(part), **setting.options,
        ).dir  # fmt: skip
    init = {part: str(run) for part, run in runs.items()}
    others = {key: value for key, value in setting.overrides.items() if not key.startswith("processor.")}
    run = selfsup.pretrain(
        "multimodal/clip", setting.data, out=folder / "clip", seed=seed, steps=setting.steps, progress=False, init=init,
        overrides=others, **setting.options,
    )  # fmt: skip
    return selfsup.load(run.dir, device=setting.device)


def _columns(part: str) -> dict[str, str]:
    return {"vision": {"image": "image"}, "text": {"text": "text"}}[part]


def thinned(setting: Setting, seed: int, folder: Path, *, rows: bool) -> str:
    """A copy of the training pairs without the captions of a share of them, or without these rows.

    Returns:
        Its folder, with the test pairs beside it.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    source = Path(setting.data)
    table = parquet.read_table(source / "train.parquet")
    lost = np.zeros(len(table), dtype=bool)
    lost[np.random.default_rng(seed).permutation(len(table))[: round(setting.share * len(table))]] = True
    if rows:
        table = table.filter(pa.array(~lost))
    else:
        place, texts = table.schema.get_field_index("text"), table.column("text").to_pylist()
        field = table.schema.field(place)
        kept = [None if gone else text for text, gone in zip(texts, lost.tolist(), strict=True)]
        table = table.set_column(place, field, pa.array(kept, field.type))
    folder.mkdir(parents=True)
    parquet.write_table(table, folder / "train.parquet")
    (folder / "test.parquet").symlink_to(source.resolve() / "test.parquet")
    return str(folder)


def trained(setting: Setting, method: str, seed: int, folder: Path) -> Encoder:
    """The encoder of a method."""
    if method == "open_clip":
        from peers.open_clip_side import train_with_open_clip

        given = {"overrides": setting.overrides, **setting.options}
        return train_with_open_clip(
            setting.data, given, steps=setting.steps, seed=seed, device=setting.device, folder=folder / "first"
        )
    if method == "clip-from-unimodal":
        return from_unimodal(setting, seed, folder)
    if method in ("clip-missing-captions", "clip-fewer-rows"):
        data = thinned(setting, seed, folder / "data", rows=method == "clip-fewer-rows")
        return pretrain(setting, "multimodal/clip", seed, folder, data=data)
    return pretrain(setting, "multimodal/clip", seed, folder)


def measure(setting: Setting, encoder: Encoder) -> dict[str, float]:
    """Retrieval between the test pictures and titles, zero-shot of the pictures, and neighbours by each part and by all."""
    import selfsup

    found: dict[str, float] = {}
    test = Path(setting.data) / "test.parquet"
    for place, label in enumerate(setting.labels):
        evaluators = ["zero-shot", "missing-part", *(["cross-modal-retrieval"] if not place else [])]
        records = selfsup.evaluate(
            encoder,
            Path(setting.data) / "train.parquet",
            test,
            evaluators=evaluators,
            options={"missing-part": {"probe": "knn"}},
            label=label,
            precision="auto",
        )
        for record in records:
            own = "" if record.evaluator == "cross-modal-retrieval" else f"{record.evaluator} {label}: "
            found |= {f"{own}{name}": value for name, value in record.metrics.items()}
    return found


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder with train.parquet and test.parquet."
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=600, show_default=True, help="Optimizer steps of each training.")
@click.option("--batch", type=click.IntRange(2), default=256, show_default=True, help="Pairs of a step.")
@click.option("--size", type=click.IntRange(16), default=64, show_default=True, help="Side of the pictures in pixels.")
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Peak learning rate of every method.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--label", "labels", multiple=True, default=("articleType", "masterCategory"), show_default=True)
@click.option(
    "--share", type=click.FloatRange(0, 1, max_open=True), default=0.2, show_default=True, help="Of captions that go."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    help="Only this; repeatable. [default: all]",
)
@click.option("--seconds", type=click.IntRange(1), help="Start nothing more after so long. [default: no limit]")
@click.option("--out", type=click.Path(path_type=Path), help="File for the scores, written after each method.")
@json_option
def pairs(
    data: Path, device: str, steps: int, batch: int, size: int, lr: float, seeds: int, labels: tuple[str, ...], share: float,
    methods: tuple[str, ...], seconds: int | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """CLIP on pairs: against the same towers in open_clip's loop, started from unimodal runs, and with captions missing.

    A method that fails is named and left out, and the exit status is then 1.
    """
    setting = Setting(data, device=device, steps=steps, batch=batch, size=size, labels=labels, share=share, lr=lr)
    scores: Scores = {}
    failed = False
    start = time.perf_counter()
    for method in methods or METHODS:
        found: list[dict[str, float]] = []
        for seed in range(seeds):
            began = time.perf_counter()
            if seconds is not None and began - start > seconds:
                click.echo(f"{method}, seed {seed}: not started after {began - start:.0f} s", err=True)
                break
            try:
                with tempfile.TemporaryDirectory() as folder:
                    encoder = trained(setting, method, seed, Path(folder))
                    took = time.perf_counter() - began
                    found.append(measure(setting, encoder))
            except SelfsupError as error:
                click.echo(f"{method}, seed {seed}: {error}", err=True)
                failed = True
                break
            recall, rest = found[-1]["recall_at_10"], time.perf_counter() - began - took
            click.echo(f"{method}, seed {seed}: R@10 {100 * recall:.1f} % ({took:.0f} s, {rest:.0f} s to evaluate)", err=True)
        if len(found) == seeds:
            scores[method] = found
        if out is not None:
            out.write_text(json.dumps({"steps": steps, "batch": batch, "size": size, "lr": lr, "scores": scores}, indent=1))
    emit({"steps": steps, "batch": batch, "scores": scores}, as_json=as_json, text=lambda: show(scores, labels))
    if failed:
        sys.exit(1)


def show(scores: Scores, labels: tuple[str, ...]) -> None:
    """Tables of the mean and half of the 95 % interval, and the differences that are paired by seed."""
    if not scores:
        return
    columns = {
        **{name: name.replace("recall_at_", "R@") for name in RECALL},
        **{f"zero-shot {label}: accuracy": f"zero-shot {label}" for label in labels},
        **{f"missing-part {label}: accuracy": f"kNN {label}" for label in labels},
        **{f"missing-part {labels[0]}: accuracy_only_{part}": f"{part} alone" for part in ("vision", "text")},
    }
    click.echo(f"| method | {' | '.join(columns.values())} |\n| --- |{' --- |' * len(columns)}")
    for method, seeds in scores.items():
        cells = [_cell([each[name] for each in seeds]) if all(name in each for each in seeds) else "–" for name in columns]
        click.echo(f"| {method} | {' | '.join(cells)} |")
    first = next(iter(scores.values()))[0]
    chance = [f"{columns[name]} {100 * first[name + '_chance']:.2f}" for name in RECALL]
    click.echo(f"\nchance: {', '.join(chance)}")
    for method, other in (("clip", "open_clip"), ("clip-from-unimodal", "clip"), ("clip-missing-captions", "clip")):
        if method in scores and other in scores:
            differences = [
                f"{columns[name]} {_cell([a[name] - b[name] for a, b in zip(scores[method], scores[other], strict=True)])}"
                for name in RECALL
            ]
            click.echo(f"{method} - {other}, paired by seed: {', '.join(differences)}")


def _cell(values: list[float]) -> str:
    made: Estimate = estimate(values)
    half = "" if made.interval is None else f" ± {100 * made.interval.half_width:.1f}"
    return f"{100 * made.mean:.1f}{half}"

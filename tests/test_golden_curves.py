"""Golden curves: short training runs give the losses, weights and scores that are recorded in ``golden_curves.json``.

Two tasks of every family in every modality train for 20 steps on mock rows, through :func:`selfsup.pretrain`, in float32 on one
thread. More runs cover accumulation, a moving average with the best checkpoint, and a finished encoder that is evaluated and
fine-tuned. Recorded are the loss of each step, the metrics, and a SHA-256 of the saved weights (names, shapes and bytes).

- On the platform of the record (same processor, instruction set and releases of the libraries in ``PLATFORM_LIBRARIES``) all
  values are compared exactly.
- Elsewhere rounding differs, and some curves amplify it to 20 % by step 20 (measured with AVX2 and SSE on the same processor).
  So the first ``EARLY`` losses are compared to ``TOLERANCE``; later losses must be finite; digests and scores are not compared.
- Where the releases that draw first weights or rows are others (``DRAWING_LIBRARIES``), the curves of some networks start
  elsewhere. Then the test only asks for as many finite losses as recorded.

Record again with ``python tests/test_golden_curves.py --record`` (all runs), or with names of runs behind it (only those). Do
so only in a commit that changes numbers on purpose and says so in its message. A commit that moves, renames or simplifies code
leaves the record as it is. The file is replaced in one step, once all runs have ended.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import selfsup
from selfsup.testing import load_mock_rows

RECORD = Path(__file__).with_name("golden_curves.json")
STEPS, BATCH, ROWS = 20, 8, 44
"""44 rows are five batches and a rest, so that 20 steps cross the ends of epochs."""
EARLY, TOLERANCE = 5, 1e-2
"""Steps, and a difference relative to the largest loss of the curve; 3e-3 is the largest that was measured in these steps."""
DRAWING_LIBRARIES = ("torch", "numpy", "timm", "transformers", "tokenizers")
"""What draws first weights, order and rows, or cuts texts into tokens."""
PLATFORM_LIBRARIES = (*DRAWING_LIBRARIES, "torchvision", "scikit-learn", "soxr")

EVALUATORS = ("knn", "linear", "few-labels", "clustering")

HEADS = {"objective.hidden_dim": 32, "objective.output_dim": 16}
SLIM_HEAD = {"objective.output_dim": 16}
RESNET = {"backbone.width": 4}
VIT = {"backbone.embed_dim": 32, "backbone.depth": 2, "backbone.heads": 2}
TEXT = {"backbone.hidden_size": 32, "processor.max_length": 32}
MEL = {"backbone.mel.n_mels": 16, "backbone.mel.hop_seconds": 0.02, "backbone.embed_dim": 32}
MEL_CNN = {**MEL, "backbone.channels": 8}
MEL_VIT = {**MEL, "backbone.depth": 2}
WAVE = {"backbone.channels": 8, "backbone.embed_dim": 32, "backbone.depth": 2}
CONV3D = {"backbone.width": 4, "backbone.stages": 3, "processor.frames": 8}
VIDEO_VIT = {**VIT, "processor.frames": 8}
MLP = {"backbone.dim": 32}
TABLE = {"backbone.dim": 32, "backbone.depth": 2}
FUSION = {"backbone.dim": 32, "backbone.depth": 2}
TOWERS = {"backbone.joint_dim": 32}


@dataclass(frozen=True)
class Run:
    """One short pretraining, and what is done with its encoder."""

    task: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    """Where the task alone does not tell."""
    steps: int = STEPS
    probed: bool = False
    """Labelled rows choose the best checkpoint, which is then the encoder that is recorded."""
    finetuned: bool = False
    evaluated: bool = False

    def __str__(self) -> str:
        return self.name or self.task


RUNS = [
    # vision
    Run("vision/simclr", {**RESNET, **HEADS}, finetuned=True, evaluated=True),
    Run("vision/byol", {**RESNET, **HEADS}),
    Run("vision/dino", {**VIT, **HEADS, "objective.bottleneck_dim": 16, "views.n_local": 2}),
    Run("vision/swav", {**RESNET, **HEADS, "objective.n_prototypes": 16, "objective.queue_size": 16, "views.n_local": 2}),
    Run("vision/vicregl", {**RESNET, **HEADS}),
    Run("vision/mae", {**VIT, "task.decoder_depth": 2}),
    Run("vision/simmim", VIT),
    Run("vision/ijepa", {**VIT, "task.predictor_depth": 2}),
    Run("vision/data2vec", VIT),
    Run("vision/rotation", RESNET),
    Run("vision/jigsaw", {**RESNET, "task.head_dims": [32]}),
    Run("vision/colorization", RESNET),
    Run("vision/inpainting", RESNET),
    Run("vision/supervised", RESNET),
    Run("vision/random-init", RESNET, steps=0),
    # text
    Run("text/simcse", TEXT),
    Run("text/word2vec", {"backbone.dim": 32}),
    Run("text/distill", {**TEXT, "objective.teacher": "start"}),
    Run("text/mlm", TEXT, finetuned=True),
    Run("text/electra", TEXT),
    Run("text/data2vec", TEXT),
    Run("text/wav2vec2", TEXT),
    Run("text/clm", TEXT),
    Run("text/cpc", TEXT),
    Run("text/sentence-order", TEXT),
    Run("text/span-corruption", TEXT),
    Run("text/tsdae", TEXT),
    Run("text/supervised", TEXT),
    Run("text/random-init", TEXT, steps=0),
    # audio
    Run("audio/byol-a", {**MEL_CNN, **HEADS}, finetuned=True),
    Run("audio/cola", {**MEL_CNN, **SLIM_HEAD}),
    Run("audio/hubert", {**WAVE, "task.n_clusters": 8, "task.n_latent_clusters": 8}),
    Run("audio/mockingjay", MEL_VIT),
    Run("audio/wav2vec2", WAVE),
    Run("audio/data2vec", WAVE),
    Run("audio/apc", MEL_VIT),
    Run("audio/cpc", MEL_VIT),
    Run("audio/segment-order", MEL_CNN),
    Run("audio/denoising-autoencoder", MEL_CNN),
    Run("audio/supervised", MEL_CNN),
    Run("audio/random-init", MEL_CNN, steps=0),
    # video
    Run("video/cvrl", {**CONV3D, **HEADS}, finetuned=True),
    Run("video/mocov2", {**CONV3D, **HEADS, "objective.queue_size": 16}),
    Run("video/videomae", {**VIDEO_VIT, "task.decoder_depth": 1}),
    Run("video/cluster-prediction", {**VIDEO_VIT, "task.n_clusters": 8, "task.n_latent_clusters": 8}),
    Run("video/vjepa", {**VIDEO_VIT, "task.predictor_depth": 2}),
    Run("video/ijepa", {**VIDEO_VIT, "task.predictor_depth": 2}),
    Run("video/frame-order", CONV3D),
    Run("video/playback-speed", CONV3D),
    Run("video/denoising-autoencoder", CONV3D),
    Run("video/supervised", CONV3D),
    Run("video/random-init", CONV3D, steps=0),
    # tabular
    Run("tabular/scarf", {**MLP, **HEADS}, finetuned=True),
    Run("tabular/barlow-twins", {**MLP, **HEADS}),
    Run("tabular/correspondence", MLP),
    Run("tabular/dcl", {**MLP, **HEADS}),
    Run("tabular/lejepa", {**MLP, **HEADS}),
    Run("tabular/mocov3", {**MLP, **HEADS}),
    Run("tabular/simsiam", {**MLP, **HEADS}),
    Run("tabular/tico", {**MLP, **HEADS}),
    Run("tabular/vicreg", {**MLP, **HEADS}),
    Run("tabular/masked-cells", TABLE),
    Run("tabular/mae", TABLE),
    Run("tabular/jepa", TABLE),
    Run("tabular/wav2vec2", TABLE),
    Run("tabular/saint", TABLE),
    Run("tabular/vime", MLP),
    Run("tabular/supervised", MLP),
    Run("tabular/supervised-transfer", MLP),
    Run("tabular/random-init", MLP, steps=0),
    # multimodal
    Run("multimodal/clip", TOWERS, finetuned=True),
    Run("multimodal/siglip", TOWERS),
    Run("multimodal/lit", {**TOWERS, **HEADS}),
    Run("multimodal/cav-mae", {**FUSION, "task.decoder_depth": 1}),
    Run("multimodal/mae", {**FUSION, "task.decoder_depth": 1}),
    Run("multimodal/data2vec", FUSION),
    Run("multimodal/ijepa", {**FUSION, "task.predictor_depth": 1}),
    Run("multimodal/supervised", TOWERS),
    Run("multimodal/random-init", TOWERS, steps=0),
    # the same trainer, told otherwise
    Run("vision/simclr", {**RESNET, **HEADS, "optimization.accumulate": 2}, "accumulated pairs"),
    Run("text/mlm", {**TEXT, "optimization.accumulate": 2}, "accumulated texts"),
    Run("tabular/swav", {**MLP, **HEADS, "objective.n_prototypes": 16, "optimization.accumulate": 2}, "accumulated prototypes"),
    Run(
        "tabular/byol", {**MLP, **HEADS, "optimization.ema": 0.9, "probe_every": 5}, "average and best checkpoint", probed=True,
    ),
]  # fmt: skip


def test_every_family_of_every_modality_has_runs() -> None:
    """A new family or modality gets runs here; two, or one where it has one task."""
    tasks = selfsup.registry.registry().tasks.values()
    chosen = {run.task for run in RUNS}
    for modality, family in {(spec.modality, spec.family) for spec in tasks}:
        own = {spec.id for spec in tasks if (spec.modality, spec.family) == (modality, family)}
        assert len(own & chosen) >= min(2, len(own)), (modality, family)


def test_the_record_is_of_these_runs() -> None:
    assert list(read_record()["runs"]) == [str(run) for run in RUNS]


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_golden_curve(run: Run, tmp_path: Path) -> None:
    record = read_record()
    expected, found = record["runs"][str(run)], train(run, tmp_path)
    known, here = record["platform"], this_platform()
    if known == here:
        assert found == expected
        return
    losses = found["losses"]
    assert len(losses) == len(expected["losses"])
    assert all(map(math.isfinite, losses))
    if all(known[name] == here[name] for name in DRAWING_LIBRARIES):
        limit = TOLERANCE * max(map(abs, expected["losses"]), default=0)
        assert losses[:EARLY] == pytest.approx(expected["losses"][:EARLY], rel=0, abs=limit)


def train(run: Run, folder: Path) -> dict[str, Any]:
    """What is recorded of a run, made in an empty folder."""
    modality = run.task.split("/")[0]
    rows, held_out = labelled_rows(modality, ROWS), labelled_rows(modality, 24, seed=1)
    options: dict[str, Any] = {}
    if run.probed:
        options["val"] = str(folder / "labelled.csv")
        write_csv(held_out, folder / "labelled.csv")
    with one_thread(), own_cache(folder / "cache"):
        done = selfsup.pretrain(
            run.task, rows, out=folder / "run", steps=run.steps, batch_size=BATCH, precision="32", accelerator="cpu",
            label="label", log_every=1, progress=False, overrides={"probe_every": STEPS, **run.overrides}, **options,
        )  # fmt: skip
        losses = [line["loss"] for line in done.metrics if "loss" in line]
        found: dict[str, Any] = {"losses": losses, "weights": digest(done.dir / "encoder")}
        if run.probed:
            selfsup.load(done.dir, checkpoint="best").save(folder / "best")
            found["best"] = digest(folder / "best")
            found["probe"] = [line["val_accuracy"] for line in done.metrics if "val_accuracy" in line]
        if run.evaluated:
            records = selfsup.evaluate(
                done.encoder, rows, held_out, label="label", evaluators=EVALUATORS,
                options={"few-labels": {"draws": 2, "per_class": [5]}},
            )  # fmt: skip
            found["scores"] = {record.evaluator: record.metrics for record in records}
        if run.finetuned:
            tuned = selfsup.finetune(
                done.encoder, rows, held_out, label="label", out=folder / "finetuned",
                options={"epochs": 2, "batch_size": BATCH, "precision": "32"},
            )  # fmt: skip
            found["finetuned"] = {"scores": tuned.record.metrics, "weights": digest(folder / "finetuned")}
    return found


def labelled_rows(modality: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Mock rows of two classes in turn, as they are made."""
    return [{**row, "label": ("even", "odd")[place % 2]} for place, row in enumerate(load_mock_rows(modality, n, seed))]


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def digest(folder: Path) -> str:
    """SHA-256 of names, kinds, shapes and bytes of all tensors that are saved in a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        for name, tensor in sorted(load_file(path).items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums over several threads are rounded in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_CACHE", str(folder))
        yield


def this_platform() -> dict[str, str]:
    """What decides the rounding."""
    found = {"machine": platform.machine(), "processor": processor(), "capability": torch.backends.cpu.get_cpu_capability()}
    found["build"] = str(torch.__version__)
    return found | {name: version(name) for name in PLATFORM_LIBRARIES}


def processor() -> str:
    """Family, model and stepping too, since vendors give several processors one name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    wanted = ("vendor_id", "cpu family", "model", "model name")
    found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    return " ".join(value.strip() for name, value in sorted(found.items()) if name.strip() in wanted)


def read_record() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(RECORD.read_text())
    return record


def write_record(record: Mapping[str, Any]) -> None:
    """Replace the file in one step; a run takes a few lines."""
    text = json.dumps(record, indent=1)
    text = re.sub(r"\[[^\[\]]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    new = RECORD.with_suffix(".new")
    new.write_text(text + "\n")
    new.replace(RECORD)


def main() -> None:
    parser = argparse.ArgumentParser(description="Record golden curves again. See the docstring for when this is right.")
    parser.add_argument("--record", nargs="*", metavar="RUN", required=True, help="runs to record [default: all]")
    names = parser.parse_args().record
    if unknown := set(names) - set(map(str, RUNS)):
        parser.error(f"no such runs: {', '.join(sorted(unknown))}")
    old = read_record() if names else {"platform": this_platform(), "runs": {}}
    if old["platform"] != this_platform():
        parser.error("the record is of another platform; record all runs")
    runs = {}
    for run in RUNS:
        if not names or str(run) in names:
            began = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                runs[str(run)] = train(run, Path(folder))
            print(f"{time.process_time() - began:5.1f} s  {run}", file=sys.stderr)  # noqa: T201
        elif str(run) in old["runs"]:
            runs[str(run)] = old["runs"][str(run)]
    write_record({"platform": this_platform(), "runs": runs})


if __name__ == "__main__":
    main()

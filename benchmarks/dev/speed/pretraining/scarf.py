"""Rows a second of SCARF, against TabularS3L on the same table, network and batch."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import selfsup
from selfsup.data import load_source
from selfsup.registry import registry
from selfsup.runtime import cpu_count
from speed.apart import apart
from speed.measure import Figure, Settings, Stretches, in_turn, peer, ratio_figure
from speed.pretraining.profiling import timing

WIDTH, DEPTH, BATCH = 256, 4, 128
"""SCARF's encoder and batch."""
_LABELS = {"adult": "income"}


def scarf_figure(settings: Settings) -> Figure:
    """SCARF on adult (or ``--data``): an MLP of four layers of 256 on one-hot categories, batch 128."""
    torch.set_num_threads(cpu_count())
    device = settings.device
    data = settings.data or "adult"
    steps = settings.steps or 400
    cells = one_hot(data)

    def ours() -> float:
        return our_rows(data, steps=steps, device=device)

    with apart() as there:
        measure = partial(there(ts3l_rows), cells, steps=max(20, steps // 4), device=device)
        ours()
        workers = max((0, 2), key=lambda count: measure(workers=count))
        theirs = partial(measure, workers=workers)
        mine, other = in_turn(ours, theirs, repeats=settings.repeats)
    return ratio_figure(
        "scarf",
        f"SCARF on {data} ({cells.shape[1]} inputs), MLP {DEPTH} x {WIDTH}, batch {BATCH}, against TabularS3L 0.70",
        mine,
        other,
        unit="rows/s",
        compare=">=",
        goal=5.0,
        note=f"both in float32; TabularS3L in Lightning's trainer, rows encoded beforehand, {workers} loader workers (best)",
    )


def our_rows(data: str, *, steps: int, device: str) -> float:
    """Rows a second by ``selfsup.pretrain``."""
    stretches = Stretches(device, steps=steps, batch=BATCH)
    with tempfile.TemporaryDirectory() as folder, timing(stretches):
        selfsup.pretrain(
            "tabular/scarf",
            data,
            out=Path(folder) / "run",
            label=_LABELS.get(data),
            backbone="mlp",
            steps=steps,
            precision="32",
            log_every=max(1, steps // 8),
            probe_every=10 * steps,
            progress=False,
            overrides={
                "optimization.batch_size": BATCH,
                "backbone.dim": WIDTH,
                "backbone.depth": DEPTH,
                "accelerator": "gpu" if device == "cuda" else "cpu",
            },
        )
    return stretches.rate()


def one_hot(data: str) -> Any:
    """[N, F] float32: the training rows as our network sees them, so that the other side has the same inputs."""
    found = registry()
    rows = load_source(data, modality=found.get("modality", "tabular"), label=_LABELS.get(data)).without_labels()
    kind = found.processor_class("tabular")
    processor = kind(kind.Config()).fit(rows)
    features = found.modality_objects("tabular").raw_features
    parts = [features(processor(chunk), processor.info()).numpy() for _, chunk in rows.chunks()]
    return np.concatenate(parts).astype(np.float32)


def ts3l_rows(cells: Any, *, steps: int, workers: int, device: str) -> float:
    """Rows a second of TabularS3L's documented SCARF: its data set and module in Lightning's trainer."""
    import logging

    torch.set_num_threads(cpu_count())
    lightning = peer("pytorch_lightning", "pytorch-lightning")
    modules, scarf = peer("ts3l.pl_modules", "ts3l==0.70"), peer("ts3l.utils.scarf_utils", "ts3l==0.70")
    embeddings, backbones = peer("ts3l.utils.embedding_utils"), peer("ts3l.utils.backbone_utils")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    frame = peer("pandas").DataFrame(cells, columns=[f"c{i}" for i in range(cells.shape[1])])
    config = scarf.SCARFConfig(
        task="classification",
        loss_fn="CrossEntropyLoss",
        embedding_config=embeddings.IdentityEmbeddingConfig(input_dim=cells.shape[1]),
        # Their count of hidden layers leaves the output layer out.
        backbone_config=backbones.MLPBackboneConfig(
            input_dim=cells.shape[1],
            hidden_dims=[WIDTH] * (DEPTH - 1),
            output_dim=WIDTH,
            n_hiddens=DEPTH,
            dropout_rate=0.0,
            use_batch_norm=False,
        ),
        pretraining_head_dim=WIDTH,
        output_dim=2,
        head_depth=2,
        dropout_rate=0.0,
        tau=1.0,
        corruption_rate=0.6,
        optim="Adam",
        optim_hparams={"lr": 1e-3},
    )
    made = scarf.SCARFDataset(frame, config=config, continuous_cols=list(frame.columns), category_cols=[])
    loader = torch.utils.data.DataLoader(made, BATCH, shuffle=True, drop_last=True, num_workers=workers)
    stretches = Stretches(device, steps=steps, batch=BATCH)

    base: Any = lightning.Callback

    class Clock(base):  # type: ignore[misc]  # its base is known at run time only
        def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
            stretches.ended(trainer.global_step)

    trainer = lightning.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Clock()],
    )
    trainer.fit(modules.SCARFLightning(config), loader)
    return stretches.rate()

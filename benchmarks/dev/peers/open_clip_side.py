"""The same towers, batches, views and optimizer in a plain loop with open_clip's own loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from open_clip.loss import ClipLoss
from torch import nn
from torch.nn import functional as F

import selfsup
from selfsup.artifacts import Encoder
from selfsup.data import EpochSampler, Loader, load_source, prepare
from selfsup.data.batches.windows import shown_lengths
from selfsup.registry import registry
from selfsup.training import learning_rate

FIRST_SCALE = 1 / 0.07
"""Of the logits; open_clip's first value, and never more than 100 (Radford et al. 2021, arXiv 2103.00020, 2.5)."""
MOST = 100.0


def train_with_open_clip(data: str, options: dict[str, Any], *, steps: int, seed: int, device: str, folder: Path) -> Encoder:
    """An encoder whose towers begin as ours do with this seed, trained by a loop that has nothing of ours but the towers.

    The loop is that of open_clip's ``train_one_epoch``: embeddings of unit length, ``ClipLoss``, AdamW without weight decay for
    parameters of one dimension, a warm-up and a cosine, the scale held below 100 after each step.

    Args:
        data: with a split ``train``.
        options: of the run on our side: ``overrides`` and ``precision``.
        steps: optimizer steps.
        seed: of the first weights, the order of the rows and the views.
        device: ``cpu`` or ``cuda``.
        folder: for the run that gives the first weights.
    """
    run = selfsup.pretrain("multimodal/clip", data, out=folder, seed=seed, steps=0, progress=False, **options)
    encoder, settings = run.encoder.to(device), run.config.optimization
    backbone, processor = encoder.backbone.train(), encoder.processor
    house = registry()
    spec = house.get("modality", "multimodal")
    rows = load_source(data, modality=spec, split="train", options=processor.source_options()).without_labels()
    recipe = house.modality_objects("multimodal").views
    assert recipe is not None
    views = recipe.build(recipe.config.model_validate(run.config.task_options.get("views", {})), processor.info())
    store, batch_size = prepare(rows, processor), settings.batch_size
    sampler = EpochSampler(len(store), batch_size, seed=seed, lengths=shown_lengths(store, processor))
    loader = Loader(store, processor, sampler, device, window_seed=seed, whole=views.takes_whole)
    scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE), device=device))
    named = [*backbone.named_parameters(), ("scale", scale)]
    plain = [p for _, p in named if p.ndim < 2 and p.requires_grad]
    decayed = [p for _, p in named if p.ndim >= 2 and p.requires_grad]
    peak = settings.peak_lr()
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": settings.weight_decay}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=settings.betas, eps=settings.eps)
    warmup = settings.model_copy(update={"steps": steps, "epochs": None}).warmup_steps(len(loader))
    criterion = ClipLoss()
    generator = torch.Generator(device).manual_seed(seed)
    precision = run.config.precision
    step = epoch = 0
    while step < steps:
        for batch in loader.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, peak=peak, warmup=warmup)
            joined = {key: value for view in views(batch, generator) for key, value in view.items()}
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                parts = backbone(joined).parts
            first, second = (F.normalize(part.pooled.float(), dim=1) for part in parts.values())
            loss = criterion(first, second, scale.exp())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if settings.clip is not None:
                nn.utils.clip_grad_norm_([*plain, *decayed], settings.clip)
            optimizer.step()
            with torch.no_grad():
                scale.clamp_(0, math.log(MOST))
            step += 1
            if step == steps:
                break
        epoch += 1
    return Encoder(
        processor,
        backbone.eval(),
        backbone_id=encoder.backbone_id,
        backbone_options=encoder.backbone_options,
        task="open_clip/clip",
    )

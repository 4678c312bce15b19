"""The same SimCLR recipe written with lightly's transform, head and loss, in a plain loop."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from peers.simclr import HIDDEN, OUTPUT, TEMPERATURE, Recipe
from selfsup import Encoder
from selfsup.data import load_source
from selfsup.registry import registry
from selfsup.runtime import resolve_precision
from selfsup.training import OptimizationConfig, build_optimizer, learning_rate, set_hyperparameters
from speed.measure import peer
from speed.views import WORKERS, PeerImages


def train_with_lightly(recipe: Recipe, seed: int) -> Encoder:
    """Train the recipe's backbone with lightly's parts. Optimizer and schedule are shared code, so that they are the same."""
    from PIL import Image

    transforms, losses = peer("lightly.transforms", "lightly"), peer("lightly.loss", "lightly")
    heads = peer("lightly.models.modules", "lightly")
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # lightly's own transforms draw from this one
    random.seed(seed)
    found = registry()
    rows = load_source(recipe.dataset, modality=found.get("modality", "vision"), split="train").without_labels()
    kind = found.processor_class("vision")
    processor = kind(kind.Config()).fit(rows)
    backbone, options = found.build_backbone(recipe.backbone, recipe.backbone_options, processor.info())
    size = int(processor.info()["image_size"])
    # Both sides normalise inside the backbone.
    transform = transforms.SimCLRTransform(input_size=size, cj_strength=0.5, gaussian_blur=0.0, normalize=None)
    pictures: list[Any] = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
    loader = DataLoader(PeerImages(pictures, transform), recipe.batch, shuffle=True, drop_last=True, num_workers=WORKERS)
    head = heads.SimCLRProjectionHead(backbone.embed_dim, HIDDEN, OUTPUT)
    criterion = losses.NTXentLoss(temperature=TEMPERATURE)
    model = torch.nn.ModuleDict({"backbone": backbone, "head": head})
    optimization = OptimizationConfig(lr=recipe.lr, weight_decay=recipe.weight_decay, batch_size=recipe.batch)
    optimizer = build_optimizer(model, optimization)
    bf16 = resolve_precision("auto", "cpu") == "bf16"  # as on our side
    if bf16:
        backbone.to(memory_format=torch.channels_last)
    step = 0
    while step < recipe.steps:
        for (first, second), _ in loader:
            rate = learning_rate(step, recipe.steps, peak=recipe.lr, warmup=recipe.steps // 10)
            set_hyperparameters(optimizer, lr=rate, weight_decay=recipe.weight_decay)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                embedded = [head(backbone({"image": view}).pooled) for view in (first, second)]
            loss = criterion(*(each.float() for each in embedded))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step == recipe.steps:
                break
    return Encoder(processor, backbone, backbone_id=recipe.backbone, backbone_options=options, task="lightly/simclr")

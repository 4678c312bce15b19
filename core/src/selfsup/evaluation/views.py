"""Embed augmented views of processed rows for evaluators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfsup.batch_parts import part_names, presence
from selfsup.data.batches.permutation import IndexArray
from selfsup.data.batches.windows import read_windows
from selfsup.runtime.module_mode import evaluation_mode

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder
    from selfsup.data import Store


def two_views(encoder: Encoder, store: Store, indices: IndexArray, *, seed: int) -> tuple[Tensor, Tensor] | None:
    """Embeddings of two augmentations of some rows, by the modality's default views.

    Args:
        encoder: embeds the views.
        store: has the rows.
        indices: [N], of the rows.
        seed: of the augmentation.

    Returns:
        Two tensors [N, D] float32 on the CPU; None: the modality has fewer than two views. If views are parts of a row, only
        rows with both parts; None: the parts do not share a space, or no row has both.
    """
    from selfsup.registry import registry

    recipe = registry().modality_objects(encoder.modality).views
    if recipe is None or (encoder.parts and not encoder.backbone.shares_space):
        return None
    views = recipe.build(recipe.config(), encoder.processor.info()).to(encoder.device)
    if views.n_global < 2:
        return None
    generator = torch.Generator(encoder.device).manual_seed(seed)
    first: list[Tensor] = []
    second: list[Tensor] = []
    with evaluation_mode(encoder):
        for start in range(0, len(indices), size := encoder.processor.batch_size):
            batch = encoder.processor.collate(read_windows(store, encoder.processor, indices[start : start + size]))
            made = views({key: value.to(encoder.device) for key, value in batch.items()}, generator)
            pair = [encoder(view).float().cpu() for view in made[:2]]
            there = [valid for view in made[:2] for part in part_names(view) if (valid := presence(view, part)) is not None]
            if there:
                both = torch.stack(there).all(dim=0).cpu()
                pair = [embeddings[both] for embeddings in pair]
            first.append(pair[0])
            second.append(pair[1])
    joined = torch.cat(first), torch.cat(second)
    return joined if len(joined[0]) else None

"""Real modalities joined two by two, those that are installed."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from selfsup.data import Processor
from selfsup.registry import registry
from selfsup.testing.kit.cases import small_config
from selfsup.types import Batch
from selfsup_multimodal.config import MultimodalProcessorConfig
from selfsup_multimodal.processor import MultimodalProcessor

PAIRS = [
    ("vision", "text"),
    ("audio", "text"),
    ("video", "audio"),
    ("vision", "tabular"),
    ("audio", "vision"),
    ("text", "tabular"),
]
N = 12
SMALL = {
    "vision": {"patch_size": 4, "embed_dim": 48},
    "audio": {"embed_dim": 32, "depth": 1},
    "video": {"embed_dim": 32, "depth": 1, "heads": 2},
    "text": {"hidden_size": 32, "layers": 1},
    "tabular": {"dim": 16, "depth": 1},
}


@cache
def joined(pair: tuple[str, str]) -> tuple[Processor, Batch]:
    """Mock rows of two modalities side by side; the second part of row 2 and the first of row 5 are taken away."""
    if missing := [id for id in pair if id not in registry().modalities]:
        pytest.skip(f"{' and '.join(missing)} not installed")
    own = [registry().modality_objects(id).mock_rows(N, 0) for id in pair]
    rows = [
        {f"{id}/{role}": value for id, part in zip(pair, parts, strict=True) for role, value in part.items()}
        for parts in zip(*own, strict=True)
    ]
    for place, id in ((2, pair[1]), (5, pair[0])):
        rows[place] = {key: None if key.startswith(f"{id}/") else value for key, value in rows[place].items()}
    processor = MultimodalProcessor(MultimodalProcessorConfig(parts=pair)).fit(rows)
    return processor, processor(rows)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
@pytest.mark.parametrize("name", ["clip", "mae", "simmim"])
def test_a_step_of_two_modalities(name: str, pair: tuple[str, str]) -> None:
    processor, batch = joined(pair)
    assert [int((~batch[f"{id}/present"]).sum()) for id in pair] == [1, 1]
    spec = registry().get("task", f"multimodal/{name}")
    options: dict[str, Any] = {"joint_dim": 16}
    if name != "clip":
        options = {"dim": 32, "depth": 1, "tokenizers": {id: {"options": SMALL[id]} for id in pair}}
    info = processor.info()
    torch.manual_seed(0)
    backbone, full = registry().build_backbone(spec.backbone, options, info)
    recipe = registry().task_recipe(spec)
    task = recipe.build(small_config(recipe.config, {}), backbone, info).train()
    output = task(batch, torch.Generator().manual_seed(0))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    without = [name for name, parameter in task.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not without
    again, _ = registry().build_backbone(spec.backbone, full.model_dump(mode="json"), info)
    again.expect_weights(list(backbone.state_dict()))
    again.load_state_dict(task.encoder_backbone().state_dict())
    with torch.no_grad():
        ours, theirs = backbone.eval()(batch), again.eval()(batch)
    torch.testing.assert_close(ours.pooled, theirs.pooled)
    assert [int((~part.valid).sum()) for part in ours.parts.values()] == [1, 1]

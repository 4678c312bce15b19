"""Objectives times modalities: each objective on embeddings or tokens trains in every modality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

from selfsup.registry import registry
from selfsup.testing.kit.cases import fitted_processor, mock_batch, small_config
from selfsup.testing.kit.task_checks import train_step, trainable

MODALITIES = ("audio", "multimodal", "tabular", "text", "video", "vision")
FAMILIES = ("joint-embedding", "masked-modeling", "latent-prediction")
BACKBONES: dict[str, dict[str, Any]] = {
    "conv3d-small": {"width": 8, "stages": 2},
    "ft-transformer": {"dim": 32, "depth": 1},
    "fusion": {"dim": 32, "depth": 1},
    "mel-cnn": {"channels": 8, "embed_dim": 32},
    "mel-vit": {"embed_dim": 32, "depth": 1},
    "mlp": {"dim": 32, "depth": 2},
    "resnet-narrow": {"width": 8},
    "text-encoder-small": {"hidden_size": 32, "layers": 1},
    "towers": {
        "joint_dim": 32,
        "towers": {
            "text": {"options": {"hidden_size": 32, "layers": 1}},
            "vision": {"options": {"width": 8}},
        },
    },
    "video-vit-small": {"embed_dim": 32, "depth": 1, "heads": 2},
    "vit-tiny": {"embed_dim": 32, "depth": 1, "heads": 2},
    "wave-transformer-small": {"channels": 16, "embed_dim": 32, "depth": 1},
}
"""Widths and depths that only cost time here."""
NARROW = {"decoder_depth": 1, "predictor_depth": 1, "hidden_dim": 32, "output_dim": 32, "n_prototypes": 16, "queue_size": 16}
ROWS, STEPS = 8, 3


def objectives() -> list[str]:
    return sorted(id for id, spec in registry().objectives.items() if spec.family in FAMILIES)


def narrowed(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of a config's values, with the values that make it small."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from narrowed(value, f"{prefix}{name}.")
        elif name in NARROW and isinstance(value, int) and value > NARROW[name]:
            yield f"{prefix}{name}", NARROW[name]


def test_the_modalities_are_those_that_are_installed() -> None:
    assert sorted(registry().modalities) == list(MODALITIES)


@pytest.mark.parametrize("objective", objectives())
@pytest.mark.parametrize("modality", MODALITIES)
def test_objective_trains_in_modality(modality: str, objective: str) -> None:
    house = registry()
    spec = house.get("task", f"{modality}/{objective}")
    recipe = house.task_recipe(spec)
    config = small_config(recipe.config, dict(narrowed(recipe.config().model_dump())))
    info = fitted_processor(modality).info()
    id = spec.backbone or house.modalities[modality].backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone, _ = house.build_backbone(id, BACKBONES[id], info)
        task = recipe.build(config, backbone, info).train()
    before = [parameter.detach().clone() for parameter in task.backbone.parameters()]
    optimizer = torch.optim.AdamW(trainable(task), lr=1e-3)
    batch = mock_batch(modality, ROWS, 0)
    losses = [train_step(task, optimizer, batch, step, progress=(step + 1) / STEPS) for step in range(STEPS)]
    assert torch.isfinite(torch.tensor(losses)).all()
    assert any(not torch.equal(old, new) for old, new in zip(before, task.backbone.parameters(), strict=True))
    task.encoder_backbone().eval()
    assert torch.isfinite(task.encoder_backbone()(batch).pooled).all()


def test_each_modality_has_every_objective_and_says_what_it_is() -> None:
    house = registry()
    for modality in MODALITIES:
        for objective in objectives():
            spec = house.get("task", f"{modality}/{objective}")
            assert spec.family == house.objectives[objective].family
            assert spec.paper
            assert spec.summary

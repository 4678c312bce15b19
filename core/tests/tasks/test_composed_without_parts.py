"""A composed task that a modality cannot have does not exist, and those that exist can be built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfsup.errors import UnknownIdError
from selfsup.registry import hookimpl, registry, reset
from selfsup.testing.toy.sequences import plugin
from selfsup.testing.toy.sequences.installed import installed
from selfsup.testing.toy.sequences.shortcuts import toy_batch, toy_info
from selfsup.training.run import setup
from selfsup.training.run.resolve import resolve_config

WHOLE = next(spec for spec in plugin.selfsup_modalities() if not spec.joins)
BARE = replace(
    WHOLE, backbone="sequence/conv", token_backbone="", causal_backbone="", views="", corruption="", supervised_views=""
)
HEADS = ("hidden_dim", "output_dim", "bottleneck_dim", "token_dim", "n_prototypes", "dim")
VARIANTS: dict[str, tuple[dict[str, str], set[str], set[str]]] = {
    "nothing": ({}, {"random-init", "supervised"}, {"simclr", "vicregl", "mae", "next-token", "denoising-autoencoder"}),
    "views": ({"views": WHOLE.views}, {"simclr", "dino", "lejepa"}, {"vicregl", "mae", "cpc", "denoising-autoencoder"}),
    "tokens": ({"token_backbone": WHOLE.token_backbone}, {"mae", "ijepa"}, {"simclr", "vicregl", "cpc"}),
    "views and tokens": ({"views": WHOLE.views, "token_backbone": WHOLE.token_backbone}, {"vicregl", "simclr", "mae"}, {"cpc"}),
    "single views and tokens": ({"single_views": WHOLE.views, "token_backbone": WHOLE.token_backbone}, {"mae"}, {"simclr"}),
    "causal": ({"causal_backbone": WHOLE.causal_backbone}, {"cpc", "next-token"}, {"mae", "simclr"}),
    "corruption": ({"corruption": WHOLE.corruption}, {"random-init"}, {"denoising-autoencoder"}),
    "corruption and tokens": (
        {"corruption": WHOLE.corruption, "token_backbone": WHOLE.token_backbone, "single_views": WHOLE.views},
        {"denoising-autoencoder", "mae"},
        {"simclr"},
    ),
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    parts: dict[str, Any] = VARIANTS[request.param][0]
    hook = hookimpl(lambda: [replace(BARE, **parts)])
    monkeypatch.setattr(plugin, "selfsup_modalities", hook)
    monkeypatch.setattr(plugin, "selfsup_tasks", hookimpl(lambda: []))
    with installed(tmp_path):
        yield request.param
    monkeypatch.undo()
    reset()


def test_a_modality_with_some_parts_has_the_tasks_that_need_no_others(variant: str) -> None:
    found = registry()
    names = {task.partition("/")[2] for task in found.tasks if task.startswith("sequence/")}
    _, there, lacking = VARIANTS[variant]
    assert there <= names
    assert not lacking & names
    for name in lacking:
        with pytest.raises(UnknownIdError, match=f"no task 'sequence/{name}': the objective '{name}' needs a?"):
            found.get("task", f"sequence/{name}")
    for task in (found.get("task", f"sequence/{name}") for name in sorted(there)):
        config = resolve_config({"task": task.id, "data": "toy-sequences", **_small(task.id)})
        info = {**toy_info("ids"), **({"n_classes": 2} if task.needs_labels else {})}
        built, _ = setup.build_task(config, info)
        batch = toy_batch("ids")
        if task.needs_labels:
            batch["label"] = torch.arange(8) % 2
        loss = built(batch, torch.Generator().manual_seed(0)).loss
        assert bool(torch.isfinite(loss)), task.id


def _small(task: str) -> dict[str, Any]:
    """The papers' heads are thousands wide, and a task that is taught takes its own first weights as the teacher."""
    section = registry().task_recipe(registry().get("task", task)).config.model_fields.get("objective")
    fields = getattr(section.annotation, "model_fields", {}) if section is not None else {}
    taught = {"objective.teacher": "start"} if "teacher" in fields else {}
    return taught | {f"objective.{name}": 16 for name in HEADS if name in fields}

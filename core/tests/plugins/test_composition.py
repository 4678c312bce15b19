"""Which backbone a composed task has."""

from __future__ import annotations

import pytest

from selfsup.registry.composition import composed_tasks
from selfsup.registry.specs import ModalitySpec, ObjectiveSpec

LOSS = {"summary": "A loss.", "target": "a:b", "family": "joint-embedding", "paper": "none"}


@pytest.mark.parametrize(("compares", "token_backbone", "backbone"), [
    (True, "tokens", "tokens"),
    (True, "", None),
    (False, "tokens", "whole"),
])  # fmt: skip
def test_an_objective_that_compares_tokens_has_the_token_backbone_or_no_task(
    compares: bool, token_backbone: str, backbone: str | None
) -> None:
    modality = ModalitySpec(
        id="m", summary="A modality.", target="a:b", backbone="whole", token_backbone=token_backbone, views="a:b"
    )
    objective = ObjectiveSpec(id="loss", compares_tokens=compares, **LOSS)
    tasks = [spec for spec in composed_tasks(modality, [objective]) if spec.id == "m/loss"]
    assert [(task.backbone, task.needs_tokens) for task in tasks] == ([(backbone, False)] if backbone else [])


def test_a_composed_task_has_its_objectives_title() -> None:
    modality = ModalitySpec(id="m", summary="A modality.", target="a:b", backbone="whole", views="a:b")
    tasks = composed_tasks(modality, [ObjectiveSpec(id="loss", title="LoSS", **LOSS)])
    assert next(spec for spec in tasks if spec.id == "m/loss").title == "LoSS"

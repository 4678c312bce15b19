from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest
import torch

from selfsup.registry import TaskSpec, registry
from selfsup.tasks import TaskRecipe
from selfsup_text.task_specs import SPECS


def recipe_of(spec: TaskSpec) -> TaskRecipe:
    return registry().task_recipe(spec)


def build(name: str, backbone: Any, info: Any, **options: Any) -> Any:
    recipe = recipe_of(next(spec for spec in SPECS if spec.id == f"text/{name}"))
    torch.manual_seed(1)
    return recipe.build(recipe.config(**options), backbone, info)


def test_language_models_are_packed_and_sentences_are_not() -> None:
    packed = {spec.id.partition("/")[2] for spec in SPECS if recipe_of(spec).processor.get("packing") == "blocks"}
    assert packed == {"mlm", "clm", "span-corruption", "electra", "data2vec"}


@pytest.mark.parametrize(("task", "defaults"), [
    ("electra", {"rate": 0.15, "discriminator_weight": 50.0}),
    ("mlm", {"rate": 0.15, "mask_share": 0.8, "random_share": 0.1, "whole_words": False}),
    ("span-corruption", {"rate": 0.15, "mean_span": 3.0}),
    ("tsdae", {"deletion": 0.6}),
    ("simcse", {"objective.temperature": 0.05, "views.dropout": 0.1, "views.deletion": 0.0, "views.global_share": (1.0, 1.0)}),
    ("data2vec", {"masking": "random", "mask_ratio": 0.15, "beta": 4.0, "head_layers": 2}),
])  # fmt: skip
def test_defaults_are_the_papers(task: str, defaults: dict[str, Any]) -> None:
    config = recipe_of(registry().get("task", f"text/{task}")).config()
    assert {key: attrgetter(key)(config) for key in defaults} == defaults


def test_clm_is_the_cores_next_token_prediction(decoder: Any, texts: Any, info: Any) -> None:
    task, batch = build("clm", decoder(), info).double(), texts()
    # The class token tells the first token of each text.
    logits = task.head(task.backbone.encode(task.backbone.tokenize(batch), first=True))
    real = ~batch["padding"]
    wanted = torch.nn.functional.cross_entropy(logits[:, :-1][real], batch["ids"][real])
    assert task(batch, None).loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    further = build("clm", decoder(), info, steps_ahead=2).double()
    logits = further.head(further.backbone.encode(further.backbone.tokenize(batch)))
    real = ~batch["padding"][:, 2:]
    wanted = torch.nn.functional.cross_entropy(logits[:, :-2][real], batch["ids"][:, 2:][real])
    assert further(batch, None).loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert task.backbone.vocabulary_head is not None
    assert further.backbone.vocabulary_head is None


def test_data2vec_hides_tokens_as_the_paper_for_text(encoder: Any, texts: Any, info: Any) -> None:
    task = build("data2vec", encoder(), info)
    assert len(task.head) == 3
    batch = texts(n=200, whole=True)
    mask = task.draw_mask(task.backbone.tokenize(batch), torch.Generator().manual_seed(0)).mask
    assert mask.float().mean().item() == pytest.approx(0.15, abs=0.01)
    loss = task(batch, torch.Generator().manual_seed(0)).loss
    loss.backward()
    assert torch.isfinite(loss)

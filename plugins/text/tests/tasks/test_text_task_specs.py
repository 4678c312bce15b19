from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.registry import TaskSpec, registry
from selfsup.tasks import TaskRecipe
from selfsup.training.run.config import OptimizationConfig
from selfsup_text.task_specs import BACKBONES, SPECS

TASKS = {
    "random-init",
    "mlm", "clm", "span-corruption", "electra", "data2vec", "simcse", "tsdae", "sentence-order", "word2vec",
}  # fmt: skip


def recipe_of(spec: TaskSpec) -> TaskRecipe:
    return registry().task_recipe(spec)


def build(name: str, backbone: Any, info: Any, **options: Any) -> Any:
    recipe = recipe_of(next(spec for spec in SPECS if spec.id == f"text/{name}"))
    torch.manual_seed(1)
    return recipe.build(recipe.config(**options), backbone, info)


def test_every_task_of_the_plugin_has_a_spec() -> None:
    assert {spec.id for spec in SPECS} == {f"text/{name}" for name in TASKS}
    assert [spec.id for spec in BACKBONES] == ["word-vectors"]
    assert {spec.backbone for spec in SPECS} == {"text-encoder-small", "text-decoder-small", "word-vectors"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_recipes_are_optimized_by_what_the_trainer_knows(spec: TaskSpec) -> None:
    recipe = recipe_of(spec)
    config = OptimizationConfig(**recipe.optimization)
    assert recipe.optimization.keys() <= config.model_fields_set
    assert recipe.optimization


def test_language_models_are_packed_and_sentences_are_not() -> None:
    packed = {spec.id.partition("/")[2] for spec in SPECS if recipe_of(spec).processor.get("packing") == "blocks"}
    assert packed == {"mlm", "clm", "span-corruption", "electra", "data2vec"}


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
    assert (task.config.masking, task.config.mask_ratio, task.config.beta, task.config.head_layers) == ("random", 0.15, 4.0, 2)
    assert len(task.head) == 3
    batch = texts(n=200, whole=True)
    mask = task.draw_mask(task.backbone.tokenize(batch), torch.Generator().manual_seed(0)).mask
    assert mask.float().mean().item() == pytest.approx(0.15, abs=0.01)
    loss = task(batch, torch.Generator().manual_seed(0)).loss
    loss.backward()
    assert torch.isfinite(loss)

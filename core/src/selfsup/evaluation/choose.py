"""Build evaluators from ids and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.evaluation.base import Evaluator, EvaluatorRecipe
from selfsup.registry import registry
from selfsup.registry.specs import EvaluatorSpec
from selfsup.validation import check_effect, validated


def evaluator_configs(ids: Sequence[str]) -> dict[str, type[Config]]:
    """The config class of each evaluator."""
    return {id: _recipe(registry().get("evaluator", id)).config for id in ids}


def _recipe(spec: EvaluatorSpec) -> EvaluatorRecipe:
    recipe: EvaluatorRecipe = registry().load(spec)
    return recipe


def choose_evaluators(
    ids: Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> list[tuple[EvaluatorSpec, Config, Evaluator]]:
    """Look up evaluators and build them with their options.

    Raises:
        UnknownIdError: there is no such evaluator.
        ConfigError: an option is not allowed, or is of an evaluator that is not asked for.
    """
    if isinstance(ids, str) or not ids:
        raise ConfigError(f"evaluators={ids!r} is not allowed: give a list of ids, for example ['knn', 'linear'].")
    if twice := {id for id in ids if ids.count(id) > 1}:
        raise ConfigError(f"evaluators names {', '.join(sorted(twice))} more than once.")
    if unused := [id for id in options if id not in ids]:
        raise ConfigError(f"There are options for {', '.join(unused)}, and the evaluators are {', '.join(ids)}.")
    chosen = []
    for id in ids:
        spec = registry().get("evaluator", id)
        recipe = _recipe(spec)
        config = validated(recipe.config, options.get(id, {}), what=f"evaluator {id!r}")
        check_effect(config, options.get(id, {}), prefix=f"{id}.")
        chosen.append((spec, config, recipe.build(config)))
    return chosen

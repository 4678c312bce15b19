"""The entry point of the text plugin: hooks that return specs. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, CommandSpec, EvaluatorSpec, ModalitySpec, TaskSpec, hookimpl
from selfsup_text import evaluator_specs, task_specs

SELFSUP_API = 1

_SMALL = "selfsup_text.backbones.small"
_VIEWS = "selfsup_text.augmentations.views"


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """Texts."""
    return [
        ModalitySpec(
            id="text",
            summary="Texts in any language: sentences, paragraphs, documents.",
            target="selfsup_text.processor:TextProcessor",
            columns={"text": "string"},
            suffixes=(".txt", ".md", ".rst"),
            backbone="text-encoder-small",
            token_backbone="text-encoder-small",
            causal_backbone="text-decoder-small",
            views=f"{_VIEWS}:RECIPE",
            supervised_views=f"{_VIEWS}:SUPERVISED_RECIPE",
            corruption="selfsup_text.corruptions:RECIPE",
            raw_features="selfsup_text.features:tfidf",
            raw_title="TF-IDF",
            mock_rows="selfsup_text.mock:mock_rows",
            noise_rows="selfsup_text.mock:NOISE_ROWS",
        )
    ]


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """Models of transformers, and small ones for CPUs."""

    def spec(id: str, target: str, summary: str) -> BackboneSpec:
        return BackboneSpec(id=id, target=target, summary=summary, modality="text", tokens=True)

    return [
        spec("transformers/*", "selfsup_text.backbones.transformers:RECIPE", "Any encoder or decoder of transformers."),
        spec("text-encoder-small", f"{_SMALL}:ENCODER", "Small BERT for CPUs: 2 layers of width 128."),
        spec("text-decoder-small", f"{_SMALL}:DECODER", "Small GPT-2 for CPUs: 2 causal layers of width 128."),
        *task_specs.BACKBONES,
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; what the core composes is not among them."""
    return list(task_specs.SPECS)


@hookimpl
def selfsup_evaluators() -> list[EvaluatorSpec]:
    """Measurements that need texts."""
    return list(evaluator_specs.SPECS)


@hookimpl
def selfsup_commands() -> list[CommandSpec]:
    """Writing texts."""
    return [
        CommandSpec(
            id="generate",
            target="selfsup_text.generate:command",
            summary="Continue a text with a decoder.",
        )
    ]

"""Registers the text plugin: its modality, backbones, tasks, evaluators and command. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, CommandSpec, EvaluatorSpec, ModalitySpec, TaskSpec, hookimpl
from selfsup_text.task_specs import SPECS

SELFSUP_API = 1

_SMALL = "selfsup_text.backbones.small"
_VIEWS = "selfsup_text.augmentations.views"
_EVALUATORS = "selfsup_text.evaluators"


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """The modality ``text``."""
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
    """Models of the transformers library, small ones for CPUs, and word vectors."""

    def spec(id: str, target: str, summary: str, *, tokens: bool = True) -> BackboneSpec:
        return BackboneSpec(id=id, target=target, summary=summary, modality="text", tokens=tokens)

    return [
        spec("transformers/*", "selfsup_text.backbones.transformers:RECIPE", "Any encoder or decoder of transformers."),
        spec("text-encoder-small", f"{_SMALL}:ENCODER", "Small BERT for CPUs: 2 layers of width 128."),
        spec("text-decoder-small", f"{_SMALL}:DECODER", "Small GPT-2 for CPUs: 2 causal layers of width 128."),
        spec(
            "word-vectors",
            "selfsup_text.backbones.word_vectors:RECIPE",
            "Table of word vectors, averaged over a text; trained by text/word2vec.",
            tokens=False,
        ),
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; the core composes the others."""
    return list(SPECS)


@hookimpl
def selfsup_evaluators() -> list[EvaluatorSpec]:
    """Evaluators for texts."""
    return [
        EvaluatorSpec(
            id="sts",
            summary="Correlate the cosine similarity of sentence pairs with human scores (Spearman).",
            target=f"{_EVALUATORS}.sts:RECIPE",
            modality="text",
            needs_labels=False,
            paper="Agirre et al. 2012, SemEval task 6; Gao et al. 2021, arXiv 2104.08821",
        ),
        EvaluatorSpec(
            id="token-classification",
            summary="Train a linear probe on frozen tokens to tag each word.",
            target=f"{_EVALUATORS}.token_classification:RECIPE",
            modality="text",
            needs_labels=False,
            paper="Liu et al. 2019, arXiv 1903.08855; Devlin et al. 2018, arXiv 1810.04805, 5.3",
        ),
        EvaluatorSpec(
            id="perplexity",
            summary="Measure a decoder's perplexity with its own vocabulary head, or one fitted on training rows.",
            target=f"{_EVALUATORS}.perplexity:RECIPE",
            modality="text",
            needs_labels=False,
            paper="Jelinek et al. 1977, J. Acoust. Soc. Am. 62",
        ),
        EvaluatorSpec(
            id="pseudo-perplexity",
            summary="Measure an encoder's pseudo-perplexity (tokens masked one by one), with its own head or a fitted one.",
            target=f"{_EVALUATORS}.pseudo_perplexity:RECIPE",
            modality="text",
            needs_labels=False,
            paper="Salazar et al. 2020, arXiv 1910.14659",
        ),
    ]


@hookimpl
def selfsup_commands() -> list[CommandSpec]:
    """``selfsup generate``."""
    return [
        CommandSpec(id="generate", target="selfsup_text.generate:command", summary="Continue a text with a decoder."),
    ]

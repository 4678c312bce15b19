"""The evaluators of this plugin, as light specs."""

from __future__ import annotations

from selfsup.registry import EvaluatorSpec

_HERE = "selfsup_text.evaluators"

SPECS: list[EvaluatorSpec] = [
    EvaluatorSpec(
        id="sts",
        summary="Correlate the cosine similarity of sentence pairs with human scores (Spearman).",
        target=f"{_HERE}.sts:RECIPE",
        modality="text",
        needs_labels=False,
        paper="Agirre et al. 2012, SemEval task 6; Gao et al. 2021, arXiv 2104.08821",
    ),
    EvaluatorSpec(
        id="token-classification",
        summary="Train a linear probe on frozen tokens to tag each word.",
        target=f"{_HERE}.token_classification:RECIPE",
        modality="text",
        needs_labels=False,
        paper="Liu et al. 2019, arXiv 1903.08855; Devlin et al. 2018, arXiv 1810.04805, 5.3",
    ),
    EvaluatorSpec(
        id="perplexity",
        summary="Measure a decoder's perplexity with its own vocabulary head, or one fitted on training rows.",
        target=f"{_HERE}.perplexity:RECIPE",
        modality="text",
        needs_labels=False,
        paper="Jelinek et al. 1977, J. Acoust. Soc. Am. 62",
    ),
    EvaluatorSpec(
        id="pseudo-perplexity",
        summary="Measure an encoder's pseudo-perplexity (tokens masked one by one), with its own head or a fitted one.",
        target=f"{_HERE}.pseudo_perplexity:RECIPE",
        modality="text",
        needs_labels=False,
        paper="Salazar et al. 2020, arXiv 1910.14659",
    ),
]

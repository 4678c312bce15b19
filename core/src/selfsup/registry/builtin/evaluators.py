"""Evaluators that need no modality."""

from __future__ import annotations

from selfsup.registry.specs import EvaluatorSpec

_EVERY_KIND = ("class", "classes", "number")

SPECS: list[EvaluatorSpec] = [
    EvaluatorSpec(
        id="knn",
        label_kinds=_EVERY_KIND,
        summary="Classify (or regress) by weighted k nearest neighbours with cosine similarity, without training.",
        target="selfsup.evaluation.evaluators.knn:RECIPE",
        paper="Wu et al. 2018, arXiv 1805.01978",
    ),
    EvaluatorSpec(
        id="linear",
        label_kinds=_EVERY_KIND,
        summary="Train a linear probe on frozen embeddings (logistic or ridge regression; L2 chosen on held-out rows).",
        target="selfsup.evaluation.evaluators.linear:RECIPE",
        paper="Radford et al. 2021, arXiv 2103.00020, A.3",
    ),
    EvaluatorSpec(
        id="weighted-layers",
        summary="Train a linear probe on a learned weighted sum of all layers (SUPERB); needs a backbone with tokens.",
        target="selfsup.evaluation.evaluators.weighted_layers:RECIPE",
        paper="Yang et al. 2021, arXiv 2105.01051 (SUPERB)",
    ),
    EvaluatorSpec(
        id="finetune",
        label_kinds=_EVERY_KIND,
        summary="Fine-tune all weights on all labels or a share of them.",
        target="selfsup.evaluation.evaluators.finetune:RECIPE",
        paper="Chen et al. 2020, arXiv 2002.05709, B.5; Kumar et al. 2022, arXiv 2202.10054",
    ),
    EvaluatorSpec(
        id="few-labels",
        label_kinds=_EVERY_KIND,
        summary="Train a probe on 10 labels a class, or a share of the labels; mean over 10 draws, the same for every encoder.",
        target="selfsup.evaluation.evaluators.few_labels:RECIPE",
        paper="Chen et al. 2020, arXiv 2002.05709, B.5; Kumar et al. 2022, arXiv 2202.10054",
    ),
    EvaluatorSpec(
        id="clustering",
        summary="Cluster test embeddings by k-means and compare with the labels: Hungarian accuracy, NMI, ARI.",
        target="selfsup.evaluation.evaluators.clustering:RECIPE",
        paper="Xie et al. 2016, arXiv 1511.06335",
    ),
    EvaluatorSpec(
        id="anomaly",
        summary="Detect rows of other classes than a normal one by their kNN distance: AUROC.",
        target="selfsup.evaluation.evaluators.anomaly:RECIPE",
        paper="Bergman, Cohen and Hoshen 2020, arXiv 2002.10445",
    ),
    EvaluatorSpec(
        id="retrieval",
        summary="Retrieve training rows of the same class for each test row: mAP and R@k.",
        target="selfsup.evaluation.evaluators.retrieval:RECIPE",
        paper="Oh Song et al. 2016, arXiv 1511.06452",
    ),
    EvaluatorSpec(
        id="geometry",
        summary="Measure effective rank, dimension, alignment and uniformity of the embeddings, without labels.",
        target="selfsup.evaluation.evaluators.geometry:RECIPE",
        needs_labels=False,
        paper="Garrido et al. 2023, arXiv 2210.02885; Wang and Isola 2020, arXiv 2005.10242",
    ),
]

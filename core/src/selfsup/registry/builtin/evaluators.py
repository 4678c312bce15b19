"""Evaluators that need no modality."""

from __future__ import annotations

from selfsup.registry.specs import EvaluatorSpec

_EVERY_KIND = ("class", "classes", "number")

SPECS: list[EvaluatorSpec] = [
    EvaluatorSpec(
        id="knn",
        label_kinds=_EVERY_KIND,
        summary="Weighted k nearest neighbours by cosine name classes or a number; nothing is trained.",
        target="selfsup.evaluation.evaluators.knn:RECIPE",
        paper="Wu et al. 2018, arXiv 1805.01978",
    ),
    EvaluatorSpec(
        id="linear",
        label_kinds=_EVERY_KIND,
        summary="Linear probe on frozen embeddings (logistic or ridge regression), L2 chosen on held-out training rows.",
        target="selfsup.evaluation.evaluators.linear:RECIPE",
        paper="Radford et al. 2021, arXiv 2103.00020, A.3",
    ),
    EvaluatorSpec(
        id="weighted-layers",
        summary="Linear probe on a learned mixture of the outputs of all layers; for backbones with tokens.",
        target="selfsup.evaluation.evaluators.weighted_layers:RECIPE",
        paper="Yang et al. 2021, arXiv 2105.01051 (SUPERB)",
    ),
    EvaluatorSpec(
        id="finetune",
        label_kinds=_EVERY_KIND,
        summary="All weights trained on (a share of) the labels.",
        target="selfsup.evaluation.evaluators.finetune:RECIPE",
        paper="Chen et al. 2020, arXiv 2002.05709, B.5; Kumar et al. 2022, arXiv 2202.10054",
    ),
    EvaluatorSpec(
        id="few-labels",
        label_kinds=_EVERY_KIND,
        summary="Scores with 10 labels of each class, or a share of them; mean of 10 draws, the same for every encoder.",
        target="selfsup.evaluation.evaluators.few_labels:RECIPE",
        paper="Chen et al. 2020, arXiv 2002.05709, B.5; Kumar et al. 2022, arXiv 2202.10054",
    ),
    EvaluatorSpec(
        id="clustering",
        summary="k-means on the test embeddings against their labels: Hungarian accuracy, NMI, ARI.",
        target="selfsup.evaluation.evaluators.clustering:RECIPE",
        paper="Xie et al. 2016, arXiv 1511.06335",
    ),
    EvaluatorSpec(
        id="anomaly",
        summary="One class is normal, the others are found by kNN distance: AUROC.",
        target="selfsup.evaluation.evaluators.anomaly:RECIPE",
        paper="Bergman, Cohen and Hoshen 2020, arXiv 2002.10445",
    ),
    EvaluatorSpec(
        id="retrieval",
        summary="Test rows look for their class among training rows: mAP and R@k.",
        target="selfsup.evaluation.evaluators.retrieval:RECIPE",
        paper="Oh Song et al. 2016, arXiv 1511.06452",
    ),
    EvaluatorSpec(
        id="geometry",
        summary="Effective rank, dimension, alignment and uniformity of the embeddings, without labels.",
        target="selfsup.evaluation.evaluators.geometry:RECIPE",
        needs_labels=False,
        paper="Garrido et al. 2023, arXiv 2210.02885; Wang and Isola 2020, arXiv 2005.10242",
    ),
]

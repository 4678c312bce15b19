"""kNN and the linear probe, against faiss and scikit-learn."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.runtime import cpu_count, peak_memory
from speed.measure import Figure, in_turn, peer, ratio_figure

DIM = 512
CLASSES = 10
NEIGHBOURS = 20


def embeddings(n: int, seed: int, *, spread: float) -> tuple[Tensor, Tensor]:
    """Made-up embeddings [n, 512] of ten overlapping classes, and their labels; the classes are the same for every seed."""
    centres = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    return centres[labels] + spread * torch.randn(n, DIM, generator=generator), labels


def knn_figure(*, repeats: int) -> Figure:
    """Classifying 10,000 embeddings by their 20 nearest of 50,000, against the search alone of faiss' flat index."""
    from selfsup.evaluation.evaluators.knn import knn_log_probabilities

    torch.set_num_threads(cpu_count())
    database, labels = embeddings(50_000, 0, spread=4.0)
    queries, _ = embeddings(10_000, 1, spread=4.0)
    faiss = peer("faiss", "faiss-cpu")
    faiss.omp_set_num_threads(cpu_count())
    index = faiss.IndexFlatIP(DIM)
    index.add(F.normalize(database, dim=1).numpy())
    normalized = F.normalize(queries, dim=1).numpy()

    def ours() -> float:
        began = time.perf_counter()
        knn_log_probabilities(queries, database, labels, CLASSES, k=NEIGHBOURS)
        return time.perf_counter() - began

    def theirs() -> float:
        began = time.perf_counter()
        index.search(normalized, NEIGHBOURS)
        return time.perf_counter() - began

    ours()
    mine, other = in_turn(ours, theirs, repeats=repeats)
    return ratio_figure(
        "knn",
        "kNN of 10,000 among 50,000 embeddings of 512 numbers (with normalising and voting) against faiss IndexFlatIP's search",
        mine,
        other,
        unit="s",
        compare="<=",
        goal=1.0,
    )


def knn_memory_figure(*, repeats: int) -> Figure:
    """Peak resident memory that the embeddings and that kNN add to the libraries' own: the most of all ``repeats``."""
    from selfsup.evaluation.evaluators.knn import knn_log_probabilities

    torch.set_num_threads(cpu_count())
    imports = peak_memory()
    database, labels = embeddings(50_000, 0, spread=4.0)
    queries, _ = embeddings(10_000, 1, spread=4.0)
    for _ in range(min(2, repeats)):
        knn_log_probabilities(queries, database, labels, CLASSES, k=NEIGHBOURS)
    peak = peak_memory()
    return Figure(
        name="knn-memory",
        what="peak resident memory of that kNN: both sets of embeddings and the search",
        ours=(peak - imports) / 1e9,
        theirs=None,
        unit="GB",
        value=(peak - imports) / 1e9,
        compare="<=",
        goal=1.0,
        note=f"on top of {imports / 1e9:.2f} GB for Python and its libraries",
    )


def linear_figure(*, repeats: int) -> Figure:
    """The linear probe with its choice of the penalty, against one fit of scikit-learn's LogisticRegression at its defaults."""
    from selfsup.evaluation import LinearConfig, fit_probe

    torch.set_num_threads(cpu_count())
    train, labels = embeddings(20_000, 0, spread=9.0)
    test, wanted = embeddings(10_000, 1, spread=9.0)
    linear_model, preprocessing = peer("sklearn.linear_model", "scikit-learn"), peer("sklearn.preprocessing", "scikit-learn")
    accuracy = {"ours": 0.0, "theirs": 0.0}

    def ours() -> float:
        began = time.perf_counter()
        probe = fit_probe(train, labels, CLASSES, LinearConfig(), seed=0)
        took = time.perf_counter() - began
        accuracy["ours"] = float((probe.outputs(test).argmax(dim=1) == wanted).float().mean())
        return took

    def theirs() -> float:
        began = time.perf_counter()
        scaler = preprocessing.StandardScaler().fit(train.numpy())
        model = linear_model.LogisticRegression(max_iter=1000).fit(scaler.transform(train.numpy()), labels.numpy())
        took = time.perf_counter() - began
        accuracy["theirs"] = float(model.score(scaler.transform(test.numpy()), wanted.numpy()))
        return took

    mine, other = in_turn(ours, theirs, repeats=repeats)
    return ratio_figure(
        "linear",
        "linear probe on 20,000 embeddings of 512 numbers, 11 penalties tried, against one LogisticRegression of scikit-learn",
        mine,
        other,
        unit="s",
        compare="<=",
        goal=1.0,
        note=f"test accuracy {100 * accuracy['ours']:.2f} % against {100 * accuracy['theirs']:.2f} %",
    )

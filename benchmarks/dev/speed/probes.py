"""kNN and the linear probe, against faiss and scikit-learn."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.runtime import cpu_count, peak_memory
from speed.measure import Figure, Settings, in_turn, peer, ratio_figure, seconds

DIM = 512
CLASSES = 10
NEIGHBOURS = 20


def embeddings(n: int, seed: int, *, spread: float) -> tuple[Tensor, Tensor]:
    """Synthetic embeddings [n, 512] of ten overlapping classes, and their labels; the classes are the same for every seed."""
    centres = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    return centres[labels] + spread * torch.randn(n, DIM, generator=generator), labels


def knn_figure(settings: Settings, *, n: int = 50_000) -> Figure:
    """Classifying embeddings by their 20 nearest of five times as many, against the search alone of faiss' flat index."""
    from selfsup.evaluation.evaluators.knn import knn_log_probabilities

    device = settings.device
    torch.set_num_threads(cpu_count())
    database, labels = (each.to(device) for each in embeddings(n, 0, spread=4.0))
    queries = embeddings(n // 5, 1, spread=4.0)[0].to(device)

    def ours() -> float:
        return seconds(lambda: knn_log_probabilities(queries, database, labels, CLASSES, k=NEIGHBOURS), device)

    faiss = peer("faiss", "faiss-cpu")
    name, note = "faiss IndexFlatIP's search", ""
    index = faiss.IndexFlatIP(DIM)
    if device == "cuda" and getattr(faiss, "get_num_gpus", int)():
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    elif device == "cuda":
        name, note = f"{name} on {cpu_count()} cores", "this faiss knows no GPU: pip install faiss-gpu-cu12"
    faiss.omp_set_num_threads(cpu_count())
    index.add(F.normalize(database, dim=1).cpu().numpy())
    normalized = F.normalize(queries, dim=1).cpu().numpy()

    def theirs() -> float:
        return seconds(lambda: index.search(normalized, NEIGHBOURS), "cpu")

    ours()
    mine, other = in_turn(ours, theirs, repeats=settings.repeats)
    return ratio_figure(
        "knn",
        f"kNN of {n // 5:,} among {n:,} embeddings of {DIM} numbers (with normalising and voting) against {name}",
        mine,
        other,
        unit="s",
        compare="<=",
        goal=1.0,
        note=note,
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


def linear_figure(settings: Settings, *, n: int = 20_000) -> Figure:
    """The linear probe with its choice of the penalty, against one fit of scikit-learn's LogisticRegression at its defaults."""
    from selfsup.evaluation import LinearConfig, fit_probe

    device = settings.device
    torch.set_num_threads(cpu_count())
    train, labels = embeddings(n, 0, spread=9.0)
    test, wanted = embeddings(n // 2, 1, spread=9.0)
    placed = [each.to(device) for each in (train, labels, test, wanted)]
    linear_model, preprocessing = peer("sklearn.linear_model", "scikit-learn"), peer("sklearn.preprocessing", "scikit-learn")
    accuracy = {"ours": 0.0, "theirs": 0.0}

    def ours() -> float:
        probes: list[Any] = []
        took = seconds(lambda: probes.append(fit_probe(placed[0], placed[1], CLASSES, LinearConfig(), seed=0)), device)
        accuracy["ours"] = float((probes[0].outputs(placed[2]).argmax(dim=1) == placed[3]).float().mean())
        return took

    def theirs() -> float:
        began = time.perf_counter()
        scaler = preprocessing.StandardScaler().fit(train.numpy())
        model = linear_model.LogisticRegression(max_iter=1000).fit(scaler.transform(train.numpy()), labels.numpy())
        took = time.perf_counter() - began
        accuracy["theirs"] = float(model.score(scaler.transform(test.numpy()), wanted.numpy()))
        return took

    mine, other = in_turn(ours, theirs, repeats=settings.repeats)
    place = f" on {cpu_count()} cores, which has no other place" if device == "cuda" else ""
    return ratio_figure(
        "linear",
        f"linear probe on {n:,} embeddings of {DIM} numbers, 11 penalties tried, against one LogisticRegression of "
        f"scikit-learn{place}",
        mine,
        other,
        unit="s",
        compare="<=",
        goal=1.0,
        note=f"test accuracy {100 * accuracy['ours']:.2f} % against {100 * accuracy['theirs']:.2f} %",
    )

"""Cross-modal retrieval: find the caption of a picture, and the picture of a caption."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from selfsup.config import Config
from selfsup.errors import DataError
from selfsup.evaluation import EvaluatorRecipe, Split, first_hit_ranks
from selfsup_multimodal.evaluators.rows import content_of, parts_of

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


class CrossModalRetrievalConfig(Config):
    """Options of cross-modal retrieval."""

    ks: tuple[PositiveInt, ...] = Field(default=(10, 1, 5), min_length=1)
    """Values of k for R@k; the first is the headline (CLIP reports 1, 5 and 10)."""


def chance_recall(right: Tensor, n: int, k: int) -> float:
    """R@k of a random order, the mean over queries of 1 - C(n - r, k) / C(n, k) for r correct rows out of n.

    Args:
        right: [Q] long, r of each query.
        n: size of the gallery.
        k: rows drawn; at most n.
    """
    drawn = torch.arange(min(k, n), dtype=torch.float64)
    missed = ((n - right.double().unsqueeze(1) - drawn).clamp_min(0) / (n - drawn)).prod(dim=1)
    return float((1 - missed).mean())


@dataclass(frozen=True)
class CrossModalRetrieval:
    """Retrieves the other parts of each test row by cosine similarity (Radford et al. 2021, arXiv 2103.00020, D).

    For each pair of parts the gallery consists of the test rows that have both. A row is correct if its content of either part
    equals the query's: several pictures may have one title.
    """

    config: CrossModalRetrievalConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Mean R@k over all directions for each k, then R@k and median rank of each direction; nothing is random.

        Ties are ranked pessimistically (``first_hit_ranks``). ``..._chance`` is the value for a random order, ``gallery_...``
        the number of rows searched.

        Raises:
            ConfigError: the embeddings of the parts cannot be compared.
            DataError: no two test rows have the same two parts.
        """
        parts = parts_of(encoder, "cross-modal-retrieval", shared=True)
        present = {part: test.present(encoder, part) for part in parts}
        content = content_of(encoder, test, parts)
        each: dict[str, float] = {}
        means: dict[str, list[float]] = {f"recall_at_{k}{end}": [] for k in self.config.ks for end in ("", "_chance")}
        for one, other in itertools.combinations(parts, 2):
            both = present[one] & present[other]
            if int(both.sum()) < 2:
                continue
            each[f"gallery_{one}_{other}"] = float(both.sum())
            for query, target in ((one, other), (other, one)):
                found = _scores(
                    test.embeddings(encoder, part=query)[both],
                    test.embeddings(encoder, part=target)[both],
                    [content[query][both], content[target][both]],
                    self.config.ks,
                )
                each |= {f"{name}_{query}_to_{target}": value for name, value in found.items()}
                for name, values in means.items():
                    values.append(found[name])
        if not each:
            raise DataError(
                f"The evaluator 'cross-modal-retrieval' needs at least two test rows with two parts, and these "
                f"{len(test.store)} have fewer. Give others with --test."
            )
        return {**{name: sum(values) / len(values) for name, values in means.items()}, **each}


def _scores(queries: Tensor, gallery: Tensor, contents: Sequence[Tensor], ks: Sequence[int]) -> dict[str, float]:
    """R@k and the median rank of one direction, each with its value at chance."""
    n = len(gallery)
    ranks, right = first_hit_ranks(queries, gallery, [(content, content) for content in contents])
    scores: dict[str, float] = {}
    for k in ks:
        scores[f"recall_at_{k}"] = float((ranks <= k).double().mean())
        scores[f"recall_at_{k}_chance"] = chance_recall(right, n, k)
    # The expected rank of the first of r correct rows is (n + 1) / (r + 1).
    return {**scores, "median_rank": _median(ranks), "median_rank_chance": _median((n + 1) / (right.double() + 1))}


def _median(values: Tensor) -> float:
    """The median; for an even number of values the mean of the two in the middle."""
    return float(values.double().quantile(0.5))


RECIPE = EvaluatorRecipe(CrossModalRetrievalConfig, CrossModalRetrieval)

"""Choose a penalty on held-out rows, for every linear model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from selfsup.evaluation.subsets import stratified_folds

_FOLDS = 5
_ONE_FOLD_FROM = 5_000
"""With this many rows or more, one fold is enough to choose a penalty."""

Scores = Callable[[Tensor, Tensor], Iterable[tuple[float, float]]]
"""[N] bool of the rows to fit on and of the held-out rows, to hits and summed loss on the held-out rows for each penalty."""


def choose_penalty(targets: Tensor, n_penalties: int, scores: Scores, *, seed: int, patience: int | None = None) -> int:
    """The index of the penalty with the most hits on held-out rows, then with the lowest loss.

    A fifth of the rows of each class (of numbers, of each tenth) is held out; with fewer than 5,000 rows, each fifth in turn.
    If no class has two rows, nothing can be held out, and the middle penalty is chosen.

    Args:
        targets: of the model.
        n_penalties: number of penalties; a single one is chosen without a fit.
        scores: fits on some rows with each penalty, in their order, and scores the held-out rows.
        seed: of the folds.
        patience: stop a fold after this many consecutive penalties with a worse loss, and exclude the rest; None: try all.
    """
    if n_penalties == 1:
        return 0
    folds = torch.from_numpy(stratified_folds(targets.cpu().numpy(), _FOLDS, seed=seed)).to(targets.device)
    hits, loss = np.zeros(n_penalties), np.zeros(n_penalties)
    for fold in range(1 if len(targets) >= _ONE_FOLD_FROM else _FOLDS):
        held = folds == fold
        if not held.any() or held.all():
            continue
        losses: list[float] = []
        for place, (own_hits, own_loss) in enumerate(scores(~held, held)):
            hits[place] += own_hits
            loss[place] += own_loss
            losses.append(own_loss)
            if patience is not None and place >= patience and min(losses[-patience:]) > losses[-patience - 1]:
                hits[place + 1 :] = -np.inf
                break
    return int(np.lexsort((loss, -hits))[0]) if loss.any() else n_penalties // 2

"""Find exact nearest neighbours by inner product: approximate scores first, then exact scores of the candidates.

Exact search spends nearly all time in one matrix product, and bfloat16 products are several times faster than float32 ones if
the processor has them. So candidates are found in bfloat16, their scores are computed again in float32, and a bound on the
rounding error of the first pass proves for each query that no other row can be a neighbour. Queries without that proof are
searched again in float32. The result equals that of a plain float32 search.
"""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 65_536
"""Database rows that are scored at once."""
_CHUNK = 512
"""Queries that are scored at once: with ``_BLOCK`` at most 134 MB of float32 scores."""
_SMALL = 4_096
"""With fewer database rows two passes are slower than one."""


class Neighbours(NamedTuple):
    """The k nearest rows of each query, nearest first.

    Rows with equal scores are ordered by index; if hundreds of rows tie for the last places (collapsed embeddings), any of them
    may be found.
    """

    scores: Tensor
    """[Q, k] float32 inner products."""
    indices: Tensor
    """[Q, k] long, rows of the database."""


@torch.no_grad()
def nearest(queries: Tensor, database: Tensor, k: int, *, dtype: torch.dtype | None = None) -> Neighbours:
    """The ``k`` rows of ``database`` with the largest inner product with each query, exact up to float32 rounding.

    Peak memory beyond the inputs is about 3 bytes a database number (in bfloat16) and 150 MB of scores.

    Args:
        queries: [Q, D] float32; normalise both to search by cosine.
        database: [N, D] float32, on the same device.
        k: 1..N.
        dtype: of the first pass; None: the fastest (on CPUs measured once per process).

    Raises:
        ValueError: ``k`` is out of range.
    """
    n = len(database)
    if not 1 <= k <= n:
        raise ValueError(f"k={k} is not in 1..{n}, the number of rows to search")
    if dtype is None:
        fast = database.device.type == "cpu" and n >= _SMALL and bfloat16_is_faster()
        dtype = torch.bfloat16 if fast else torch.float32
    n_candidates = min(n, k + max(k // 2, 64)) if dtype == torch.bfloat16 else min(n, k + 16)
    found, proven = _search(queries, database, k, n_candidates, dtype)
    unproven = (~proven).nonzero().squeeze(1)
    if len(unproven):
        again, _ = _search(queries[unproven], database, k, min(n, 2 * k + 256), torch.float32)
        found.scores[unproven], found.indices[unproven] = again
    return found


def _search(queries: Tensor, database: Tensor, k: int, n_candidates: int, dtype: torch.dtype) -> tuple[Neighbours, Tensor]:
    """Two passes; the second result ([Q] bool) says for which queries the neighbours are proven."""
    # q·x = (q-μ)·(x-μ) + μ·(x-μ) + q·μ. Rounding errors are relative, so they are smaller for centred vectors, which matters
    # for embeddings in a narrow cone. μ·(x-μ) is two further columns; q·μ does not change the ranking.
    centre = database.mean(dim=0)
    centred = queries - centre
    low = centred.to(dtype)
    query_error = (centred - low.float()).norm(dim=1)
    query_norm = low.float().norm(dim=1)
    low = torch.cat([low, low.new_ones(len(low), 2)], dim=1)
    n_queries = len(queries)
    values = torch.full((n_queries, n_candidates), -torch.inf, device=queries.device)
    index = torch.zeros((n_queries, n_candidates), dtype=torch.int64, device=queries.device)
    row_norm = row_error = bias_error = 0.0
    for start in range(0, len(database), _BLOCK):
        rows = database[start : start + _BLOCK] - centre
        bias = rows @ centre
        low_rows = rows.to(dtype)
        first = bias.to(dtype)
        second = (bias - first.float()).to(dtype)
        row_norm = max(row_norm, float(rows.norm(dim=1).max()))
        row_error = max(row_error, float((rows - low_rows.float()).norm(dim=1).max()))
        bias_error = max(bias_error, float((bias - first.float() - second.float()).abs().max()))
        transposed = torch.cat([low_rows, first.unsqueeze(1), second.unsqueeze(1)], dim=1).T
        del rows, low_rows
        _merge_candidates(low, transposed, start, values, index)
    scores, order = _rescore(queries, database, index, k)
    cut = values[:, -1] if n_candidates < len(database) else torch.full_like(values[:, -1], -torch.inf)
    bound = query_error * row_norm + query_norm * row_error + bias_error
    if dtype == torch.bfloat16:
        bound += cut.abs() * 2**-8  # the product itself was rounded when it was stored
    bound += 2**-19 * (queries.norm(dim=1) * (row_norm + float(centre.norm())))  # float32 sums
    worst = scores[:, -1] - queries @ centre
    return Neighbours(scores, order), (cut == -torch.inf) | (worst > cut + bound)


def _merge_candidates(low: Tensor, transposed: Tensor, start: int, values: Tensor, index: Tensor) -> None:
    """Score a block of rows for all queries, and merge the best into ``values`` and ``index``."""
    width = transposed.shape[1]
    n_best = min(values.shape[1], width)
    buffer = torch.empty((min(_CHUNK, len(low)), width), dtype=low.dtype, device=low.device)
    for first in range(0, len(low), _CHUNK):
        rows = slice(first, first + _CHUNK)
        out = buffer[: len(low[rows])]
        torch.mm(low[rows], transposed, out=out)
        best, places = out.topk(n_best, dim=1)
        if start == 0:
            values[rows, :n_best], index[rows, :n_best] = best.float(), places
            continue
        both = torch.cat([values[rows], best.float()], dim=1)
        values[rows], chosen = both.topk(values.shape[1], dim=1)
        index[rows] = torch.cat([index[rows], places + start], dim=1).gather(1, chosen)


def _rescore(queries: Tensor, database: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """float32 scores of the candidates, and the best ``k`` of them. Each score is one sum, so equal rows have equal scores."""
    index = index.sort(dim=1).values
    scores = torch.empty(index.shape, device=queries.device)
    # One query at a time stays in the processor's cache; a GPU wants many.
    step = 1 if queries.device.type == "cpu" else 64
    for first in range(0, len(queries), step):
        chosen = index[first : first + step]
        rows = database.index_select(0, chosen.flatten()).view(*chosen.shape, -1)
        torch.sum(rows.mul_(queries[first : first + step].unsqueeze(1)), dim=2, out=scores[first : first + step])
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return scores[:, :k].contiguous(), index.gather(1, order)[:, :k].contiguous()


@functools.cache
def bfloat16_is_faster() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones, by a measurement of some milliseconds."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(128, 256, dtype=dtype), torch.ones(256, 4096, dtype=dtype)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            torch.mm(a, b)
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return seconds[torch.bfloat16] < 0.7 * seconds[torch.float32]

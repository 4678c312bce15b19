"""Check the embeddings of a run periodically: for collapse, and with the online probe."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from selfsup.backbones import Backbone
from selfsup.batch_parts import MARK
from selfsup.data import Processor, Store
from selfsup.data.batches.permutation import IndexArray
from selfsup.data.batches.windows import read_windows
from selfsup.data.batches.work_division import WorkDivision
from selfsup.training.device.compilation import uncompiled
from selfsup.training.device.fabric import Fabric
from selfsup.training.observe.collapse_monitor import describe_collapse, effective_rank, embedding_std
from selfsup.training.observe.online_probe import MONITORED_ROWS, OnlineProbe, batches_of, embed
from selfsup.types import Batch

_EARLY = 0.2
"""Share of the run before which a small spread is not reported: many networks start with one."""
_FIRST_STEPS = 100
"""Steps before which a spread that was small from the start is not reported; one that became small is."""


class Looks:
    """Metrics of the embeddings at a step; one call per check, by all processes, which divide the batches.

    Args:
        fabric: the devices and the precision.
        backbone: gives the backbone that would be saved now.
        processor: collates samples to batches.
        store: training rows; a fixed sample of them is checked.
        total_steps: of the run.
        warn: shows a line to the user.
        probe: the probe and its rows, or None.
    """

    def __init__(
        self,
        fabric: Fabric,
        backbone: Callable[[], Backbone],
        processor: Processor,
        store: Store,
        *,
        total_steps: int,
        warn: Callable[[str], None],
        probe: tuple[OnlineProbe, Store] | None = None,
    ) -> None:
        self._fabric, self._backbone, self._processor, self._store = fabric, backbone, processor, store
        self._total, self._warn, self._probe = total_steps, warn, probe
        self._rows = np.unique(np.linspace(0, len(store) - 1, min(MONITORED_ROWS, len(store))).astype(np.int64))
        self._division = WorkDivision()
        self._warned = False
        self._last_std: dict[str, float] = {}
        self._first: dict[str, float] = {}

    @property
    def n_rows(self) -> int:
        """Training rows of a look."""
        return len(self._rows)

    def __call__(self, step: int) -> dict[str, float]:
        """``embedding_std`` (1 is healthy, 0 is collapse), ``effective_rank``, and with a probe its score.

        The first process gets them, the others get nothing.
        Where rows have parts, also ``<part>/embedding_std`` and ``<part>/effective_rank``, of the rows that have the part.
        """
        embeddings = self._embed(self._store, self._rows)
        probed = {} if self._probe is None else self._embed(self._probe[1], self._probe[0].indices)
        if self._fabric.global_rank > 0:
            return {}
        if not all(bool(torch.isfinite(own).all()) for own in embeddings.values()):
            self._say_once(f"Warning: some embeddings are NaN or infinite (step {step}); a smaller learning rate may help.")
            return {}
        whole = embeddings.pop("")
        of_parts: dict[str, float] = {}
        for part, own in embeddings.items():  # first, so that a warning names the part
            if len(own) >= 2:  # else there is no spread
                of_parts |= self._spread(step, part, own)
        metrics = {**self._spread(step, "", whole), **of_parts}
        if self._probe is not None:
            probe = self._probe[0]
            metrics[probe.metric] = probe.score(probed[""])
        return metrics

    def _spread(self, step: int, part: str, embeddings: Tensor) -> dict[str, float]:
        """The metrics of whole rows (an empty name) or of a part; warns of a collapse."""
        start = f"{part}{MARK}" if part else ""
        std, rank = f"{start}embedding_std", f"{start}effective_rank"
        metrics = {std: embedding_std(embeddings), rank: effective_rank(embeddings)}
        warning = describe_collapse(metrics[std], metrics[rank])
        if warning and self._is_news(step, std, metrics):
            self._say_once(f"{warning} ({f'of {part}, ' if part else ''}step {step})")
        self._last_std[std] = metrics[std]
        if step == 0:
            self._first |= metrics
        return metrics

    def _is_news(self, step: int, std: str, metrics: Mapping[str, float]) -> bool:
        """Whether a small spread is a collapse; many networks, such as transformers on texts, start with a small one.

        It is a collapse if the spread or the rank fell to half of its first value, or if it has not grown after enough steps.
        """
        last = self._last_std.get(std, math.inf)
        growing = metrics[std] > 1.1 * last
        if step < _EARLY * self._total or growing or not math.isfinite(last):
            return False
        fell = any(value < 0.5 * self._first[name] for name, value in metrics.items() if name in self._first)
        return fell or step >= _FIRST_STEPS

    def _say_once(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(text)

    def _embed(self, store: Store, indices: IndexArray) -> dict[str, Tensor]:
        """Embeddings of whole rows and of parts; all processes divide the batches."""
        pieces = list(batches_of(indices, self._processor.batch_size))
        own = self._batches(store, self._division.own(pieces))
        with self._fabric.autocast(), uncompiled():
            return embed(self._backbone(), own, self._division, len(pieces))

    def _batches(self, store: Store, pieces: Sequence[IndexArray]) -> Iterator[Batch]:
        for part in pieces:
            batch = self._processor.collate(read_windows(store, self._processor, part))
            yield {key: value.to(self._fabric.device) for key, value in batch.items()}

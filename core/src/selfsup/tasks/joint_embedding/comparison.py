"""The protocol of tasks that embed each row alone and then compare rows, which makes exact accumulation possible."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

import torch

from selfsup.objectives.parts.embeddings import Embeddings
from selfsup.tasks.base import PretextTask, StepOutput
from selfsup.types import Batch

E = TypeVar("E", bound=Embeddings)


class ComparesEmbeddings(PretextTask, Generic[E]):
    """A task in two steps: :meth:`embed` looks at each row by itself, :meth:`compare` at all embeddings together.

    Where such a task ``couples_samples``, accumulation (``optimization.accumulate``) is exact: chunks of the batch are embedded
    one after the other, all embeddings are compared once, and the gradient goes back chunk by chunk
    (``gradient_cache``). Each chunk is embedded twice for that, the second time from the same random state
    and the same buffers. So:

    - what :meth:`embed` draws comes from ``generator`` or torch's global random state, and what it changes are buffers;
    - :meth:`embed` neither reads nor changes what :meth:`compare` changes (a queue, a centre);
    - both together are ``forward``.

    Batch norm sees a chunk at a time, and so do views that take values from other rows. A task whose network looks at other
    rows (attention between rows) cannot be taken apart like this.
    """

    @abstractmethod
    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> E:
        """Embed each row of a batch.

        Args:
            batch: the rows.
            generator: source of all draws.
            replay: whether this is the second time, for the gradient: only the ``trained`` fields of the result are of use
                then, so that targets need not be computed. What is left out must be what draws last.
        """

    @abstractmethod
    def compare(self, embeddings: E) -> StepOutput:
        """The loss of embedded rows."""

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """The loss of one batch."""
        return self.compare(self.embed(batch, generator))

"""A first-in, first-out memory of embeddings, kept in buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup.runtime.distributed import gather


class EmbeddingQueue(nn.Module):
    """The last ``size`` embeddings of the global batch, as a ring: a batch that reaches the end goes on at the beginning.

    Args:
        size: number of embeddings; it need not be a multiple of the batch size.
        dim: their width.
    """

    embeddings: Tensor
    """[size, dim], zeros where nothing is stored yet."""
    position: Tensor
    """Where the next embedding goes."""
    filled: Tensor
    """[size] float, 1 where an embedding is stored and 0 where none is yet: those places must not count."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.zeros(size))

    @torch.no_grad()
    def push(self, embeddings: Tensor, valid: Tensor | None = None) -> None:
        """Put in the embeddings of every rank in place of the oldest ones; of more than ``size``, the last ones.

        Args:
            embeddings: [B, P].
            valid: [B] bool, those that are put in; None: all.
        """
        if valid is not None:
            self._push_valid(gather(embeddings.detach()), gather(valid.to(torch.uint8)).bool())
            return
        rows = gather(embeddings.detach())[-self.size :]
        # The position stays on the device: there is no sync.
        index = (self.position + torch.arange(len(rows), device=rows.device)) % self.size
        self.embeddings.index_copy_(0, index, rows.to(self.embeddings.dtype))
        self.filled.index_fill_(0, index, 1.0)
        self.position.add_(len(rows)).remainder_(self.size)

    def _push_valid(self, rows: Tensor, valid: Tensor) -> None:
        """Fill each place from the row that belongs there, since how many rows there are is known to the device alone."""
        order = torch.argsort((~valid).to(torch.uint8), stable=True)
        n = valid.sum()
        new = n.clamp_max(self.size)
        # How long after the position each place is filled, and so by which of the last ``new`` valid rows.
        offset = (torch.arange(self.size, device=rows.device) - self.position) % self.size
        source = order[(offset + n - new).clamp_max(len(rows) - 1)]
        written = offset < new
        self.embeddings.copy_(torch.where(written[:, None], rows[source].to(self.embeddings.dtype), self.embeddings))
        self.filled.masked_fill_(written, 1.0)
        self.position.add_(new).remainder_(self.size)


def fitting_size(size: int, rows: int, batch_size: int) -> int:
    """``size``, or as many embeddings as a data set has for a queue.

    A queue of more than ``rows - batch_size`` holds older embeddings of the very samples of the batch, which are then their own
    negatives. It is never made smaller than half of the rows, so that a batch of nearly all of them finds something in it.

    Args:
        size: the wanted number of embeddings.
        rows: training rows.
        batch_size: samples of a step over all devices.
    """
    return min(size, max(rows - batch_size, rows // 2, 1))


def queue_note(wanted: int, size: int, rows: int) -> str:
    """What a run says where :func:`fitting_size` made a queue shorter."""
    return (
        f"objective.queue_size={wanted} is more than {rows} rows fill without a row meeting its own older embeddings: "
        f"the queue holds {size}."
    )

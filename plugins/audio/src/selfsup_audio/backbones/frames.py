"""What the audio backbones share: frames in pieces of one size, and tokens at given places."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def whole_pieces(frames: Tensor, padding: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pad frames with zeros at the end, so that they can be cut into pieces of ``size``.

    Args:
        frames: [B, F, P].
        padding: [B, F] bool, at the end of each sample.
        size: frames of a piece.

    Returns:
        [B, N * size, P], and the padding of the pieces [B, N] bool: pieces without a real frame.
    """
    missing = -frames.shape[1] % size
    if missing:
        frames, padding = F.pad(frames, (0, 0, 0, missing)), F.pad(padding, (0, missing), value=True)
    return frames, padding[:, ::size]


def gathered(x: Tensor, index: Tensor | None) -> Tensor:
    """The tokens ([B, N, ...]) at ``index`` ([B, K] long); all of them where it is None."""
    if index is None:
        return x
    return x.gather(1, index.view(*index.shape, *(1 for _ in x.shape[2:])).expand(*index.shape, *x.shape[2:]))

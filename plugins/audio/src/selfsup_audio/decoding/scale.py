"""The full scale of samples in floating-point files and arrays, which may lie outside -1..1.

Such files hold integers (up to 32768), physical units, or mixes that reach a little beyond 1. Nothing is clipped: the scale is
learned from a sample of the recordings, and louder recordings are scaled down.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfsup_audio.decoding.readers import Waveform

_INTEGERS = (2.0**15, 2.0**23, 2.0**31)
"""Full scale of 16, 24 and 32 bits."""
_FAR = 16.0
"""A recording that exceeds full scale by this factor has another scale, and is not just loud."""
_OPTION = "set the full scale by processor.full_scale"


def learned_scale(samples: Sequence[Waveform]) -> float:
    """The full scale of recordings, from parts of them.

    1.0 unless most of them exceed it. Else, for whole numbers, that of the smallest integer type that holds them, and for other
    numbers the smallest power of 2 that does.
    """
    finite = [part[np.isfinite(part)] for part in samples]
    peaks = [float(np.abs(part).max()) for part in finite if len(part)]
    beyond = [peak for peak in peaks if peak > 1]
    if 2 * len(beyond) <= sum(peak > 0 for peak in peaks):
        return 1.0
    whole = all(_is_whole(part) for part in finite if len(part) and np.abs(part).max() > 1)
    return _holding(max(beyond), whole)


def scale_of(samples: Waveform, full_scale: float) -> tuple[float, str]:
    """The divisor of a recording, and a remark on it (or an empty string).

    Full scale for a recording within it. A recording that exceeds it a little is divided by its peak, one that exceeds it by
    far by the scale that its own samples suggest, and one within -1..1 among integers by 1.

    Args:
        samples: [T], finite.
        full_scale: of the data.
    """
    peak = float(np.abs(samples).max())
    if peak <= full_scale:
        if full_scale >= _INTEGERS[0] and 0 < peak <= 1 and not _is_whole(samples):
            return 1.0, f"they lie within -1..1 where others reach up to {full_scale:g}, and are not scaled; {_OPTION}"
        return full_scale, ""
    if peak <= _FAR * full_scale:
        return peak, f"they reach beyond the full scale of {full_scale:g}, and are scaled down to it; {_OPTION}"
    text = f"they reach far beyond the full scale of {full_scale:g}, and are scaled as integers of the bits that they need"
    return _holding(peak, _is_whole(samples)), f"{text}; {_OPTION}"


def _holding(peak: float, whole: bool) -> float:
    """The full scale of samples with this peak."""
    if whole:
        return next((scale for scale in _INTEGERS if peak <= scale), peak)
    return float(2.0 ** np.ceil(np.log2(peak)))


def _is_whole(samples: Waveform) -> bool:
    return bool((samples == np.rint(samples)).all())

"""What full scale is in samples that -1..1 does not bound: floating-point files and arrays, in which people keep all sorts.

Integers written as floating-point numbers (up to 32768), physical units, and mixes that reach a little beyond 1 are all found
in practice. None is clipped: the scale is learned from a sample of the recordings, and what is beyond it is scaled down.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfsup_audio.decoding.readers import Waveform

_INTEGERS = (2.0**15, 2.0**23, 2.0**31)
"""Full scale of 16, 24 and 32 bits."""
_FAR = 16.0
"""What is so many times louder than full scale is not just a loud recording: it has another scale."""
_OPTION = "set what full scale is with processor.full_scale"


def learned_scale(samples: Sequence[Waveform]) -> float:
    """The full scale of the recordings that these are parts of.

    1.0 unless most of them reach beyond it; then that of the smallest integers that hold them where all are whole numbers, else
    the smallest power of 2 that does.
    """
    finite = [part[np.isfinite(part)] for part in samples]
    peaks = [float(np.abs(part).max()) for part in finite if len(part)]
    beyond = [peak for peak in peaks if peak > 1]
    if 2 * len(beyond) <= sum(peak > 0 for peak in peaks):
        return 1.0
    whole = all(_is_whole(part) for part in finite if len(part) and np.abs(part).max() > 1)
    return _holding(max(beyond), whole)


def scale_of(samples: Waveform, full_scale: float) -> tuple[float, str]:
    """What to divide a recording by, and what must be said of it (empty: nothing).

    Full scale where the recording is within it. One that reaches a little beyond is divided by its peak, one that is far beyond
    by the scale that its own samples suggest, and one within -1..1 among integers by 1.

    Args:
        samples: [T], finite.
        full_scale: of the data.
    """
    peak = float(np.abs(samples).max())
    if peak <= full_scale:
        if full_scale >= _INTEGERS[0] and 0 < peak <= 1 and not _is_whole(samples):
            return 1.0, f"they lie within -1..1 where others reach up to {full_scale:g}, and are taken as they are; {_OPTION}"
        return full_scale, ""
    if peak <= _FAR * full_scale:
        return peak, f"they reach beyond the full scale of {full_scale:g}, and are scaled down to it; {_OPTION}"
    text = f"they reach far beyond the full scale of {full_scale:g}, and are taken as integers of as many bits as they need"
    return _holding(peak, _is_whole(samples)), f"{text}; {_OPTION}"


def _holding(peak: float, whole: bool) -> float:
    """The full scale of samples with this peak."""
    if whole:
        return next((scale for scale in _INTEGERS if peak <= scale), peak)
    return float(2.0 ** np.ceil(np.log2(peak)))


def _is_whole(samples: Waveform) -> bool:
    return bool((samples == np.rint(samples)).all())

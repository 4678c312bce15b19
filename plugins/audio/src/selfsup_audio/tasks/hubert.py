"""HuBERT: cluster prediction that starts with clusters of MFCC."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.tasks import ClusterFeatures, cluster_prediction_recipe
from selfsup.types import Batch, Info
from selfsup_audio.spectra import MFCC, MFCCConfig


class TokenMFCC(ClusterFeatures):
    """13 mel-frequency cepstral coefficients with their first and second differences, averaged over the frames of a token.

    HuBERT's first features (Hsu et al. 2021, arXiv 2106.07447, section IV-B), there one a frame of 10 ms. Tokens share the clip
    evenly along the first axis of their lattice; tokens of one time get the same. Padding is left out of the mean.

    Args:
        info: of the processor.
    """

    def __init__(self, info: Info) -> None:
        super().__init__()
        self.mfcc = MFCC(MFCCConfig(deltas=True), int(info["sample_rate"]))
        self.dim = self.mfcc.n_features

    def forward(self, batch: Batch, grid: tuple[int, ...]) -> Tensor:
        """[B, N, 39]."""
        frames, padding = self.mfcc(batch["waveform"], batch["length"])
        with torch.autocast(frames.device.type, enabled=False):
            times = F.adaptive_avg_pool1d(frames.transpose(1, 2), grid[0]).transpose(1, 2)
            # Frames of padding are zero, so only the count of the mean must leave them out.
            real = F.adaptive_avg_pool1d((~padding).to(frames.dtype).unsqueeze(1), grid[0]).transpose(1, 2)
            times = times / real.clamp(min=1e-6)
        return times.repeat_interleave(torch.Size(grid[1:]).numel(), dim=1)


RECIPE = cluster_prediction_recipe(features=TokenMFCC)
"""HuBERT's BASE (Hsu et al. 2021, arXiv 2106.07447): 100 clusters of MFCC, then 500 of the network's middle layer."""

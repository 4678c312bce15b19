"""The convolutions of the speech models of transformers, without an influence of padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from selfsup_audio.backbones.tokens import surely_whole
from selfsup_audio.waveforms import real_samples


def convolved(extractor: Any, waveform: Tensor, length: Tensor) -> Tensor:
    """The feature extractor's output, with the group norm over the real samples of each recording.

    Args:
        extractor: of a model like wav2vec 2.0; has ``conv_layers``; only the first may have a group norm.
        waveform: [B, T] float.
        length: [B] long, real samples, at least as many as a frame of the last layer sees.

    Returns:
        [B, C, N].
    """
    x = waveform.unsqueeze(1)
    for layer in extractor.conv_layers:
        norm = getattr(layer, "layer_norm", None)
        if not isinstance(norm, nn.GroupNorm):
            x = layer(x)
            continue
        x = layer.conv(x)
        kernel, stride = layer.conv.kernel_size[0], layer.conv.stride[0]
        real = real_samples((length - kernel).div(stride, rounding_mode="floor") + 1, x.shape[-1])
        x = layer.activation(norm(x) if surely_whole(~real) else norm_of_real(norm, x, real))
    return x


def norm_of_real(norm: nn.GroupNorm, x: Tensor, real: Tensor) -> Tensor:
    """A group norm with mean and variance over the real frames of each sample.

    Args:
        norm: with one group per channel, as in wav2vec 2.0.
        x: [B, C, F].
        real: [B, F] bool; each sample has a real frame.

    Returns:
        [B, C, F] float32; values at padding are meaningless.
    """
    with torch.autocast(x.device.type, enabled=False):
        weight = real.unsqueeze(2).float()
        weight = weight / weight.sum(dim=1, keepdim=True)
        centred = x.float() - x.float() @ weight
        deviation = (centred.square() @ weight + norm.eps).sqrt()
        return torch.addcmul(norm.bias.unsqueeze(1), centred, norm.weight.unsqueeze(1) / deviation)


def positions(embedding: Any, x: Tensor, seen: Tensor) -> Tensor:
    """The position embedding by a convolution over the tokens, with zeros for unseen tokens in each layer.

    Args:
        embedding: the model's ``pos_conv_embed``: one convolution, perhaps behind a batch norm (HuBERT), or several layers
            (data2vec).
        x: [B, N, D], zero where a token is not seen.
        seen: [B, N] bool.

    Returns:
        [B, N, D].
    """
    x, real = x.transpose(1, 2), seen.unsqueeze(1)
    if layers := getattr(embedding, "layers", None):
        for layer in layers:
            x = layer(x * real)
        return x.transpose(1, 2)
    if getattr(embedding, "batch_norm", None) is not None:
        x = embedding.batch_norm(x) * real
    placed: Tensor = embedding.activation(embedding.padding(embedding.conv(x)))
    return placed.transpose(1, 2)

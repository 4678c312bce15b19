"""Fit the weights of one network to another by name: take equal shapes, resample what can be, report the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.backbones.base import Backbone
from selfsup.errors import ArtifactError

_LEAST = 0.5
"""Share of the parameters that has to fit."""
_SHOWN = 6
"""Weights that a line names one by one."""
_PREFIX = "model."
"""What backbones put in front of the names that a library has for its weights."""


Scaling = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of each channel, which an input in 0..1 is scaled by."""


@dataclass(frozen=True)
class Fitted:
    """What became of the weights of another network."""

    fitted: tuple[str, ...]
    """Names of those that were taken as they are."""
    adapted: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Names of those that were made to fit: the shape that they had, and the one that they have now."""
    left: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]]
    """Names of this network's weights that stay as they were drawn: their shape, and that of the other's, None: it has none."""
    unused: tuple[str, ...]
    """Names of the other network's weights that this one has no place for."""
    share: float
    """Share of this network's parameters that came from the other one, 0 to 1."""

    def describe(self) -> list[str]:
        """What is worth telling, a line each; empty where all weights were taken as they are."""
        changed = [f"{name} ({_shape(old)} to {_shape(new)})" for name, (old, new) in self.adapted.items()]
        left = [
            f"{name} ({_shape(own)}, {'theirs ' + _shape(theirs) if theirs is not None else 'not in theirs'})"
            for name, (own, theirs) in self.left.items()
        ]
        named = (("made to fit", changed), ("left as drawn", left), ("of no use here", list(self.unused)))
        return [f"{words}: {_listed(names)}" for words, names in named if names]


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f", and {more} more" if more > 0 else "")


def whole_state(backbone: Backbone) -> dict[str, Tensor]:
    """The weights of a backbone by name, those of its :meth:`~selfsup.backbones.Backbone.spare_parts` among them."""
    state: dict[str, Tensor] = dict(backbone.state_dict())
    for part, module in backbone.spare_parts().items():
        for name, value in module.state_dict().items():
            state.setdefault(f"{part}.{name}", value)
    return state


@torch.no_grad()
def fit_weights(backbone: Backbone, weights: Mapping[str, Tensor], source: str = "the other network") -> Fitted:
    """Give a backbone the weights of another network, matched by name; all else stays as it is.

    A weight of another shape is made to fit where the backbone knows how (tables of positions, input channels; see
    :meth:`~selfsup.backbones.Backbone.fit_weight`), and is left out otherwise. The names may lack the prefix ``model.`` of
    backbones that hold a library's model.

    Args:
        backbone: to change, in place.
        weights: by name.
        source: where they are from, for the message.

    Returns:
        What became of them.

    Raises:
        ArtifactError: less than half of the backbone's parameters fit.
    """
    own = whole_state(backbone)
    prefixed = {_PREFIX + name: value for name, value in weights.items()}
    if len(own.keys() & prefixed.keys()) > len(own.keys() & weights.keys()):
        weights = prefixed
    fitted: list[str] = []
    adapted: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    left: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {}
    for name, mine in own.items():
        theirs = weights.get(name)
        if theirs is None:
            left[name] = tuple(mine.shape), None
            continue
        value: Tensor | None = theirs
        if theirs.shape != mine.shape:
            value = backbone.fit_weight(name, theirs, mine)
        if value is None or value.shape != mine.shape:
            left[name] = tuple(mine.shape), tuple(theirs.shape)
            continue
        mine.copy_(value)
        if theirs.shape == mine.shape:
            fitted.append(name)
        else:
            adapted[name] = tuple(theirs.shape), tuple(mine.shape)
    trained = {name for name, _ in backbone.named_parameters(remove_duplicate=False)}
    sizes = {name: own[name].numel() for name in trained}
    share = sum(sizes[name] for name in trained & {*fitted, *adapted}) / max(sum(sizes.values()), 1)
    report = Fitted(
        fitted=tuple(fitted),
        adapted=adapted,
        left={name: shapes for name, shapes in left.items() if name in trained or shapes[1] is not None},
        unused=tuple(name for name in weights if name not in own),
        share=share,
    )
    if share < _LEAST:
        named = "; ".join(report.describe())
        raise ArtifactError(
            f"The weights of {source} do not fit this {type(backbone).__name__}: {100 * share:.3g} % of its parameters would "
            f"come from them. Take the backbone that they are of, with its options ({named})."
        )
    backbone.started_from = source
    backbone.weights_came(frozenset((*fitted, *adapted)))
    return report


def fit_channels(weight: Tensor, channels: int) -> Tensor:
    """Filters [O, C, ...] for images of another number of channels, [O, ``channels``, ...].

    The channels are repeated in turn and scaled by C / ``channels``; for one channel they are added up. An input whose channels
    are equal then gives about what it gave before. As timm does with its weights for RGB.
    """
    have = weight.shape[1]
    turns = -(-channels // have)
    repeated = weight.repeat(1, turns, *[1] * (weight.ndim - 2))[:, :channels]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return repeated * (have / channels)


def rescaled_input(weight: Tensor, bias: Tensor, theirs: Scaling, ours: Scaling) -> tuple[Tensor, Tensor]:
    """The first layer of a network whose input is scaled as ours is, from one whose input was scaled as theirs.

    (x - mean) / deviation of theirs is a line in that of ours, for each channel; so the layer gives what it gave. That holds
    for layers without padding, as those that make tokens of patches.

    Args:
        weight: [O, C, ...].
        bias: [O].
        theirs: mean and deviation of each of the C channels.
        ours: likewise.
    """
    (mean, std), (own_mean, own_std) = (
        (torch.tensor(values, dtype=torch.float64) for values in each) for each in (theirs, ours)
    )
    shape = (1, -1, *[1] * (weight.ndim - 2))
    offset = ((own_mean - mean) / std).view(shape)
    moved = bias.double() + (weight.double() * offset).flatten(1).sum(dim=1)
    return (weight.double() * (own_std / std).view(shape)).to(weight.dtype), moved.to(bias.dtype)


def resample_sequence(table: Tensor, length: int, first: int = 0) -> Tensor:
    """A table of positions [N, D] for sequences of another length, [``length``, D].

    A shorter one is the beginning of it: a position counts from the start. A longer one is interpolated linearly, so that the
    whole of a longer sequence lies within what was learned (Chen et al. 2023, arXiv:2306.15595, who do so with rotations).

    Args:
        table: the positions.
        length: rows wanted.
        first: rows at the beginning that are no positions, and stay as they are.
    """
    if length <= len(table):
        return table[:length]
    special, positions = table[:first], table[first:]
    stretched = F.interpolate(positions.T.unsqueeze(0).float(), size=length - first, mode="linear", align_corners=True)
    return torch.cat([special, stretched[0].T.to(table.dtype)])

"""Embed several views of a batch: one call of the backbone per view size, one call of each head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded, part_networks
from selfsup.batch_parts import CONTENT, MARK, part_names, presence
from selfsup.errors import ConfigError
from selfsup.runtime.distributed import SplitBatchNorm, from_first_rank, gather, rank, world_size
from selfsup.types import Batch


class Heads(nn.ModuleDict):
    """A head for each part of a row, where the parts' embeddings differ in width or in what their axes mean."""

    def of(self, part: str) -> nn.Module:
        """The head of a part."""
        return self[part]


def build_heads(backbone: Backbone, build: Callable[[int], nn.Module]) -> nn.Module:
    """The head of a backbone's pooled embeddings: one, or where its parts lie in spaces of their own :class:`Heads`.

    Args:
        backbone: says how wide its embeddings are.
        build: makes a head from a width.
    """
    if not backbone.part_dims or backbone.shares_space:
        return build(backbone.pooled_dim)
    return Heads({part: build(dim) for part, dim in backbone.part_dims.items()})


def apply_head(head: nn.Module, embeddings: Sequence[Tensor], parts: Sequence[str]) -> list[Tensor]:
    """Put the embeddings of views through a head, those of one part together, so that batch norm sees one part at a time.

    Args:
        head: a module from [B, D] to [B, P], or :class:`Heads`.
        embeddings: per view [B, D].
        parts: per view the part that it is of; empty texts for data of one kind.

    Returns:
        Per view [B, P].
    """
    results: dict[int, Tensor] = {}
    for part in dict.fromkeys(parts):
        members = [index for index, own in enumerate(parts) if own == part]
        module = head.of(part) if isinstance(head, Heads) else head
        joined = torch.cat([embeddings[index] for index in members]) if members[1:] else embeddings[members[0]]
        split = module(joined).split([len(embeddings[index]) for index in members])
        results.update(zip(members, split, strict=True))
    return [results[index] for index in range(len(embeddings))]


def view_parts(views: Sequence[Batch]) -> list[str]:
    """The part of a row that each view is of; an empty text for views of one kind of data or of several parts together."""
    names = [part_names(view) for view in views]
    return [own[0] if len(own) == 1 else "" for own in names]


class Branch(nn.Module):
    """Backbone and heads that turn views into embeddings: what a momentum network is a copy of."""

    def __init__(self, backbone: Backbone, projector: nn.Module, token_projector: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.token_projector = token_projector

    def forward(self, views: Sequence[Batch], n_tokens: int = 0) -> tuple[list[Tensor], list[Encoded]]:
        """As :func:`embed_views`."""
        return embed_views(self.backbone, self.projector, self.token_projector, views, n_tokens)


def embed_views(
    backbone: Backbone, projector: nn.Module, token_projector: nn.Module | None, views: Sequence[Batch], n_tokens: int = 0
) -> tuple[list[Tensor], list[Encoded]]:
    """Embed views, those of equal shapes in one call of the backbone, all of one part in one call of the projector.

    Args:
        backbone: encodes batches.
        projector: from pooled embeddings [B, D] to [B, P], or :class:`Heads`.
        token_projector: from tokens [B, N, D] to [B, N, P], where tokens are wanted.
        views: the augmented batches, all of B samples.
        n_tokens: project the tokens of so many of the first views.

    Returns:
        Per view its projection [B, P], and per view for which tokens are wanted its projected tokens.

    Raises:
        ConfigError: tokens are wanted and the backbone gives none.
    """
    encoded = encode_views(backbone, views)
    projections = apply_head(projector, [view.pooled for view in encoded], view_parts(views))
    projected: list[Encoded] = []
    for view in encoded[:n_tokens]:
        if token_projector is None or view.tokens is None:
            raise ConfigError(
                f"the objective compares tokens, but {type(backbone).__name__} gives none: choose a backbone with tokens "
                "or a feature map (`selfsup list backbones`)."
            )
        projected.append(view._replace(tokens=token_projector(view.tokens)))
    return projections, projected


@torch.no_grad()
def embed_shuffled(
    branch: nn.Module, views: Sequence[Batch], generator: torch.Generator | None, moved: Sequence[bool] | None = None
) -> list[Tensor]:
    """Embed views with the samples of the global batch in random order, and give them back in their own.

    This is MoCo's shuffling BN (He et al. 2019, arXiv:1911.05722, section 3.3): statistics of batch norm that are taken over
    a part of the batch then come from other samples than those of the queries.

    Args:
        branch: a :class:`Branch`, perhaps in a wrapper.
        views: the augmented batches, all of B samples.
        generator: source of the order; all processes take the first one's. None: torch's global one.
        moved: per view whether its samples change places (:func:`has_split_norm`); None: those of all do. They cross the
            devices for it, and hence must have one shape on all of them.

    Returns:
        Per view its projection [B, P].
    """
    moved = moved or [True] * len(views)
    first = next(iter(views[0].values()))
    rows, device = len(first), first.device
    order = from_first_rank(torch.randperm(rows * world_size(), generator=generator, device=device))
    own = slice(rank() * rows, (rank() + 1) * rows)
    mixed = [
        {key: gather(value)[order[own]] for key, value in view.items()} if moves else view
        for view, moves in zip(views, moved, strict=True)
    ]
    inverse = order.argsort()[own]
    projections = zip(branch(mixed)[0], moved, strict=True)
    return [gather(projection)[inverse] if moves else projection for projection, moves in projections]


def has_split_norm(backbone: Backbone, part: str) -> bool:
    """Whether the network of a part of a row takes batch statistics of groups of the batch; ``part`` as of :func:`view_parts`.

    A text tower has no batch norm, and batches of texts differ in length from device to device.
    """
    network: nn.Module = backbone
    if part and part_networks(backbone):
        network = backbone.part(part)
    return any(isinstance(module, SplitBatchNorm) for module in network.modules())


def encode_views(backbone: Backbone, views: Sequence[Batch]) -> list[Encoded]:
    """Encode views, those whose tensors agree in shape in one call, and give the results in the views' order.

    Batch norm hence sees all views of one size together, as in the authors' code of SimCLR, SwAV and DINO; that of BYOL, Barlow
    Twins, VICReg and SimSiam encodes each view apart.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, view in enumerate(views):
        groups.setdefault(tuple((key, tuple(value.shape), value.dtype) for key, value in sorted(view.items())), []).append(
            index
        )
    results: dict[int, Encoded] = {}
    for members in groups.values():
        joined = (
            {key: torch.cat([views[i][key] for i in members]) for key in views[members[0]]}
            if members[1:]
            else views[members[0]]
        )
        encoded = backbone(joined)
        n = len(members)
        tokens: Sequence[Tensor | None] = encoded.tokens.chunk(n) if encoded.tokens is not None else [None] * n
        padding: Sequence[Tensor | None] = encoded.padding.chunk(n) if encoded.padding is not None else [None] * n
        for i, pooled, tokens_i, padding_i in zip(members, encoded.pooled.chunk(n), tokens, padding, strict=True):
            results[i] = Encoded(pooled, tokens_i, encoded.grid, padding_i)
    return [results[i] for i in range(len(views))]


def token_locations(crop: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Where the centre of each token of a view lies in the source.

    Args:
        crop: [B, d, 2], origin and extent along each axis in source coordinates 0..1 (negative extent: flipped).
        grid: the lattice of the tokens, one length for each of the d axes; along axes beyond them a view is whole (the bands of
            a spectrogram that was cut in time).

    Returns:
        [B, N, len(grid)] with N the product of ``grid``, row-major.

    Raises:
        ConfigError: the crop has more axes than the lattice.
    """
    if crop.shape[1] > len(grid):
        raise ConfigError(
            f"the views say where they lie along {crop.shape[1]} axes, but the backbone's tokens lie on a lattice {grid}."
        )
    if crop.shape[1] < len(grid):
        whole = torch.stack([torch.zeros_like(crop[:, :1, 0]), torch.ones_like(crop[:, :1, 0])], dim=-1)
        crop = torch.cat([crop, whole.expand(-1, len(grid) - crop.shape[1], -1)], dim=1)
    axes = [(torch.arange(n, device=crop.device, dtype=crop.dtype) + 0.5) / n for n in grid]
    centres = torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")], dim=-1)
    return crop[:, None, :, 0] + crop[:, None, :, 1] * centres


def present_rows(views: Sequence[Batch]) -> list[Tensor] | None:
    """Per view [B] bool, which rows have the part that it shows; None for data of one kind."""
    found = [presence(view, part) for view, part in zip(views, view_parts(views), strict=True)]
    valid = [each for each in found if each is not None]
    return valid if valid and len(valid) == len(found) else None


def shown_content(views: Sequence[Batch]) -> Tensor | None:
    """[B, V] long, a number for what each view shows of each row, -1 where it does not say; None if no view says."""
    columns = [
        (view.get(f"{part}{MARK}{CONTENT}") if part else None, presence(view, part))
        for view, part in zip(views, view_parts(views), strict=True)
    ]
    known = [content for content, _ in columns if content is not None]
    if not known:
        return None
    blank = torch.full_like(known[0], -1)
    filled = [
        blank if content is None else content if present is None else torch.where(present, content, blank)
        for content, present in columns
    ]
    return torch.stack(filled, dim=1)


def token_padding(tokens: Sequence[Encoded]) -> list[Tensor] | None:
    """Per view [B, N] bool; a view without padding has none in it where others have some. None: no view has any."""
    if all(view.padding is None for view in tokens):
        return None
    return [
        view.padding if view.padding is not None else torch.zeros_like(view.tokens[..., 0], dtype=torch.bool)
        for view in tokens
        if view.tokens is not None
    ]


def view_locations(views: Sequence[Batch], tokens: Sequence[Encoded]) -> list[Tensor] | None:
    """Per view [B, N, d], where the centre of each token lies in the source; None unless all views with tokens say it."""
    located = [
        token_locations(view["crop"], encoded.grid)
        for view, encoded in zip(views, tokens, strict=False)
        if "crop" in view and encoded.grid
    ]
    return located if tokens and len(located) == len(tokens) else None

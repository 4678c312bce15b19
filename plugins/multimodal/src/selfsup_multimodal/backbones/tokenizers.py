"""What cuts the parts of a row into tokens: token backbones of their modalities, without the layers behind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field
from torch import nn

from selfsup.backbones import TokenBackbone, hold_fixed
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup_multimodal.backbones.towers import check_modality
from selfsup_multimodal.joined_info import JoinedPart


class TokenizerConfig(Config):
    """What cuts one part into tokens."""

    backbone: str = ""
    """Id of a token backbone of the part's modality, whose tokens are taken; empty: that modality's default."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of that backbone, as for a run of its own modality; its depth is of no account."""


def build_tokenizer(part: JoinedPart, config: TokenizerConfig) -> tuple[TokenBackbone, tuple[str, dict[str, Any]]]:
    """What cuts a part into tokens, and its id with its options in full.

    Raises:
        ConfigError: the modality has no token backbone, or the one that was chosen has no tokens or is of another modality.
        MissingPluginError: the plugin of the part's modality is not installed.
    """
    id = config.backbone or part.spec.token_backbone
    if not id:
        raise ConfigError(
            f"{part.modality} has no token backbone, so that the part {part.name!r} cannot be fused; take towers."
        )
    check_modality(id, part)
    backbone, options = registry().build_backbone(id, config.options, part.info)
    if not isinstance(backbone, TokenBackbone):
        raise ConfigError(
            f"the backbone {id!r} of the part {part.name!r} cuts nothing into tokens; "
            f"`selfsup list backbones --modality {part.modality}` says which do."
        )
    return backbone, (id, options.model_dump(mode="json"))


def varies(part: JoinedPart) -> bool:
    """Whether the number of tokens follows the batch's longest sample."""
    return bool(registry().processor_class(part.modality).free_axes)


def keep_parameters(module: nn.Module, kept: Iterable[nn.Parameter]) -> None:
    """Throw away the layers whose parameters are not kept; single parameters beside kept ones stay, and are not trained.

    Args:
        module: changed in place. What used the layers no longer works.
        kept: parameters of it.
    """
    ids = {id(parameter) for parameter in kept}
    for name, child in list(module.named_children()):
        own = list(child.parameters())
        if own and not any(id(parameter) in ids for parameter in own):
            setattr(module, name, nn.Identity())
        else:
            keep_parameters(child, kept)
    hold_fixed(module, *(name for name, own in module.named_parameters(recurse=False) if id(own) not in ids))

"""Tokenizers of the parts of a row: token backbones of their modalities without the later layers."""

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
    """The tokenizer of one part."""

    backbone: str = ""
    """Id of a token backbone of the part's modality; empty: that modality's default."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that backbone, as in its own modality; its depth has no effect."""


def build_tokenizer(part: JoinedPart, config: TokenizerConfig) -> tuple[TokenBackbone, tuple[str, dict[str, Any]]]:
    """Build the tokenizer of a part; also returns its id and full options.

    Raises:
        ConfigError: the modality has no token backbone, or the chosen one has no tokens or another modality.
        MissingPluginError: the plugin of the part's modality is not installed.
    """
    id = config.backbone or part.spec.token_backbone
    if not id:
        raise ConfigError(f"{part.modality} has no token backbone, so the part {part.name!r} cannot be fused; take towers.")
    check_modality(id, part)
    backbone, options = registry().build_backbone(id, config.options, part.info)
    if not isinstance(backbone, TokenBackbone):
        raise ConfigError(
            f"the backbone {id!r} of the part {part.name!r} has no tokens; "
            f"`selfsup list backbones --modality {part.modality}` shows which have."
        )
    return backbone, (id, options.model_dump(mode="json"))


def varies(part: JoinedPart) -> bool:
    """Whether the number of tokens depends on the longest sample of the batch."""
    return bool(registry().processor_class(part.modality).free_axes)


def keep_parameters(module: nn.Module, kept: Iterable[nn.Parameter]) -> None:
    """Remove the layers that hold none of the ``kept`` parameters, in place.

    Other parameters next to kept ones stay and are not trained. Methods that use removed layers no longer work.
    """
    ids = {id(parameter) for parameter in kept}
    for name, child in list(module.named_children()):
        own = list(child.parameters())
        if own and not any(id(parameter) in ids for parameter in own):
            setattr(module, name, nn.Identity())
        else:
            keep_parameters(child, kept)
    hold_fixed(module, *(name for name, own in module.named_parameters(recurse=False) if id(own) not in ids))

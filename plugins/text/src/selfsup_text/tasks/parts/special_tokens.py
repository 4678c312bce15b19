"""The ids of special tokens for tasks, and checks of tokenizer and backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.errors import ConfigError
from selfsup.types import Batch, Info
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.config import DOCUMENTS


class SpecialTokens(nn.Module):
    """The ids of special and ordinary tokens, on the device of the task."""

    is_special: Tensor
    ordinary: Tensor

    def __init__(self, info: Info) -> None:
        super().__init__()
        self.size = int(info["vocab_size"])
        self.pad_id = int(info["pad_id"])
        self.start_id, self.end_id = int(info["cls_id"]), int(info["sep_id"])
        special = torch.zeros(self.size, dtype=torch.bool)
        special[torch.tensor(list(info["special_ids"]), dtype=torch.long)] = True
        self.register_buffer("is_special", special, persistent=False)
        self.register_buffer("ordinary", torch.nonzero(~special).flatten(), persistent=False)

    def maskable(self, batch: Batch) -> Tensor:
        """[B, N] bool, the tokens that are neither padding nor special."""
        return ~(batch["padding"] | self.is_special[batch["ids"]])

    def take(self, batch: Batch, index: Tensor, valid: Tensor) -> Batch:
        """The batch of the tokens at ``index`` ([B, K] long) where ``valid`` ([B, K] bool), padding elsewhere."""
        return {
            "ids": batch["ids"].gather(1, index).masked_fill(~valid, self.pad_id),
            "padding": ~valid,
            "words": batch["words"].gather(1, index).masked_fill(~valid, -1),
            **({DOCUMENTS: batch[DOCUMENTS].gather(1, index)} if DOCUMENTS in batch else {}),
        }


def mask_id_of(info: Info, method: str) -> int:
    """The id of the mask token.

    Raises:
        ConfigError: the tokenizer has none.
    """
    if int(info["mask_id"]) < 0:
        raise ConfigError(f"{method} needs a mask token, but the tokenizer has none: set processor.add_special=true.")
    return int(info["mask_id"])


def text_backbone(backbone: Backbone, method: str, *, causal: bool | None = None) -> TextBackbone:
    """Return ``backbone`` if it is a text backbone with tokens, and causal or not as required (None: either).

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(backbone, TextBackbone):
        raise ConfigError(
            f"{method} needs the tokens of a text, but {type(backbone).__name__} gives none. Choose a backbone with tokens: "
            "`selfsup list backbones --modality text` shows which have them."
        )
    if causal is not None and backbone.causal != causal:
        kind, wanted = ("a decoder", "an encoder") if backbone.causal else ("an encoder", "a decoder")
        raise ConfigError(
            f"{method} needs {wanted}, but {type(backbone).__name__} is {kind} here. Choose another backbone, for example "
            f"{'text-decoder-small' if causal else 'text-encoder-small'}."
        )
    return backbone

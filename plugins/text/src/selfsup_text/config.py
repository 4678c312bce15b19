"""The options of the text processor."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from selfsup.config import Config, idle
from selfsup_text.tokenizer_training import SPECIAL

KINDS = ("wordpiece", "bpe", "unigram")
"""Tokenizers that can be trained."""
DOCUMENTS = "documents"
"""Key of the batch: [B, N] long, the number of the document (row) in its block that a token belongs to."""
_LEAST_BPE = 256 + len(SPECIAL)


class TextProcessorConfig(Config):
    """Options of :class:`~selfsup_text.processor.TextProcessor`."""

    tokenizer: str = "wordpiece"
    """A kind to train on the rows (``wordpiece``, ``bpe``, ``unigram``), or a folder or ``hf://owner/name`` to load."""
    vocab_size: int = Field(8192, ge=32, le=1_000_000)
    """Most entries of a trained tokenizer, at least 261 for bpe; 30,522 in BERT, for billions of words."""
    min_frequency: int = Field(2, ge=1)
    """Least count of a pair of pieces to become a piece; 2 in the tokenizers library's BERT."""
    lowercase: bool = True
    """Whether a trained tokenizer lowercases texts, as in BERT's uncased models."""
    max_length: int = Field(128, ge=4, le=65_536)
    """Most tokens of a sample without class token and separator; 510 in BERT. Longer texts are cut."""
    packing: Literal["none", "blocks"] = "none"
    """``none``: each row is a sample; ``blocks``: pretraining joins rows, with a separator, into blocks of ``max_length``."""
    document_masks: bool = False
    """Whether tokens of a block attend only to tokens of their own row (document), whose positions begin anew, and no word is
    predicted from another row; a row has a class token of its own where texts begin with one.

    False in BERT, RoBERTa and GPT, whose blocks run across documents; True in Llama 3 (Grattafiori et al. 2024,
    arXiv:2407.21783, section 3.2), which found little effect except in long contexts.
    """
    add_special: bool = False
    """Add a mask token and a padding token to a loaded tokenizer that lacks them (as those of decoders do). Masked language
    modelling, ELECTRA and span corruption set it."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        trained = self.tokenizer in KINDS
        return {
            **idle("processor.tokenizer is loaded", not trained, "vocab_size", "min_frequency", "lowercase"),
            **idle("processor.packing is none", self.packing == "none", "document_masks"),
            **idle("processor.tokenizer is trained, with all special tokens", trained, "add_special"),
        }

    @model_validator(mode="after")
    def _room_for_bytes(self) -> Self:
        if self.tokenizer == "bpe" and self.vocab_size < _LEAST_BPE:
            raise ValueError(
                f"vocab_size={self.vocab_size} is too small for tokenizer='bpe', which has an entry for each of 256 bytes and "
                f"{len(SPECIAL)} special tokens: choose {_LEAST_BPE} or more, or another kind"
            )
        return self

"""A tokenizer, its special tokens, and which tokens begin a word."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, processors

from selfsup.errors import ArtifactError, ConfigError
from selfsup_text.tokenizer_training import CONTINUES, SPECIAL

_HUB = "hf://"
_ROLES = ("pad", "unk", "cls", "sep", "mask")
_MARKS = ("\u2581", "\u0120")
"""What a token of SentencePiece or of byte-level BPE begins with where a space was in front of it."""
_INSTEAD = {"cls": ("bos_token", "eos_token"), "sep": ("eos_token", "bos_token"), "pad": ("eos_token",)}
"""Tokens of decoders that can do the work."""
_TOKENIZER_FILE = "tokenizer.json"
_SPECIAL_FILE = "special_tokens.json"
_WHAT_TO_GIVE = (
    "Give the tokenizer that the model was trained with (--set processor.tokenizer=FOLDER, or hf://owner/name), or train one "
    "on the rows (--set processor.tokenizer=wordpiece, bpe or unigram): the words of a pretrained model are then new."
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer with a class token, a separator, padding and a mask token."""

    tokenizer: Tokenizer
    special: dict[str, str]
    """``pad``, ``cls``, ``sep``, and ``unk`` and ``mask`` where there is one, to the token."""
    begins: bool = True
    """Whether the class token stands in front of a text for a decoder, too; GPT-2's tokenizer puts nothing there."""

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    def id(self, role: str) -> int:
        """The id of a special token; -1 without one (``unk`` of byte-level tokenizers, ``mask`` of decoders')."""
        token = self.special.get(role)
        id = None if token is None else self.tokenizer.token_to_id(token)
        return -1 if id is None else id

    def special_ids(self) -> list[int]:
        """The ids of all special tokens, sorted."""
        added = self.tokenizer.get_added_tokens_decoder()
        found = {id for id, token in added.items() if token.special} | {self.id(role) for role in self.special}
        found.discard(-1)
        return sorted(found)

    def begins_word(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[V], whether a token begins a word, by its mark or by its first character.

        A Chinese, Japanese or Korean character, punctuation and a special token begin one in any place.
        """
        tokens = self.tokenizer.get_vocab(with_added_tokens=True)
        begins = np.zeros(len(self), dtype=np.bool_)
        pieces = any(token.startswith(CONTINUES) for token in tokens)
        special = set(self.special_ids())
        for token, id in tokens.items():
            if id >= len(begins):
                continue
            if pieces:
                begins[id] = not token.startswith(CONTINUES) or id in special
            else:
                text = self.tokenizer.decode([id], skip_special_tokens=False).strip()
                begins[id] = id in special or token.startswith(_MARKS) or _stands_alone(text)
        return begins

    def framing(self, *, causal: bool) -> Tokenizer:
        """The tokenizer as it puts the special tokens in by itself, for those who use it without selfsup.

        Args:
            causal: whether it is for a decoder, which wants nothing behind a text.
        """
        begin, end = self.special["cls"], self.special["sep"]
        pairs = sorted({(begin, self.id("cls")), (end, self.id("sep"))})
        single, pair = f"{begin} $A {end}", f"{begin} $A {end} $B:1 {end}:1"
        if causal:
            single, pair = (f"{begin} $A", f"{begin} $A $B:1") if self.begins else ("$A", "$A $B:1")
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=pairs)
        return tokenizer

    def save(self, directory: Path) -> None:
        """Write two JSON files."""
        self.tokenizer.save(str(directory / _TOKENIZER_FILE))
        described = {**self.special, "begins": self.begins}
        (directory / _SPECIAL_FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    def digest(self) -> str:
        """The same where all ids stand for the same tokens, but for tokens that were added to a vocabulary that was there."""
        tokens = sorted((id, token) for token, id in self.tokenizer.get_vocab(with_added_tokens=False).items())
        return hashlib.sha256(json.dumps(tokens).encode()).hexdigest()[:16]

    @classmethod
    def load(cls, directory: Path) -> Vocabulary:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        try:
            special = json.loads((directory / _SPECIAL_FILE).read_text(encoding="utf-8"))
            begins = bool(special.pop("begins", True))
            tokenizer = Tokenizer.from_file(str(directory / _TOKENIZER_FILE))
            return cls(tokenizer, {str(k): str(v) for k, v in special.items()}, begins)
        except Exception as error:  # the tokenizers library raises plain Exception
            raise ArtifactError(f"{directory} holds no saved tokenizer ({error}); save the encoder again.") from error


def trained(tokenizer: Tokenizer) -> Vocabulary:
    """The vocabulary of a tokenizer that was trained here."""
    return Vocabulary(tokenizer, dict(SPECIAL))


def load_vocabulary(source: str, *, add_special: bool = False) -> Vocabulary:
    """A tokenizer that is there already, with what it lacks of special tokens added behind its own.

    A decoder's beginning and end of a text serve as class token and separator, and its end as padding: so its vocabulary is the
    one that its model was trained with.

    Args:
        source: a folder with ``tokenizer.json``, or ``hf://owner/name``. No code of it is run.
        add_special: whether a mask token and padding are added where it has none of its own.

    Raises:
        ConfigError: there is no such tokenizer, or it is none of the tokenizers library.
    """
    from transformers import AutoTokenizer

    local = not source.startswith(_HUB)
    where = str(Path(source).expanduser()) if local else source.removeprefix(_HUB)
    if local and not Path(where).is_dir():
        raise ConfigError(f"processor.tokenizer={source} is neither a folder nor a kind of tokenizer. {_WHAT_TO_GIVE}")
    try:
        found = AutoTokenizer.from_pretrained(where, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ConfigError(f"{source} holds no tokenizer that can be read ({error}). {_WHAT_TO_GIVE}") from error
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(f"{source} has no {_TOKENIZER_FILE}: only tokenizers of that library are read. {_WHAT_TO_GIVE}")
    tokenizer = Tokenizer.from_str(backend.to_str())
    # Of a folder with a model alone the library makes a tokenizer that knows special tokens and no word.
    if tokenizer.get_vocab_size(with_added_tokens=True) <= len(tokenizer.get_added_tokens_decoder()):
        raise ConfigError(f"{source} holds a model and no tokenizer. {_WHAT_TO_GIVE}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    framed, bare = (found("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    special = {}
    for role in _ROLES:
        instead = () if add_special and role == "pad" else _INSTEAD.get(role, ())
        token = next((str(value) for name in (f"{role}_token", *instead) if (value := getattr(found, name, None))), None)
        if token is None and (role in ("pad", "cls", "sep") or (role == "mask" and add_special)):
            token = SPECIAL[role]
            tokenizer.add_special_tokens([token])
        if token is not None:
            special[role] = token
    return Vocabulary(tokenizer, special, begins=framed[:1] != bare[:1])


def _stands_alone(text: str) -> bool:
    """Whether a token of this text begins a word in any place: by a character that is no part of a spaced word."""
    if not text:
        return False
    first = text[0]
    if first == "\ufffd":  # a part of a character
        return False
    return not first.isalnum() or unicodedata.east_asian_width(first) in "WF"

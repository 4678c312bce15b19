"""Tokenizers with their special tokens, and which tokens begin a word."""

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
"""How SentencePiece and byte-level BPE mark a token that follows a space."""
_INSTEAD = {"cls": ("bos_token", "eos_token"), "sep": ("eos_token", "bos_token"), "pad": ("eos_token",)}
"""Tokens of decoders that can replace missing special tokens."""
_TOKENIZER_FILE = "tokenizer.json"
_SPECIAL_FILE = "special_tokens.json"
_WHAT_TO_GIVE = (
    "Give the tokenizer that the model was trained with (--set processor.tokenizer=FOLDER, or hf://owner/name), or train one "
    "on the rows (--set processor.tokenizer=wordpiece, bpe or unigram): a pretrained model then gets new word vectors."
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer with a class token, a separator, padding and a mask token."""

    tokenizer: Tokenizer
    special: dict[str, str]
    """Role (``pad``, ``cls``, ``sep``, and ``unk`` and ``mask`` if they exist) to token."""
    begins: bool = True
    """Whether decoders, too, get the class token before a text; GPT-2's tokenizer adds none."""

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    def id(self, role: str) -> int:
        """The id of a special token; -1 if it is missing (``unk`` in byte-level tokenizers, ``mask`` in decoders')."""
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
        """[V], whether a token begins a word, by its mark or its first character.

        Chinese, Japanese and Korean characters, punctuation and special tokens always begin a word.
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
        """The tokenizer with a post-processor that adds the special tokens, for use without selfsup.

        ``causal`` is for decoders, which need nothing after a text.
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
        """A hash of the tokens and ids without added tokens; equal for equal vocabularies."""
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
            found = cls(tokenizer, {str(k): str(v) for k, v in special.items()}, begins)
            if unknown := [token for role, token in found.special.items() if found.id(role) < 0]:
                raise ValueError(f"the tokenizer has no token {unknown[0]!r}")
            if missing := [role for role in ("pad", "cls", "sep") if role not in found.special]:
                raise ValueError(f"there is no {missing[0]} token")
            if (highest := max(tokenizer.get_vocab(with_added_tokens=True).values())) >= len(found):
                raise ValueError(f"it has {len(found)} tokens, and one with the id {highest}")
            return found
        except Exception as error:  # the tokenizers library raises plain Exception
            raise ArtifactError(f"{directory} holds no saved tokenizer ({error}); save the encoder again.") from error


def trained(tokenizer: Tokenizer) -> Vocabulary:
    """The vocabulary of a tokenizer trained by this plugin."""
    return Vocabulary(tokenizer, dict(SPECIAL))


def load_vocabulary(source: str, *, add_special: bool = False) -> Vocabulary:
    """Load a tokenizer, and add the special tokens that it lacks after its own.

    For decoders the tokens for beginning and end of a text serve as class token and separator, and the end as padding, so that
    the vocabulary stays the one of the model.

    Args:
        source: a folder with ``tokenizer.json``, or ``hf://owner/name``. No code in it is run.
        add_special: whether a missing mask token and padding token are added.

    Raises:
        ConfigError: there is no such tokenizer, or it is not one of the tokenizers library.
    """
    from transformers import AutoTokenizer

    local = not source.startswith(_HUB)
    where = str(Path(source).expanduser()) if local else source.removeprefix(_HUB)
    if local and not Path(where).is_dir():
        raise ConfigError(f"processor.tokenizer={source} is neither a folder nor a kind of tokenizer. {_WHAT_TO_GIVE}")
    try:
        found = AutoTokenizer.from_pretrained(where, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ConfigError(f"The tokenizer in {source} cannot be read ({error}). {_WHAT_TO_GIVE}") from error
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(f"{source} has no {_TOKENIZER_FILE}, the only format that is read. {_WHAT_TO_GIVE}")
    tokenizer = Tokenizer.from_str(backend.to_str())
    # From a folder with only a model, the library makes a tokenizer of special tokens without words.
    if tokenizer.get_vocab_size(with_added_tokens=True) <= len(tokenizer.get_added_tokens_decoder()):
        raise ConfigError(f"{source} holds a model but no tokenizer. {_WHAT_TO_GIVE}")
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
    """Whether a token with this text always begins a word: its first character is not part of a spaced word."""
    if not text:
        return False
    first = text[0]
    if first == "\ufffd":  # part of a character
        return False
    return not first.isalnum() or unicodedata.east_asian_width(first) in "WF"

"""Trains a tokenizer on a corpus. The same texts give the same tokenizer, on any number of cores."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

_GIANT = re.compile(r"(\w{256}(?=\w)|[^\w\s]{256}(?=[^\w\s])|\S{512}(?=\S))")
"""A run of characters that is not a word; the time to merge pairs grows with the square of a word's length."""
Kind = Literal["wordpiece", "bpe", "unigram"]
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
"""The special tokens of trained tokenizers; their ids are 0 to 4."""
CONTINUES = "##"
"""Prefix of WordPieces that do not begin a word."""
_SEEDS = 1.5
"""Initial pieces of Unigram per piece that it keeps."""
_ROUNDS = 4
"""Rounds of Unigram's training; halfway it drops pieces."""


def train_tokenizer(kind: Kind, texts: Sequence[str], *, vocab_size: int, min_frequency: int, lowercase: bool) -> Tokenizer:
    """Train a tokenizer.

    Args:
        kind: ``wordpiece`` (Schuster & Nakajima 2012, as in BERT; learned by merges as in the tokenizers library), ``bpe`` on
            bytes (Sennrich et al. 2015, arXiv:1508.07909; Radford et al. 2019), or ``unigram`` (Kudo 2018, arXiv:1804.10959;
            with hard counts, starting from byte pair encoding's pieces, so that it is fast and repeatable).
        texts: the corpus.
        vocab_size: most entries, the five special tokens included.
        min_frequency: least count of a pair to be merged.
        lowercase: drop upper case, and accents for WordPiece.

    Runs of more than 256 characters without a space (base64, minified scripts) are cut: they would take hours.
    """
    texts = [_GIANT.sub(r"\1 ", text) for text in texts]
    if kind == "wordpiece":
        return _wordpiece(texts, vocab_size, min_frequency, lowercase)
    if kind == "bpe":
        return _byte_pairs(texts, vocab_size, min_frequency, lowercase)
    return _unigram(texts, vocab_size, min_frequency, lowercase)


def _wordpiece(texts: Sequence[str], vocab_size: int, min_frequency: int, lowercase: bool) -> Tokenizer:
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)  # also separates Chinese characters
    alphabet = _alphabet(texts, normalizer, (vocab_size - len(SPECIAL)) // 2)
    trained = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk"]))
    trained.normalizer = normalizer
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The trainer numbers prefixed characters in hash order and breaks ties by number; naming them here fixes the order.
    inner = [f"{CONTINUES}{character}" for character in alphabet if _inside_words(character, trained)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        special_tokens=[*SPECIAL.values(), *inner],
        show_progress=False,
    )
    trained.train_from_iterator(iter(texts), trainer)
    # Rebuilt, because the characters named above would be special tokens.
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token=SPECIAL["unk"]))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUES)
    tokenizer.add_special_tokens(list(SPECIAL.values()))
    return tokenizer


def _byte_pairs(texts: Sequence[str], vocab_size: int, min_frequency: int, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(normalizers.NFC(), lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    return tokenizer


def _unigram(texts: Sequence[str], vocab_size: int, min_frequency: int, lowercase: bool) -> Tokenizer:
    normalizer = _normalizer(normalizers.NFKC(), lowercase)
    # Chinese has no spaces: without a cut at punctuation a piece could span sentences.
    cut = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    alphabet = _alphabet(texts, normalizer, (vocab_size - len(SPECIAL)) // 2)
    seeds = Tokenizer(models.BPE())
    seeds.normalizer, seeds.pre_tokenizer = normalizer, cut
    trainer = trainers.BpeTrainer(
        vocab_size=int(_SEEDS * vocab_size),
        min_frequency=min_frequency,
        initial_alphabet=["\u2581", *alphabet],
        limit_alphabet=len(alphabet) + 1,
        show_progress=False,
    )
    seeds.train_from_iterator(iter(texts), trainer)
    counts = _recount(texts, seeds, seeds.get_vocab())
    for round_ in range(_ROUNDS):
        if round_ == _ROUNDS // 2:  # by now the counts reflect competing pieces
            ranked = sorted(counts, key=lambda token: (len(token) > 1, -counts[token], token))
            counts = {token: counts[token] for token in ranked[: vocab_size - len(SPECIAL)]}
        counts = _recount(texts, _with_counts(counts, normalizer, cut), counts)
    return _with_counts(counts, normalizer, cut)


def _with_counts(counts: Mapping[str, int], normalizer: normalizers.Normalizer, cut: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """A Unigram tokenizer whose piece probabilities are relative counts."""
    total = math.log(sum(counts.values()))
    pieces = [(token, math.log(counts[token]) - total) for token in sorted(counts, key=lambda token: (-counts[token], token))]
    scored = [*((token, 0.0) for token in SPECIAL.values()), *pieces]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=list(SPECIAL).index("unk"), byte_fallback=False))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cut
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(SPECIAL.values()))
    return tokenizer


def _recount(texts: Sequence[str], tokenizer: Tokenizer, tokens: Iterable[str]) -> dict[str, int]:
    """How often each token occurs, at least 1."""
    ids: Counter[int] = Counter()
    for start in range(0, len(texts), 1024):
        for encoding in tokenizer.encode_batch_fast(list(texts[start : start + 1024]), add_special_tokens=False):
            ids.update(encoding.ids)
    place = tokenizer.get_vocab()
    return {token: max(ids[place[token]], 1) for token in tokens}


def _inside_words(character: str, tokenizer: Tokenizer) -> bool:
    """Whether a character can be inside a word; Chinese characters and punctuation are separate words."""
    assert tokenizer.normalizer is not None
    assert tokenizer.pre_tokenizer is not None
    return len(tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(f"a{character}a"))) == 1


def _alphabet(texts: Sequence[str], normalizer: normalizers.Normalizer, most: int) -> list[str]:
    """The most frequent characters, sorted."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    known = sorted((character for character in counts if not character.isspace()), key=lambda c: (-counts[c], c))
    return sorted(known[:most])


def _normalizer(first: normalizers.Normalizer, lowercase: bool) -> normalizers.Normalizer:
    return normalizers.Sequence([first, normalizers.Lowercase()]) if lowercase else first

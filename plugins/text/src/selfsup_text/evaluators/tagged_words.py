"""Words with tags: read them from rows, and compute one vector per word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from selfsup.data import stack_samples
from selfsup.errors import ConfigError, DataError
from selfsup.evaluation import Split
from selfsup.runtime import evaluation_mode
from selfsup_text.evaluators.columns import choose_column, is_list, is_text, rows_of, values_of

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder
    from selfsup_text.processor import TextProcessor

_BATCH = 64


@dataclass(frozen=True)
class Sentence:
    """One text as words with tags."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_sentences(split: Split, *, words: str, tags: str) -> list[Sentence]:
    """Read the tagged sentences of a split.

    Args:
        split: with rows that hold tags as a list or a string separated by white space.
        words: the column of lists of words; empty: the text, split at white space.
        tags: the column of tags; empty: one with a usual name, or the only list.

    Raises:
        ColumnError: a column cannot be found.
        DataError: a sentence has more or fewer tags than words, a tag is not a class, or there are no tags.
    """
    rows = rows_of(split, "token-classification")
    column = choose_column(
        rows,
        tags,
        fits=lambda feature: is_list(feature) or (bool(tags) and is_text(feature)),
        names=("tags", "ner_tags", "pos_tags", "upos"),
        what="the tags",
        option="token-classification.tags",
    )
    source = words or rows.columns["text"]
    if source not in rows.dataset.features:
        choose_column(rows, source, fits=is_list, names=(), what="the words", option="token-classification.words")
    names = _tag_names(rows.dataset.features[column])
    sentences: list[Sentence] = []
    pairs = zip(values_of(split, source), values_of(split, column), strict=True)
    for place, (text, named) in zip(split.store.kept, pairs, strict=True):
        parts = _parts(text)
        if names and any(isinstance(m, int) and not 0 <= m < len(names) for m in _parts(named)):
            raise DataError(
                f"{rows.describe(int(place))} of {rows.name} has a word without a tag in column {column!r} (its number is not "
                f"one of {len(names)} classes); leave such rows out."
            )
        marks = [names[m] if names and isinstance(m, int) else str(m) for m in _parts(named)]
        if len(parts) != len(marks):
            raise DataError(
                f"{rows.describe(int(place))} of {rows.name} has {len(parts)} words ({source!r}, split at white space) and "
                f"{len(marks)} tags ({column!r}); each word needs one. Give the words as lists with --set "
                "token-classification.words=COLUMN."
            )
        if parts:
            sentences.append(Sentence(tuple(map(str, parts)), tuple(marks)))
    if not sentences:
        raise DataError(f"{rows.name} has no tagged word in column {column!r}.")
    return sentences


def _parts(value: Any) -> list[Any]:
    return value.split() if isinstance(value, str) else list(value or ())


def _tag_names(feature: Any) -> Sequence[str]:
    """Names of a list's ``ClassLabel`` ids; empty for other tags."""
    inner = getattr(feature, "feature", None)
    return getattr(inner, "names", None) or ()


class Words(NamedTuple):
    """The words of several sentences with their vectors."""

    vectors: Tensor
    """[M, D] float32 on the CPU."""
    tags: list[str]
    """M tags."""
    ends: list[int]
    """Index after the last word of each sentence."""


def word_vectors(encoder: Encoder, sentences: Sequence[Sentence], *, pooling: str) -> Words:
    """A vector and a tag per word; words beyond the encoder's maximal length are left out.

    The whole sentence (its words joined by spaces) is tokenized, as in pretraining; each token belongs to one word.

    Args:
        encoder: its backbone gives tokens.
        sentences: to encode.
        pooling: ``first`` token of the word (Devlin et al. 2018), or the ``mean`` of its tokens.

    Raises:
        ConfigError: the backbone gives no tokens.
    """
    vectors: list[Tensor] = []
    tags: list[str] = []
    ends: list[int] = []
    order = sorted(sentences, key=lambda sentence: len(sentence.words))
    with evaluation_mode(encoder):
        processor = cast("TextProcessor", encoder.processor)
        for joined, part in _batches(processor, order):
            batch = processor.collate(stack_samples([{"ids": text.ids} for text in joined]))
            encoded = encoder.backbone({key: value.to(encoder.device) for key, value in batch.items()})
            if encoded.tokens is None:
                raise ConfigError(
                    "The evaluator 'token-classification' needs a vector for each token, and the backbone "
                    f"{encoder.backbone_id!r} gives none. Take one with tokens: `selfsup list backbones --modality text`."
                )
            tokens = encoded.tokens.float().cpu()
            for row, (text, sentence) in enumerate(zip(joined, part, strict=True)):
                vectors.append(_by_word(tokens[row, : len(text.ids)], text.sizes, pooling))
                tags.extend(sentence.tags[: len(text.sizes)])
                ends.append(len(tags))
    return Words(torch.cat(vectors), tags, ends)


def _by_word(tokens: Tensor, sizes: list[int], pooling: str) -> Tensor:
    """[W, D] from tokens [N, D] and the number of tokens of each of W words."""
    counts = torch.tensor(sizes)
    if pooling == "first":
        return tokens[counts.cumsum(0) - counts]
    number = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    return torch.zeros(len(sizes), tokens.shape[1]).index_add_(0, number, tokens) / counts.unsqueeze(1)


class _Joined(NamedTuple):
    """Words as one text."""

    ids: np.ndarray[Any, Any]
    """[N]."""
    sizes: list[int]
    """Tokens of each word; their sum is N."""


def _batches(processor: TextProcessor, sentences: Sequence[Sentence]) -> Iterator[tuple[list[_Joined], list[Sentence]]]:
    longest = int(processor.info()["max_length"])
    for start in range(0, len(sentences), _BATCH):
        part = list(sentences[start : start + _BATCH])
        encoded = processor.encode_words([sentence.words for sentence in part])
        yield [_join(words, longest) for words in encoded], part


def _join(words: list[list[int]], longest: int) -> _Joined:
    """The ids of the words of a text, at most ``longest`` tokens of them, cut between words."""
    ends = np.cumsum([len(word) for word in words])
    fitting = words[: int((ends <= longest).sum())] or [words[0][:longest]]
    return _Joined(np.concatenate(fitting).astype(np.int32), [len(word) for word in fitting])

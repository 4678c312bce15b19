"""The text processor: turns rows into token ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from selfsup.config import Config
from selfsup.config import Config as BaseConfig
from selfsup.data import Preview, Processor, Sample, TextPreview, reading_state, shortened, write_state
from selfsup.errors import BadRowError, SourceError
from selfsup.runtime import Findings
from selfsup.types import Batch, Info, Row
from selfsup_text.config import DOCUMENTS, KINDS, TextProcessorConfig
from selfsup_text.corpus import Survey, sample_texts, survey
from selfsup_text.tokenization import Vocabulary, load_vocabulary, trained
from selfsup_text.tokenizer_training import SPECIAL, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FILE = "text_processor.json"
_IDF_ROWS = 20_000
_LONGEST_TOKEN = 32
"""Assumed longest mean length of a token, in characters: text beyond ``max_length`` times this is not tokenized."""
_MANY_UNKNOWN = 0.1
"""Share of unknown tokens above which there is a warning; trained tokenizers leave out rare characters."""
_LEAST_WIDTH = 8
"""Batches are padded to at least this many tokens (if ``max_length`` allows): shorter ones leave little to mask."""


class TextProcessor(Processor):
    """Trains a tokenizer on the rows, or loads one, and turns ``text`` into ids.

    A batch holds ``ids`` ([B, N] long, without class token and separator, which the backbone adds), ``padding`` ([B, N] bool,
    at the end of each sample) and ``words`` ([B, N] long, the index of the token's word in its sample, -1 for padding). N is
    the length of the longest sample.

    With ``packing="blocks"`` pretraining joins the rows, with a separator after each, and cuts them into blocks of
    ``max_length`` tokens without padding; in evaluation each row stays a sample. With ``document_masks`` such a batch also
    holds ``documents`` ([B, N] long, the number of the token's row in its block).
    """

    modality: ClassVar[str] = "text"
    adjustable: ClassVar[frozenset[str]] = frozenset({"max_length", "packing", "document_masks"})
    free_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"ids": (1,), "padding": (1,), "words": (1,)}
    Config: ClassVar[type[Config]] = TextProcessorConfig
    config: TextProcessorConfig

    def __init__(self, config: TextProcessorConfig | None = None) -> None:
        super().__init__(config or TextProcessorConfig())
        self.block_length = self.config.max_length if self.config.packing == "blocks" else 0
        self._vocabulary: Vocabulary | None = None
        self._begins = torch.zeros(0, dtype=torch.bool)
        self._idf: list[float] = []
        self._survey: Survey | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer and its special tokens; only after :meth:`fit`."""
        if self._vocabulary is None:
            raise ValueError("the processor has no tokenizer yet: call fit(rows) first")
        return self._vocabulary

    def _set_vocabulary(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._begins = torch.from_numpy(vocabulary.begins_word())

    def fit(self, rows: Iterable[Row]) -> Self:
        """Load the tokenizer, or train it on at most 200,000 rows and 10 million characters, spread evenly over the rows.

        Inverse document frequencies (for TF-IDF) are counted on at most 20,000 of them.

        Raises:
            ConfigError: the tokenizer cannot be loaded.
            SourceError: there is no text to train on.
        """
        if self.config.tokenizer not in KINDS:
            self._set_vocabulary(load_vocabulary(self.config.tokenizer, add_special=self.config.add_special))
            return self._survey_texts(sample_texts(rows))
        texts = sample_texts(rows)
        if not texts:
            raise SourceError("A tokenizer cannot be trained: no row holds text.")
        kind: Any = self.config.tokenizer
        options = {name: getattr(self.config, name) for name in ("vocab_size", "min_frequency", "lowercase")}
        self._set_vocabulary(trained(train_tokenizer(kind, texts, **options)))
        return self._survey_texts(texts)

    def _survey_texts(self, texts: Sequence[str]) -> Self:
        step = max(-(-len(texts) // _IDF_ROWS), 1)
        self._survey = survey(self.vocabulary, texts[::step])
        self._idf = self._survey.idf
        return self

    def info(self) -> Info:
        """``vocab_size``, ``max_length``, ``<role>_id`` of special tokens (-1: missing), ``special_ids``, ``begins`` (whether a
        text starts with a token, also for decoders), ``tokenizer``, ``vocabulary`` (a digest), ``idf`` ([V]).
        """
        vocabulary = self.vocabulary
        ids = {f"{role}_id": vocabulary.id(role) for role in SPECIAL}
        return {
            "vocab_size": len(vocabulary),
            "max_length": self.config.max_length,
            **ids,
            "special_ids": vocabulary.special_ids(),
            "begins": vocabulary.begins,
            "tokenizer": self.config.tokenizer if self.config.tokenizer in KINDS else "loaded",
            "vocabulary": vocabulary.digest(),
            "idf": self._idf,
        }

    def findings(self) -> Findings:
        """The tokenizer and its size, the lengths of the texts, how many are cut, and how rows become samples."""
        config, found, seen = self.config, Findings(), self._survey
        trained = config.tokenizer in KINDS
        how = f"{config.tokenizer}, trained on these rows" if trained else f"loaded from {config.tokenizer}"
        more = ", processor.vocab_size=" if trained else ""
        found.add("tokenizer", f"{how}, {len(self.vocabulary):,} entries (--set processor.tokenizer={more})")
        lengths = np.sort(seen.lengths) if seen is not None else np.zeros(0)
        if len(lengths):
            half = lengths[(len(lengths) - 1) // 2]
            found.add("texts", f"{lengths[0]} to {lengths[-1]} tokens, median {half} ({len(lengths):,} sampled)")
        longer = float(np.mean(lengths > config.max_length)) if len(lengths) else 0.0
        cut = "longer texts are cut" + (f" ({100 * longer:.3g} % of them)" if longer else "")
        joined = "rows joined into blocks" if self.block_length else cut
        found.add("length", f"at most {config.max_length} tokens, {joined} (--set processor.max_length=, processor.packing=)")
        if trained and config.lowercase:
            found.add("letters", "texts are lowercased (--set processor.lowercase=)")
        if seen is not None and seen.unknown > _MANY_UNKNOWN:
            found.warn(
                f"{100 * seen.unknown:.3g} % of the tokens are unknown to the tokenizer, so much of the texts is lost. "
                "Use another one: --set processor.tokenizer=bpe covers every character."
            )
        return found

    def adjusted(self, config: BaseConfig) -> Self:
        """The same tokenizer with another length or packing."""
        twin = super().adjusted(config)
        twin.block_length = twin.config.max_length if twin.config.packing == "blocks" else 0
        return twin

    @classmethod
    def unlike(cls, theirs: Info, ours: Info) -> str:
        """Say if the ids belong to another tokenizer."""
        if theirs.get("vocabulary") == ours.get("vocabulary"):
            return ""
        return (
            f"it was trained with another tokenizer ({theirs['vocab_size']:,} entries) than these texts use "
            f"({ours['vocab_size']:,} entries), so their ids differ in meaning. Leave processor.tokenizer out to use its own."
        )

    def unpacked(self) -> TextProcessor:
        """The same tokenizer without packing: each row is a sample."""
        return self.adjusted(self.config.model_copy(update={"packing": "none"})) if self.block_length else self

    def encode(self, row: Row) -> Sample:
        """Encode one row to ``{"ids": int32 [n]}``."""
        (result,) = self.encode_rows([row])
        if isinstance(result, BadRowError):
            raise result
        return result

    def preview(self, row: Row) -> Sequence[Preview]:
        """The beginning of the text."""
        text = self._readable(row)
        if isinstance(text, BadRowError):
            raise text
        return [TextPreview(shortened(text))]

    def encode_rows(self, rows: Sequence[Row]) -> list[Sample | BadRowError]:
        """Encode rows in one call of the tokenizer, which uses every core."""
        results: list[Any] = [self._readable(row) for row in rows]
        places = [place for place, result in enumerate(results) if isinstance(result, str)]
        texts = [results[place] for place in places]
        encodings = self.vocabulary.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for place, encoding in zip(places, encodings, strict=True):
            results[place] = self._sample_of(encoding.ids)
        return results

    def _readable(self, row: Row) -> str | BadRowError:
        text = row.get("text")
        if not isinstance(text, str):
            return BadRowError("it holds no text" if text is None else f"its text is of type {type(text).__name__}")
        if not text or text.isspace():
            return BadRowError("its text is empty")
        if not self.block_length and len(text) > _LONGEST_TOKEN * self.config.max_length:
            text = text[: _LONGEST_TOKEN * self.config.max_length]
        try:
            text.encode()
        except UnicodeEncodeError:
            return BadRowError("its text holds half of a surrogate pair, which is not a character")
        return text

    def _sample_of(self, ids: list[int]) -> Sample | BadRowError:
        if not ids:
            return BadRowError("the tokenizer makes no token of its text")
        if 2 * ids.count(self.vocabulary.id("unk")) > len(ids):
            self.remark("most of the text's tokens are unknown to the tokenizer")
        if self.block_length:
            begin = [self.vocabulary.id("cls")] if self.config.document_masks and self.vocabulary.begins else []
            ids = [*begin, *ids, self.vocabulary.id("sep")]
        else:
            ids = ids[: self.config.max_length]
        return {"ids": np.asarray(ids, dtype=np.int32)}

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The ids of each word of each sentence, from tokenizing the words joined by spaces.

        Byte-level tokenizers and SentencePiece put the space before a word into its first token, so a word alone has other ids.
        A token that spans several words belongs to the first of them. A word without tokens becomes the unknown token (or mask
        token or separator).
        """
        texts = [" ".join(words) for words in sentences]
        vocabulary = self.vocabulary
        unknown = next((id for role in ("unk", "mask") if (id := vocabulary.id(role)) >= 0), vocabulary.id("sep"))
        found: list[list[list[int]]] = []
        encodings = vocabulary.tokenizer.encode_batch(texts, add_special_tokens=False)
        for words, text, encoding in zip(sentences, texts, encodings, strict=True):
            lengths = np.array([len(word) + 1 for word in words])
            owner = np.repeat(np.arange(len(words)), lengths)  # the word of each character; a space belongs to the next word
            owner[np.cumsum(lengths)[:-1] - 1] += 1
            ids: list[list[int]] = [[] for _ in words]
            for id, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
                ids[int(owner[min(start, len(text))])].append(id)
            found.append([word or [unknown] for word in ids])
        return found

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Pad to the longest sample, and number the words."""
        values = samples["ids"]
        lengths = torch.tensor([len(item) for item in values])
        width = max(int(lengths.max()), min(_LEAST_WIDTH, self.config.max_length))
        padding = torch.arange(width).unsqueeze(0) >= lengths.unsqueeze(1)
        ids = torch.full((len(lengths), width), self.vocabulary.id("pad"), dtype=torch.long)
        if isinstance(values, Tensor):
            ids[:, : values.shape[1]] = values
        else:
            ids[~padding] = torch.cat(list(values)).long()
        begins = self._begins[ids]
        # A block may begin inside a word, which is then word 0.
        words = (begins.cumsum(dim=1) - begins[:, :1].long()).masked_fill(padding, -1)
        batch = {"ids": ids, "padding": padding, "words": words}
        if self.block_length and self.config.document_masks:
            ends = ids == self.vocabulary.id("sep")
            batch[DOCUMENTS] = ends.cumsum(dim=1) - ends.long()
        return batch

    def pretrained_tokenizer(self, *, causal: bool = False) -> PreTrainedTokenizerFast:
        """The tokenizer for the transformers library, which adds special tokens and cuts texts like this processor.

        Args:
            causal: False adds a class token before and a separator after a text. True is for decoders, which continue a text:
                nothing after it, and a class token before it if the backbone has one (``begins``).
        """
        from transformers import PreTrainedTokenizerFast

        vocabulary = self.vocabulary
        tokens = {f"{role}_token": token for role, token in vocabulary.special.items()}
        if causal:
            tokens |= {"bos_token": vocabulary.special["cls"], "eos_token": vocabulary.special["sep"]}
        return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # not typed there
            tokenizer_object=vocabulary.framing(causal=causal),
            model_max_length=self.config.max_length + 2,
            padding_side="right",
            model_input_names=["input_ids", "attention_mask"],
            **tokens,
        )

    def save(self, directory: Path) -> None:
        """Write the config and the tokenizer as JSON."""
        directory = Path(directory)
        self.vocabulary.save(directory)
        write_state(directory / _FILE, self.config, idf=self._idf)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        with reading_state(Path(directory) / _FILE, "text", TextProcessorConfig) as (config, state):
            processor = cls(config)
            processor._idf = [float(value) for value in state["idf"]]
        processor._set_vocabulary(Vocabulary.load(Path(directory)))
        return processor

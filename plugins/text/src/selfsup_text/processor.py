"""The text processor: rows to token ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.config import Config as BaseConfig
from selfsup.data import Preview, Processor, Sample, TextPreview, reading_state, shortened, write_state
from selfsup.errors import BadRowError, SourceError
from selfsup.runtime import Findings
from selfsup.types import Batch, Info, Row
from selfsup_text.corpus import Survey, sample_texts, survey
from selfsup_text.tokenization import Vocabulary, load_vocabulary, trained
from selfsup_text.tokenizer_training import SPECIAL, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FILE = "text_processor.json"
_KINDS = ("wordpiece", "bpe", "unigram")
_IDF_ROWS = 20_000
_LEAST_BPE = 256 + len(SPECIAL)
_LONGEST_TOKEN = 32
"""Characters of a token on average at most; what lies beyond so many for each token kept is not looked at."""
_MANY_UNKNOWN = 0.1
"""Share of unknown tokens above which there is a warning; a tokenizer that is trained on texts leaves out rare characters."""
_LEAST_WIDTH = 8
"""Tokens a batch is padded to at least where a sample may have so many: below, there is little to hide and to show."""


class TextProcessorConfig(Config):
    """Options of :class:`TextProcessor`."""

    tokenizer: str = "wordpiece"
    """A kind to train on the rows (``wordpiece``, ``bpe``, ``unigram``), or a folder or ``hf://owner/name`` to load from."""
    vocab_size: int = Field(8192, ge=32, le=1_000_000)
    """Entries at most of a tokenizer that is trained, 261 or more for bpe; 30,522 in BERT, for billions of words."""
    min_frequency: int = Field(2, ge=1)
    """How often a pair of pieces must occur in the rows to become a piece; 2 in the tokenizers library's BERT."""
    lowercase: bool = True
    """Whether a tokenizer that is trained reads capitals as small letters, as BERT's uncased models."""
    max_length: int = Field(128, ge=4, le=65_536)
    """Tokens of a sample at most, the class token and the separator not counted; 510 in BERT. The rest is cut off."""
    packing: Literal["none", "blocks"] = "none"
    """``none``: a row is a sample; ``blocks``: pretraining joins rows, with a separator, in blocks of ``max_length``."""
    add_special: bool = False
    """Whether a loaded tokenizer that has no mask token (as decoders' have none) gets one, and one for padding. Masked language
    modelling, ELECTRA and span corruption switch it on."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        trained = self.tokenizer in _KINDS
        return {
            **idle("processor.tokenizer is loaded", not trained, "vocab_size", "min_frequency", "lowercase"),
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


class TextProcessor(Processor):
    """Trains a tokenizer on the rows, or loads one, and turns ``text`` into ids.

    A batch holds ``ids`` ([B, N] long, the content alone: the backbone puts class token and separator around it), ``padding``
    ([B, N] bool, at the end of each sample) and ``words`` ([B, N] long, which word of its sample a token belongs to, -1 for
    padding). N is the longest sample of the batch.

    With ``packing="blocks"`` the rows of pretraining are joined, each with a separator behind it, and cut into blocks of
    ``max_length`` tokens without any padding; evaluation has a row a sample all the same.
    """

    modality: ClassVar[str] = "text"
    adjustable: ClassVar[frozenset[str]] = frozenset({"max_length", "packing"})
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
            raise ValueError("the tokenizer is neither trained nor loaded: call fit(rows) first")
        return self._vocabulary

    def _take(self, vocabulary: Vocabulary) -> Self:
        self._vocabulary = vocabulary
        self._begins = torch.from_numpy(vocabulary.begins_word())
        return self

    def fit(self, rows: Iterable[Row]) -> Self:
        """Load the tokenizer, or train it on at most 200,000 rows and 10 million characters, spread evenly over the rows.

        How rare each token is (for TF-IDF) is counted on at most 20,000 of them.

        Raises:
            ConfigError: the tokenizer to load cannot be read.
            SourceError: there is no text to train one on.
        """
        if self.config.tokenizer not in _KINDS:
            loaded = load_vocabulary(self.config.tokenizer, add_special=self.config.add_special)
            return self._take(loaded)._weigh(sample_texts(rows))
        texts = sample_texts(rows)
        if not texts:
            raise SourceError("A tokenizer cannot be trained: there is no row with text in it.")
        kind: Any = self.config.tokenizer
        tokenizer = train_tokenizer(
            kind,
            texts,
            vocab_size=self.config.vocab_size,
            min_frequency=self.config.min_frequency,
            lowercase=self.config.lowercase,
        )
        return self._take(trained(tokenizer))._weigh(texts)

    def _weigh(self, texts: Sequence[str]) -> Self:
        step = max(-(-len(texts) // _IDF_ROWS), 1)
        self._survey = survey(self.vocabulary, texts[::step])
        self._idf = self._survey.idf
        return self

    def info(self) -> Info:
        """``vocab_size``, ``max_length``, ids of special tokens, all in ``special_ids``, ``begins``, ``tokenizer``,
        ``vocabulary`` (a digest of its tokens), ``idf`` ([V]).

        ``begins`` says whether the tokenizer puts a token in front of a text, which a decoder then sees too. The id of a
        special token that is not there is -1.
        """
        vocabulary = self.vocabulary
        ids = {f"{role}_id": vocabulary.id(role) for role in SPECIAL}
        return {
            "vocab_size": len(vocabulary),
            "max_length": self.config.max_length,
            **ids,
            "special_ids": vocabulary.special_ids(),
            "begins": vocabulary.begins,
            "tokenizer": self.config.tokenizer if self.config.tokenizer in _KINDS else "loaded",
            "vocabulary": vocabulary.digest(),
            "idf": self._idf,
        }

    def findings(self) -> Findings:
        """The tokenizer and its size, how long the texts are and how many are cut, and how rows become samples."""
        config, found, seen = self.config, Findings(), self._survey
        trained = config.tokenizer in _KINDS
        how = f"{config.tokenizer}, trained on these rows" if trained else f"loaded from {config.tokenizer}"
        more = ", processor.vocab_size=" if trained else ""
        found.add("tokenizer", f"{how}, {len(self.vocabulary):,} entries (--set processor.tokenizer={more})")
        lengths = np.sort(seen.lengths) if seen is not None else np.zeros(0)
        if len(lengths):
            half = lengths[(len(lengths) - 1) // 2]
            found.add("texts", f"of {lengths[0]} to {lengths[-1]} tokens, half of them at most {half} ({len(lengths):,} seen)")
        longer = float(np.mean(lengths > config.max_length)) if len(lengths) else 0.0
        cut = "the rest of a row is cut off" + (f", which {100 * longer:.3g} % of the texts have" if longer else "")
        joined = "rows joined into blocks" if self.block_length else cut
        found.add("length", f"at most {config.max_length} tokens, {joined} (--set processor.max_length=, processor.packing=)")
        if trained and config.lowercase:
            found.add("letters", "capitals are read as small ones (--set processor.lowercase=)")
        if seen is not None and seen.unknown > _MANY_UNKNOWN:
            found.warn(
                f"{100 * seen.unknown:.3g} % of the tokens are unknown to the tokenizer, so much of the texts is not seen. "
                "Take another one: --set processor.tokenizer=bpe knows every character."
            )
        return found

    def adjusted(self, config: BaseConfig) -> Self:
        """The same tokenizer with another length, or another packing."""
        twin = super().adjusted(config)
        twin.block_length = twin.config.max_length if twin.config.packing == "blocks" else 0
        return twin

    @classmethod
    def unlike(cls, theirs: Info, ours: Info) -> str:
        """Whether the ids are of another tokenizer."""
        if theirs.get("vocabulary") == ours.get("vocabulary"):
            return ""
        return (
            f"it was trained on the ids of another tokenizer ({theirs['vocab_size']:,} entries) than these texts have "
            f"({ours['vocab_size']:,} entries), so its words mean nothing here. Leave "
            "processor.tokenizer out, and its own is taken."
        )

    def unpacked(self) -> TextProcessor:
        """The same tokenizer with a row a sample."""
        return self.adjusted(self.config.model_copy(update={"packing": "none"})) if self.block_length else self

    def encode(self, row: Row) -> Sample:
        """One row to ``{"ids": int32 [n]}``."""
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
        """Rows to ids, all in one call of the tokenizer, which uses every core."""
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
            return BadRowError("its text holds half of a surrogate pair, which is no character")
        return text

    def _sample_of(self, ids: list[int]) -> Sample | BadRowError:
        if not ids:
            return BadRowError("its text holds nothing that the tokenizer knows")
        if 2 * ids.count(self.vocabulary.id("unk")) > len(ids):
            self.remark("most of the text's tokens are unknown to the tokenizer")
        ids = [*ids, self.vocabulary.id("sep")] if self.block_length else ids[: self.config.max_length]
        return {"ids": np.asarray(ids, dtype=np.int32)}

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The ids of each word of each sentence, as they are in the sentence: its words joined by spaces.

        Byte-level tokenizers and SentencePiece write the space in front of a word into its first token, so that a word has
        other ids alone than behind another one. A token that reaches over several words belongs to the first of them. A word
        that the tokenizer makes nothing of is the unknown token (or mask token or separator).
        """
        texts = [" ".join(words) for words in sentences]
        vocabulary = self.vocabulary
        unknown = next((id for role in ("unk", "mask") if (id := vocabulary.id(role)) >= 0), vocabulary.id("sep"))
        found: list[list[list[int]]] = []
        encodings = vocabulary.tokenizer.encode_batch(texts, add_special_tokens=False)
        for words, text, encoding in zip(sentences, texts, encodings, strict=True):
            lengths = np.array([len(word) + 1 for word in words])
            owner = np.repeat(np.arange(len(words)), lengths)  # which word each character is of, or stands in front of
            owner[np.cumsum(lengths)[:-1] - 1] += 1
            ids: list[list[int]] = [[] for _ in words]
            for id, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
                ids[int(owner[min(start, len(text))])].append(id)
            found.append([word or [unknown] for word in ids])
        return found

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Pad to the longest sample, and count the words."""
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
        # A block may begin within a word, which is then its word 0.
        words = (begins.cumsum(dim=1) - begins[:, :1].long()).masked_fill(padding, -1)
        return {"ids": ids, "padding": padding, "words": words}

    def pretrained_tokenizer(self, *, causal: bool = False) -> PreTrainedTokenizerFast:
        """The tokenizer as the transformers library has it: it puts special tokens in, and cuts like this one.

        Args:
            causal: False puts a class token in front and a separator behind. True is for decoders, which go on behind a text:
                nothing stands behind it, and the class token in front where the backbone has one (``begins``).
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
        return processor._take(Vocabulary.load(Path(directory)))

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selfsup.data import TextPreview, stack_samples
from selfsup.data.previews import PREVIEW_CHARACTERS
from selfsup.errors import ArtifactError, BadRowError, ConfigError, SourceError
from selfsup_text.backbones.small import ENCODER
from selfsup_text.processor import TextProcessor, TextProcessorConfig

ENGLISH = [
    "The quick brown fox jumps over the lazy dog .",
    "The lazy dog sleeps in the brown house .",
    "A quick fox runs over the house and jumps .",
    "Dogs and foxes sleeping, running, jumping in houses.",
]
CHINESE = ["酒店位置很好，房间很大。", "房间很小，位置不好，服务很好。", "服务态度很好，酒店很大。", "床很大，房间干净，很好。"]
KINDS = ("wordpiece", "bpe", "unigram")


def rows(texts):
    return [{"text": text} for text in texts]


def fitted(texts=ENGLISH, **options):
    options = {"vocab_size": 400, **options}
    return TextProcessor(TextProcessorConfig(**options)).fit(rows(texts * 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [ENGLISH, CHINESE], ids=["english", "chinese"])
def test_every_kind_gives_the_text_back(kind, texts):
    processor = fitted(texts, tokenizer=kind)
    batch = processor(rows(texts))
    assert batch["ids"].dtype == torch.long
    tokenizer = processor.vocabulary.tokenizer
    for row, text in enumerate(texts):
        ids = batch["ids"][row][~batch["padding"][row]].tolist()
        assert processor.vocabulary.id("unk") not in ids
        given = "".join(tokenizer.decode(ids).split()).replace(",", "，") if texts is CHINESE else tokenizer.decode(ids)
        wanted = "".join(text.split()) if texts is CHINESE else text.lower()
        assert "".join(given.split()) == "".join(wanted.split())
    assert batch["ids"].max() < processor.info()["vocab_size"]


def test_words_are_those_of_the_text():
    processor = fitted(tokenizer="wordpiece", vocab_size=90)
    batch = processor(rows(["sleeping foxes, jump"]))
    tokens = [processor.vocabulary.tokenizer.id_to_token(int(i)) for i in batch["ids"][0]]
    words: dict[int, str] = {}
    for token, word in zip(tokens, batch["words"][0].tolist(), strict=True):
        words[word] = words.get(word, "") + token.removeprefix("##")
    assert [words[place] for place in range(4)] == ["sleeping", "foxes", ",", "jump"]
    assert len(tokens) > 4
    assert batch["words"][0][batch["padding"][0]].unique().tolist() in ([-1], [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_begins_at_a_space_or_a_chinese_character(kind):
    processor = fitted(ENGLISH + CHINESE, tokenizer=kind)
    batch = processor(rows(["the dog 酒店很大"]))
    (words,) = batch["words"]
    decoded: dict[int, str] = {}
    for id, word in zip(batch["ids"][0].tolist(), words.tolist(), strict=True):
        piece = processor.vocabulary.tokenizer.decode([id]).replace("##", "")
        decoded[word] = decoded.get(word, "") + piece
    parts = [decoded[place].strip() for place in sorted(decoded) if place >= 0 and decoded[place].strip()]
    assert parts[:2] == ["the", "dog"]
    assert len(parts) > 2


def test_the_same_texts_give_the_same_tokenizer_in_another_process():
    code = (
        "import sys, json\n"
        "from selfsup_text.tokenizer_training import train_tokenizer\n"
        "texts = json.loads(sys.argv[1])\n"
        "for kind in ('wordpiece', 'bpe', 'unigram'):\n"
        "    t = train_tokenizer(kind, texts, vocab_size=300, min_frequency=1, lowercase=False)\n"
        "    print(json.dumps(sorted(t.get_vocab().items(), key=lambda item: item[1])))\n"
    )
    argument = json.dumps(ENGLISH + CHINESE)
    one, two = (
        subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=True).stdout for _ in "ab"
    )
    assert one == two
    assert len(one.splitlines()) == 3


def test_long_texts_are_cut_and_short_ones_padded():
    processor = fitted(max_length=5)
    batch = processor(rows(["dog", ENGLISH[0], ENGLISH[1] * 100]))
    assert batch["ids"].shape == (3, 5)
    assert (~batch["padding"]).sum(dim=1).tolist() == [1, 5, 5]
    assert (batch["ids"][batch["padding"]] == processor.info()["pad_id"]).all()


def test_a_batch_is_at_least_eight_wide_but_never_wider_than_the_longest_sample_allowed():
    assert fitted()(rows(["dog"]))["ids"].shape == (1, 8)
    processor = fitted(max_length=4)
    batch = processor(rows(["dog", ENGLISH[0]]))
    assert batch["ids"].shape == (2, 4)
    backbone = ENCODER.build(ENCODER.config(hidden_size=8, layers=1), processor.info())
    assert torch.isfinite(backbone(batch).pooled).all()


def test_byte_pairs_need_room_for_every_byte():
    with pytest.raises(ValueError, match=r"vocab_size=260 is too small for tokenizer='bpe'.*261 or more"):
        TextProcessorConfig(tokenizer="bpe", vocab_size=260)
    assert fitted(tokenizer="bpe", vocab_size=261).info()["vocab_size"] == 261


def test_collate_pads_to_the_longest_of_the_batch():
    processor = fitted()
    lone, pair = processor(rows([ENGLISH[0]])), processor(rows([ENGLISH[0], ENGLISH[0] + " " + ENGLISH[1]]))
    width = lone["ids"].shape[1]
    assert pair["ids"].shape[1] > width
    for key, value in lone.items():
        assert torch.equal(pair[key][:1, :width], value), key
    equal = processor.collate(stack_samples([{"ids": np.full(12, 7, dtype=np.int32)}] * 2))
    assert equal["ids"].tolist() == [[7] * 12] * 2
    assert not equal["padding"].any()


@pytest.mark.parametrize(
    ("row", "reason"),
    [({}, "no text"), ({"text": None}, "no"), ({"text": 3}, "int"), ({"text": " "}, "empty"), ({"text": "\ud800"}, "pair")],
)  # fmt: skip
def test_rows_that_cannot_be_used_say_why(row, reason):
    processor = fitted()
    with pytest.raises(BadRowError, match=reason):
        processor.encode(row)
    mixed = processor.encode_rows([*rows(ENGLISH[:1]), row, *rows(ENGLISH[1:2])])
    assert [isinstance(item, BadRowError) for item in mixed] == [False, True, False]


def test_blocks_keep_whole_documents_with_a_separator_behind_each():
    processor = fitted(max_length=4, packing="blocks")
    assert processor.block_length == 4
    (ids,) = processor.encode(rows(ENGLISH)[0]).values()
    assert ids[-1] == processor.info()["sep_id"]
    assert len(ids) > 5
    alone = processor.unpacked()
    assert alone.block_length == 0
    assert alone.config.packing == "none"
    assert len(alone.encode(rows(ENGLISH)[0])["ids"]) == 4
    assert alone.info() == processor.info()
    assert fitted().unpacked().block_length == 0


def test_a_saved_processor_gives_the_same_ids(tmp_path):
    processor = fitted(ENGLISH + CHINESE, tokenizer="bpe")
    processor.save(tmp_path)
    again = TextProcessor.load(tmp_path)
    one, two = processor(rows(ENGLISH + CHINESE)), again(rows(ENGLISH + CHINESE))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert again.info() == processor.info()
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match="tokenizer"):
        TextProcessor.load(tmp_path)
    (tmp_path / "text_processor.json").unlink()
    with pytest.raises(ArtifactError, match="text_processor"):
        TextProcessor.load(tmp_path)


def test_what_was_found_is_told():
    texts = [*ENGLISH, ENGLISH[0] * 3]
    found = fitted(texts, max_length=20).findings()
    size = len(fitted(texts).vocabulary)
    assert found.facts["tokenizer"] == (
        f"wordpiece, trained on these rows, {size} entries (--set processor.tokenizer=, processor.vocab_size=)"
    )
    assert "at most 20 tokens, longer texts are cut (20 % of them)" in found.facts["length"]
    longest = len(fitted(texts, max_length=128)([{"text": texts[-1]}])["ids"][0])
    assert f" to {longest} tokens, median " in found.facts["texts"]
    assert found.facts["texts"].endswith("(15 sampled)")
    assert "% of" not in fitted(texts, max_length=64).findings().facts["length"]
    assert "joined into blocks" in fitted(texts, max_length=20, packing="blocks").findings().facts["length"]
    assert not found.warnings


def test_a_tokenizer_that_does_not_know_the_texts_is_warned_of(tmp_path):
    fitted(ENGLISH).pretrained_tokenizer().save_pretrained(tmp_path)
    processor = fitted(CHINESE, tokenizer=str(tmp_path))
    assert processor.findings().facts["tokenizer"].startswith(f"loaded from {tmp_path}, ")
    (warning,) = processor.findings().warnings
    assert "% of the tokens are unknown to the tokenizer" in warning
    processor.encode_rows([{"text": text} for text in [*CHINESE, ENGLISH[0]]])
    assert processor.take_remarks() == {"most of the text's tokens are unknown to the tokenizer": len(CHINESE)}


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@pytest.mark.parametrize(("character", "most"), [("x", 256), ("=", 256), ("q\u0301", 512)])
def test_a_run_of_characters_without_spaces_is_no_word(kind, character, most):
    # Merging takes a time that grows with the square of a word's length: hours for a line of base64.
    processor = fitted([*ENGLISH, character * 3000], tokenizer=kind)
    assert max(map(len, processor.vocabulary.tokenizer.get_vocab())) <= 2 * most + 2  # a mark in front, bytes written as two
    assert 1 <= len(processor([{"text": character * 3000}])["ids"][0]) <= 128


def test_a_tokenizer_of_a_folder_is_loaded(tmp_path):
    processor = fitted()
    processor.pretrained_tokenizer().save_pretrained(tmp_path / "own")
    again = TextProcessor(TextProcessorConfig(tokenizer=str(tmp_path / "own"))).fit(rows(ENGLISH))
    assert torch.equal(again(rows(ENGLISH))["ids"], processor(rows(ENGLISH))["ids"])
    assert {k: v for k, v in again.info().items() if k.endswith("_id")} == {
        k: v for k, v in processor.info().items() if k.endswith("_id")
    }
    with pytest.raises(ConfigError, match="neither a folder nor a kind of tokenizer"):
        TextProcessor(TextProcessorConfig(tokenizer="wordpeace")).fit(rows(ENGLISH))


def test_what_a_decoders_tokenizer_lacks_is_added(tmp_path):
    words = Tokenizer(models.WordLevel({"<|end|>": 0, "the": 1, "dog": 2, "<unk>": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    plain = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|end|>", unk_token="<unk>")
    plain.save_pretrained(tmp_path)
    info = TextProcessor(TextProcessorConfig(tokenizer=str(tmp_path))).fit(rows(["the dog"])).info()
    assert (info["cls_id"], info["sep_id"], info["unk_id"]) == (0, 0, 3)
    # The vocabulary stays the model's: the end of a text is its padding, too, and there is no mask.
    assert (info["pad_id"], info["mask_id"], info["vocab_size"], info["begins"]) == (0, -1, 4, False)
    info = TextProcessor(TextProcessorConfig(tokenizer=str(tmp_path), add_special=True)).fit(rows(["the dog"])).info()
    assert (info["cls_id"], info["sep_id"], info["unk_id"]) == (0, 0, 3)
    assert (info["pad_id"], info["mask_id"], info["vocab_size"]) == (4, 5, 6)


def test_the_beginning_of_a_text_is_shown():
    processor = fitted()
    assert processor.preview({"text": "Two\n lines <b>"}) == [TextPreview("Two lines <b>")]
    (preview,) = processor.preview({"text": "word " * 5000})
    assert PREVIEW_CHARACTERS - 6 < len(preview.text) <= PREVIEW_CHARACTERS
    with pytest.raises(BadRowError, match="no text"):
        processor.preview({"text": None})


def test_nothing_to_train_on_is_said():
    with pytest.raises(SourceError, match="no row holds text"):
        TextProcessor().fit(rows(["", None]))


def test_the_exported_tokenizer_frames_and_cuts():
    processor = fitted(max_length=6)
    theirs = processor.pretrained_tokenizer()(ENGLISH[0], truncation=True)["input_ids"]
    info = processor.info()
    assert theirs == [info["cls_id"], *processor.encode(rows(ENGLISH)[0])["ids"].tolist(), info["sep_id"]]


def test_saved_tokenizer_with_ids_beyond_its_size_or_without_a_special_token(tmp_path):
    TextProcessor(TextProcessorConfig(vocab_size=64)).fit([{"text": "a few words"}] * 4).save(tmp_path)
    tokenizer, special = tmp_path / "tokenizer.json", tmp_path / "special_tokens.json"
    whole = tokenizer.read_text()
    held = json.loads(whole)
    token = next(iter(held["model"]["vocab"]))
    held["model"]["vocab"][next(reversed(held["model"]["vocab"]))] = 10_000
    tokenizer.write_text(json.dumps(held))
    with pytest.raises(ArtifactError, match="one with the id 10000"):
        TextProcessor.load(tmp_path)
    tokenizer.write_text(whole)
    special.write_text(json.dumps({**json.loads(special.read_text()), "sep": f"no{token}"}))
    with pytest.raises(ArtifactError, match="the tokenizer has no token 'no"):
        TextProcessor.load(tmp_path)

"""Rows of several parts to batches: blanks, windows, captions, what is saved, and what is said."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from selfsup.batch_parts import part_of
from selfsup.data import EpochSampler, Loader, Rows, load_source, prepare
from selfsup.data.sources.columns.joined import split_role
from selfsup.errors import ArtifactError, BadRowError, ConfigError, DataError, MissingPluginError, TooManyBadRowsError
from selfsup.registry import registry
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig
from selfsup_multimodal.config import MultimodalProcessorConfig
from selfsup_multimodal.processor import MultimodalProcessor

LEFT = [[1, 2, 3], None, [4, 5], [6, 7, 8, 9], [1, 2, 3], None]
RIGHT = [[[0.0, 1.0]] * 4, [[1.0, 2.0]] * 4, None, [[2.0, 3.0]] * 4, [[3.0, 4.0]] * 4, []]
ROWS = [{"left/sequence": left, "right/sequence": right} for left, right in zip(LEFT, RIGHT, strict=True)]


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


def config(**options: Any) -> MultimodalProcessorConfig:
    return MultimodalProcessorConfig.model_validate(options)


@pytest.fixture
def fitted(toy: None) -> MultimodalProcessor:
    return MultimodalProcessor().fit(ROWS[:5])


def test_a_batch_holds_each_part_and_says_which_rows_have_it(fitted: MultimodalProcessor) -> None:
    batch = fitted(ROWS[:5])
    assert fitted.info()["parts"]["left"]["modality"] == "sequence"
    assert list(fitted.parts) == ["left", "right"]
    assert batch["left/present"].tolist() == [True, False, True, True, True]
    assert batch["right/present"].tolist() == [True, True, False, True, True]
    alone = fitted.parts["left"]([{"sequence": left} for left in LEFT[:5] if left])
    own = part_of(batch, "left")
    there = batch["left/present"]
    assert own.keys() == alone.keys()
    assert torch.equal(own["sequence"][there], alone["sequence"])
    assert torch.equal(own["padding"][there], alone["padding"])
    assert not own["sequence"][~there].any()
    assert (~own["padding"][~there]).sum() == 2, "a blank is as long as the shortest row that a window was seen of"
    assert not batch["right/sequence"][2].any()
    assert batch["right/sequence"].shape == (5, 4, 2)


def test_equal_contents_have_equal_numbers_in_every_process(fitted: MultimodalProcessor) -> None:
    content = fitted(ROWS[:5])["left/content"].tolist()
    assert content[1] == -1
    assert content[0] == content[4]
    assert len(set(content)) == 4
    assert fitted(ROWS[2:4])["left/content"].tolist() == content[2:4]
    assert content[0] == 2343285065421121090


def test_a_row_that_lacks_every_part_is_bad_and_so_is_a_broken_part(fitted: MultimodalProcessor) -> None:
    with pytest.raises(BadRowError, match=r"it has none of its parts \(left, right\)"):
        fitted.encode(ROWS[5])
    with pytest.raises(BadRowError, match="right: frames have 3 channels, not 2"):
        fitted.encode({"left/sequence": [1], "right/sequence": [[0.0, 1.0, 2.0]]})
    assert not fitted.encode({"right/sequence": RIGHT[0]})["left/present"]
    with pytest.raises(BadRowError, match="row 1: it has none"):
        fitted([ROWS[0], {}])


def test_what_is_saved_gives_the_same_batches(fitted: MultimodalProcessor, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"multimodal_processor.json", "parts"}
    again = MultimodalProcessor.load(tmp_path)
    assert again.config == fitted.config
    assert again.config.parts == ("left:sequence", "right:sequence")
    assert again.source_options() == fitted.source_options()
    before, after = fitted(ROWS[:5]), again(ROWS[:5])
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    state = json.loads((tmp_path / "multimodal_processor.json").read_text())
    (tmp_path / "multimodal_processor.json").write_text(json.dumps({**state, "blanks": {}}))
    with pytest.raises(ArtifactError, match="save the encoder again"):
        MultimodalProcessor.load(tmp_path)


@pytest.mark.usefixtures("toy")
def test_options_of_a_part_and_names_that_are_none() -> None:
    processor = MultimodalProcessor(config(options={"left": {"max_length": 2}})).fit(ROWS[:5])
    assert processor(ROWS[:1])["left/sequence"].shape == (1, 2)
    with pytest.raises(ConfigError, match="no part 'lft'; the parts are left, right"):
        MultimodalProcessor(config(options={"lft": {"max_length": 2}})).fit(ROWS[:5])
    with pytest.raises(ConfigError, match=r"processor.options.left.*no option 'max_len'; did you mean 'max_length'"):
        MultimodalProcessor(config(options={"left": {"max_len": 2}})).fit(ROWS[:5])
    with pytest.raises(DataError, match="None of the 1 rows has the part 'left'"):
        MultimodalProcessor().fit(ROWS[1:2])
    with pytest.raises(DataError, match="The part 'left': "):
        MultimodalProcessor().fit([{**ROWS[0], "left/sequence": [-1]}])
    with pytest.raises(ConfigError, match="these have a, b"):
        MultimodalProcessor().fit([{"a": 1, "b": 2}])


def test_rows_of_several_parts_are_not_joined_into_blocks() -> None:
    pytest.importorskip("selfsup_text", reason="texts can be joined into blocks")
    rows = [{"a/text": "one two three", "b/text": "four five six"}] * 2
    parts = ("a:text", "b:text")
    with pytest.raises(ConfigError, match=r"processor.options.a joins rows into blocks of 8 steps"):
        MultimodalProcessor(config(parts=parts, options={"a": {"packing": "blocks", "max_length": 8}})).fit(rows)
    with pytest.raises(ConfigError, match=r"processor\.options\.b\.add_special has no effect"):
        MultimodalProcessor(config(parts=parts, options={"b": {"add_special": True}})).fit(rows)


def test_a_part_may_take_the_processor_of_an_encoder(toy: None) -> None:
    theirs = SequenceProcessor(SequenceProcessorConfig()).fit([{"sequence": list(range(64))}])
    processor = MultimodalProcessor().take("left", theirs).fit(ROWS[:5])
    assert processor.parts["left"] is theirs
    assert processor.info()["parts"]["left"]["info"]["vocabulary"] == 65
    with pytest.raises(ConfigError, match="init: there is no part 'middle'"):
        MultimodalProcessor().take("middle", theirs).fit(ROWS[:5])


def long_rows(n: int = 12) -> Rows:
    columns = {
        "a": [list(range(place, place + 90)) for place in range(n)],
        "b": [None if place % 4 == 1 else [place] * 50 for place in range(n)],
    }
    source = datasets.Dataset.from_dict(columns)
    modality = registry().get("modality", "multimodal")
    return load_source(source, modality=modality, options={"parts": ["a:sequence", "b:sequence"]})


@pytest.mark.usefixtures("toy")
def test_windows_of_parts_are_drawn_in_training_and_fixed_in_evaluation(tmp_path: Path) -> None:
    rows = long_rows()
    options = {"a": {"max_length": 10, "keep": 6}, "b": {"max_length": 5, "keep": 4}}
    processor = MultimodalProcessor(config(parts=("a:sequence", "b:sequence"), options=options)).fit(rows)
    store = prepare(rows, processor, cache_dir=tmp_path)
    assert store.lengths("a/sequence") is None
    plain = Loader(store, processor, EpochSampler(12, 12, shuffle=False))
    (batch,) = plain.epoch(0)
    assert batch["a/sequence"].shape == (12, 10)
    assert batch["a/sequence"][:, 0].tolist() == list(range(12)), "evaluation takes the toy's beginning"
    assert batch["b/sequence"].shape == (12, 5)
    assert batch["b/present"].tolist() == [place % 4 != 1 for place in range(12)]
    loader = Loader(store, processor, EpochSampler(12, 12, shuffle=False), window_seed=1)
    (first,), (second,) = loader.epoch(0), loader.epoch(1)
    starts = first["a/sequence"][:, 0] - torch.arange(12)
    assert len(set(starts.tolist())) > 4
    assert not torch.equal(first["a/sequence"], second["a/sequence"])
    assert torch.equal(first["a/sequence"], next(iter(loader.epoch(0)))["a/sequence"])


@pytest.mark.usefixtures("toy")
def test_rows_that_lack_parts_are_counted_and_said(tmp_path: Path) -> None:
    rows = long_rows()
    findings = MultimodalProcessor(config(parts=("a:sequence", "b:sequence"))).fit(rows).findings()
    assert findings.facts["a"] == "0 of 12 rows lack it"
    assert findings.facts["b"] == "3 of 12 rows lack it (25 %)"
    assert "a kind" in findings.facts
    assert findings.warnings == []
    repeated = MultimodalProcessor().fit(ROWS[:5]).findings().facts["left"]
    assert repeated == "1 of 5 rows lack it (20 %); 1 of 4 compared rows repeat another"
    constant = [{"left/sequence": [1, 2], "right/sequence": row["right/sequence"]} for row in ROWS[:2]]
    (warning,) = MultimodalProcessor().fit(constant).findings().warnings
    assert "The part 'left' is the same in all 2 compared rows" in warning
    few = [{"left/sequence": row["left/sequence"], "right/sequence": None} for row in ROWS[:1] * 3]
    found = MultimodalProcessor().fit([*few, ROWS[0], ROWS[3]]).findings()
    assert any("Most rows (3 of 5) lack the part 'right'" in text for text in found.warnings)
    bad = datasets.Dataset.from_dict({"a": [[1], [], [2]], "b": [[1], None, [3]]})
    modality = registry().get("modality", "multimodal")
    source = load_source(bad, modality=modality, options={"parts": ["a:sequence", "b:sequence"]})
    processor = MultimodalProcessor(config(parts=("a:sequence", "b:sequence"))).fit(source)
    with pytest.raises(TooManyBadRowsError, match="row 1: it has none of its parts"):
        prepare(source, processor, cache_dir=tmp_path)
    assert prepare(source, processor, cache_dir=tmp_path, max_bad_rows=0.5).kept.tolist() == [0, 2]


def test_several_captions_one_of_which_is_drawn(tmp_path: Path, toy: None) -> None:
    pytest.importorskip("selfsup_text", reason="captions are texts")
    captions = [["red one", "green one two", " "], ["blue"], None, ["grey one", "grey two", "red", "green", "blue", "late"]]
    source = datasets.Dataset.from_dict({"a": [[1, 2]] * 4, "captions": captions})
    modality = registry().get("modality", "multimodal")
    given = {"parts": ["a:sequence", "text"]}
    rows = load_source(source, modality=modality, options=given)
    assert rows.columns == {"a/sequence": "a", "text/text": "captions"}
    options = {"text": {"vocab_size": 64, "min_frequency": 1}}
    processor = MultimodalProcessor(config(**given, options=options, captions=5)).fit(rows)
    store = prepare(rows, processor, cache_dir=tmp_path)
    vocabulary = processor.parts["text"].vocabulary  # type: ignore[attr-defined]

    def texts(seed: int | None, epoch: int = 0) -> list[str]:
        loader = Loader(store, processor, EpochSampler(4, 4, shuffle=False), window_seed=seed)
        (batch,) = loader.epoch(epoch)
        assert batch["text/present"].tolist() == [True, True, False, True]
        assert batch.keys() == {"a/sequence", "a/present", "a/content", "text/ids", "text/padding", "text/words",
                                "text/present", "text/content"}  # fmt: skip
        kept = [ids[~padding].tolist() for ids, padding in zip(batch["text/ids"], batch["text/padding"], strict=True)]
        contents.append(batch["text/content"].tolist())
        return [vocabulary.tokenizer.decode(ids) for ids in kept]

    contents: list[list[int]] = []
    first = texts(None)
    assert [first[0], first[1], first[3]] == ["red one", "blue", "grey one"]
    drawn = [texts(7, epoch) for epoch in range(40)]
    assert {row[0] for row in drawn} == {"red one", "green one two"}
    assert {row[1] for row in drawn} == {"blue"}
    assert {row[3] for row in drawn} == {"grey one", "grey two", "red", "green", "blue"}, "the sixth is beyond `captions`"
    assert drawn[3] == texts(7, 3)
    assert {row[2] for row in contents} == {-1}
    same = {content[1] for content in contents} | {
        c[3] for c, row in zip(contents[1:], drawn, strict=False) if row[3] == "blue"
    }
    assert len(same) == 1, "the number is that of the caption that was drawn"
    plain = processor([{"a/sequence": [1], "text/text": "red one"}])
    assert plain["text/content"].item() == contents[0][0]
    listed = processor.encode_rows([{"a/sequence": [1], "text/text": ["red one", "\x00"]}])
    assert not isinstance(listed[0], BadRowError)
    assert list(processor.take_remarks()) == ["text: some of its texts cannot be used and are left out"]


@pytest.mark.parametrize(
    ("modalities", "row"),
    [
        (("vision", "text"), {"vision/image": np.zeros((12, 16, 3), dtype=np.uint8), "text/text": "a word"}),
        (("audio", "video"), {"audio/audio": {"array": np.ones(4000, dtype=np.float32), "sampling_rate": 8000},
                              "video/video": np.zeros((3, 16, 16, 3), dtype=np.uint8)}),
        (("vision", "tabular"), {"vision/image": np.zeros((16, 16, 3), dtype=np.uint8), "tabular/n": 1.5, "tabular/c": "x"}),
    ],
)  # fmt: skip
def test_parts_of_the_installed_modalities(modalities: tuple[str, str], row: dict[str, Any], tmp_path: Path) -> None:
    for id in modalities:
        pytest.importorskip(f"selfsup_{id}", reason="joins installed modalities")
    first, second = modalities
    lacking = [{key: value if split_role(key)[0] == one else None for key, value in row.items()} for one in (first, second)]
    other = {key: value + 1.0 if isinstance(value, float) else value for key, value in row.items()}
    rows = [row, *lacking, {**other, "tabular/c": "y"} if "tabular/c" in row else row]
    processor = MultimodalProcessor().fit(rows)
    whole, plain = (collate(processor, rows, whole=whole) for whole in (True, False))
    for batch in (whole, plain):
        for name, there in ((first, [True, True, False, True]), (second, [True, False, True, True])):
            assert batch[f"{name}/present"].tolist() == there
        trained = processor.training_batch(batch, torch.Generator().manual_seed(0))
        assert trained.keys() == batch.keys()
        for key, value in batch.items():
            assert len(value) == 4
            assert not value.is_floating_point() or torch.isfinite(value).all(), key
    for name in modalities:
        own = [
            {split_role(key)[1]: value for key, value in item.items() if split_role(key)[0] == name} for item in (row, rows[-1])
        ]
        alone = processor.parts[name](own)
        for key, value in alone.items():
            assert torch.equal(plain[f"{name}/{key}"][[0, 3]][..., : value.shape[-1]], value), f"{name}/{key}"
    processor.save(tmp_path)
    again = MultimodalProcessor.load(tmp_path)(rows)
    assert all(torch.equal(again[key], plain[key]) for key in plain)
    assert processor.batch_size == min(part.batch_size for part in processor.parts.values())
    assert all(split_role(key)[0] in modalities for key in processor.free_axes)


def collate(processor: MultimodalProcessor, rows: list[dict[str, Any]], *, whole: bool) -> dict[str, torch.Tensor]:
    from selfsup.data import stack_samples

    samples = stack_samples([processor.encode(row) for row in rows])
    return processor.collate_whole(samples) if whole else processor.collate(samples)


def test_a_table_takes_the_columns_that_are_left(tmp_path: Path) -> None:
    pytest.importorskip("selfsup_vision", reason="joins installed modalities")
    pytest.importorskip("selfsup_tabular", reason="joins installed modalities")
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    table = [{"image": image, "price": float(place), "kind": "ab"[place % 2], "label": place % 2} for place in range(6)]
    table[1] |= {"price": None, "kind": None}
    modality = registry().get("modality", "multimodal")
    rows = load_source(table, modality=modality, options={"parts": ["vision", "tabular"]})
    assert rows.label == "label"
    assert set(rows.columns) == {"vision/image", "tabular/price", "tabular/kind"}
    processor = MultimodalProcessor(config(parts=("vision", "tabular"))).fit(rows.without_labels())
    assert processor.column_kinds() == {"tabular/price": "number", "tabular/kind": "category"}
    batch = processor(list(rows.without_labels()))
    assert batch["tabular/present"].tolist() == [True, False, True, True, True, True]
    assert processor(list(processor.example_rows()))["vision/image"].shape[0] == 4
    facts = processor.findings().facts
    assert "--set processor.options.tabular.numeric=" in facts["tabular set by"]
    assert "processor.options.vision.image_size=" in facts["vision image size"]


def test_it_is_fitted_on_rows_of_a_program_with_pictures_and_different_keys() -> None:
    image = pytest.importorskip("PIL.Image", reason="pictures of a program")
    pytest.importorskip("selfsup_vision", reason="pictures")
    pytest.importorskip("selfsup_tabular", reason="tables")
    picture = image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8))
    rows = [{"vision/image": picture, "tabular/n": float(n), **({"tabular/m": 0.5 * n} if n < 3 else {})} for n in range(6)]
    facts = MultimodalProcessor(config(parts=("vision", "tabular"))).fit(rows).findings().facts
    assert facts["vision"] == "0 of 6 rows lack it"
    assert facts["tabular numbers"] == "2: n, m"


def test_synthetic_rows_belong_together_and_a_fifth_lacks_a_part(monkeypatch: pytest.MonkeyPatch, toy: None) -> None:
    from selfsup_multimodal import mock

    kinds = registry().modalities
    for left_out in ("vision", "text", "audio", "video", "vector"):
        monkeypatch.delitem(kinds, left_out, raising=False)
    assert mock.mock_parts() == {"first": ("sequence", "sequence"), "second": ("sequence", "sequence")}
    rows = mock.mock_rows(400, 0)
    assert rows[:3] == mock.mock_rows(3, 0)
    lacking = [sum(value is None for value in row.values()) for row in rows]
    assert max(lacking) == 1
    assert math.isclose(sum(lacking) / len(rows), 0.2, abs_tol=0.05)
    alone = {key: sum(row[key] is None for row in rows) for key in rows[0]}
    assert min(alone.values()) > 20

    def step(ids: list[int]) -> int:
        """The class of synthetic ids: the commonest step from one to the next."""
        return int(np.bincount(np.diff(ids) % 16).argmax())

    both = [row for row in rows if None not in row.values()]
    assert np.mean([step(row["first/sequence"]) == step(row["second/sequence"]) for row in both]) > 0.9
    noise = [row for row in mock.NOISE_ROWS["independent"](400, 0) if None not in row.values()]
    assert np.mean([step(row["first/sequence"]) == step(row["second/sequence"]) for row in noise]) < 0.1
    assert MultimodalProcessor().fit(rows[:32])(rows[:8])["first/present"].shape == (8,)
    monkeypatch.delitem(kinds, "sequence")
    with pytest.raises(MissingPluginError, match="pip install selfsup-vision selfsup-text"):
        mock.mock_rows(1, 0)

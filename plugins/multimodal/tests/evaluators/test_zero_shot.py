"""Zero-shot classification and missing parts, with towers on synthetic pictures and captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset
from torch.nn import functional as F

from selfsup.artifacts import Encoder
from selfsup.data import load_source, prepare
from selfsup.errors import ConfigError
from selfsup.evaluation import Split
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.registry import registry
from selfsup_multimodal.evaluators.missing_part import RECIPE as MISSING_PART
from selfsup_multimodal.evaluators.zero_shot import RECIPE as ZERO_SHOT
from selfsup_multimodal.evaluators.zero_shot import class_embeddings

THINGS = ("bag", "shirt", "shoe", "lamp")
WITHOUT_CAPTION, WITHOUT_PICTURE = (3, 9), (5,)


def pairs(n: int, seed: int) -> list[dict[str, Any]]:
    """Pictures of a class's grey with a caption; three rows lack a part."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        kind = number % len(THINGS)
        picture = np.clip(rng.normal(40 + 50 * kind, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
        rows.append({
            "image": None if number in WITHOUT_PICTURE else picture,
            "caption": None if number in WITHOUT_CAPTION else f"a {('red', 'blue')[rng.integers(2)]} {THINGS[kind]}",
            "label": kind,
        })  # fmt: skip
    return rows


def source(rows: Sequence[dict[str, Any]]) -> Dataset:
    """Rows as a data set; pictures as files."""
    import io

    from datasets import Features, Image, Value
    from PIL import Image as Picture

    def png(pixels: Any) -> bytes | None:
        if pixels is None:
            return None
        buffer = io.BytesIO()
        Picture.fromarray(pixels).save(buffer, format="PNG")
        return buffer.getvalue()

    features = Features({"image": Image(), "caption": Value("string"), "label": ClassLabel(names=list(THINGS))})
    columns: dict[str, list[Any]] = {
        "image": [None if row["image"] is None else {"bytes": png(row["image"]), "path": None} for row in rows],
        "caption": [row["caption"] for row in rows],
        "label": [row["label"] for row in rows],
    }
    return Dataset.from_dict(columns, features=features)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield registry()


@pytest.fixture(scope="module")
def encoder(house) -> Encoder:
    rows = load_source(source(pairs(40, 0)), modality=house.get("modality", "multimodal")).without_labels()
    processor = house.processor_class("multimodal")().fit(rows)
    small = {"text": {"options": {"hidden_size": 16, "layers": 1}}, "vision": {"options": {"width": 8}}}
    torch.manual_seed(0)
    backbone, options = house.build_backbone("towers", {"towers": small, "joint_dim": 8}, processor.info())
    return Encoder(processor, backbone.eval(), backbone_id="towers", backbone_options=options)


def split_of(house, encoder: Encoder, rows: Sequence[dict[str, Any]]) -> Split:
    loaded = load_source(source(rows), modality=house.get("modality", "multimodal"), options=encoder.processor.source_options())
    return Split(prepare(loaded, encoder.processor), loaded.labels(), loaded.class_names, loaded.fingerprint, rows=loaded)


@pytest.fixture(scope="module")
def splits(house, encoder) -> tuple[Split, Split]:
    return split_of(house, encoder, pairs(40, 0)), split_of(house, encoder, pairs(30, 1))


def embedded(house, encoder: Encoder, texts: Sequence[str]) -> torch.Tensor:
    """Unit embeddings of captions, by another way: as joined rows that lack the picture, but for a last one that has it."""
    blank = np.zeros((16, 16, 3), dtype=np.uint8)
    rows = [{"image": None, "caption": text, "label": 0} for text in texts] + [{"image": blank, "caption": "a", "label": 1}]
    return F.normalize(split_of(house, encoder, rows).embeddings(encoder)[:-1], dim=1)


def test_zero_shot_names_the_nearest_class(house, encoder, splits) -> None:
    train, test = splits
    templates, called = ("a {}", "one red {}"), {"lamp": "blue lamp"}
    recipe = ZERO_SHOT.build(ZERO_SHOT.config.model_validate({"templates": templates, "classnames": called}))
    found = recipe.evaluate(encoder, train, test, seed=0)
    prompts = [template.format(called.get(name, name)) for name in THINGS for template in templates]
    weights = F.normalize(embedded(house, encoder, prompts).view(4, 2, -1).mean(dim=1), dim=1)
    assert torch.allclose(class_embeddings(encoder, "text", [called.get(n, n) for n in THINGS], templates), weights, atol=1e-5)
    there = [number for number in range(30) if number not in WITHOUT_PICTURE]
    pictures = F.normalize(test.embeddings(encoder, "vision")[there], dim=1)
    guesses = (pictures @ weights.T).argmax(dim=1).numpy()
    truth = np.array(there) % 4
    assert found["accuracy"] == pytest.approx((guesses == truth).mean())
    assert found["balanced_accuracy"] == pytest.approx(np.mean([(guesses == truth)[truth == k].mean() for k in range(4)]))
    assert (found["accuracy_chance"], found["classes"], found["rows"], found["accuracy_top_4"]) == (0.25, 4, 29, 1)
    assert found["accuracy_most_frequent"] == pytest.approx(np.bincount(truth).max() / 29)
    turned = ZERO_SHOT.build(ZERO_SHOT.config.model_validate({"templates": ("{}",)})).evaluate(encoder, train, test, seed=0)
    assert turned != found


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"classnames": {"hat": "a hat"}}, "names 'hat', but the classes are bag"),
        ({"classnames": {"bag": "shoe"}}, "has the same name 'shoe' as another class"),
        ({"part": "sound"}, "the parts are"),
        ({"part": "text"}, "Choose the part"),
        ({"text": "vision"}, "holds no texts"),
    ],
)
def test_zero_shot_that_makes_no_sense(encoder, splits, options, reason) -> None:
    with pytest.raises(ConfigError, match=reason):
        ZERO_SHOT.build(ZERO_SHOT.config.model_validate(options)).evaluate(encoder, *splits, seed=0)


def test_a_template_has_a_place_for_the_name() -> None:
    with pytest.raises(ValueError, match="for the name of the class"):
        ZERO_SHOT.config.model_validate({"templates": ("a photo",)})


def test_a_missing_part_is_like_rows_that_never_had_it(house, encoder, splits) -> None:
    train, test = splits
    found = MISSING_PART.build(MISSING_PART.config()).evaluate(encoder, train, test, seed=0)
    whole = [number for number in range(30) if number not in (*WITHOUT_CAPTION, *WITHOUT_PICTURE)]
    targets = torch.tensor(whole) % 4
    probe = fit_probe(train.embeddings(encoder), train.targets(), 4, LinearConfig(), seed=0)
    columns = {"vision": "image", "text": "caption"}
    assert found["rows"] == len(whole) == 27
    for part, column in columns.items():
        stripped = [{**row, column: None} for row in (pairs(30, 1)[number] for number in whole)]
        stripped.append(pairs(30, 1)[0])  # so that the part is not absent altogether
        left = split_of(house, encoder, stripped).embeddings(encoder)[:-1]
        expected = float((probe.outputs(left).argmax(dim=1) == targets).double().mean())
        assert found[f"accuracy_without_{part}"] == pytest.approx(expected)
        assert found[f"accuracy_drop_without_{part}"] == pytest.approx(found["accuracy"] - expected)
        there = train.present(encoder, part)
        alone = fit_probe(train.embeddings(encoder, part)[there], train.targets()[there], 4, LinearConfig(), seed=0)
        hits = alone.outputs(test.embeddings(encoder, part)[whole]).argmax(dim=1) == targets
        assert found[f"accuracy_only_{part}"] == pytest.approx(float(hits.double().mean()))
    assert found["accuracy_only_text"] != found["accuracy_without_vision"]


def test_neighbours_can_be_the_probe(encoder, splits) -> None:
    found = MISSING_PART.build(MISSING_PART.config(probe="knn", k=3)).evaluate(encoder, *splits, seed=0)
    assert found["accuracy"] >= max(found["accuracy_without_vision"], found["accuracy_without_text"]) > 0
    assert MISSING_PART.config(k=3).without_effect() == {"k": "missing-part.probe is linear"}

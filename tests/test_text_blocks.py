"""A task that asks for packed blocks gets them in pretraining, and evaluation has a row a sample."""

from __future__ import annotations

import dataclasses
import json

import pytest

from selfsup.data import BlockStore, load_source
from selfsup.errors import ConfigError, LeftOutOptionsWarning, UsageError
from selfsup.registry import registry
from selfsup.runtime.progress import Silent
from selfsup.training.run import prepare_rows
from selfsup.training.run.resolve import resolve_config
from selfsup_text.mock import mock_rows

SMALL = {"backbone.hidden_size": 16, "batch_size": 4, "steps": 2, "processor.max_length": 8}


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "corpus.csv"
    lines = [f'"{row["text"]}",{index % 2}' for index, row in enumerate(mock_rows(40, 0))]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return str(path)


@pytest.fixture
def packing(monkeypatch):
    """Let ``text/vicreg`` ask for blocks."""
    house = registry()
    recipe = house.task_recipe(house.get("task", "text/vicreg"))
    asking = dataclasses.replace(recipe, processor={"packing": "blocks"})
    own = type(house).task_recipe
    monkeypatch.setattr(type(house), "task_recipe", lambda self, spec: asking if spec.id == "text/vicreg" else own(self, spec))


@pytest.mark.usefixtures("packing")
def test_the_users_option_goes_before_the_tasks(corpus):
    asked = resolve_config({"task": "text/vicreg", "data": corpus})
    assert asked.processor_options["packing"] == "blocks"
    told = resolve_config({"task": "text/vicreg", "data": corpus, "processor.packing": "none"})
    assert told.processor_options["packing"] == "none"


@pytest.mark.usefixtures("packing")
def test_what_a_task_asked_for_does_not_pass_to_another(corpus):
    packed = resolve_config({"task": "text/vicreg", "data": corpus, "processor.max_length": 99}).model_dump(mode="json")
    with pytest.warns(LeftOutOptionsWarning, match=r"of text/vicreg"):
        other = resolve_config({"task": "text/byol"}, packed)
    assert other.processor_options["packing"] == "none"
    assert other.processor_options["max_length"] == 99
    assert resolve_config({}, packed).processor_options["packing"] == "blocks"


def test_blocks_hold_all_texts_and_no_padding(corpus):
    config = resolve_config({"task": "text/vicreg", "data": corpus, "processor.packing": "blocks", **SMALL})
    data = prepare_rows.prepare_data(config, Silent())
    store = data.looked_at
    assert isinstance(store, BlockStore)
    batch = data.processor.collate(store.read(range(len(store))))
    assert batch["ids"].shape[1] == 8
    assert not batch["padding"].any()
    rows = load_source(corpus, modality=registry().modalities["text"])
    info = data.info
    wanted: list[int] = []
    for row in rows:
        ids = data.processor.vocabulary.tokenizer.encode(row["text"], add_special_tokens=False).ids
        wanted += [*ids, info["sep_id"]]
    flat = batch["ids"].flatten().tolist()
    assert flat == wanted[: len(flat)]
    assert len(wanted) - len(flat) < 8


def test_a_run_in_blocks_leaves_an_encoder_of_rows(cli, corpus):
    options = [item for key, value in SMALL.items() if "." in key for item in ("--set", f"{key}={value}")]
    made = cli("pretrain", "text/vicreg", "--data", corpus, "--out", "run", "--steps", "2", "--batch-size", "4",
               "--set", "processor.packing=blocks", "--val", corpus, *options)  # fmt: skip
    assert made.status == 0, made.err
    scored = cli("evaluate", "run", "--data", corpus, "--evaluators", "knn", "--json")
    assert scored.status == 0, scored.err
    assert len(json.loads(scored.out)) > 0


def test_a_task_with_labels_cannot_have_blocks(corpus):
    config = resolve_config({"task": "text/supervised", "data": corpus, "processor.packing": "blocks", **SMALL})
    with pytest.raises(ConfigError, match="label for each row"):
        prepare_rows.prepare_data(config, Silent())
    with pytest.raises(UsageError, match="packing"):
        resolve_config({"task": "text/supervised", "data": corpus, "processor.packing": "boxes"})

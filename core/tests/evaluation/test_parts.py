"""Encoders of rows that join parts: embeddings by part, a part as an encoder of its own, and commands with ``--part``."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset
from rich.console import Console

import selfsup
from selfsup.artifacts import Encoder
from selfsup.cli.main import program
from selfsup.data import load_source, prepare, row_hashes
from selfsup.errors import ConfigError, DataError
from selfsup.evaluation import Split
from selfsup.evaluation.overlap import tell_pretrained
from selfsup.evaluation.views import two_views
from selfsup.registry import registry
from selfsup.runtime.progress import Lines
from selfsup.testing.toy.pairs.rows import mock_rows, pair_rows
from selfsup.testing.toy.sequences.installed import installed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of two steps on 240 pairs; a fifth is held out."""
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch, installed(folder / "site"):
        patch.setenv("SELFSUP_CACHE", str(folder / "cache"))
        small = {"objective.hidden_dim": 32, "objective.output_dim": 32}
        options: dict[str, Any] = {"holdout": 0.2, "steps": 2, "batch_size": 32, "progress": False, "overrides": small}
        yield selfsup.pretrain("sequence-pair/vicreg", data="toy-pairs", out=folder / "run", **options).dir


@pytest.fixture
def encoder(run: Path) -> Encoder:
    return selfsup.load(run)


@pytest.fixture
def split(encoder: Encoder) -> Split:
    rows = load_source("toy-pairs:test", modality=registry().get("modality", "sequence-pair"))
    return Split(prepare(rows, encoder.processor), rows.labels(), rows.class_names, rows.fingerprint, rows=rows)


def alone(n: int = 60, part: str = "second") -> Dataset:
    """Rows of one part, as rows of its own modality."""
    rows = pair_rows(n, 3, lacking=False)
    return Dataset.from_list([{"sequence": row[f"{part}/sequence"], "label": row["label"]} for row in rows])


def test_embeddings_of_a_part_are_nan_where_rows_lack_it(encoder: Encoder, split: Split) -> None:
    first, joined = split.embeddings(encoder, "first"), split.embeddings(encoder)
    present = split.present(encoder, "first")
    assert split.rows is not None
    assert present.tolist() == split.rows.has_part("first").tolist()
    assert 0 < int((~present).sum()) < 20
    assert first[~present].isnan().all()
    assert not first[present].isnan().any()
    assert not joined.isnan().any()
    both = present & split.present(encoder, "second")
    mean = (first + split.embeddings(encoder, "second")) / 2
    torch.testing.assert_close(joined[both], mean[both], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(joined[present & ~both], first[present & ~both], rtol=1e-4, atol=1e-5)
    assert split.embeddings(encoder, "first") is first, "computed once"


def test_two_parts_are_two_views_of_the_rows_that_have_both(encoder: Encoder, split: Split) -> None:
    rows = np.arange(len(split.store))
    views = two_views(encoder, split.store, rows, seed=0)
    assert views is not None
    both = split.present(encoder, "first") & split.present(encoder, "second")
    assert len(views[0]) == len(views[1]) == int(both.sum()) < len(rows)
    lacking = np.flatnonzero(~both.numpy())
    assert two_views(encoder, split.store, lacking, seed=0) is None
    separate, options = registry().build_backbone("sequence-pair/separate", {}, encoder.processor.info())
    apart = Encoder(encoder.processor, separate, backbone_id="sequence-pair/separate", backbone_options=options)
    assert two_views(apart, split.store, rows, seed=0) is None


def test_rows_in_memory_are_embedded_by_part(encoder: Encoder) -> None:
    rows = mock_rows(10, 4)
    embeddings = encoder.embed(rows, part="first", batch_size=4)
    assert embeddings.shape == (10, 32)
    assert np.isnan(embeddings).any(axis=1).tolist() == [row["first/sequence"] is None for row in rows]
    # A row's embedding of one part does not depend on the other.
    changed = [{**row, "second/sequence": [5, 5, 5]} for row in rows]
    np.testing.assert_allclose(encoder.embed(changed, part="first"), embeddings, rtol=1e-4, atol=1e-5)
    assert encoder.embed([], part="first").shape == (0, 32)
    with pytest.raises(ConfigError, match="no part 'third'; its parts are first, second"):
        encoder.embed(rows, part="third")


def test_a_part_is_an_encoder_of_its_own_modality(encoder: Encoder, tmp_path: Path) -> None:
    assert encoder.parts == ("first", "second")
    tower = encoder.part("second")
    assert (tower.modality, tower.backbone_id, tower.embed_dim) == ("sequence", "sequence/transformer", 32)
    assert tower.parts == ()
    assert tower.task == "sequence-pair/vicreg"
    assert (tower.metadata["part"], tower.metadata["part_of"]) == ("second", "sequence-pair/towers")
    rows = pair_rows(12, 5, lacking=False)
    own = tower.embed([{"sequence": row["second/sequence"]} for row in rows])
    projected = own @ encoder.backbone.projections["second"].weight.detach().numpy().T
    np.testing.assert_allclose(encoder.embed(rows, part="second"), projected, rtol=1e-4, atol=1e-5)
    again = selfsup.load(tower.save(tmp_path / "tower"))
    assert again.digest() == tower.digest() != encoder.digest()
    np.testing.assert_allclose(again.embed([{"sequence": row["second/sequence"]} for row in rows]), own, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="takes sequence data, which have no parts: leave the part 'first' out"):
        again.part("first")
    assert selfsup.load(encoder, part="second").digest() == tower.digest()


def test_a_network_of_all_parts_has_none_to_take_out(encoder: Encoder) -> None:
    fusion, options = registry().build_backbone("sequence-pair/fusion", {}, encoder.processor.info())
    fused = Encoder(encoder.processor, fusion.eval(), backbone_id="sequence-pair/fusion", backbone_options=options)
    rows = mock_rows(6, 0)
    changed = [{**row, "second/sequence": [5, 5, 5]} for row in rows]
    first = fused.embed(rows, part="first")
    np.testing.assert_allclose(first, fused.embed(changed, part="first"), rtol=1e-4, atol=1e-5)
    assert np.abs(fused.embed(rows) - fused.embed(changed)).max() > 0.01
    assert np.isnan(first).any(axis=1).tolist() == [row["first/sequence"] is None for row in rows]
    with pytest.raises(ConfigError, match="no network of its own for the part 'first'"):
        fused.part("first")


def test_the_folder_says_which_parts_there_are(run: Path, encoder: Encoder) -> None:
    config = json.loads((run / "encoder" / "config.json").read_text())
    assert config["parts"] == {name: {"modality": "sequence", "embed_dim": 32} for name in ("first", "second")}
    card = (run / "encoder" / "README.md").read_text()
    assert "| Parts | first (sequence, 32 numbers), second (sequence, 32 numbers) |" in card
    assert '{"first/sequence": ..., "second/sequence": ...}' in card


def test_rows_of_a_part_are_known_as_rows_of_its_own_modality(encoder: Encoder) -> None:
    learned = encoder.part("first").pretraining_rows
    assert learned is not None
    assert learned.roles == ("sequence",)
    modality = registry().get("modality", "sequence")
    rows = [row for row in pair_rows(240, 0) if row["first/sequence"] is not None]
    plain = load_source([{"sequence": row["first/sequence"]} for row in rows], modality=modality)
    share = learned.share(row_hashes(plain))
    assert share is not None
    assert 0.7 < share < 0.9, "all but those that were held out"
    new = load_source([{"sequence": row["second/sequence"]} for row in pair_rows(50, 7)[:3]], modality=modality)
    assert learned.share(row_hashes(new)) == 0
    assert encoder.pretraining_rows is not None
    assert encoder.pretraining_rows.together(row_hashes(new)).parts == {}, "of further rows the parts are not known"
    assert encoder.pretraining_rows.none().parts["first"].different == 0


def test_a_part_is_measured_on_the_joined_rows_that_have_it(run: Path) -> None:
    (record,) = selfsup.evaluate(run, "toy-pairs", evaluators="knn", part="second", out=run / "tried")
    assert record.backbone == "sequence/transformer"
    assert record.details["part"] == "second"
    # Of 240 rows 24 lack it; what the pretraining held out is tested on.
    assert record.n_train + record.n_test == 216
    assert record.details["rows_without_part"] == 24
    assert 25 < record.n_test < 65
    assert "that pretraining held out" in record.details["test_rows"]
    assert record.pretrained_share is not None
    assert record.pretrained_share < 0.05
    (whole,) = selfsup.evaluate(run, "toy-pairs", evaluators="knn", out=run / "tried")
    assert whole.n_train + whole.n_test == 240
    assert "part" not in whole.details
    assert len(list((run / "tried").iterdir())) == 2, "one record each"


def test_parts_of_test_rows_that_were_pretrained_on_beside_others_are_told(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, new = pair_rows(240, 0, lacking=False), pair_rows(60, 9, lacking=False)
    mixed = [{**row, "first/sequence": old["first/sequence"]} for row, old in zip(new, seen, strict=False)]
    selfsup.evaluate(run, "toy-pairs", evaluators="knn", test=mixed, out=run / "mixed", progress=True)
    told = " ".join(capsys.readouterr().err.split())
    share = re.search(r"the part 'first' of ([0-9.]+) % of the test rows was pretrained on with other parts", told)
    assert share is not None
    assert float(share[1]) > 50
    assert "the part 'second'" not in told


def test_it_is_said_why_nothing_is_known_of_rows_without_a_part(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    rows = load_source("toy-pairs:test", modality=registry().get("modality", "sequence-pair"))
    first = {role: column for role, column in rows.columns.items() if role.startswith("first")}
    tell_pretrained(None, encoder, replace(rows, columns=first), Lines(Console(stderr=True)))
    told = " ".join(capsys.readouterr().err.split())
    assert "whether the test rows were pretrained on: these rows lack second/sequence" in told


def test_a_part_is_measured_on_rows_of_that_part_alone(encoder: Encoder) -> None:
    (record,) = selfsup.evaluate(encoder, alone(), evaluators="linear", part="second")
    assert record.n_train + record.n_test == 60
    assert record.details["rows_without_part"] == 0
    named = alone().rename_column("sequence", "steps").add_column("other", [[1, 2]] * 60)
    (again,) = selfsup.evaluate(encoder, named, evaluators="linear", part="second", columns={"second/sequence": "steps"})
    assert again.n_train == record.n_train
    (registered,) = selfsup.evaluate(encoder, "toy-sequences", evaluators="knn", part="second")
    assert (registered.n_train, registered.n_test) == (256, 128)
    assert registered.details["test_rows"] == "toy-sequences (test)"
    with pytest.raises(DataError, match=r"no column of type List for 'sequence'.*Nor are they rows of all parts"):
        selfsup.evaluate(encoder, Dataset.from_list([{"x": 1, "label": 0}] * 9), part="second")


def test_rows_that_all_lack_a_part_are_evaluated_by_the_other(encoder: Encoder) -> None:
    rows = [{**row, "second/sequence": None} for row in pair_rows(60, 3, lacking=False)]
    from datasets import Features, List, Value

    kinds = {"first/sequence": List(Value("int64")), "second/sequence": List(Value("int64")), "label": Value("int64")}
    data = Dataset.from_list(rows, features=Features(kinds))
    (record,) = selfsup.evaluate(encoder, data, evaluators="knn")
    assert record.n_train + record.n_test == 60
    with pytest.raises(DataError, match="None of the 60 rows of the data set has the part 'second'"):
        selfsup.evaluate(encoder, data, evaluators="knn", part="second")


def test_fine_tuning_of_all_parts_and_of_one(encoder: Encoder, tmp_path: Path) -> None:
    options = {"epochs": 1, "min_steps": 0, "precision": "32"}
    tuned = selfsup.finetune(encoder, "toy-pairs", options=options, out=tmp_path / "both")
    assert tuned.model.encoder.parts == ("first", "second")
    assert len(tuned.model.predict(mock_rows(5, 0))) == 5
    part = selfsup.finetune(encoder, "toy-pairs", options=options, part="first", out=tmp_path / "first")
    assert part.model.encoder.modality == "sequence"
    assert part.record.details["part"] == "first"
    reloaded = type(part.model).load(tmp_path / "first")
    rows = [{"sequence": [1, 2, 3, 4]}]
    assert reloaded.predict(rows) == part.model.predict(rows)


def test_the_weights_that_did_best_have_parts_too(run: Path, tmp_path: Path) -> None:
    small = {"objective.hidden_dim": 32, "objective.output_dim": 32}
    options: dict[str, Any] = {"steps": 2, "batch_size": 32, "progress": False, "overrides": small}
    again = selfsup.pretrain("sequence-pair/simclr", data="toy-pairs", val="toy-pairs", out=tmp_path / "run", **options)
    assert 0 <= again.metrics[-1]["probe_accuracy"] <= 1
    best = selfsup.load(again.dir, checkpoint="best", part="first")
    assert (best.modality, best.metadata["checkpoint"], best.metadata["part"]) == ("sequence", "best", "first")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["towers", "fusion"])
def test_a_network_of_all_parts_is_exported_with_rows_that_lack_one(encoder: Encoder, tmp_path: Path, backbone: str) -> None:
    network, options = registry().build_backbone(f"sequence-pair/{backbone}", {}, encoder.processor.info())
    joined = Encoder(encoder.processor, network.eval(), backbone_id=f"sequence-pair/{backbone}", backbone_options=options)
    path = selfsup.export(joined, "torch-export", tmp_path / "joined.pt2")
    batch = joined.processor(mock_rows(9, 6))
    given = torch.export.load(path).module()({key: batch[key] for key in sorted(batch)})
    torch.testing.assert_close(given, joined(batch).detach(), rtol=1e-4, atol=1e-5)
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript")):
        assert selfsup.export(joined, "onnx", tmp_path / "joined.onnx").stat().st_size > 0


def test_commands_take_a_part(run: Path, tmp_path: Path) -> None:
    def call(*arguments: object) -> Any:
        return CliRunner().invoke(program, [str(argument) for argument in arguments])

    done = call("evaluate", run, "--data", "toy-pairs", "--part", "first", "--evaluators", "knn", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)[0]["details"]["part"] == "first"
    assert "rows of toy-pairs lack the part 'first' and are left out" in done.stderr
    done = call("embed", run, "--data", "toy-pairs:test", "--part", "second", "--out", tmp_path / "e.csv")
    assert done.exit_code == 0, done.stderr
    lines = (tmp_path / "e.csv").read_text().splitlines()
    places = [int(line.split(",")[0]) for line in lines[1:]]
    assert len(places) == 108
    assert 8 not in places
    assert places[8] == 9, "the row's place in the source"
    done = call("export", run, "--part", "second", "--format", "safetensors", "--out", tmp_path / "tower")
    assert done.exit_code == 0, done.stderr
    assert selfsup.load(tmp_path / "tower").modality == "sequence"
    done = call(
        "finetune", run, "--data", "toy-pairs", "--part", "first", "--set", "epochs=1", "--set", "min_steps=0", "--json"
    )
    assert done.exit_code == 0, done.stderr
    done = call("evaluate", run, "--data", "toy-pairs", "--part", "third")
    assert isinstance(done.exception, ConfigError)
    assert "no part 'third'; its parts are first, second" in str(done.exception)
    done = call("evaluate", tmp_path / "tower", "--data", "toy-sequences", "--part", "first")
    assert isinstance(done.exception, ConfigError)
    assert "leave the part 'first' out" in str(done.exception)

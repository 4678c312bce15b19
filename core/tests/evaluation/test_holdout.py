"""Rows that were pretrained on are told from rows to test on, by what they hold."""

import json
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from datasets import Dataset

import selfsup
from selfsup.artifacts import RunDirectory, pretraining_rows
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.cli.main import program
from selfsup.data.store.content_hash import mixed
from selfsup.errors import ArtifactError, DataError, PretrainedRowsWarning
from selfsup.evaluation.evaluate import evaluate, finetune
from selfsup.testing.toy.sequences.rows import frame_rows

TUNE = {"epochs": 1, "min_steps": 0, "precision": "32"}


def call(*arguments):
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def sources(toy, tmp_path_factory):
    """120 rows, the same in another order and format, and 60 other ones."""
    folder = tmp_path_factory.mktemp("sources")
    rows = frame_rows(120, 0)
    Dataset.from_list(rows).to_parquet(folder / "rows.parquet")
    turned = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    turned = [{"label": f"class {row['label']}", "sequence": row["sequence"]} for row in turned]
    (folder / "turned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in turned))
    Dataset.from_list(frame_rows(60, 9)).to_parquet(folder / "other.parquet")
    return folder


def pretrained(sources, out, **options):
    options = {"steps": 2, "batch_size": 32, "precision": "32", "backbone": "sequence/conv", **options}
    overrides = {"objective.hidden_dim": 16, "objective.output_dim": 8}
    return selfsup.pretrain(
        "sequence/vicreg", sources / "rows.parquet", out=out, progress=False, overrides=overrides, **options
    )


@pytest.fixture(scope="module")
def with_holdout(sources, tmp_path_factory):
    return pretrained(sources, tmp_path_factory.mktemp("runs") / "held", holdout=0.2)


@pytest.fixture(scope="module")
def without(sources, tmp_path_factory):
    return pretrained(sources, tmp_path_factory.mktemp("runs") / "all")


def test_the_run_and_its_encoder_say_what_was_held_out(with_holdout):
    info = RunDirectory(with_holdout.dir).info()
    assert info["config"]["holdout"] == 0.2
    assert 10 < info["data"]["held_out"] < 40
    assert info["data"]["held_out"] + info["data"]["rows"] == 120
    assert with_holdout.encoder.metadata["held_out"] == info["data"]["held_out"]
    assert with_holdout.encoder.pretraining_rows.different == info["data"]["rows"]


@pytest.mark.parametrize("name", ["rows.parquet", "turned.jsonl"])
def test_the_rows_that_were_held_out_are_the_test_rows_whatever_their_order_and_file(with_holdout, sources, name, recwarn):
    record, again = evaluate(with_holdout.dir, sources / name, evaluators=["knn", "linear"])
    held_out = RunDirectory(with_holdout.dir).info()["data"]["held_out"]
    assert (record.n_test, record.n_train) == (held_out, 120 - held_out)
    assert record.pretrained_share == again.pretrained_share == 0.0
    assert f"the {held_out} rows (20 %) of" in record.details["test_rows"]
    assert "that pretraining held out" in record.details["test_rows"]
    tuned = finetune(with_holdout.dir, sources / name, options=TUNE)
    assert (tuned.record.n_test, tuned.record.pretrained_share) == (held_out, 0.0)
    assert not recwarn.list


def test_testing_on_rows_that_were_pretrained_on_is_said_and_recorded(without, sources, recwarn):
    with pytest.warns(
        PretrainedRowsWarning, match="100 % of the test rows were pretrained on .without their labels.*--holdout"
    ):
        (record,) = evaluate(without.dir, sources / "rows.parquet", evaluators=["knn"])
    assert record.pretrained_share == 1.0
    recwarn.clear()
    outcome = call("evaluate", without.dir, "--data", sources / "turned.jsonl", "--evaluators", "knn")
    assert outcome.exit_code == 0
    assert " ".join(outcome.stderr.split()).count("100 % of the test rows were pretrained on") == 1
    assert not recwarn.list, "the command line shows a line, and no warning of Python beside it"


def test_test_rows_of_ones_own_are_looked_at_too(without, with_holdout, sources, recwarn):
    (record,) = evaluate(without.dir, sources / "rows.parquet", sources / "other.parquet", evaluators=["knn"])
    assert (record.pretrained_share, record.n_test) == (0.0, 60)
    # Other data has no rows that this pretraining held out, and is split as ever.
    (record,) = evaluate(with_holdout.dir, sources / "other.parquet", evaluators=["knn"])
    assert (record.pretrained_share, record.n_test) == (0.0, 12)
    assert "held out with seed" in record.details["test_rows"]
    assert not recwarn.list
    mixed = Dataset.from_list([*frame_rows(120, 0)[:10], *frame_rows(60, 9)[:30]])
    (record,) = evaluate(without.dir, sources / "other.parquet", mixed, evaluators=["knn"])
    assert record.pretrained_share == 0.25
    assert record.details["repeated_share"] == 0.75


def test_rows_with_a_double_are_on_one_side_of_a_split(encoder):
    rows = [row for row in frame_rows(40, 0) for _ in range(3)]
    (record,) = evaluate(encoder, Dataset.from_list(rows), evaluators=["knn"])
    assert (record.n_test, record.n_train) == (27, 93)
    assert record.details["repeated_share"] == 0.0
    assert record.pretrained_share is None, "this encoder came without a list of its rows"


def test_an_encoder_that_was_copied_still_knows_its_rows(without, sources, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(without.dir / "encoder", folder)
    assert evaluate(folder, sources / "rows.parquet", evaluators=["knn"])[0].pretrained_share == 1.0
    selfsup.load(folder).save(tmp_path / "saved")
    assert evaluate(tmp_path / "saved", sources / "rows.parquet", evaluators=["knn"])[0].pretrained_share == 1.0
    (folder / "pretraining_rows.npy").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"pretraining_rows.npy is damaged"):
        selfsup.load(folder)
    (folder / "pretraining_rows.npy").unlink()
    outcome = call("evaluate", folder, "--data", sources / "rows.parquet", "--evaluators", "knn", "--out", tmp_path / "results")
    assert outcome.exit_code == 0
    assert "It is not known whether the test rows were pretrained on" in " ".join(outcome.stderr.split())
    assert evaluate(folder, sources / "rows.parquet", evaluators=["knn"])[0].pretrained_share is None


def test_an_untrained_network_has_learned_from_no_row_and_is_tested_on_the_same_ones(with_holdout, sources, tmp_path):
    run = pretrained(sources, tmp_path / "run", holdout=0.2, steps=0)
    record = evaluate(run.dir, sources / "rows.parquet", evaluators=["knn"])[0]
    assert record.pretrained_share == 0.0
    assert (
        record.details["test_rows"]
        == evaluate(with_holdout.dir, sources / "rows.parquet", evaluators=["knn"])[0].details["test_rows"]
    )


def test_a_fine_tuned_encoder_has_learned_from_its_labelled_rows(with_holdout, sources):
    classifier = finetune(with_holdout.dir, sources / "other.parquet", options=TUNE).model
    with pytest.warns(PretrainedRowsWarning):
        (record,) = evaluate(classifier.encoder, sources / "rows.parquet", sources / "other.parquet", evaluators=["knn"])
    assert record.pretrained_share == 48 / 60
    assert evaluate(classifier.encoder, sources / "rows.parquet", evaluators=["knn"])[0].pretrained_share == 0.0


def test_a_share_that_holds_out_no_row_is_refused(sources, tmp_path):
    with pytest.raises(DataError, match=r"holdout=1e-06 holds out none of the 120 rows"):
        pretrained(sources, tmp_path / "run", holdout=1e-6)


def test_the_probe_of_a_run_sees_no_row_that_is_held_out(sources, tmp_path, monkeypatch):
    from selfsup.training.run import prepare_rows

    stores = []
    original = prepare_rows.process
    monkeypatch.setattr(prepare_rows, "process", lambda rows, *rest: stores.append(rows) or original(rows, *rest))
    pretrained(sources, tmp_path / "run", holdout=0.2, val=str(sources / "rows.parquet"))
    trained, probed = stores
    assert [row["sequence"] for row in probed] == [row["sequence"] for row in trained]


def test_the_test_split_is_no_validation_rows_unless_it_is_named(toy, sources, tmp_path, monkeypatch):
    from selfsup.training.run import prepare_rows

    seen, load = [], prepare_rows.load_source
    monkeypatch.setattr(
        prepare_rows, "load_source", lambda source, **given: seen.append((source, given.get("split"))) or load(source, **given)
    )
    pretrained(sources, tmp_path / "a", val="toy-frames")
    assert seen[1] == ("toy-frames", "train")


def test_of_many_rows_a_sample_is_kept(monkeypatch):
    monkeypatch.setattr(pretraining_rows, "MAX_HASHES", 1000)
    hashes = np.random.default_rng(0).integers(0, 2**64, 40_000, dtype=np.uint64)
    known = PretrainingRows.of(hashes[:20_000], ["x"])
    assert (len(known.hashes), known.different) == (1000, 20_000)
    assert known.share(hashes[:20_000]) == 1.0
    assert known.share(hashes[20_000:]) == 0.0
    assert known.share(hashes[10_000:30_000]) == pytest.approx(0.5, abs=0.05)
    assert known.share(hashes[20_000:20_001]) is None
    joined = known.together(hashes[20_000:])
    assert joined.different == 40_000
    assert joined.share(hashes) == 1.0


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 50_000])
def test_the_rows_that_are_kept_follow_from_their_hashes_alone(count, monkeypatch):
    monkeypatch.setattr(pretraining_rows, "MAX_HASHES", 1000)
    hashes = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    hashes[2:40:2] = hashes[:1]
    hashes[1:2], hashes[3:4] = 2**64 - 1, 0
    every = np.unique(hashes)
    expected = np.sort(every[np.argsort(mixed(every))[:1000]])
    kept = PretrainingRows.of(hashes, ["frames"])
    assert kept.different == len(every)
    assert np.array_equal(kept.hashes, expected)


def test_hashes_of_many_rows_take_little_memory_beside_them():
    hashes = np.random.default_rng(0).integers(0, 2**64, 1 << 22, dtype=np.uint64)
    before = hashes.copy()
    tracemalloc.start()
    try:
        kept = PretrainingRows.of(hashes, ["frames"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(kept.hashes) == pretraining_rows.MAX_HASHES
    assert peak < 5 * pretraining_rows.MAX_HASHES * 8  # of the sample; all hashes take four times one sample's
    assert np.array_equal(hashes, before)


def test_rows_of_a_part_count_with_those_of_the_start() -> None:
    def known(*values: int) -> PretrainingRows:
        return PretrainingRows.of(np.array(values, dtype=np.uint64), ["x"])

    former = replace(known(1, 2), parts={"left": known(10, 20), "right": known(30)})
    run = replace(known(2, 3), parts={"left": known(20, 40)})
    joined = run.after(former)
    assert joined.hashes.tolist() == [1, 2, 3]
    assert {name: own.hashes.tolist() for name, own in joined.parts.items()} == {"left": [10, 20, 40]}
    assert run.after(known(1)).parts == {}  # of a part of those rows nothing is known

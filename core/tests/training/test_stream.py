"""Batches of a stream: what is read, in which order, and how it goes on from its state."""

from __future__ import annotations

import io
import itertools
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from selfsup.data.batches.decoding import RowDecoder, start_ahead
from selfsup.data.batches.row_tally import RowTally
from selfsup.data.batches.shuffle import Origin, ShuffleBuffer, StreamedRow
from selfsup.data.batches.source import Share
from selfsup.data.batches.stream import StreamBatches, StreamOptions
from selfsup.data.sources.streams.load import open_stream
from selfsup.data.sources.streams.remote_media import media_files, media_shards
from selfsup.data.sources.streams.row_stream import RowStream, rows_of
from selfsup.data.sources.streams.shards import ParquetShard
from selfsup.errors import CheckpointError, ColumnError, DataError, SourceError, TooManyBadRowsError
from selfsup.registry import registry
from selfsup.registry.specs import ModalitySpec
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig

pytestmark = pytest.mark.usefixtures("toy")

ROWS = 57
SHARDS = (20, 5, 32)


def sequence(number: int) -> list[int]:
    return [number % 7, number, number // 7, 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """57 rows in three uneven shards, whose second number says which row it is."""
    path, begin = tmp_path_factory.mktemp("shards"), 0
    for shard, rows in enumerate(SHARDS):
        lines = [json.dumps({"sequence": sequence(number), "note": "x"}) for number in range(begin, begin + rows)]
        (path / f"part-{shard}.jsonl").write_text("\n".join(lines) + "\n")
        begin += rows
    return path


def opened(source: Any, **options: Any) -> RowStream:
    return open_stream(source, modality=registry().get("modality", "sequence"), **{"sample_rows": 20, **options})


def batches_of(stream: RowStream, share: Share | None = None, **options: Any) -> StreamBatches:
    processor = SequenceProcessor(SequenceProcessorConfig()).fit(stream.sample)
    processor.fitted["vocabulary"] = 100
    return StreamBatches(stream, processor, share or Share(5, seed=3), StreamOptions(**{"buffer": 8, **options}))


def taken(source: StreamBatches, epochs: int = 1) -> list[list[int]]:
    """The numbers of the rows of each batch."""
    return [batch["sequence"][:, 1].tolist() for _ in range(epochs) for batch in source.batches()]


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def test_an_epoch_gives_every_row_once_but_for_the_last_batch(folder: Path) -> None:
    source = batches_of(opened(folder))
    first, second = taken(source), taken(source)
    for epoch in (first, second):
        assert len(epoch) == ROWS // 5
        assert len(set(flat(epoch))) == len(flat(epoch)) == 55
        assert set(flat(epoch)) <= set(range(ROWS))
    assert first != second
    assert flat(first) != sorted(flat(first))
    assert source.epoch == 1


def test_the_order_does_not_depend_on_who_decodes(folder: Path) -> None:
    assert taken(batches_of(opened(folder), prefetch=1)) == taken(batches_of(opened(folder), prefetch=5))


@pytest.mark.parametrize("stop", [0, 1, 4, 9, 10, 11, 15])
def test_goes_on_from_its_state(folder: Path, stop: int) -> None:
    whole = taken(batches_of(opened(folder)), epochs=3)
    source, given = batches_of(opened(folder)), list[list[int]]()
    while len(given) < stop:
        iterator = source.batches()
        for batch in iterator:
            given.append(batch["sequence"][:, 1].tolist())
            if len(given) == stop:
                break
        iterator.close()
    resumed = batches_of(opened(folder))
    resumed.load_state_dict([source.state_dict()])
    while len(given) < 2 * (ROWS // 5) + 3:
        given += taken(resumed)
    assert given[: 2 * (ROWS // 5) + 3] == whole[: 2 * (ROWS // 5) + 3]


def test_refuses_the_state_of_another_order(folder: Path) -> None:
    state = batches_of(opened(folder)).state_dict()
    with pytest.raises(CheckpointError, match=r"streaming\.buffer=8"):
        batches_of(opened(folder), buffer=9).load_state_dict([state])


@pytest.mark.slow
def test_processes_that_decode_leave_other_ones_as_they_are(folder: Path) -> None:
    """They start from the same clean process, which passes over signals that would end it."""
    start_ahead()
    assert forkserver._forkserver._forkserver_pid is not None  # type: ignore[attr-defined]
    assert taken(batches_of(opened(folder), workers=1)) == taken(batches_of(opened(folder)))
    other = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(60,))
    other.start()
    other.terminate()
    other.join(20)
    assert other.exitcode == -signal.SIGTERM


def test_processes_that_decode_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clean process may have started under another one."""
    reads = SimpleNamespace(columnar=False, encode_rows=partial(map, partial(os.getenv, "SELFSUP_CACHE")), take_remarks=dict)
    rows = [StreamedRow(0, Origin(0, 0), {"sequence": [1]})]
    for value in ("first", "second"):
        monkeypatch.setenv("SELFSUP_CACHE", value)
        assert [row.reason for row in RowDecoder(cast(Any, reads), workers=1).decoded(rows)] == [value]


def test_shuffle_gives_each_number_once_and_far_from_its_place() -> None:
    given = list(ShuffleBuffer(50, np.random.default_rng(0)).through(iter(range(1000))))
    assert sorted(given) == list(range(1000))
    assert 20 < np.abs(np.array(given) - np.arange(1000)).mean() < 100
    assert list(ShuffleBuffer(1, np.random.default_rng(0)).through(iter(range(9)))) == list(range(9))


def test_two_processes_give_the_global_batches_of_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the shards: each reads all of them, and takes its part."""
    monkeypatch.setattr("torch.distributed.new_group", lambda **_: None)
    parts = [taken(batches_of(opened(folder), Share(5, rank, 2, seed=3))) for rank in (0, 1)]
    alone = taken(batches_of(opened(folder), Share(10, seed=3)))
    # The last rows fill a batch of the first process alone; the processes agree that it is none (test_streamed_runs.py).
    assert [len(part) for part in parts] == [6, 5]
    assert [one + other for one, other in zip(*parts, strict=False)] == alone


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.long)])
def test_gloo_processes_end_an_epoch_together_on_uneven_shards(
    processes: int, tmp_path: Path, in_two_processes: Callable[..., None]
) -> None:
    """And with bad rows, so that one has no batch left before the others."""
    rows: list[Any] = [{"sequence": sequence(number)} for number in range(ROWS)]
    rows[30:34] = [{"sequence": None}] * 4
    data, begin = tmp_path / "data", 0
    data.mkdir()
    shards = SHARDS if processes == 2 else (18, 5, 26, 4, 4)
    for shard, count in enumerate(shards):
        (data / f"part-{shard}.jsonl").write_text("\n".join(map(json.dumps, rows[begin : begin + count])) + "\n")
        begin += count
    in_two_processes("two_streams", data, tmp_path, processes, processes=processes)
    each = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(processes)]
    one = each[0]
    for how in ("rows", "shards"):
        for epoch in (0, 1):
            batches = [own[how]["epochs"][epoch] for own in each]
            assert len({len(own) for own in batches}) == 1
            assert len(batches[0]) > 0
            given = [number for own in batches for number in flat(own)]
            assert len(set(given)) == len(given)  # none twice
            assert not set(given) & {30, 31, 32, 33}
            if how == "rows":  # none is lost but for what fills no batch of all
                assert len(given) == (ROWS - 4) // 8 * 8
        assert all(own[how]["about"] == one[how]["about"] for own in each)
        kept = [shard for own in each for shard in own[how]["counts"]]
        assert len(set(kept)) == len(kept), "a checkpoint holds the length of a shard once"
        assert set(kept) == {str(shard) for shard in range(len(shards))}
        assert sum(own[how]["known"] for own in each) == ROWS
        assert one[how]["about"]["bad_rows"] in range(1, 9)
    assert any("left out" in text for text in one["rows"]["said"])
    assert any("Epoch 1" in text and "of process 1" in text for text in one["shards"]["said"])  # what is lost is named
    assert not any(own["shards"]["said"] for own in each[1:])


def test_goes_on_on_another_number_of_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.new_group", lambda **_: None)
    whole, states = taken(batches_of(opened(folder), Share(10, seed=3))), []
    for rank in (0, 1):
        source = batches_of(opened(folder), Share(5, rank, 2, seed=3))
        iterator = source.batches()
        for _ in range(2):
            next(iterator)
        states.append(source.state_dict())
        iterator.close()
    alone = batches_of(opened(folder), Share(10, seed=3))
    alone.load_state_dict(states)
    assert taken(alone) == whole[2:]


@pytest.mark.parametrize(("holdout", "bad"), [(0.0, {0}), (0.4, set()), (0.0, set(range(20)))])
def test_another_number_of_processes_goes_on_exactly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holdout: float, bad: set[int]
) -> None:
    """One whose batches have skipped rows is at a place where no batch of others begins."""
    monkeypatch.setattr("torch.distributed.new_group", lambda **_: None)
    rows = [{"sequence": None if number in bad else sequence(number)} for number in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    stream = opened(tmp_path / "rows.jsonl", sample_rows=60)
    options = {"holdout": holdout, "max_bad_rows": 0.5, "buffer": 1}
    source = batches_of(stream, Share(10, seed=3), **options)
    iterator = source.batches()
    begun = next(iterator)["sequence"][:, 1].tolist()
    state = source.state_dict()
    iterator.close()
    resumed = [batches_of(stream, Share(5, rank, 2, seed=3), **options) for rank in (0, 1)]
    if state["taken"] % 10:
        for part in resumed:
            before = part.state_dict()
            with pytest.raises(CheckpointError, match="places of their own"):
                part.load_state_dict([state])
            assert {**part.state_dict(), "tally": 0} == {**before, "tally": 0}
        return
    for part in resumed:
        part.load_state_dict([state])
    rest = [number for part in resumed for number in flat(taken(part))]
    assert len({*begun, *rest}) == len(begun) + len(rest) == 40


class Blocks(SequenceProcessor):
    """Joins sequences into blocks."""

    block_length = 7
    window_key = ""


def blocks_of(source: Path, batch: int = 2, *, rank: int = 0, world_size: int = 1, **options: Any) -> StreamBatches:
    stream = opened(source, sample_rows=60)
    processor = Blocks(SequenceProcessorConfig(keep=9.0)).fit(stream.sample)
    return StreamBatches(stream, processor, Share(batch, rank, world_size), StreamOptions(**{"buffer": 1, **options}))


def tokens_of(source: StreamBatches, most: int = 1000) -> list[list[int]]:
    """The tokens of each batch."""
    iterator = source.batches()
    found = [batch["sequence"].flatten().tolist() for batch in itertools.islice(iterator, most)]
    iterator.close()
    return found


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of 1 to 40 numbers that count on from one to the next; one is bad."""
    lengths, begin, lines = [3, 40, 1, 1, 8, 14, 2, 33, 7, 20, 5, 1], 0, list[str]()
    for number, length in enumerate(lengths):
        row = None if number == 4 else list(range(begin, begin + length))
        lines.append(json.dumps({"sequence": row}))
        begin += length if row else 0
    path = tmp_path_factory.mktemp("texts") / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_blocks_are_cut_from_all_rows_one_behind_the_other(texts: Path) -> None:
    source = blocks_of(texts, max_bad_rows=0.5)
    given = tokens_of(source)
    assert flat(given) == list(range(126))  # 127 tokens: what fills no batch of two blocks is left
    assert all(len(batch) == 14 for batch in given)
    seen = source.seen()
    assert (seen.about["rows_read"], seen.about["bad_rows"]) == (11, 1)
    assert tokens_of(source)[0] == given[0]  # the next epoch begins anew


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 8])
def test_blocks_go_on_in_the_middle_of_a_row(texts: Path, stop: int) -> None:
    """And each row is counted once."""
    whole = blocks_of(texts, max_bad_rows=0.5, buffer=4)
    expected = tokens_of(whole)
    source = blocks_of(texts, max_bad_rows=0.5, buffer=4)
    begun = tokens_of(source, stop)
    resumed = blocks_of(texts, max_bad_rows=0.5, buffer=4)
    resumed.load_state_dict([source.state_dict()])
    assert begun + tokens_of(resumed) == expected
    assert resumed.seen().about == whole.seen().about


def test_blocks_of_two_processes_are_of_rows_of_their_own(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.new_group", lambda **_: None)
    parts = [flat(tokens_of(blocks_of(texts, rank=rank, world_size=2, max_bad_rows=0.5))) for rank in (0, 1)]
    assert not set(parts[0]) & set(parts[1])
    assert len(parts[0]) + len(parts[1]) > 127 - 2 * 14
    source = blocks_of(texts, rank=0, world_size=2, max_bad_rows=0.5)
    tokens_of(source, 1)
    with pytest.raises(CheckpointError, match="blocks of tokens"):
        blocks_of(texts, 4).load_state_dict([source.state_dict()] * 2)


def test_shards_of_their_own_are_disjoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.new_group", lambda **_: None)
    monkeypatch.setattr(
        "torch.distributed.all_gather_object", lambda found, own, group: found.__setitem__(slice(None), [own] * 2)
    )
    one, other = (flat(taken(batches_of(opened(folder), Share(2, rank, 2), by_shards=True))) for rank in (0, 1))
    assert not set(one) & set(other)
    assert len(one) + len(other) >= ROWS - 2
    with pytest.raises(DataError, match="3 shard"):
        batches_of(opened(folder), Share(2, 0, 4), by_shards=True)


def test_bad_rows_are_left_out_counted_and_named(tmp_path: Path) -> None:
    rows: list[Any] = [{"sequence": sequence(number)} for number in range(40)]
    rows[7] = {"sequence": None}
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    said: list[str] = []
    stream = opened(tmp_path / "rows.jsonl", sample_rows=40)
    processor = SequenceProcessor(SequenceProcessorConfig()).fit(stream.sample)
    source = StreamBatches(stream, processor, Share(3), StreamOptions(buffer=4, max_bad_rows=0.03), warn=said.append)
    assert set(flat(taken(source))) == set(range(40)) - {7}
    assert "1 of the 40 rows" in said[0]
    assert "row 7 of" in said[0]
    seen = source.seen()
    assert (seen.about["rows_read"], seen.about["bad_rows"], seen.different) == (40, 1, 39)
    with pytest.raises(TooManyBadRowsError, match="row 7 of"):
        taken(batches_of(stream, max_bad_rows=0.01))


def test_a_stream_of_bad_rows_ends_before_all_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsup.data.batches.stream._LOOK_ROWS", 16)
    rows = [{"sequence": sequence(number) if number < 20 else None} for number in range(2000)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    source, note, noted = batches_of(opened(tmp_path / "rows.jsonl"), Share(19), buffer=1, max_bad_rows=0.2), RowTally.note, []

    def noting(tally: RowTally, row: Any) -> Any:
        noted.append(row)
        return note(tally, row)

    monkeypatch.setattr(RowTally, "note", noting)
    with pytest.raises(TooManyBadRowsError, match=r"of the first .* row 2\d of"):
        taken(source)
    assert len(noted) < 100


@pytest.mark.parametrize(("stop", "said"), [(9, False), (7, True), (2, True)])
def test_rows_that_processes_have_left_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, said: bool
) -> None:
    """Where another process has no batch left after ``stop`` of them; less than a batch is nothing to tell of."""
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"sequence": sequence(number)}) for number in range(80)) + "\n")
    stream = opened(tmp_path / "rows.jsonl")
    processor = SequenceProcessor(SequenceProcessorConfig()).fit(stream.sample)
    processor.fitted["vocabulary"] = 100
    batches, heard = list[Any](), list[str]()

    def gathered(found: list[Any], own: Any, group: Any) -> None:
        found[:] = [own, 80 if own is None else own]  # the other one has read all shards

    monkeypatch.setattr("torch.distributed.new_group", lambda **_: "gloo")
    monkeypatch.setattr("torch.distributed.all_reduce", lambda has, **_: has.fill_(0) if len(batches) == stop else has)
    monkeypatch.setattr("torch.distributed.all_gather_object", gathered)
    source = StreamBatches(stream, processor, Share(5, 0, 2), StreamOptions(buffer=1, prefetch=1), warn=heard.append)
    for batch in source.batches():
        batches.append(batch)
    left = 40 - 5 * min(stop, 8)
    assert [f"{left} of process 0, {left} of process 1" in text for text in heard] == [True] * said


@pytest.mark.parametrize("more", [False, True])
def test_blocks_that_only_one_process_can_fill_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: bool) -> None:
    """Rows that fill no batch of blocks on any process are not reported, though they are more than a batch has blocks."""
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"sequence": [number]}) for number in range(46)) + "\n")

    def gathered(found: list[Any], own: Any, group: Any) -> None:
        found[:] = [own, more if isinstance(own, bool) else own]

    monkeypatch.setattr("torch.distributed.new_group", lambda **_: "gloo")
    monkeypatch.setattr("torch.distributed.all_reduce", lambda has, **_: has)
    monkeypatch.setattr("torch.distributed.all_gather_object", gathered)
    stream, heard = opened(tmp_path / "rows.jsonl", sample_rows=46), list[str]()
    processor = Blocks(SequenceProcessorConfig(keep=9.0)).fit(stream.sample)
    source = StreamBatches(stream, processor, Share(2, 0, 2), StreamOptions(buffer=1), warn=heard.append)
    assert len(flat(tokens_of(source))) == 14
    assert ["10 of process 0" in text and "its own rows into blocks" in text for text in heard] == [True] * more


def test_rows_that_are_held_out_are_those_of_a_store(folder: Path) -> None:
    from selfsup.data import hold_out, load_source

    modality = registry().get("modality", "sequence")
    inside, outside = hold_out(load_source(folder, modality=modality), 0.3)
    source = batches_of(opened(folder), Share(2), holdout=0.3)
    given = set(flat(taken(source)))
    assert not given & {row["sequence"][1] for row in outside}
    assert len(inside) - len(given) in (0, 1)
    assert source.seen().about["held_out"] == len(outside)


def test_shards_in_a_network_are_not_asked_where_nobody_needs_the_number(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(_sources(folder, tmp_path))  # which writes it
    stream = opened(f"file://{tmp_path / 'rows.parquet'}")
    assert rows_of(stream, None, 0.0) == ROWS
    monkeypatch.setattr(ParquetShard, "count", None)
    assert rows_of(stream, None, 0.0, ask=False) is None


def test_rows_that_the_user_tells_of_are_those_of_the_source(folder: Path) -> None:
    assert rows_of(opened(folder), 100, 0.0) == 100
    assert rows_of(opened(folder), 100, 0.2) == 80


def test_too_few_rows_for_a_batch(folder: Path) -> None:
    with pytest.raises(DataError, match="batch_size=60"):
        taken(batches_of(opened(folder), Share(60)))


def _sources(folder: Path, target: Path) -> Iterator[tuple[str, Any, int | None]]:
    """The same rows in other forms, and how many of them are known beforehand."""
    import datasets

    rows = [{"sequence": sequence(number)} for number in range(ROWS)]
    whole = datasets.Dataset.from_list(rows)
    yield "pattern", str(folder / "part-{0..2}.jsonl"), None
    yield "url", f"file://{folder}", None
    whole.to_parquet(target / "rows.parquet", batch_size=10)
    yield "parquet", target / "rows.parquet", ROWS
    yield "iterable", whole.to_iterable_dataset(num_shards=3), None
    yield "generator", datasets.IterableDataset.from_generator(lambda: iter(rows)), None  # of unknown features
    yield "mapped", whole.to_iterable_dataset(num_shards=3).map(dict), None
    yield "rows", whole, ROWS


def test_forms_of_a_source(folder: Path, tmp_path: Path) -> None:
    for name, source, known in _sources(folder, tmp_path):
        stream = opened(source)
        assert rows_of(stream, None, 0.0) == known, name
        assert sorted(flat(taken(batches_of(stream, Share(57))))) == list(range(ROWS)), name
        state = (half := batches_of(stream, Share(4))).state_dict()
        iterator = half.batches()
        begun = [next(iterator)["sequence"][:, 1].tolist() for _ in range(6)]
        state = half.state_dict()
        iterator.close()
        rest = batches_of(opened(source), Share(4))
        rest.load_state_dict([state])
        assert begun + taken(rest) == taken(batches_of(opened(source), Share(4))), name


def test_in_the_memory_of_a_file_system(folder: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for file in folder.iterdir():
        memory.pipe(f"/bucket/{file.name}", file.read_bytes())
    stream = opened("memory://bucket/part-*.jsonl")
    assert stream.remote
    assert sorted(flat(taken(batches_of(stream, Share(57))))) == list(range(ROWS))
    with pytest.raises(SourceError, match="nothing at memory://bucket/none"):
        opened("memory://bucket/none")


def test_pictures_in_folders_of_a_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fsspec

    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    pictures = ModalitySpec(
        id="pictures", summary="Pictures.", target="a:B", backbone="b", columns={"image": "Image"}, suffixes=(".png",)
    )
    memory = fsspec.filesystem("memory")
    for number in range(40):
        split = "val" if number >= 30 else "train"
        memory.pipe(f"/photos/{split}/{'cats' if number % 2 else 'dogs'}/{number}.PNG", f"picture {number}".encode())
    memory.pipe("/photos/readme.txt", b"no picture")
    stream = open_stream("memory://photos", modality=pictures, sample_rows=5)
    assert (stream.remote, stream.ended, stream.described) == (True, False, "5 of 30 files")
    assert len(stream.sample) == 5
    assert rows_of(stream, None, 0.0) == 30
    read = list(stream.read(0, 2))
    assert sorted(row["image"]["bytes"] for row in [*read, *itertools.islice(stream.read(0), 2)]) == sorted(
        f"picture {number}".encode() for number in range(30)
    )
    assert read[0]["image"]["path"].startswith("memory://")
    assert stream.describe(0, 2, read[0]).endswith(f"({read[0]['image']['path']})")
    assert rows_of(open_stream("memory://photos/*/cats/*", modality=pictures, sample_rows=50), None, 0.0) == 20
    memory.pipe("/photos/train/cats/1.PNG", b"another picture")
    assert open_stream("memory://photos", modality=pictures, sample_rows=5).fingerprint != stream.fingerprint
    with pytest.raises(SourceError, match=r"folders of \.png, \.\.\. files\. Pack other"):
        open_stream("memory://photos/nothing", modality=pictures, sample_rows=5)


@pytest.mark.parametrize(
    ("files", "shards", "sizes"), [(1100, 64, {17, 18}), (70_000, 128, {546, 547}), (500, 16, {31, 32}), (5, 1, {5})]
)
def test_single_files_are_cut_into_many_even_shards(files: int, shards: int, sizes: set[int]) -> None:
    cut = media_shards("s3://photos", "image", [str(number) for number in range(files)])
    assert (len(cut), {shard.count() for shard in cut}) == (shards, sizes)
    assert [url for shard in cut for url in shard.urls] == [str(number) for number in range(files)]
    assert cut[0].name == f"s3://photos, files 0 to {cut[0].count() - 1}"


def test_files_whose_suffix_says_what_they_are_are_not_asked_whether_they_are_folders(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request for each of many URLs takes long."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for file in folder.iterdir():
        memory.pipe(f"/known/{file.name}", file.read_bytes())
    monkeypatch.setattr(type(memory), "isdir", None)
    pictures = ModalitySpec(
        id="pictures", summary="Pictures.", target="a:B", backbone="b", columns={"image": "Image"}, suffixes=(".png",)
    )
    assert not media_files("memory://known/{000..127}.tar", pictures, "train")
    assert len(opened("memory://known/part-{0..2}.jsonl").shards) == 3


def test_pictures_by_their_urls_or_decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    import fsspec
    from PIL import Image

    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    pictures = ModalitySpec(id="pictures", summary="Pictures.", target="a:B", backbone="b", columns={"image": "Image"})
    memory, drawn = fsspec.filesystem("memory"), [Image.new("L", (4, 4), number) for number in range(6)]
    for number, picture in enumerate(drawn):
        with memory.open(f"/pictures/{number}.png", "wb") as file:
            picture.save(file, "PNG")
    urls = [{"image": {"path": f"memory://pictures/{number}.png", "bytes": None}} for number in range(6)]
    features = datasets.Features({"image": datasets.Image()})
    for source in (
        datasets.IterableDataset.from_generator(lambda: iter(urls), features=features),
        datasets.IterableDataset.from_generator(lambda: iter({"image": picture} for picture in drawn)),
    ):
        stream = open_stream(source, modality=pictures, sample_rows=3)
        for rows in (stream.sample, stream.read(0, 1)):
            values = [Image.open(io.BytesIO(row["image"]["bytes"])).getpixel((0, 0)) for row in rows]
            assert values == ([0, 1, 2] if rows is stream.sample else [1, 2, 3, 4, 5])


def test_says_what_it_cannot_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text("[1, 2]\n")
    with pytest.raises(SourceError, match="no file of JSON lines"):
        opened(tmp_path / "list.jsonl")
    with pytest.raises(ColumnError):
        opened(folder, columns={"sequence": "nothing"})
    with pytest.raises(SourceError, match=r"No file fits"):
        opened(str(folder / "none-*.tar"))

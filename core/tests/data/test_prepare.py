"""Processing rows into a store: complete or not there, bad rows counted, memory flat."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch

from selfsup.config import Config
from selfsup.data import Processor, Rows, cache_in, cache_root, load_source, prepare
from selfsup.errors import BadRowError, DataError, StorageError, TooManyBadRowsError
from selfsup.registry.specs import ModalitySpec
from selfsup.runtime.temporary_files import CAN_LOCK
from selfsup.training import RunConfig
from selfsup.training.run.prepare_rows import process

PHOTOS = ModalitySpec(
    id="photos", summary="Pictures.", target="a:b", columns={"image": "Image"}, suffixes=(".jpg",), backbone="none"
)


class Numbers(Processor):
    """A row is a number; negative ones are bad. Counts how many it has processed."""

    modality = "numbers"

    def __init__(self, add: int = 0) -> None:
        super().__init__(Config())
        self.add = add
        self.encoded = 0
        self.threads: set[str] = set()

    def fit(self, rows):
        return self

    def info(self):
        return {}

    def encode(self, row):
        self.encoded += 1
        self.threads.add(threading.current_thread().name)
        if row["x"] < 0:
            raise BadRowError(f"{row['x']} is negative")
        return {"x": np.asarray([row["x"] + self.add])}

    def save(self, directory):
        (directory / "numbers.json").write_text(json.dumps({"add": self.add}))

    @classmethod
    def load(cls, directory):
        return cls(json.loads((directory / "numbers.json").read_text())["add"])


class Photos(Numbers):
    """Decodes pictures to 8×8."""

    modality = "photos"

    def encode(self, row):
        from PIL import Image, UnidentifiedImageError

        file = row["image"]
        try:
            with Image.open(io.BytesIO(file["bytes"]) if file["bytes"] is not None else file["path"]) as image:
                return {"image": np.asarray(image.convert("RGB").resize((8, 8)))}
        except (UnidentifiedImageError, OSError) as error:
            raise BadRowError(str(error)) from error


def numbers(values: list[int], fingerprint: str = "f") -> Rows:
    return Rows(
        dataset=datasets.Dataset.from_dict({"x": values}), columns={"x": "x"}, fingerprint=fingerprint, name="some numbers"
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stores"


def stores(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def test_samples_are_those_of_the_rows_in_order():
    values = list(range(1000))
    calls: list[tuple[int, int]] = []
    store = prepare(numbers(values), Numbers(add=5), workers=4, progress=lambda done, total: calls.append((done, total)))
    assert store.read(range(1000))["x"].flatten().tolist() == list(range(5, 1005))
    assert calls[-1] == (1000, 1000)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_store_is_reused_for_the_same_rows_and_processor(cache):
    prepare(numbers([1, 2]), Numbers())
    again = Numbers()
    prepare(numbers([1, 2]), again)
    assert again.encoded == 0
    prepare(numbers([1, 2]), other := Numbers(add=1))
    assert other.encoded == 2, "another state of the processor"
    prepare(numbers([3, 4], fingerprint="g"), other := Numbers())
    assert other.encoded == 2, "other rows"
    assert len(stores(cache)) == 3


def test_store_of_other_code_is_not_reused(tmp_path, monkeypatch):
    package = tmp_path / "example_numbers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    neighbour = package / "decoding.py"
    neighbour.write_text("ADD = 0\n")
    for name in ("example_numbers", "example_numbers.processor"):
        module = types.ModuleType(name)
        module.__file__ = str(package / ("__init__.py" if name == "example_numbers" else "processor.py"))
        monkeypatch.setitem(sys.modules, name, module)

    class Elsewhere(Numbers):
        """Defined in a package, whose other modules it may call."""

    monkeypatch.setattr(Elsewhere, "__module__", "example_numbers.processor")
    counts = []
    for text in ("ADD = 0\n", "ADD = 0\n", "ADD = 1\n"):
        neighbour.write_text(text)
        prepare(numbers([1, 2]), processor := Elsewhere())
        counts.append(processor.encoded)
    assert counts == [2, 0, 2]


def test_damaged_store_is_made_again(cache):
    prepare(numbers([1, 2]), Numbers())
    (name,) = stores(cache)
    os.truncate(cache / name / "0.values", 3)
    again = Numbers()
    assert prepare(numbers([1, 2]), again).read([0, 1])["x"].flatten().tolist() == [1, 2]
    assert again.encoded == 2


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "I/O error"), MemoryError()]
)
def test_passing_error_does_not_delete_a_good_store(cache, monkeypatch, error):
    prepare(numbers([1, 2]), Numbers())

    def fail(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("selfsup.data.store.format.check_sums", fail)
        with pytest.raises(StorageError, match="Cannot read the store"):
            prepare(numbers([1, 2]), Numbers())
    again = Numbers()
    assert len(prepare(numbers([1, 2]), again)) == 2
    assert again.encoded == 0


@pytest.mark.skipif(not CAN_LOCK, reason="locks are needed")
def test_damaged_store_that_is_read_is_not_deleted(cache):
    reader = prepare(numbers([1, 2]), Numbers())
    (name,) = stores(cache)
    os.truncate(cache / name / "0.values", 3)
    with pytest.raises(StorageError, match=r"damaged.*A process still reads it"):
        prepare(numbers([1, 2]), Numbers())
    assert (cache / name / "0.values").exists()
    reader.close()
    assert len(prepare(numbers([1, 2]), Numbers())) == 2


def test_bad_rows_are_left_out_and_named():
    store = prepare(numbers([10, -1, 30, 40]), Numbers(), max_bad_rows=0.25)
    assert store.kept.tolist() == [0, 2, 3]
    assert store.bad_rows == [(1, "row 1: -1 is negative")]
    assert store.source_rows == 4
    assert len(store) == 3


class Remarking(Numbers):
    """Says of numbers from 3 on that they were clipped."""

    def encode(self, row):
        if row["x"] >= 3:
            self.remark("numbers beyond 3 (clipped)")
        return super().encode(row)


def test_remarks_on_good_rows_are_counted_and_kept_beside_the_samples(cache):
    processor = Remarking()
    first = prepare(numbers([0, 2, 4, 6, 8]), processor)
    assert first.remarks == {"numbers beyond 3 (clipped)": 3}
    assert processor.take_remarks() == {}
    assert prepare(numbers([0, 2, 4, 6, 8]), Remarking()).remarks == first.remarks  # from the store
    assert prepare(numbers([0, 2], "g"), processor).remarks == {}


def test_too_many_bad_rows(cache):
    message = r"At least 2 of 4 rows of some numbers .*1 may be .*row 1: -1 is negative; row 2: -2 .*--max-bad-rows"
    with pytest.raises(TooManyBadRowsError, match=message):
        prepare(numbers([1, -1, -2, 4]), Numbers(), max_bad_rows=0.25)
    assert stores(cache) == []
    prepare(numbers([1, -1, -2, 4]), Numbers(), max_bad_rows=0.5)
    with pytest.raises(TooManyBadRowsError, match=message):
        prepare(numbers([1, -1, -2, 4]), Numbers(), max_bad_rows=0.25)


def test_bad_rows_stop_it_early():
    processor = Numbers()
    with pytest.raises(TooManyBadRowsError):
        prepare(numbers([-1] * 20_000), processor, workers=1)
    assert processor.encoded < 5_000


def test_nothing_but_bad_rows_is_never_a_store(cache):
    with pytest.raises(TooManyBadRowsError, match="None of the 3 rows of some numbers"):
        prepare(numbers([-1, -2, -3]), Numbers(), max_bad_rows=1.0)
    assert stores(cache) == []


def test_no_rows():
    with pytest.raises(DataError, match="some numbers has no row"):
        prepare(numbers([]), Numbers())


def test_photos_of_mixed_sizes_truncated_and_fake(tmp_path):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number, size in enumerate([(64, 48), (8, 8), (33, 91)]):
        pixels = generator.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    (folder / "3-truncated.jpg").write_bytes((folder / "0.jpg").read_bytes()[:700])
    (folder / "4-text.jpg").write_text("this is no picture")
    (folder / "5-empty.jpg").touch()
    rows = load_source(folder, modality=PHOTOS)
    store = prepare(rows, Photos(), max_bad_rows=0.5)
    assert store.kept.tolist() == [0, 1, 2]
    reasons = dict(store.bad_rows)
    assert "row 3 (3-truncated.jpg): " in reasons[3]
    assert "row 4 (4-text.jpg): cannot identify image" in reasons[4]
    assert set(reasons) == {3, 4, 5}
    with pytest.raises(TooManyBadRowsError, match=r"3-truncated\.jpg.*4-text\.jpg"):
        prepare(rows, Photos())


def test_error_that_is_no_rows_fault_passes_through_and_leaves_nothing(cache):
    class Broken(Numbers):
        def encode(self, row):
            if row["x"] == 70:
                raise MemoryError("the memory is full")
            return super().encode(row)

    with pytest.raises(MemoryError, match="the memory is full") as raised:
        prepare(numbers(list(range(100))), Broken())
    assert raised.value.__notes__ == ["while processing rows 64 to 95"]
    assert stores(cache) == []


def test_full_disk(cache, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"the disk is full.*SELFSUP_CACHE"):
        prepare(numbers([1, 2]), Numbers())
    assert stores(cache) == []


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Cannot write .*file"):
        prepare(numbers([1]), Numbers(), cache_dir=tmp_path / "file" / "below")


_KILLED = """
import os, sys, time
sys.path.insert(0, os.path.dirname({file!r}))
from test_prepare import Numbers, numbers
from selfsup.data import prepare

class Stuck(Numbers):
    def encode(self, row):
        if row["x"] == 500:
            print("half", flush=True)
            time.sleep(600)
        return super().encode(row)

Stuck.__module__, Stuck.__qualname__ = {module!r}, "Numbers"
sys.modules[{module!r}] = sys.modules["test_prepare"]
prepare(numbers(list(range(1000))), Stuck(), workers=1)
"""


@pytest.mark.slow
def test_killed_process_leaves_no_store_and_its_remains_are_removed(cache):
    program = _KILLED.format(file=__file__, module=__name__)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    (left,) = stores(cache)
    assert left.startswith("."), "what is not finished is not called like a store"
    processor = Numbers()
    store = prepare(numbers(list(range(1000))), processor)
    assert processor.encoded == 1000, "it was processed from the beginning"
    assert stores(cache) == [store.path.name]
    assert store.path.name in left, "the test is of one and the same store"


def test_second_caller_waits_for_the_first(cache):
    reached, go_on = threading.Event(), threading.Event()

    class Slow(Numbers):
        def encode(self, row):
            reached.set()
            assert go_on.wait(30)
            return super().encode(row)

    first, second = Slow(), Slow()
    results: dict[str, list[int]] = {}

    def run(name: str, processor: Slow) -> None:
        results[name] = prepare(numbers([1, 2, 3]), processor, workers=1).read([0, 1, 2])["x"].flatten().tolist()

    threads = [threading.Thread(target=run, args=("first", first))]
    threads[0].start()
    assert reached.wait(30)
    threads.append(threading.Thread(target=run, args=("second", second)))
    threads[1].start()
    time.sleep(0.2)  # so that the second has come to the lock, and would have begun if that did not hold it
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert results == {"first": [1, 2, 3], "second": [1, 2, 3]}
    assert (first.encoded, second.encoded) == (3, 0)


_MEMORY = """
import os, sys, threading, time
sys.path.insert(0, os.path.dirname({file!r}))
from test_prepare import Numbers
import numpy as np
from selfsup.data import EpochSampler, Loader, load_source, prepare
from selfsup.registry.specs import ModalitySpec
from selfsup.training import RunConfig
from selfsup.training.run.prepare_rows import process

class Blobs(Numbers):
    def encode(self, row):
        return {{"x": np.frombuffer(row["blob"], dtype=np.uint8)}}

peak = 0
def watch():  # anonymous memory: pages of files that are mapped belong to the system's cache
    global peak
    while True:
        with open("/proc/self/status") as file:
            peak = max(peak, next(int(line.split()[1]) for line in file if line.startswith("RssAnon")))
        time.sleep(0.005)

threading.Thread(target=watch, daemon=True).start()

modality = ModalitySpec(id="numbers", summary="Blobs.", target="a:b", columns={{"blob": "binary"}}, backbone="none")
def work(path):
    rows = load_source(path, modality=modality)
    processor = Blobs().fit(rows)
    assert sum(len(row["blob"]) for row in rows) == 20_000 * len(rows)
    store = prepare(rows, processor, workers=2)
    loader = Loader(store, processor, EpochSampler(len(store), 32), labels=rows.labels())
    assert sum(batch["x"].shape[1] * len(batch["x"]) for batch in loader.epoch(0)) > 0.9 * store.nbytes

work(sys.argv[1])  # the libraries are loaded and their pools filled
before = peak
work(sys.argv[2])
print(peak - before)
"""


def blob_table(path: Path, n: int) -> Path:
    """``n`` rows of 20 kB that do not compress."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(n)
    schema = pa.schema({"blob": pa.binary(), "label": pa.int64()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n, 200):
            blobs = [generator.bytes(20_000) for _ in range(200)]
            writer.write_table(pa.table({"blob": blobs, "label": list(range(start, start + 200))}, schema=schema))
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's anonymous memory")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    """120 MB of rows are listed, read, processed, stored and read again in no more memory than 20 MB of them."""
    small, large = blob_table(tmp_path / "small.parquet", 1_000), blob_table(tmp_path / "large.parquet", 6_000)
    run = subprocess.run(
        [sys.executable, "-c", _MEMORY.format(file=__file__), str(small), str(large)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # Threads keep some tens of megabytes of their own; a stage that held all rows would take 100 more.
    grown = int(run.stdout.split()[-1]) / 1024
    assert grown < 60, f"{grown:.0f} MB more for 100 MB more of data"


def test_a_chosen_cache_holds_for_its_block_and_thread_only(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "usual"))
    seen = []
    with cache_in(tmp_path / "chosen"):
        assert cache_root() == tmp_path / "chosen"
        thread = threading.Thread(target=lambda: seen.append(cache_root()))
        thread.start()
        thread.join()
        with cache_in(tmp_path / "inner"):
            assert cache_root() == tmp_path / "inner"
        assert cache_root() == tmp_path / "chosen"
    assert cache_root() == tmp_path / "usual"
    assert seen == [tmp_path / "usual"]


def test_what_a_store_will_take_is_told_and_refused_early(cache, monkeypatch):
    monkeypatch.setattr("selfsup.data.store.store_size.ESTIMATE_ROWS", 64)
    rows, told, done = numbers(list(range(2000))), [], []
    store = prepare(rows, Numbers(), estimated=told.append)
    assert len(told) == 1
    assert told[0].nbytes == pytest.approx(store.nbytes, rel=0.01)
    for limit, reason in ((50, "even when compressed .* are allowed"), (None, "even when compressed .* are free")):
        if limit is None:
            monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
        done.clear()
        with pytest.raises(StorageError, match=rf"{reason}.*--stream") as refused:
            prepare(
                numbers(list(range(2000)), f"other {limit}"), Numbers(), most_bytes=limit, workers=1,
                progress=lambda count, _: done.append(count),
            )  # fmt: skip
        assert sum(done[-1:]) < 200  # not when the disk is full
        assert ("--max-store-gb" in str(refused.value)) == (limit is not None)
    assert len(stores(cache)) == 1
    with pytest.raises(StorageError, match="at least"):
        prepare(numbers([1, 2, 3], "small"), Numbers(), most_bytes=1)


def test_samples_that_do_not_fit_raw_are_compressed(cache, monkeypatch):
    """With the same values, under the same name; whether the first ones tell that, or only the last."""
    monkeypatch.setattr("selfsup.data.store.compression._LEAST_BYTES", 256)
    values = [*range(8000), -1]
    raw = prepare(numbers(values), Numbers())
    everything = raw.read(range(8000))["x"]
    raw.close()
    for first, most in ((64, 400), (8002, 8001)):
        shutil.rmtree(cache)
        monkeypatch.setattr("selfsup.data.store.store_size.ESTIMATE_ROWS", first)
        processor, said = Numbers(), []
        reporter = SimpleNamespace(message=said.append, start=lambda *_, **__: None, advance=lambda _: None)
        config = RunConfig(task="numbers/none", data="numbers", max_store_gb=4e-5, workers=1)
        packed = process(numbers(values), processor, config, reporter)
        assert (packed.path, packed.bad_rows, len(packed)) == (raw.path, raw.bad_rows, 8000)
        assert torch.equal(packed.read(range(8000))["x"], everything)
        assert (size := packed.nbytes) < 40_000 < 64_000
        assert 8001 < processor.encoded < 8001 + most  # the first rows are processed again
        assert ["raw they take 0.064 MB, and 0.04 MB are allowed" in text for text in said[:-1]] == [True]
        packed.close()
        assert prepare(numbers(values), Numbers()).nbytes == size  # what is there is used

"""``selfsup embed --engine ray`` on a real Ray cluster, of two nodes on this machine, with workers that are killed."""

import csv
import os
import re
import signal
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import selfsup
from selfsup.errors import ConfigError, DataWarning, RunError, SourceError, TooManyBadRowsError
from selfsup.evaluation.embedding import ray_data

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'selfsup[ray]'")
pytest.importorskip("ray.data")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray, at its end
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ROWS = 300
PAGE = Path(__file__).parents[1] / "docs" / "guide" / "many-machines.md"


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    # The paths of its sockets have to be short. 80 MiB is about the least that Ray takes.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()  # Cluster writes its address there, and does not make the folder
        head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": f"{folder}/ray", "object_store_memory": 80 * 2**20}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table with names, labels and numbers, and the folder of an encoder for it."""
    folder = tmp_path_factory.mktemp("table")
    drawn = np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "a", "b", "colour", "label"])
        for row in range(ROWS):
            writer.writerow(
                [f"n{row}", drawn.random(), drawn.normal(), drawn.choice(["red", "blue"]), drawn.choice(["u", "v"])]
            )
    options = {"backbone.depth": 1, "backbone.dim": 16}
    selfsup.pretrain("tabular/random-init", data=folder / "table.csv", out=folder / "run", progress=False, overrides=options)
    return folder


def embedded(table, tmp_path, name="e.parquet", **options):
    return selfsup.embed(table / "run", table / "table.csv", tmp_path / name, engine="ray", engine_options=options)


def test_the_file_is_that_of_the_local_engine(cluster, table, tmp_path):
    here = selfsup.embed(table / "run", table / "table.csv", tmp_path / "here.parquet")
    done = embedded(table, tmp_path, address=cluster.address, rows=64)
    assert (done.rows, done.dim, done.bad_rows) == (here.rows, here.dim, here.bad_rows) == (ROWS, here.dim, 0)
    ours, theirs = pq.read_table(tmp_path / "here.parquet"), pq.read_table(tmp_path / "e.parquet")
    assert ours.schema.equals(theirs.schema)
    assert ours.drop(["embedding"]).equals(theirs.drop(["embedding"]))
    assert theirs["id"].to_pylist() == [f"n{row}" for row in range(ROWS)]
    np.testing.assert_allclose(np.stack(theirs["embedding"].to_numpy()), np.stack(ours["embedding"].to_numpy()), atol=1e-6)
    assert not ray.is_initialized()
    with pytest.raises(
        ConfigError, match=r"which asks for 1 CPUs, 8 GPUs\. Its machines have: 1 CPUs, 0 GPUs \(2 times\)\. Set num"
    ):
        embedded(table, tmp_path, address=cluster.address, num_gpus=8)


class DyingWorker(ray_data._Worker):
    """Kills its own process at one block, the first ``times`` times."""

    at, times = 64, 1

    folder: Path

    def _answer(self, start, stop):
        answer = super()._answer(start, stop)
        if start == self.at and not isinstance(answer[0], str):
            died = len(list(self.folder.iterdir()))
            if died < self.times:
                (self.folder / str(died)).touch()
                # A death between the embedding and its end, which the tally does not know of yet.
                ray.get(self.deaths.begin.remote(start))
                os.kill(os.getpid(), signal.SIGKILL)
                os._exit(1)
        return answer


@pytest.fixture
def deaths(tmp_path, monkeypatch):
    """The folder that has a file for each death."""
    folder = tmp_path / "deaths"
    folder.mkdir()
    monkeypatch.setattr(DyingWorker, "folder", folder, raising=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(ray_data, "_Worker", DyingWorker)
    yield folder
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.long
def test_rows_of_a_killed_worker_are_embedded_again(cluster, table, tmp_path, deaths, monkeypatch, capsys):
    monkeypatch.setattr(DyingWorker, "times", 2)
    here = selfsup.embed(table / "run", table / "table.csv", tmp_path / "here.npy")
    options = {"address": cluster.address, "rows": 32, "retries": 2}
    done = selfsup.embed(
        table / "run", table / "table.csv", tmp_path / "e.npy", engine="ray", engine_options=options, progress=True
    )
    assert len(list(deaths.iterdir())) == 2
    assert "Warning: 2 workers died at the rows 64 to 95, which were tried again." in capsys.readouterr().err
    assert (done.rows, done.bad_rows) == (here.rows, 0)
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), np.load(tmp_path / "here.npy"), atol=1e-6)
    assert (tmp_path / "e.rows.csv").read_text() == (tmp_path / "here.rows.csv").read_text()


@pytest.mark.long
def test_a_block_that_kills_every_worker_ends_the_embedding(cluster, table, tmp_path, deaths, monkeypatch):
    monkeypatch.setattr(DyingWorker, "times", 1000)
    with pytest.raises(RunError, match=r"^2 workers died at the rows 64 to 95: killed, or out of memory\. Look at these rows"):
        embedded(table, tmp_path, address=cluster.address, rows=32, retries=1, workers=1)
    assert len(list(deaths.iterdir())) == 2
    assert not (tmp_path / "e.parquet").exists()
    assert not ray.is_initialized()


@pytest.mark.long
def test_bad_rows_are_those_of_the_local_engine(cluster, tmp_path):
    """Some pictures cannot be read, in one block none can."""
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    drawn = np.random.default_rng(0)
    for row in range(24):
        picture = folder / f"{row:02}.png"
        if row == 1 or 8 <= row < 16:
            picture.write_bytes(b"no picture")
        else:
            Image.fromarray(drawn.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(picture)
    size = {"processor.image_size": 8}
    options = {"max_bad_rows": 0.5, "batch_size": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        selfsup.pretrain(
            "vision/random-init", data=folder, out=tmp_path / "run", progress=False, max_bad_rows=0.5, overrides=size
        )
        here = selfsup.embed(tmp_path / "run", folder, tmp_path / "here.csv", **options)
    ray_options = {"address": cluster.address, "rows": 8}
    done = selfsup.embed(tmp_path / "run", folder, tmp_path / "e.csv", engine="ray", engine_options=ray_options, **options)
    assert (done.rows, done.bad_rows, done.left_out) == (15, 9, here.left_out)
    ours, theirs = (list(csv.reader((tmp_path / name).open(newline=""))) for name in ("here.csv", "e.csv"))
    assert [line[:2] for line in theirs] == [line[:2] for line in ours]
    assert [line[0] for line in theirs[1:]] == ["0", *map(str, range(2, 8)), *map(str, range(16, 24))]
    with pytest.raises(TooManyBadRowsError, match=r"of 24 rows of .* cannot be processed; at most 2 may be bad"):
        selfsup.embed(tmp_path / "run", folder, tmp_path / "f.csv", engine="ray", engine_options=ray_options, max_bad_rows=0.1)


@pytest.mark.long
def test_errors_of_workers_are_told_as_they_are(cluster, table, tmp_path, monkeypatch):
    from selfsup.evaluation.embedding import embed as module

    real = module.work_of
    monkeypatch.setattr(module, "work_of", lambda *args, **options: replace(real(*args, **options), fingerprint="another"))
    with pytest.raises(SourceError, match=r"The rows of .*table\.csv differ between"):
        embedded(table, tmp_path, address=cluster.address)
    monkeypatch.setattr(module, "work_of", lambda *args, **options: replace(real(*args, **options), source="/nowhere.csv"))
    with pytest.raises(SourceError, match=r"^On .*: .*/nowhere\.csv.* Every machine has to see the source at the same path"):
        embedded(table, tmp_path, address=cluster.address)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workrs": 2}, r"engine 'ray': there is no option 'workrs'; did you mean 'workers'"),
        ({"rows": 0}, "rows = 0 is not allowed"),
        ({"address": "ray://127.0.0.1:1"}, r"ray://127\.0\.0\.1:1 is an address of Ray Client"),
        ({"address": "127.0.0.1:1"}, r"No Ray cluster answers at 127\.0\.0\.1:1"),
    ],
)
def test_options_that_are_wrong(options, message, table, tmp_path):
    with pytest.raises(ConfigError, match=message):
        embedded(table, tmp_path, **{"address": "127.0.0.1:1", **options})


def test_the_page_has_every_option():
    listed = re.findall(r"^\| `(\w+)` \| (?!`)", PAGE.read_text().partition("## Benchmarks")[0], flags=re.MULTILINE)
    assert set(listed) == set(ray_data.RayConfig.model_fields)

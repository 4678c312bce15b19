"""Many machines simulated on one, at small size, and the model of what large data cost."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from scale.__main__ import main
from scale.constants import Constants
from scale.cost import METHODS, RECORDS, Cost, Plan, recorded_constants
from scale.network import network, why_not
from scale.page import PAGE, written
from scale.server import TokenBucket
from scale.shards import write_shards
from scale.simulate import Setting, simulate

CONSTANTS = Constants(
    image_size=224, file_bytes=25e3, decode_seconds=1e-3, pass_seconds=5e-5, resume_seconds=1e-7, store_bytes=2e5,
    hash_bytes=32, order_bytes=8, order_seconds=2e-8, computed_order_seconds=8e-8, checkpoint_bytes=12,
    checkpoint_seconds=1e-9, link_share=0.5, agreement_seconds=1e-3,
)  # fmt: skip


@pytest.mark.slow
def test_two_processes_read_each_shard_once_over_an_unreliable_network(tmp_path: Path) -> None:
    """Without namespaces, as anyone can run it: a token bucket limits what each process fetches."""
    made = write_shards(tmp_path / "shards", 20, 8, 32, padding=2000)
    setting = Setting(
        2, "shards", mbit=50.0, latency=0.0, device_seconds=0.01, batch_size=8, sample_rows=16, checkpoint_every=4, failing=0.05
    )
    found = simulate(made, setting, isolate=False)
    assert found["network"].startswith("a token bucket")
    assert found["steps_made"] == 10
    assert found["rows_read"] == found["different_rows"] == found["rows_wanted"] == 160, "no row is lost or read twice"
    assert found["requests"]["failed"] > 0
    # Both read the sample from the first two or three shards as well; each shard is read for training once.
    # Where a HEAD fails, the client tries a GET, whose body counts here.
    assert 1 <= found["reads_of_a_shard"] <= 1 + (2 * 3 + found["requests"]["failed"]) / 20
    # One process lists for both; each shard is asked for its size again when it is read.
    assert found["requests"]["HEAD"] <= 20 + 20 + 2 * 4 + found["requests"]["failed"]
    assert 0 < found["rows_per_second"] < 2 * 8 / 0.01
    assert found["checkpoint_bytes"] > 0 < found["peak_memory"]


@pytest.mark.skipif(bool(why_not()), reason=f"no network namespaces: {why_not()}")
def test_nodes_are_namespaces_and_leave_nothing_behind() -> None:
    import subprocess

    with network(2, 10.0) as net:
        assert net.isolated
        assert "10 Mbit/s" in net.limit
        done = subprocess.run([*net.command(1), "ip", "-brief", "addr"], capture_output=True, text=True, check=True)
        assert net.address(1) in done.stdout
        assert net.address(0) not in done.stdout
        limits = subprocess.run(
            [*net.command(1), "tc", "qdisc", "show", "dev", net.interface(1)], capture_output=True, text=True
        )
        assert "tbf" in limits.stdout
        assert "rate 10Mbit" in limits.stdout
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    assert f"s{os.getpid()}" not in links


def test_a_token_bucket_lets_so_many_bytes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = 100.0, list[float]()
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("time.sleep", slept.append)
    bucket = TokenBucket(1000.0)
    for _ in range(3):
        bucket.take(500)
    assert slept == pytest.approx([0.5, 1.0, 1.5])


def test_no_two_files_are_alike(tmp_path: Path) -> None:
    import tarfile

    made = write_shards(tmp_path, 2, 100, 16, padding=10)
    contents = set()
    for path in sorted(tmp_path.iterdir()):
        with tarfile.open(path) as archive:
            contents |= {archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert len(contents) == made.rows == 200
    assert made.nbytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_model_by_hand() -> None:
    plan = Plan(
        images=1e9, epochs=10, device_rate=1000, parameters=25e6, devices=64, per_node=8, batch_size=6400, node_gbit=100
    )
    lines = {line.what: line.value for line in Cost(plan, CONSTANTS).lines()}
    assert lines["archives"] == pytest.approx(25)  # TB
    assert lines["shards"] == 100_000
    assert lines["store, on each machine"] == pytest.approx(200)
    assert lines["duration"] == pytest.approx(1e10 / 64_000 / 86_400)
    assert lines["step"] == pytest.approx(100)  # ms
    assert lines["decoding"] == pytest.approx(8)  # cores: 8,000 images a second at 1 ms
    assert lines["reading archives"] == pytest.approx(0.05)
    assert lines["network, split=shards"] == pytest.approx(8000 * 25e3 * 8 / 1e9)
    assert lines["network, split=rows"] == pytest.approx(64 * 1.6)
    assert lines["gradients"] == pytest.approx(2 * 63 / 64 * 1e8 * 8 / 50e9 * 1e3)
    assert lines["checkpoint"] == pytest.approx(0.3)
    assert lines["to resume, split=shards"] == pytest.approx(1e9 / 64 * 1e-7)
    assert lines["hashes of rows, store"] == pytest.approx(256)
    assert lines["order of an epoch, store"] == 0, "computed batch by batch"
    assert {line.what: line.value for line in Cost(replace(plan, images=1e8), CONSTANTS).lines()}[
        "order of an epoch, store"
    ] == pytest.approx(6.4)


def test_what_breaks_first_comes_first() -> None:
    limits = Cost(Plan(), CONSTANTS).limits()
    loads = [limit.load for limit in limits]
    assert loads == sorted(loads, reverse=True)
    by_name = {limit.what: limit for limit in limits}
    assert by_name["network, split=rows"].load == pytest.approx(64 * by_name["network, split=shards"].load)
    slow = Cost(Plan(node_gbit=0.1), CONSTANTS).limits()
    assert slow[0].what == "network, split=rows"
    assert {limit.what for limit in slow if limit.load > 1} >= {"network, split=shards", "gradients"}


def test_the_command_prints_figures_and_json() -> None:
    done = CliRunner().invoke(main, ["cost", "--images", "2e9", "--method", "mae-vits16", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["plan"]["device_rate"] == METHODS["mae-vits16"].rate
    assert math.isclose(next(line["value"] for line in found["figures"] if line["what"] == "shards"), 2e5)
    assert CliRunner().invoke(main, ["cost"]).output.count("What breaks first") == 1


def test_the_page_shows_the_records() -> None:
    text = PAGE.read_text()
    assert text.count("<!-- from records:") == 3
    assert written(text) == text, "run `python -m scale page` in benchmarks/dev"
    assert recorded_constants().image_size == 224
    for name in ("constants", "simulation"):
        record = json.loads((RECORDS / f"{name}.json").read_text())
        assert record["device"].startswith("cpu (")
        assert record["commit"]


def test_the_recorded_simulation_read_each_row_once() -> None:
    runs = json.loads((RECORDS / "simulation.json").read_text())["runs"]
    whole = next(run for run in runs if run["setting"]["nodes"] == 8 and run["setting"]["split"] == "shards")
    assert whole["setting"]["shards"] == 1000
    assert whole["rows_read"] == whole["different_rows"] == whole["rows_wanted"]
    rows = next(run for run in runs if run["setting"]["split"] == "rows")
    assert rows["reads_of_a_shard"] > 7, "each process reads all of them"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_eight_nodes_read_a_thousand_shards_once(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    made = write_shards(tmp_path / "shards", 1000, 8, 64, padding=8000)
    found = simulate(made, Setting(8, "shards", mbit=20.0, device_seconds=1.0, failing=0.01))
    assert found["rows_read"] == found["different_rows"] == found["rows_wanted"] == 7936
    assert found["reads_of_a_shard"] <= 1 + 8 * 1.1 * 512 / 8000
    assert found["times_the_data"] < 1.7
    assert found["requests"]["failed"] > 0
    for name in ("rows_per_second", "step_seconds", "first_step_seconds", "open_seconds", "checkpoint_seconds", "peak_memory"):
        record_property(name, found[name])

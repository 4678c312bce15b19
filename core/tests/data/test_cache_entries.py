"""The cache says what it holds, and is cleared without taking anything from under a process that uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import selfsup
from selfsup.cli.main import main
from selfsup.data.store.cache_entries import USES, Entry, clear, entries, note_use, parse_age
from selfsup.data.store.format import Store
from selfsup.errors import ConfigError
from selfsup.testing.toy.sequences.installed import installed


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SELFSUP_PLUGINS", "sequences")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    with installed(tmp_path / "site"):
        selfsup.pretrain(
            "sequence/random-init", "toy-sequences", out=tmp_path / "run", backbone="sequence/conv", progress=False
        )
        yield tmp_path / "cache"


def stores(cache: Path) -> list[Entry]:
    return [entry for entry in entries(cache) if entry.kind == "stores"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["cache", *arguments])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_an_entry_says_size_source_age_and_runs(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (entry,) = stores(cache)
    assert entry.source == "toy-sequences (train)"
    assert entry.runs == (str(tmp_path / "run"),)
    assert entry.unfinished == ()
    assert entry.size == sum(file.stat().st_size for file in (cache / entry.key).rglob("*"))
    assert time.time() - entry.used < 60
    status, out, err = run(capsys)
    assert status == 0
    assert out.splitlines()[0].split("\t") == ["KEY", "SIZE", "LAST USED", "SOURCE", "RUNS"]
    assert any(entry.key in line and "toy-sequences" in line and str(tmp_path / "run") in line for line in out.splitlines())
    assert f"{cache}: " in err
    status, out, _ = run(capsys, "list", "--json")
    assert entry.key in [item["key"] for item in json.loads(out)["entries"]]


def test_a_run_that_would_take_it_again_is_marked_and_one_that_is_gone_is_not_named(cache: Path, tmp_path: Path) -> None:
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**info, "status": "stopped"}))
    assert stores(cache)[0].unfinished == (str(tmp_path / "run"),)
    (tmp_path / "run" / "run.json").unlink()
    assert stores(cache)[0].runs == ()


def test_a_run_is_noted_once_also_behind_half_a_line(tmp_path: Path) -> None:
    (tmp_path / USES).write_text('{"run": "/gone", "time": 1}\n{"run": "/ha')
    for _ in range(3):
        note_use(tmp_path, tmp_path / "run")
    assert [json.loads(line)["run"] for line in (tmp_path / USES).read_text().splitlines()] == ["/gone", str(tmp_path / "run")]


def test_what_is_in_use_is_kept(cache: Path) -> None:
    (entry,) = stores(cache)
    store = Store(cache / entry.key)
    cleared = clear(cache)
    assert entry.key in [kept.key for kept in cleared.kept]
    assert store.read([0])
    store.close()
    assert entry.key in [removed.key for removed in clear(cache).removed]
    assert stores(cache) == []
    assert not (cache / f"{entry.key}.lock").exists()


USE = """
import sys, time
from selfsup.runtime.cache_folder import cache_root
cache_root()
print("used", flush=True)
time.sleep(60)
"""


def test_another_process_that_uses_the_cache_keeps_its_tables(cache: Path, tmp_path: Path) -> None:
    (cache / "tables" / "abc").mkdir(parents=True)
    (cache / "tables" / "abc" / "rows.arrow").write_bytes(b"1234")
    with subprocess.Popen([sys.executable, "-c", USE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "used\n"
        assert [entry.key for entry in clear(cache, ["tables"]).kept] == ["tables/abc"]
        process.kill()
    # This process has used the cache as well; another one that only looks may clear it.
    done = subprocess.run(
        [sys.executable, "-m", "selfsup", "cache", "clear", "tables", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["kept"] == ["tables/abc"]


def test_one_old_or_all_entries_are_cleared(cache: Path) -> None:
    (first,) = stores(cache)
    for file in (cache / first.key).rglob("*"):
        os.utime(file, (time.time() - 3 * 86_400,) * 2)
    os.utime(cache / f"{first.key}.lock", (time.time() - 3 * 86_400,) * 2)
    assert clear(cache, older_than=parse_age("4d")).removed == ()
    assert [entry.key for entry in clear(cache, older_than=parse_age("48h"), dry_run=True).removed] == [first.key]
    assert stores(cache)
    assert [entry.key for entry in clear(cache, [first.key.partition("/")[2][:10]]).removed] == [first.key]
    assert stores(cache) == []


def test_a_store_that_was_cleared_is_made_again(cache: Path, tmp_path: Path) -> None:
    clear(cache)
    selfsup.pretrain("sequence/random-init", "toy-sequences", out=tmp_path / "two", backbone="sequence/conv", progress=False)
    assert stores(cache)[0].runs == (str(tmp_path / "two"),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clear"], "say what to remove"),
        (["clear", "--all", "--older-than", "3d"], "--all removes everything"),
        (["clear", "stores", "--all"], "--all removes everything"),
        (["clear", "nothing-like-it"], "has no entry 'nothing-like-it'"),
        (["clear", "--older-than", "soon"], "'soon' is not of the form 30d"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], message: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert message in " ".join(err.split())
    assert stores(cache)


def test_ages() -> None:
    assert [parse_age(text) for text in ("1", "1d", "2h", "1w", "0.5d")] == [86_400, 86_400, 7_200, 604_800, 43_200]
    with pytest.raises(ConfigError):
        parse_age("1y")

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from selfsup.errors import BenchmarkError, ConfigError, UnknownIdError
from selfsup.registry import registry
from selfsup_bench.commands import benchmark, report, results_folder
from selfsup_bench.executors.make_executor import executor_factory, parse_pairs
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record, RecordStore
from selfsup_bench.suites import BENCHMARKS


def _invoke(*arguments: str) -> object:
    return CliRunner().invoke(benchmark, list(arguments), catch_exceptions=False)


def test_report_prints_one_json_document(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    plan.write(tmp_path)
    for record in records.values():
        RecordStore(tmp_path).write(record)
    result = CliRunner().invoke(report, [str(tmp_path), "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["tables"][0]["rows"][0]["task"] == "toy/alpha"
    assert document["report"] == str(tmp_path / "report.html")
    assert result.stderr.startswith("report: file://")


def test_report_as_markdown_has_circumstances_verdicts_and_tables(
    plan: Plan, records: dict[str, Record], tmp_path: Path
) -> None:
    plan.write(tmp_path)
    for record in records.values():
        RecordStore(tmp_path).write(record)
    result = CliRunner().invoke(report, [str(tmp_path), "--format", "md"])
    assert (result.exit_code, result.stderr) == (0, "")
    page = result.stdout
    assert page.startswith("# Results of the suite quick\n\n<!-- Written by `selfsup report DIR --format md`")
    assert "\nCommand: `selfsup benchmark --suite quick --seeds 3`.\n" in page
    for line in ("| date | 2026-01-30 to 2026-01-31 |", "| commit | abc1234 |", "| device | cpu (Test CPU) |"):
        assert line in page
    assert "\n## toyset\n\nWith 10 labels a class Alpha reaches 81.0 %; " in page
    assert re.search(r"^\| Alpha \| net \| 81\.0 ± \d\.\d \| 94\.0 ± \d\.\d \| 77\.5 ± \d\.\d \| 1 \| 1,501 \|$", page, re.M)
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(ConfigError, match="--json has no effect with --format md"):
        CliRunner().invoke(report, [str(tmp_path), "--format", "md", "--json"], catch_exceptions=False)


def test_report_of_an_unfinished_benchmark_exits_with_1(plan: Plan, tmp_path: Path) -> None:
    plan.write(tmp_path)
    result = CliRunner().invoke(report, [str(tmp_path)])
    assert result.exit_code == 1
    assert "16 cells have no result" in result.stderr
    assert "not run yet" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "nope"), "no benchmark suite 'nope'; registered are .*quick"),
        (("--only", "nope"), "no benchmark or task 'nope'; its benchmarks are mnist-"),
        (("--modality", "smell"), "no benchmark of modality 'smell'; it has audio, multimodal, tabular, text, video, vision"),
        (("--executor", "nope"), "nope"),
    ],
)
def test_unknown_names(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UnknownIdError, match=message):
        _invoke(*arguments)


def test_executor_whose_package_is_missing_says_how_to_install_it() -> None:
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("ray is installed here")
    with pytest.raises(BenchmarkError, match=r'needs ray, which is not installed: pip install "selfsup-bench\[ray\]"'):
        executor_factory(registry(), "ray", jobs=0, options={})


def test_options_of_executors_are_pairs() -> None:
    assert parse_pairs(("a=1", "b=x=y")) == {"a": "1", "b": "x=y"}
    with pytest.raises(ConfigError, match="'a' is not of the form KEY=VALUE"):
        parse_pairs(("a",))


def test_resume_without_a_folder_takes_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fresh = results_folder("quick", resume=True)
    assert fresh.parts[0] == "benchmark-results"
    assert not fresh.exists()
    for name in ("quick-20250101-000000", "quick-20260101-000000", "standard-20270101-000000"):
        (tmp_path / "benchmark-results" / name).mkdir(parents=True)
    assert results_folder("quick", resume=True).name == "quick-20260101-000000"
    assert results_folder("quick", resume=False).name not in ("quick-20260101-000000", "quick-20250101-000000")


def test_suites_name_the_benchmarks_that_they_promise() -> None:
    every = {"vision", "text", "tabular", "audio", "video", "multimodal"}
    for suite in ("quick", "own"):
        assert {spec.task.partition("/")[0] for spec in BENCHMARKS if suite in spec.suites} == every
    templates = [
        (s.suites, s.objectives, s.task) for s in BENCHMARKS if s.is_template and s.suites not in (("tasks",), ("finetune",))
    ]
    assert {(suites, objectives) for suites, objectives, _ in templates} == {(("quick",), "others"), (("matrix",), "all")}
    assert {task for suites, _, task in templates if suites == ("quick",)} == {t for s, _, t in templates if s == ("matrix",)}
    standard = {spec.dataset for spec in BENCHMARKS if "standard" in spec.suites}
    assert {"cifar10", "cifar100", "stl10", "imagenette"} <= standard
    study = next(spec for spec in BENCHMARKS if spec.id == "case-patch-position-finetune")
    assert (study.epochs, study.headline, study.overrides["optimization.lr"]) == (100, "finetune.accuracy", 1e-3)
    assert len({spec.id for spec in BENCHMARKS}) == len(BENCHMARKS)

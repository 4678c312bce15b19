"""The program as a whole; in a process of its own where imports and the exit count."""

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys

import pytest

from selfsup.errors import UnknownIdError
from selfsup.registry import reset


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """The core alone."""
    monkeypatch.setenv("SELFSUP_PLUGINS", "")
    reset()
    yield
    reset()


@pytest.fixture
def broken_plugin(tmp_path, monkeypatch):
    """The distribution of a plugin that does not import is installed; gives the folder for ``PYTHONPATH``."""
    (tmp_path / "broken_example.py").write_text("raise RuntimeError('out of order')")
    info = tmp_path / "broken_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[selfsup]\nbroken = broken_example\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SELFSUP_PLUGINS", "broken")
    reset()
    return str(tmp_path)


def test_help_names_every_command_without_importing_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "selfsup", "--help"], capture_output=True, text=True, check=True
    )
    for name in ("pretrain", "evaluate", "finetune", "embed", "export", "list", "plugins"):
        assert f"  {name} " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "selfsup.registry" in imported
    assert imported.isdisjoint({"torch", "numpy", "datasets", "pydantic", "rich", "sklearn", "lightning_fabric"})


def test_a_broken_plugin_costs_one_line_on_stderr(broken_plugin):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([broken_plugin, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "selfsup", "list", "commands"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert "pretrain" in done.stdout
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Warning: plugin 'broken' (broken-example 1.0) is not used: RuntimeError: out of order")


def test_version(cli):
    assert cli("--version").out.strip() == f"selfsup, version {importlib.metadata.version('selfsup')}"


@pytest.mark.parametrize("command", [("list", "evaluators"), ("plugins", "list")])
def test_json_is_one_document_and_nothing_else(cli, command):
    done = cli(*command, "--json")
    assert (done.status, done.err) == (0, "")
    assert isinstance(json.loads(done.out), list)


def test_lists_say_who_brings_what_a_line_an_item(cli):
    documents = {item["id"]: item for item in json.loads(cli("list", "commands", "--json").out)}
    assert documents["pretrain"]["distribution"] == "selfsup"
    assert documents["pretrain"]["target"] == "selfsup.cli.pretrain:command"
    lines = cli("list", "objectives").out.splitlines()
    assert lines[0].split("\t") == ["ID", "FAMILY", "PAPER", "SUMMARY"]
    assert len({line.count("\t") for line in lines}) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("lst",), "Error: unknown command 'lst'. Did you mean 'list'? `selfsup list commands` shows all of them."),
        (("benchmark",), "Error: selfsup benchmark needs the bench plugin: pip install selfsup-bench"),
        (("list", "tasks", "--modality", "text"), "Error: text needs the text plugin: pip install selfsup-text"),
        (("list", "taskz"), "'taskz' is not one of"),
        (("--colour",), "Error: No such option"),
        (("plugins", "check", "nobody"), "Error: no plugin 'nobody' is installed; there are core"),
        (("plugins", "new", "Bad Name"), "Error: 'Bad Name' is no plugin name"),
    ],
)
def test_wrong_usage_exits_with_2_and_no_traceback(cli, args, message, monkeypatch):
    found = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda **what: [] if what.get("group") == "selfsup" else found(**what)
    )
    monkeypatch.delenv("SELFSUP_PLUGINS")
    reset()
    status, out, err = cli(*args)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(cli, monkeypatch):
    monkeypatch.setenv("SELFSUP_DEBUG", "1")
    with pytest.raises(UnknownIdError):
        cli("lst")


def test_plugins_list_shows_the_broken_one_and_why(cli, broken_plugin):
    core, broken = [item for item in json.loads(cli("plugins", "list", "--json").out) if item["status"] != "disabled"]
    assert core["registers"]["commands"] == 9
    shown = (broken["name"], broken["distribution"], broken["status"], broken["registers"])
    assert shown == ("broken", "broken-example", "broken", {})
    assert "broken\tbroken-example\t1.0\tbroken\tRuntimeError: out of order" in cli("plugins", "list").out


def test_doctor_reports_problems_and_fails(cli, broken_plugin, monkeypatch):
    done = cli("plugins", "doctor", "--json")
    document = json.loads(done.out)
    assert (done.status, document["healthy"]) == (1, False)
    assert document["environment"]["torch"]
    broken = next(item for item in document["plugins"] if item["name"] == "broken")
    assert "RuntimeError: out of order" in broken["traceback"]
    assert document["plugins"][0]["problems"] == []
    monkeypatch.setattr("selfsup.registry.diagnosis.problems", lambda house, record: ["it rattles"])
    done = cli("plugins", "doctor")
    assert (done.status, "  - it rattles" in done.out) == (1, True)
    assert done.out.endswith("There are problems.\n")

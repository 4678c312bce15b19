"""The program as a whole, mostly in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

from selfsup.cli.main import main


def run(*args, **environment):
    env = {**os.environ, "SELFSUP_PLUGINS": "", "NO_COLOR": "1", **environment}
    return subprocess.run([sys.executable, "-m", "selfsup", *args], capture_output=True, text=True, env=env, check=False)


@pytest.fixture
def broken_plugin(tmp_path):
    """A folder for PYTHONPATH with the distribution of a plugin that does not import."""
    (tmp_path / "broken_example.py").write_text("raise RuntimeError('out of order')")
    info = tmp_path / "broken_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[selfsup]\nbroken = broken_example\n")
    return str(tmp_path)


def test_help_names_every_command_without_importing_torch():
    env = {**os.environ, "SELFSUP_PLUGINS": ""}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "selfsup", "--help"], capture_output=True, text=True, env=env, check=True
    )
    for name in ("pretrain", "evaluate", "finetune", "embed", "export", "list", "plugins"):
        assert f"  {name} " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "selfsup.registry" in imported
    assert imported.isdisjoint({"torch", "numpy", "datasets", "pydantic", "rich", "sklearn", "lightning_fabric"})


def test_version():
    from importlib.metadata import version

    assert run("--version").stdout.strip() == f"selfsup, version {version('selfsup')}"


@pytest.mark.parametrize("command", ["list", "plugins"])
def test_json_is_one_document_and_nothing_else(command):
    done = run(command, *(["evaluators"] if command == "list" else ["list"]), "--json")
    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout), list)
    assert done.stderr == ""


def test_list_of_commands_says_who_brings_them():
    documents = {item["id"]: item for item in json.loads(run("list", "commands", "--json").stdout)}
    assert documents["pretrain"]["distribution"] == "selfsup"
    assert documents["pretrain"]["target"] == "selfsup.cli.pretrain:command"


def test_a_list_in_a_pipe_has_one_line_an_item_and_tabs():
    lines = run("list", "objectives").stdout.splitlines()
    assert lines[0].split("\t") == ["ID", "FAMILY", "PAPER", "SUMMARY"]
    assert len({line.count("\t") for line in lines}) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("lst",), "Error: unknown command 'lst'. Did you mean 'list'? `selfsup list commands` shows all of them."),
        (("benchmark",), "Error: selfsup benchmark needs the bench plugin: pip install selfsup-bench"),
        (("report",), "Error: selfsup report needs the bench plugin: pip install selfsup-bench"),
        (("list", "tasks", "--modality", "text"), "Error: text needs the text plugin: pip install selfsup-text"),
        (("list", "taskz"), "'taskz' is not one of"),
        (("--colour",), "Error: No such option"),
        (("plugins", "check", "nobody"), "Error: no plugin 'nobody' is installed; there are core"),
        (("plugins", "new", "Bad Name"), "Error: 'Bad Name' is no plugin name"),
    ],
)
def test_wrong_usage_exits_with_2_and_no_traceback(args, message):
    done = run_bare(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def run_bare(*args):
    """Run as if no plugin were installed at all."""
    code = (
        "import importlib.metadata as m; found = m.entry_points\n"
        "m.entry_points = lambda **k: [e for e in found(**k) if k.get('group') != 'selfsup']\n"
        "from selfsup.cli.main import main; main()"
    )
    env = {key: value for key, value in os.environ.items() if key != "SELFSUP_PLUGINS"}
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, env=env)


def test_a_broken_plugin_costs_one_line_on_stderr(broken_plugin):
    done = run("list", "commands", PYTHONPATH=broken_plugin, SELFSUP_PLUGINS="broken")
    assert done.returncode == 0
    assert "pretrain" in done.stdout
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Warning: plugin 'broken' (broken-example 1.0) is not used: RuntimeError: out of order")


def test_strict_makes_a_broken_plugin_an_error(broken_plugin):
    done = run("list", "commands", PYTHONPATH=broken_plugin, SELFSUP_PLUGINS="broken", SELFSUP_PLUGINS_STRICT="1")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: plugin 'broken' (broken-example 1.0) is not used: RuntimeError: out of order")


def test_debug_shows_the_traceback():
    done = run("lst", SELFSUP_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UnknownIdError" in done.stderr


def test_plugins_list_shows_the_broken_one_and_why(broken_plugin):
    done = run("plugins", "list", "--json", PYTHONPATH=broken_plugin, SELFSUP_PLUGINS="broken")
    core, broken = [item for item in json.loads(done.stdout) if item["status"] != "disabled"]
    assert core["registers"]["commands"] == 9
    assert (broken["name"], broken["distribution"], broken["status"], broken["registers"]) == (
        "broken",
        "broken-example",
        "broken",
        {},
    )
    table = run("plugins", "list", PYTHONPATH=broken_plugin, SELFSUP_PLUGINS="broken").stdout
    assert "broken\tbroken-example\t1.0\tbroken\tRuntimeError: out of order" in table


@pytest.mark.slow
def test_doctor_reports_the_broken_plugin_with_its_traceback_and_fails(broken_plugin):
    done = run("plugins", "doctor", "--json", PYTHONPATH=broken_plugin, SELFSUP_PLUGINS="broken")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["healthy"] is False
    assert document["environment"]["torch"]
    broken = next(item for item in document["plugins"] if item["name"] == "broken")
    assert "RuntimeError: out of order" in broken["traceback"]
    assert document["plugins"][0]["problems"] == []


def test_doctor_tells_the_problems_in_words(monkeypatch, capsys):
    monkeypatch.setattr("selfsup.registry.diagnosis.problems", lambda house, record: ["it rattles"])
    with pytest.raises(SystemExit) as ended:
        main(["plugins", "doctor"])
    out = capsys.readouterr().out
    assert ended.value.code == 1
    assert "  - it rattles" in out
    assert out.endswith("There are problems.\n")

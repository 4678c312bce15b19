import logging
import sys

import pytest

from selfsup import registry
from selfsup.errors import DuplicateIdError, PluginError, PluginVersionError
from selfsup.registry import API_VERSION

OBJECTIVE = """
@hookimpl
def selfsup_objectives():
    return [ObjectiveSpec(id="{id}", summary="A loss.", target="a.b:c", family="joint-embedding", paper="none")]
"""


def test_a_good_plugin_is_loaded_and_its_specs_are_kept_with_their_provider(install, only):
    install("good", OBJECTIVE.format(id="good-loss"), version="2.3")
    found = only("good")
    record = found.record("good")
    assert (record.status, record.distribution, record.version, record.error) == ("loaded", "example-good", "2.3", "")
    assert found.specs["objective"]["good-loss"].plugin is record


def test_the_core_is_loaded_first_and_always(install, only):
    install("aaa")
    assert [record.name for record in only("aaa").records if record.status == "loaded"] == ["core", "aaa"]
    assert only().record("core").status == "loaded"


def test_a_plugin_that_does_not_import_is_broken_and_the_rest_works(install, only, caplog):
    install("bad", "import no_such_module_anywhere\n")
    install("good", OBJECTIVE.format(id="good-loss"))
    with caplog.at_level(logging.WARNING, "selfsup.registry"):
        found = only("bad", "good")
    record = found.record("bad")
    assert record.status == "broken"
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in record.error
    assert "plugin.py, line " in record.error
    assert "Traceback" in record.traceback
    assert "good-loss" in found.specs["objective"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("Warning: plugin 'bad' (example-bad 1.0) is not used: ModuleNotFoundError")
    assert "\n" not in caplog.messages[0]


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "def broken(:", "1 / 0", "raise RuntimeError('two\\nlines')"])
def test_whatever_a_module_raises_is_recorded(install, only, code):
    install("bad", code)
    record = only("bad").record("bad")
    assert record.status == "broken"
    assert "\n" not in record.error


def test_an_older_api_is_refused_before_any_code_of_the_plugin_runs(install, only):
    module = install("old", f"SELFSUP_API = {API_VERSION - 1}\nraise RuntimeError('ran')", header="")
    record = only("old").record("old")
    assert record.status == "incompatible"
    assert record.error == (
        f"it was made for version {API_VERSION - 1} of the hook API, and this selfsup has version {API_VERSION}: "
        "upgrade the plugin."
    )
    assert module not in sys.modules
    assert module.partition(".")[0] not in sys.modules


def test_a_newer_api_asks_to_upgrade_selfsup(install, only):
    install("new", f"SELFSUP_API: int = {API_VERSION + 1}\n", header="")
    record = only("new").record("new")
    assert record.status == "incompatible"
    assert record.error.endswith("upgrade selfsup.")


def test_an_api_version_that_is_computed_is_checked_after_the_import(install, only):
    install("computed", "SELFSUP_API = 3 + 4\n", header="")
    record = only("computed").record("computed")
    assert record.status == "incompatible"
    assert "version 7 of the hook API" in record.error


@pytest.mark.parametrize(
    ("line", "words"), [("", "add `SELFSUP_API = 1` to it"), ("SELFSUP_API = '1'", "'1', which is not an integer")]
)
def test_an_api_version_that_is_absent_or_no_integer_is_named(install, only, line, words):
    install("silent", line, header="")
    record = only("silent").record("silent")
    assert record.status == "broken"
    assert words in record.error


def test_a_requirement_of_another_version_is_refused_before_import(install, only):
    module = install("needy", "raise RuntimeError('ran')", requires=("selfsup>=90,<91",))
    record = only("needy").record("needy")
    assert record.status == "incompatible"
    assert record.error.startswith("it requires selfsup<91,>=90, and selfsup ")
    assert record.error.endswith('is installed: pip install "selfsup<91,>=90", or pip install --upgrade example-needy.')
    assert module not in sys.modules


def test_a_requirement_that_is_not_installed_is_named(install, only):
    install("needy", requires=("no-such-distribution-anywhere>=2",))
    record = only("needy").record("needy")
    assert record.status == "incompatible"
    assert 'not installed: pip install "no-such-distribution-anywhere>=2"' in record.error


def test_requirements_of_extras_and_of_other_platforms_do_not_count(install, only):
    install("fine", requires=("no-such-a>=1 ; extra == 'test'", "no-such-b ; python_version < '3'", "selfsup>=0.0.1"))
    assert only("fine").record("fine").status == "loaded"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("@hookimpl\ndef selfsup_taskz(): return []", "unknown hook 'selfsup_taskz'"),
        ("@hookimpl\ndef selfsup_tasks(colour): return []", "colour"),
        ("@hookimpl\ndef selfsup_tasks(): return None", "selfsup_tasks returned None, which is not a list of TaskSpec"),
        (
            "@hookimpl\ndef selfsup_tasks(): return ['simclr']",
            "must return a list of TaskSpec; it returned one that holds 'simclr'",
        ),
        ("@hookimpl\ndef selfsup_tasks(): raise KeyError('x')", "KeyError"),
        (
            "@hookimpl\ndef selfsup_commands(): return [CommandSpec(id='A B', summary='s', target='a:b')]",
            "SpecError: CommandSpec id 'A B'",
        ),
    ],
)
def test_a_malformed_hook_is_recorded_and_undone(install, only, source, words):
    install("odd", source)
    install("good", OBJECTIVE.format(id="good-loss"))
    found = only("odd", "good")
    assert found.record("odd").status == "broken"
    assert words in found.record("odd").error
    assert found.record("good").status == "loaded"
    assert [spec for specs in found.hook.selfsup_tasks() for spec in specs] == []


def test_two_plugins_that_claim_one_id_are_both_named_and_the_second_is_not_used(install, only):
    install("first", OBJECTIVE.format(id="twice"))
    install("second", OBJECTIVE.format(id="twice"))
    found = only("first", "second")
    assert found.record("first").status == "loaded"
    record = found.record("second")
    assert record.status == "duplicate"
    assert record.error == (
        "the objective 'twice' is claimed by both 'first' (example-first 1.0) and 'second' (example-second 1.0); "
        "uninstall one of the two, or choose with SELFSUP_PLUGINS=NAME,NAME."
    )
    assert found.contested["objective", "twice"] == record.error


def test_an_id_that_one_plugin_registers_twice_is_an_error(install, only):
    install("stutter", OBJECTIVE.format(id="x1").replace("]\n", "] * 2\n"))
    record = only("stutter").record("stutter")
    assert (record.status, record.error) == ("duplicate", "it registers the objective 'x1' twice.")


def test_two_distributions_with_one_plugin_name_are_told_apart(install, only):
    install("same", distribution="example-one")
    install("same", distribution="example-two")
    records = [record for record in only("same").records if record.name == "same"]
    assert [record.status for record in records] == ["loaded", "duplicate"]
    assert "taken by the plugin of example-one 1.0" in records[1].error


def test_nobody_else_can_be_the_core(install, only):
    install("core")
    records = [record for record in only().records if record.name == "core"]
    assert [(record.distribution, record.status) for record in records] == [
        ("selfsup", "loaded"),
        ("example-core", "duplicate"),
    ]


def test_plugins_left_out_are_recorded_but_not_imported(install, only):
    module = install("other")
    record = only().record("other")
    assert (record.status, record.error) == ("disabled", "left out by SELFSUP_PLUGINS.")
    assert module not in sys.modules


def test_a_wanted_plugin_that_is_not_installed_is_missing(install, only):
    install("present")
    record = only("presnt").record("presnt")
    assert record.status == "missing"
    assert "did you mean 'present'?" in record.error


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("SELFSUP_API = 99", PluginVersionError),
        ("import no_such_module_anywhere", PluginError),
        ("SELFSUP_API = 1\n@hookimpl\ndef selfsup_tasks(): return 3", PluginError),
    ],
)
def test_strict_raises_what_would_have_been_a_warning(install, only, source, error):
    install("bad", source)
    with pytest.raises(error, match=r"plugin 'bad' \(example-bad 1\.0\) is not used: "):
        only("bad", strict=True)


def test_strict_raises_on_a_duplicate_id(install, only):
    install("first", OBJECTIVE.format(id="twice"))
    install("second", OBJECTIVE.format(id="twice"))
    with pytest.raises(DuplicateIdError, match="claimed by both 'first'"):
        only("first", "second", strict=True)


def test_the_environment_chooses_plugins_and_strictness(install, monkeypatch):
    install("a1")
    install("b1", "raise RuntimeError")
    registry.reset()
    monkeypatch.setenv("SELFSUP_PLUGINS", " a1 ,")
    found = registry.get_plugin_manager()
    assert {record.name for record in found.records if record.status == "loaded"} == {"core", "a1"}
    assert registry.get_plugin_manager() is found
    registry.reset()
    monkeypatch.setenv("SELFSUP_PLUGINS", "b1")
    monkeypatch.setenv("SELFSUP_PLUGINS_STRICT", "1")
    with pytest.raises(PluginError, match="RuntimeError"):
        registry.get_plugin_manager()
    registry.reset()


def test_observers_of_a_run_are_called(install, only):
    module = install("watcher", "seen = []\n@hookimpl\ndef selfsup_run_ended(status): seen.append(status)\n")
    only("watcher").hook.selfsup_run_ended(run_dir=None, status="done")
    assert sys.modules[module].seen == ["done"]

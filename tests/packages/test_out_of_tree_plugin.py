"""A plugin outside of the tree: built, unpacked as an installer would, and used by the program in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parent / "selfsup-example"


def build_wheel(source, out):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(SOURCE, folder / "source")
    return build_wheel(folder / "source", folder / "dist")


@pytest.fixture
def site(wheel, tmp_path):
    """A folder for PYTHONPATH that holds the installed example; a test may damage it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def selfsup(*args, site, plugins="example", **environment):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [site] if isinstance(site, Path) else site)), **environment}
    env["SELFSUP_PLUGINS"] = plugins
    return subprocess.run([sys.executable, "-m", "selfsup", *args], env=env, capture_output=True, text=True, check=False)


def records(**options):
    done = selfsup("plugins", "list", "--json", **options)
    assert done.returncode == 0
    return {item["distribution"]: item for item in json.loads(done.stdout) if item["status"] != "disabled"}, done.stderr


def test_an_installed_plugin_is_found_by_its_entry_point(site):
    found, warnings = records(site=site)
    example = found["selfsup-example"]
    assert (example["name"], example["version"], example["status"]) == ("example", "2.5.0", "loaded")
    assert example["registers"] == {"objectives": 1, "commands": 1}
    assert warnings == ""


def test_its_command_runs(site):
    assert "  example-greet " in selfsup("--help", site=site).stdout
    assert selfsup("example-greet", "Ada", site=site).stdout == "Hello Ada.\n"


def test_its_objective_becomes_a_task_of_every_modality_with_views(site):
    done = selfsup("list", "tasks", "--modality", "vision", "--json", site=site, plugins="example,vision")
    task = {item["id"]: item for item in json.loads(done.stdout)}["vision/example-spread"]
    assert (task["composed"], task["distribution"], task["version"]) == (True, "selfsup-example", "2.5.0")


def test_it_passes_the_conformance_checks(site):
    done = selfsup("plugins", "check", "example", "--json", site=site, OMP_NUM_THREADS="1")
    checks = json.loads(done.stdout)["checks"]
    assert [check for check in checks if check["error"]] == []
    assert done.returncode == 0
    assert {"example-spread", "example-greet"} <= {check["id"] for check in checks}


def damage(site, old, new, file="selfsup_example/plugin.py"):
    path = site / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "status", "words"),
    [
        ("plugin.py", "from selfsup import hookimpl", "import no_such_module_anywhere", "broken",
         "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("plugin.py", "SELFSUP_API = 1", "SELFSUP_API = 2", "incompatible",
         "it was made for version 2 of the hook API, and this selfsup has version 1: upgrade selfsup."),
        ("METADATA", "Requires-Dist: selfsup<1,>=0.1", "Requires-Dist: selfsup<9,>=8", "incompatible",
         "it requires selfsup<9,>=8, and selfsup "),
        ("METADATA", "Requires-Dist: click>=8.2", "Requires-Dist: no-such-distribution-anywhere>=1", "incompatible",
         "it requires no-such-distribution-anywhere>=1, which is not installed"),
        ("plugin.py", "example-greet", "list", "duplicate",
         "the command 'list' is claimed by both 'core' (selfsup "),
        ("plugin.py", "selfsup_commands", "selfsup_comands", "broken", "unknown hook 'selfsup_comands'"),
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_used_has_a_record_and_one_line_of_warning(site, file, old, new, status, words):
    folder = "selfsup_example" if file.endswith(".py") else "selfsup_example-2.5.0.dist-info"
    damage(site, old, new, f"{folder}/{file}")
    found, warnings = records(site=site)
    assert found["selfsup-example"]["status"] == status
    assert words in found["selfsup-example"]["error"]
    assert found["selfsup-example"]["registers"] == {}
    assert found["selfsup"]["status"] == "loaded"
    assert warnings == f"Warning: plugin 'example' (selfsup-example 2.5.0) is not used: {found['selfsup-example']['error']}\n"


def test_two_plugins_that_claim_one_id(wheel, tmp_path):
    sites = []
    for name in ("example", "rival"):
        site = tmp_path / name
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        sites.append(site)
    rival = sites[1]
    (rival / "selfsup_example").rename(rival / "rival")
    (rival / "selfsup_example-2.5.0.dist-info").rename(rival / "rival-2.5.0.dist-info")
    damage(rival, "Name: selfsup-example", "Name: rival", "rival-2.5.0.dist-info/METADATA")
    damage(rival, "example = selfsup_example.plugin", "rival = rival.plugin", "rival-2.5.0.dist-info/entry_points.txt")
    found, warnings = records(site=sites, plugins="example,rival")
    assert found["selfsup-example"]["status"] == "loaded"
    assert found["rival"]["status"] == "duplicate"
    both = "is claimed by both 'example' (selfsup-example 2.5.0) and 'rival' (rival 2.5.0)"
    assert both in found["rival"]["error"]
    assert warnings.count("\n") == 1
    used = selfsup("example-greet", "Ada", site=sites, plugins="example,rival")
    assert used.returncode == 1
    assert f"Error: the command 'example-greet' {both}; uninstall one of the two" in used.stderr
    assert selfsup("example-greet", "Ada", site=sites, plugins="rival").stdout == "Hello Ada.\n"


def test_a_new_plugin_installs_and_passes_the_checks_and_its_own_tests(tmp_path):
    done = selfsup("plugins", "new", "tide-gauge", "--out", str(tmp_path / "new"), "--json", site=tmp_path, plugins="")
    assert done.returncode == 0, done.stderr
    files = [Path(file).relative_to(tmp_path / "new").as_posix() for file in json.loads(done.stdout)["files"]]
    assert {"pyproject.toml", "README.md", "src/selfsup_tide_gauge/plugin.py", "tests/test_selfsup_tide_gauge.py"} <= set(files)
    site = tmp_path / "site"
    with zipfile.ZipFile(build_wheel(tmp_path / "new", tmp_path / "dist")) as archive:
        archive.extractall(site)
    listed = selfsup("list", "tasks", "--modality", "tide-gauge", "--json", site=site, plugins="tide-gauge")
    tasks = {item["id"] for item in json.loads(listed.stdout)}
    assert {"tide-gauge/simclr", "tide-gauge/vicreg", "tide-gauge/supervised"} <= tasks
    assert "tide-gauge/vicregl" not in tasks  # it compares tokens, and the new backbone has none
    env = {**os.environ, "PYTHONPATH": str(site), "SELFSUP_PLUGINS": "tide-gauge", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests",
        "-k",
        "light or test_spec or simclr or vicregl",
    ]
    tests = subprocess.run(command, cwd=tmp_path / "new", env=env, capture_output=True, text=True, check=False)
    assert tests.returncode == 0, tests.stdout[-3000:]


def test_a_new_plugin_never_overwrites(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    done = selfsup("plugins", "new", "x", "--out", str(tmp_path), site=tmp_path, plugins="")
    assert done.returncode == 2
    assert f"Error: {tmp_path} exists and is no empty folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

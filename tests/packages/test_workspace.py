"""The distributions of this checkout: complete, consistent, and named wherever the workspace names them."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FOLDERS = ["core", "benchmarks", *sorted(f"plugins/{file.parent.name}" for file in ROOT.glob("plugins/*/pyproject.toml"))]
LIBRARIES = ["plugins/images"]
"""They register nothing, and plugins may require them."""
WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text())


def read_project(folder):
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def build_wheel(source, out):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def copy_source(folder, out):
    return shutil.copytree(
        folder, out, ignore=shutil.ignore_patterns("__pycache__", "tests", ".*", "runs", "plugins", "core", "benchmarks")
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_distribution_is_complete(folder):
    package = (ROOT / folder / "src").iterdir()
    assert [path.name for path in package if (path / "py.typed").is_file()] == [read_project(folder)["name"].replace("-", "_")]
    for name in ("README.md", "CHANGELOG.md", "LICENSE"):
        assert (ROOT / folder / name).read_text().strip(), name
    assert f"## {read_project(folder)['version']}" in (ROOT / folder / "CHANGELOG.md").read_text()
    assert (ROOT / folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert read_project(folder)["requires-python"] == ">=3.11"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_workspace_names_every_distribution(folder):
    name = read_project(folder)["name"]
    package = name.replace("-", "_")
    assert f"{name} @ {{root:uri}}/{folder}" in WORKSPACE["project"]["dependencies"]
    assert WORKSPACE["tool"]["uv"]["sources"][name] == {"workspace": True}
    assert f"{folder}/src" in WORKSPACE["tool"]["mypy"]["files"]
    assert f"{folder}/src" in WORKSPACE["tool"]["ruff"]["src"]
    assert package in WORKSPACE["tool"]["importlinter"]["root_packages"]
    contracts = {contract["id"]: contract for contract in WORKSPACE["tool"]["importlinter"]["contracts"]}
    if folder != "core":
        assert package in contracts["core"]["forbidden_modules"]
        assert (package in contracts["plugins"]["modules"]) == (folder not in LIBRARIES)


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_a_plugin_requires_the_core_up_to_its_next_major_version(folder):
    version = Version(read_project("core")["version"])
    lines = [line for line in read_project(folder)["dependencies"] if Requirement(line).name == "selfsup"]
    assert lines == [f"selfsup>={version.major}.{version.minor},<{version.major + 1}"]
    assert Requirement(lines[0]).specifier.contains(str(version))


def test_the_extras_of_the_core_name_its_siblings():
    extras = read_project("core")["optional-dependencies"]
    for folder in sorted(set(FOLDERS[1:]) - set(LIBRARIES)):
        project = read_project(folder)
        extra = project["name"].removeprefix("selfsup-")
        assert [Requirement(line).name for line in extras[extra]] == [project["name"]]
        assert Requirement(extras[extra][0]).specifier.contains(project["version"])


def test_the_wheel_of_the_core_holds_all_that_it_needs(tmp_path):
    copy_source(ROOT / "core", tmp_path / "core")
    with build_wheel(tmp_path / "core", tmp_path / "dist") as wheel:
        names = wheel.namelist()
        templates = {f"selfsup/templates/plugin/{file.name}" for file in (ROOT / "core/src/selfsup/templates/plugin").iterdir()}
        assert len(templates) == 8
        assert templates | {"selfsup/py.typed", "selfsup/__main__.py"} <= set(names)
        assert [name for name in names if "tests/" in name] == []
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert b"selfsup = selfsup.cli.main:main" in wheel.read(entry)


def test_the_metapackage_requires_the_folders_of_its_own_checkout(tmp_path):
    checkout = copy_source(ROOT, tmp_path / "a checkout")
    with build_wheel(checkout, tmp_path / "dist") as wheel:
        text = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
        assert [name for name in wheel.namelist() if ".dist-info/" not in name] == []
    required = [Requirement(line.partition(": ")[2]) for line in text.splitlines() if line.startswith("Requires-Dist: ")]
    urls = {requirement.name: requirement.url for requirement in required if requirement.url}
    assert urls == {read_project(folder)["name"]: f"{checkout.as_uri()}/{folder}" for folder in FOLDERS}


def test_the_ci_uses_the_commands_of_contributing():
    script, guide = (ROOT / ".ci/run").read_text(), (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    commands = [line.partition("'")[2].rstrip("'") for line in script.splitlines() if line.startswith("documented '")]
    assert commands == ['pip install ".[test,docs]"', "pytest -n auto"]
    assert [command for command in commands if command not in guide] == []

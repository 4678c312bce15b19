"""What the pages about the core must say, and what must be true of what they say."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from selfsup.registry import hookspecs

CORE = Path(__file__).parents[2]
DOCS = CORE.parent / "docs"
HOOKS_PAGE = (DOCS / "extend" / "hooks.md").read_text(encoding="utf-8")
BROUGHT = {"pyarrow": "datasets", "huggingface_hub": "datasets", "scipy": "scikit-learn", "pydantic_core": "pydantic"}
"""Imported, and installed by one of our dependencies whose own interface it is part of."""
OPTIONAL = {"python_calamine", "pytest", "tensorboard", "wandb", "trackio", "onnx", "onnxscript", "psutil"}
IMPORT_NAMES = {"sklearn": "scikit-learn", "lightning_fabric": "lightning-fabric"}

HOOKS = [name for name in dir(hookspecs) if name.startswith("selfsup_")]


def dependencies():
    project = tomllib.loads((CORE / "pyproject.toml").read_text())["project"]
    return {re.split(r"[<>=!~ \[]", line)[0] for line in project["dependencies"]}


def test_there_are_hooks_for_every_kind_and_for_a_run():
    assert len(HOOKS) == 14


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook):
    section = HOOKS_PAGE.partition(f"\n### `{hook}`\n")[2].partition("\n#")[0]
    assert len(section.split()) >= 10
    parameters = set(getattr(hookspecs, hook).__code__.co_varnames)
    assert [name for name in parameters if f"`{name}`" not in section] == []


def test_no_hook_is_documented_that_does_not_exist():
    assert sorted(re.findall(r"^### `(selfsup_\w+)`$", HOOKS_PAGE, flags=re.MULTILINE)) == HOOKS


def test_every_dependency_is_justified():
    rows = re.findall(r"^\| `([\w-]+)` \| (.+) \|$", (DOCS / "reference" / "dependencies.md").read_text(encoding="utf-8"), re.M)
    assert {name for name, _ in rows} == dependencies()


def test_every_import_of_the_core_is_a_declared_dependency():
    allowed = dependencies() | BROUGHT.keys() | OPTIONAL | sys.stdlib_module_names | {"selfsup"}
    found = {}
    for file in sorted((CORE / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in {name.partition(".")[0] for name in names}:
                if IMPORT_NAMES.get(name, name) not in allowed:
                    found[name] = file.name
    assert found == {}


def test_every_environment_variable_is_documented():
    source = "\n".join(file.read_text() for file in (CORE / "src").rglob("*.py"))
    variables = set(re.findall(r'environ(?:\.get)?[\[(]"(SELFSUP_\w+)"', source))
    assert "SELFSUP_PLUGINS" in variables
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    assert {name for name in variables if f"| `{name}` |" not in page} == set()


def test_the_example_of_a_plugin_loads(install, only):
    example = re.search(r"```python\n(from selfsup import hookimpl.+?)```", HOOKS_PAGE, flags=re.DOTALL).group(1)
    install("readme", example, header="")
    found = only("readme")
    assert found.record("readme").error == ""
    assert "my-loss" in found.specs["objective"]

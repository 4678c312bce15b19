"""``import selfsup``: light, and with the version of the distribution."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

import selfsup


def test_the_version_is_that_of_the_distribution_and_names_are_listed():
    assert selfsup.__version__ == importlib.metadata.version("selfsup")
    assert set(selfsup.__all__) <= set(dir(selfsup))


def test_importing_selfsup_and_its_specs_imports_nothing_heavy():
    heavy = {"torch", "numpy", "datasets", "sklearn", "lightning_fabric", "pydantic", "rich", "PIL"}
    code = "import selfsup.registry, selfsup.cli.main, sys; selfsup.registry.registry().tasks; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"SELFSUP_PLUGINS": ""})
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_large_tensors_ask_for_large_pages_unless_told_otherwise(before, after):
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    if before is not None:
        environment["THP_MEM_ALLOC_ENABLE"] = before
    script = "import os, selfsup; print(os.environ['THP_MEM_ALLOC_ENABLE'])"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == after

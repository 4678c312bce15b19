"""The public API: its names are pinned, each is there and documented, and old names warn.

``public_api.txt`` has a line a package. To add or remove a name there is a decision: plugins of other people rely on it. A name
that goes needs a ``selfsup.public_names.Moved`` for as long as it says.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfsup.public_names import Moved, lazy_names

PINNED = dict(line.split(": ") for line in Path(__file__).with_name("public_api.txt").read_text().splitlines())


@pytest.mark.parametrize("package", PINNED)
def test_the_names_of_each_package_are_pinned(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == PINNED[package].split()


@pytest.mark.parametrize("package", PINNED)
def test_every_public_class_and_function_is_there_and_says_what_it_is(package: str) -> None:
    module = importlib.import_module(package)
    found = {name: getattr(module, name) for name in module.__all__}
    own = {name: item for name, item in found.items() if getattr(item, "__module__", "").startswith("selfsup")}
    documented = [name for name, item in own.items() if inspect.isclass(item) or inspect.isfunction(item)]
    assert [name for name in documented if not (found[name].__doc__ or "").strip()] == []
    # A module of the same name would take the name's place as soon as anyone imports it.
    assert [name for name, item in found.items() if inspect.ismodule(item)] == (["registry"] if package == "selfsup" else [])
    late = {name for name in module.__all__ if name not in vars(module)}
    assert late.isdisjoint(item.name for item in pkgutil.iter_modules(getattr(module, "__path__", [])))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'selfsup\.runtime' has no attribute 'no_such'"):
        importlib.import_module("selfsup.runtime").no_such  # noqa: B018


def test_a_name_that_has_moved_warns_with_its_new_place_and_a_day() -> None:
    moved = Moved("selfsup.errors:DataError", since="0.2", until="0.4", not_before="2030-01-01")
    package = SimpleNamespace(find=lazy_names("somewhere", moved={"Old": moved}))
    words = r"somewhere.Old is called selfsup.errors.DataError since selfsup 0.2. .* in selfsup 0.4, not before 2030-01-01"
    with pytest.warns(DeprecationWarning, match=words) as caught:
        found = package.find("Old")
    assert found.__name__ == "DataError"
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("package", "name"), [("selfsup.artifacts", "atomic_write"), ("selfsup.objectives", "convert_sync_batchnorm")]
)
def test_names_of_the_runtime_are_still_found_where_they_were(package: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{package}.{name} is called selfsup.runtime.{name}"):
        old = getattr(importlib.import_module(package), name)
    assert old is getattr(importlib.import_module("selfsup.runtime"), name)

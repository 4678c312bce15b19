"""The pages of the public API: a page a package, its names in ``__all__``, each with its docstring."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import selfsup
from selfsup.config import Config
from site_pages.configuration import fields_table
from site_pages.markdown import save

HEADLESS = ("selfsup.config", "selfsup.errors", "selfsup.types")
"""Modules beside the packages that are public too; they have no ``__all__``, and what they define counts."""


def modules() -> list[ModuleType]:
    """The public face: ``selfsup``, those of its packages that say what is public, and a few modules."""
    packages = [
        importlib.import_module(f"selfsup.{found.name}") for found in pkgutil.iter_modules(selfsup.__path__) if found.ispkg
    ]
    chosen = [package for package in packages if getattr(package, "__all__", None)]
    return [selfsup, *chosen, *map(importlib.import_module, HEADLESS)]


def names(module: ModuleType) -> list[str]:
    """The public names of a module: classes first, then functions, then the rest."""
    listed = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if not name.startswith("_") and _home(value) == module.__name__
    ]
    return sorted(listed, key=lambda name: (_rank(getattr(module, name)), name.lower()))


def _home(value: Any) -> str:
    return str(getattr(value, "__module__", "")) if inspect.isclass(value) or inspect.isfunction(value) else ""


def _rank(value: Any) -> int:
    return 0 if inspect.isclass(value) else 1 if inspect.isroutine(value) else 2


def write(out: Path) -> None:
    """Write ``api/``: an index, and a page a module."""
    seen: dict[int, str] = {}
    pages = []
    for module in modules():
        page = out / "api" / f"{module.__name__}.rst"
        save(page, *_page(module, seen))
        pages.append(f"   {module.__name__}")
    save(
        out / "api" / "index.rst",
        _title("The public API"),
        "What a plugin or a program may import. Every name here can be imported from the module that its page names. A name "
        "that moves keeps working for a time, with a ``DeprecationWarning`` that says until when. All other modules may change "
        "without notice.",
        ".. toctree::\n   :maxdepth: 1\n\n" + "\n".join(pages),
    )


def _page(module: ModuleType, seen: dict[int, str]) -> list[str]:
    blocks = [_title(module.__name__), f".. automodule:: {module.__name__}", f".. currentmodule:: {module.__name__}"]
    for name in names(module):
        value = getattr(module, name)
        if name.startswith("__"):
            continue
        known = seen.get(id(value)) if _rank(value) < 2 else None
        if known is not None:
            blocks.append(f"``{name}`` is :py:obj:`{known}`.")
            continue
        seen[id(value)] = f"{module.__name__}.{name}"
        blocks.append(_entry(module, name, value))
    return blocks


def _entry(module: ModuleType, name: str, value: Any) -> str:
    full = f"{module.__name__}.{name}"
    if inspect.ismodule(value):
        return f"``{name}``: see :py:mod:`{value.__name__}`."
    if inspect.isclass(value) and issubclass(value, Config) and value is not Config:
        return f".. autoclass:: {full}\n\n{_indented(fields_table(value, rst=True))}"
    if inspect.isclass(value):
        return f".. autoclass:: {full}\n   :members:"
    return (
        f".. autofunction:: {full}" if inspect.isroutine(value) else f".. py:data:: {full}\n\n{_indented(_said(module, name))}"
    )


def said(module: ModuleType, name: str) -> str:
    """What a public name says of itself: its docstring, or that under a constant, in the module that defines it."""
    value = getattr(module, name)
    own = inspect.getdoc(value) if _rank(value) < 2 or inspect.ismodule(value) else ""
    return own or _said(module, name)


def _said(module: ModuleType, name: str) -> str:
    tree = ast.parse(inspect.getsource(module))
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom):
            for found in statement.names:
                if (found.asname or found.name) == name:
                    return _said(importlib.import_module(statement.module or ""), found.name)
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and isinstance(following, ast.Expr):
            return inspect.cleandoc(ast.literal_eval(following.value))
    return ""


def _title(words: str) -> str:
    return f"{words}\n{'=' * len(words)}"


def _indented(block: str) -> str:
    return "\n".join(f"   {line}".rstrip() for line in block.splitlines())

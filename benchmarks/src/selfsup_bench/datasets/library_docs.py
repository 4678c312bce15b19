"""Real sentences that come with the harness: what the libraries below it say of their functions and classes."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from selfsup.errors import SourceError
from selfsup_bench.datasets.cache import Columns, cached

if TYPE_CHECKING:
    from datasets import Dataset, Features

PACKAGES: Mapping[str, str] = {
    "matplotlib": "matplotlib",
    "networkx": "networkx",
    "numpy": "numpy",
    "pandas": "pandas",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "sympy": "sympy",
    "torch": "torch",
}
"""Class, which is the name of the distribution, to the name of its package."""
_SENTENCES = 1000
"""Of each class."""
_LENGTHS = (30, 200)
"""Fewest and most characters of a sentence."""
_LEFT_OUT = ("test", "conftest", "extern", "vendor", "_lib", "compat")
"""Parts of the names of files and folders with tests, and with code that is another project's."""


def library_docs(split: str) -> Dataset:
    """8,000 first sentences of docstrings, and which of eight libraries each is from: 6,400 to train, 1,600 to test.

    From the installed Python files of libraries that the harness needs anyway. The rows differ between versions of these
    libraries, so only results of one installation can be compared; the fingerprint in every record distinguishes them. Files
    are read in the order of a hash of their names, until a library has 1,000 sentences. A sentence of two libraries is left
    out. Every fifth one of a class is a test row.

    Raises:
        SourceError: there is no such split, or a library is installed without its Python files.
    """
    versions = " ".join(f"{name}-{version(name)}" for name in PACKAGES)
    return cached("library-docs", hashlib.sha256(versions.encode()).hexdigest()[:12], split, _read)


def _read() -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features, Value

    rows = labelled_sentences({name: _folder(package) for name, package in PACKAGES.items()}, _SENTENCES)
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(PACKAGES))})
    return {"text": [text for text, _ in rows], "label": [label for _, label in rows]}, features


def _folder(package: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise SourceError(
            f"{package} cannot be found, of whose docstrings the data set library-docs is made. Install it again."
        )
    return Path(found.origin).parent


def labelled_sentences(folders: Mapping[str, Path], most: int) -> list[tuple[str, int]]:
    """First sentences of docstrings with the number of their library, each sentence once.

    Args:
        folders: library to the folder of its Python files.
        most: sentences of each library.

    Raises:
        SourceError: a folder has no such sentence.
    """
    libraries = list(folders)
    found = {name: _sentences(folder, most) for name, folder in folders.items()}
    for name, sentences in found.items():
        if not sentences:
            raise SourceError(
                f"{name} is installed without the Python files whose docstrings the data set library-docs is made of "
                f"({folders[name]}). Install it again, or use other text."
            )
    in_several = {text for text in set().union(*found.values()) if sum(text in texts for texts in found.values()) > 1}
    return [(text, libraries.index(name)) for name, texts in found.items() for text in texts if text not in in_several]


def _sentences(folder: Path, most: int) -> dict[str, None]:
    """Distinct sentences in the order they are found."""
    found: dict[str, None] = {}
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.py")]
    for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if any(part in name for part in _LEFT_OUT):
            continue
        for docstring in _docstrings(folder / name):
            sentence = first_sentence(docstring)
            if sentence:
                found[sentence] = None
            if len(found) == most:
                return found
    return found


def _docstrings(path: Path) -> Iterator[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates of files, and files of another Python
        return
    for node in ast.walk(tree):
        if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
            yield docstring


def first_sentence(docstring: str) -> str:
    """The sentence that a docstring begins with, in one line; empty where it begins with none of a fitting length."""
    block = " ".join(re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0].split())
    sentence = re.split(r"(?<=[.!?])\s(?=[A-Z])", block, maxsplit=1)[0]
    least, most = _LENGTHS
    fits = least <= len(sentence) <= most and sentence[0].isupper() and sentence.endswith(".") and ">>>" not in sentence
    return sentence if fits else ""

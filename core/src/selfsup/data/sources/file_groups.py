"""Rows that are groups of files with one stem: an image, its caption, and more."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsup.damaged_files import parse_json
from selfsup.data.sources.media.files import readable_name
from selfsup.data.sources.media.kinds import kind_of_path
from selfsup.data.sources.tables.encodings import decode_text
from selfsup.errors import SourceError, one_line
from selfsup.runtime.files import give_name
from selfsup.runtime.findings import Findings
from selfsup.runtime.temporary_files import temporary_file

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

KEY = "key"
"""Column that names the rows."""
LABEL = "label"
_TEXTS = ("txt", "text", "caption")
_CLASSES = ("cls", "cls2")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_CHUNK_ROWS = 256
_MOST_NAMED = 3
_CHUNK_BYTES = 8 << 20

Content = Callable[[], bytes]
Group = Mapping[str, Content]
"""Extension (``jpg``, ``left.png``, ``txt``) to what reads the file."""
Groups = Callable[[], Iterable[tuple[str, Group]]]
"""Iterates over keys and groups; called twice."""


class FileGroups:
    """Turns groups of files into rows with a column per kind of file.

    An image, a recording or a video becomes the column ``image``, ``audio`` or ``video`` (of ``left.jpg`` the column
    ``left``); ``txt``, ``text`` and ``caption`` become ``text``; the fields of a ``json`` object become columns;
    ``cls`` becomes ``label``.

    Args:
        modalities: their suffixes are known in addition to the usual ones.
        lines: whether each line of a text is a separate text (a caption), so that ``text`` may list several.
        encoding: of the texts; empty: detected for each.
        path_of: the path to store instead of a file's content, by key and extension; None: store the content.
    """

    def __init__(
        self,
        modalities: Iterable[ModalitySpec],
        *,
        lines: bool,
        encoding: str = "",
        path_of: Callable[[str, str], str] | None = None,
    ) -> None:
        self.modalities, self.lines, self.encoding, self.path_of = tuple(modalities), lines, encoding, path_of
        self._kinds: dict[str, str] = {}
        self.types: dict[str, set[str]] = {}
        self.taken, self.passed_over = Counter[str](), Counter[str]()
        self.unread: dict[str, None] = {}
        """Names of the first files that cannot be read as text."""
        self.n_unread = 0

    def write(self, groups: Groups, target: Path) -> Any:
        """The rows as a ``datasets.Dataset`` in the Arrow file ``target``, which is reused if it exists.

        Raises:
            SourceError: there is no row.
        """
        import datasets
        import pyarrow as pa

        rows = 0
        for key, group in groups():
            rows += 1
            self.learn(key, group)
        if not rows:
            raise SourceError("There is no file in it.")
        schema = self.features().arrow_schema
        if target.exists():
            return datasets.Dataset.from_file(str(target))
        with temporary_file(target) as temporary:
            with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                for chunk in self._chunks(groups):
                    arrays = [
                        pa.array([self.cast(name, row.get(name)) for row in chunk], kind)
                        for name, kind in zip(schema.names, schema.types, strict=True)
                    ]
                    writer.write_batch(pa.record_batch(arrays, schema=schema))
            give_name(temporary, target)
        return datasets.Dataset.from_file(str(target))

    def learn(self, key: str, group: Group) -> None:
        """Note the columns of a row and their types, for :meth:`features`, and its texts that cannot be read."""
        for extension in group:
            known = self.kind_of(extension)
            (self.taken if known else self.passed_over)["." + extension.rpartition(".")[2]] += 1
        for extension, column in self._files(group).items():
            self.types.setdefault(column, set()).add(self.kind_of(extension))
        for column, value in self._plain(group, key).items():
            self.types.setdefault(column, set()).add(_type_of(value))

    def features(self) -> Any:
        """The ``datasets.Features`` of all rows given to :meth:`learn`."""
        import datasets

        return datasets.Features({KEY: datasets.Value("string"), **{name: self._feature(name) for name in self.types}})

    def record(self, key: str, group: Group) -> dict[str, Any]:
        """A row: column to value, before :meth:`cast`."""
        row: dict[str, Any] = {KEY: readable_name(key), **self._plain(group)}
        for extension, column in self._files(group).items():
            content = None if self.path_of is not None else group[extension]()
            path = readable_name(f"{key}.{extension}") if self.path_of is None else self.path_of(key, extension)
            row[column] = {"bytes": content, "path": path}
        return row

    def tell(self, findings: Findings) -> None:
        """Note how many files of each kind are used and skipped, and which texts cannot be read."""
        findings.add_files(self.taken, self.passed_over)
        if self.unread:
            more = f" and {self.n_unread - len(self.unread)} more" if self.n_unread > len(self.unread) else ""
            names = ", ".join(self.unread)
            findings.warn(f"Files that cannot be read as text count as missing: {self.n_unread} ({names}{more}).")

    def kind_of(self, extension: str) -> str:
        """``image``, ``audio``, ``video``, ``text``, ``json``, ``class``, or empty."""
        last = extension.rpartition(".")[2]
        if last not in self._kinds:
            plain = "text" if last in _TEXTS else "class" if last in _CLASSES else "json" if last == "json" else ""
            self._kinds[last] = plain or kind_of_path(f"x.{last}", self.modalities)
        return self._kinds[last]

    def _files(self, group: Group) -> dict[str, str]:
        """Extension to column of the media files."""
        found: dict[str, str] = {}
        for extension in group:
            kind = self.kind_of(extension)
            if kind in ("image", "audio", "video"):
                first = extension.rpartition(".")[0].replace(".", "_") or kind
                found[extension] = extension.replace(".", "_") if first in found.values() else first
        return found

    def _plain(self, group: Group, key: str = "") -> dict[str, Any]:
        """The texts, the class and the fields of json objects; of files that are no text nothing."""
        fields: dict[str, Any] = {}
        texts: dict[str, Any] = {}
        for extension, content in group.items():
            kind = self.kind_of(extension)
            if kind not in ("text", "json", "class"):
                continue
            try:
                text, _ = decode_text(content(), extension, self.encoding)
            except SourceError:
                if key:
                    self.n_unread += 1
                    if len(self.unread) < _MOST_NAMED:
                        self.unread[one_line(readable_name(f"{key}.{extension}"))] = None
                continue
            if kind == "text":
                texts[extension.rpartition(".")[0].replace(".", "_") or "text"] = self._text(text)
            elif kind == "class":
                fields[LABEL] = int(text) if _INTEGER.fullmatch(text.strip()) else text.strip()
            else:
                fields |= _fields(text)
        return {**fields, **texts}

    def _text(self, text: str) -> Any:
        lines = [line.strip() for line in text.splitlines() if line.strip()] if self.lines else []
        return lines if len(lines) > 1 else text.strip()

    def _chunks(self, groups: Groups) -> Iterator[list[dict[str, Any]]]:
        chunk: list[dict[str, Any]] = []
        size = 0
        for key, group in groups():
            row = self.record(key, group)
            size += sum(len(value["bytes"] or b"") for value in row.values() if isinstance(value, dict))
            chunk.append(row)
            if len(chunk) == _CHUNK_ROWS or size > _CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _feature(self, name: str) -> Any:
        import datasets

        types = self.types[name] - {""}
        media = {"image": datasets.Image, "audio": datasets.Audio, "video": datasets.Video}
        if len(types) == 1 and (kind := media.get(next(iter(types)))) is not None:
            return kind(decode=False)
        if types & set(media):  # files of several kinds
            return {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
        if "texts" in types:
            return datasets.List(datasets.Value("string"))
        if types and types <= {"bool", "int", "float"}:
            return datasets.Value("bool" if types == {"bool"} else "float64" if "float" in types else "int64")
        return datasets.Value("string")

    def cast(self, name: str, value: Any) -> Any:
        """A value converted to the type of its column, since rows may differ in it.

        Raises:
            ValueError: it cannot be converted, or (``OverflowError``, ``TypeError``) is too large or of another kind.
        """
        types = self.types.get(name, {""}) - {""}
        if value is None or isinstance(value, dict):
            return value
        if "texts" in types:
            return [str(item) for item in value] if isinstance(value, list) else [str(value)] if value != "" else []
        if types and types <= {"bool", "int", "float"}:
            if "float" in types:
                return float(value)
            whole = types == {"bool"} or isinstance(value, float)  # keep the fraction
            return value if whole else int(value)
        return value if isinstance(value, str) else json.dumps(value)


def _fields(text: str) -> dict[str, Any]:
    """The fields of a json object that can be columns; empty for other json."""
    try:
        parsed = parse_json(text)
    except ValueError:
        return {}
    if not isinstance(parsed, dict):
        return {}
    return {str(name): value for name, value in parsed.items() if _type_of(value) and name != KEY}


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, list):
        return "texts" if value and all(isinstance(item, str) for item in value) else ""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return "text"  # too large for a column of numbers
    return {str: "text", int: "int", float: "float"}.get(type(value), "")

"""The published JSON schemas of records and plans, made from the dataclasses. Each file is validated when it is read.

``python -m selfsup_bench.records.schema`` writes them into ``selfsup_bench/records/schemas``.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from selfsup.errors import BenchmarkError
from selfsup_bench.records.migrations import SCHEMA, Document, upgraded

FOLDER = Path(__file__).with_name("schemas")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ADVICE: dict[Document, str] = {
    "record": "Delete the file and run the benchmark again with --resume.",
    "plan": "Run the benchmark again into another folder.",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def file_of(document: Document) -> Path:
    """Where the schema of a document is published."""
    return FOLDER / f"{document}-{SCHEMA}.schema.json"


@cache
def published(document: Document) -> dict[str, Any]:
    """The published schema of a document."""
    schema: dict[str, Any] = json.loads(file_of(document).read_text(encoding="utf-8"))
    return schema


def checked(values: Mapping[str, Any], document: Document, path: Path) -> dict[str, Any]:
    """A record or a plan as this version writes it, from one that this version or an earlier one wrote.

    Args:
        values: what the file holds.
        document: what it must be.
        path: of the file, for messages.

    Raises:
        BenchmarkError: it is of a later version, or a field is missing, unknown or holds something that it must not.
    """
    current = upgraded(values, document, path)
    found = fault(current, published(document))
    if found is not None:
        raise BenchmarkError(f"{path} is no {document} of schema {SCHEMA}: {found}. {_ADVICE[document]}")
    return current


# --- from dataclasses to a schema


def schema_of(kind: type, document: Document) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a dataclass as a document with the field ``schema``.

    Numbers may be ``null`` where they are floats: JSON has no NaN.
    """
    definitions: dict[str, Any] = {}
    top = _object(kind, definitions)
    return {
        "$schema": DIALECT,
        "$id": file_of(document).name,
        "title": f"A {document} of selfsup-bench, schema {SCHEMA}",
        **top,
        "properties": {"schema": {"const": SCHEMA}, **top["properties"]},
        "required": ["schema", *top["required"]],
        "$defs": dict(sorted(definitions.items())),
    }


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, words = get_type_hints(kind), field_docstrings(kind)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for each in dataclasses.fields(kind):
        described = _type(hints[each.name], definitions)
        properties[each.name] = {"description": words[each.name], **described} if each.name in words else described
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            required.append(each.name)
    words_of_all = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    return {
        "description": words_of_all,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    simple = {str: "string", bool: "boolean", int: "integer"}
    if hint is Any:
        return {}
    if hint is float:
        return {"type": ["number", "null"]}
    if hint in simple:
        return {"type": simple[hint]}
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # for a class that holds itself
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        described = _type(inner, definitions)
        if "$ref" in described:
            return {"anyOf": [described, {"type": "null"}]}
        given = described["type"]
        return {**described, "type": given if isinstance(given, list) else [given, "null"]}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin is tuple:
        parts = [_type(argument, definitions) for argument in arguments]
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type(arguments[1], definitions)}
    raise TypeError(f"no JSON schema is known for {hint!r}")


def field_docstrings(kind: type) -> dict[str, str]:
    """The strings below the fields of a dataclass and of those it extends, on one line each."""
    words: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, after in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                words[statement.target.id] = " ".join(after.value.value.split())
    return words


# --- validation of values


def fault(value: Any, schema: Mapping[str, Any], *, root: Mapping[str, Any] | None = None, field: str = "") -> str | None:
    """What is wrong with a value: the field and what it must be; None if nothing is.

    Args:
        value: plain JSON values.
        schema: one that :func:`schema_of` made, or a part of it.
        root: the whole schema, for references.
        field: where the value is: ``cell.steps``.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        return fault(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root=root, field=field)
    if "anyOf" in schema:
        faults = [fault(value, each, root=root, field=field) for each in schema["anyOf"]]
        return None if None in faults else faults[0]
    place = f"the field {field!r}" if field else "the file"
    if "const" in schema and value != schema["const"]:
        return f"{place} is {value!r} in place of {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{place} is {value!r}, which is none of {', '.join(map(repr, schema['enum']))}"
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not isinstance(value, allowed(names)) or (isinstance(value, bool) and "boolean" not in names):
            return f"{place} holds {_short(value)}, and must hold {_article(names)}"
    if isinstance(value, list):
        return _fault_of_list(value, schema, root, field)
    if isinstance(value, dict):
        return _fault_of_object(value, schema, root, field)
    return None


def allowed(names: list[str]) -> tuple[type, ...]:
    """Python types of JSON types."""
    return tuple(kind for name in names for kind in _TYPES[name])


def _fault_of_list(value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any], field: str) -> str | None:
    if "prefixItems" in schema:
        wanted = schema["prefixItems"]
        if len(wanted) != len(value):
            return f"the field {field!r} has {len(value)} entries in place of {len(wanted)}"
    else:
        items = schema.get("items", {})
        if items.get("type") == ["number", "null"] and set(map(type, value)) <= {int, float, type(None)}:
            return None  # thousands of numbers at once
        wanted = [items] * len(value)
    for place, (each, expected) in enumerate(zip(value, wanted, strict=True)):
        found = fault(each, expected, root=root, field=f"{field}[{place}]")
        if found is not None:
            return found
    return None


def _fault_of_object(value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], field: str) -> str | None:
    prefix = f"{field}." if field else ""
    for name in schema.get("required", ()):
        if name not in value:
            return f"the field {prefix + name!r} is missing"
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name, each in value.items():
        if name not in known and others is False:
            return f"the field {prefix + name!r} is unknown"
        found = fault(each, known.get(name, others), root=root, field=prefix + name)
        if found is not None:
            return found
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _article(names: list[str]) -> str:
    return " or ".join(name if name == "null" else f"an {name}" if name[0] in "aio" else f"a {name}" for name in names)


def write_all(folder: Path = FOLDER) -> list[Path]:
    """Write the schemas of this version into a folder."""
    from selfsup_bench.planning.plan import Plan
    from selfsup_bench.records.record import Record

    paths = []
    kinds: tuple[tuple[type, Document], ...] = ((Record, "record"), (Plan, "plan"))
    for kind, document in kinds:
        path = folder / file_of(document).name
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema_of(kind, document), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write_all():
        print(written)  # noqa: T201

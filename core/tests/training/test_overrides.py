from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.training.run.config import RunConfig
from selfsup.training.settings.overrides import apply, join, parse_assignment, parse_assignments, place, resolve_key
from selfsup.training.settings.values import Unread, read_value


class Loss(Config):
    temperature: float = 0.1
    dim: int = 8


class Views(Config):
    n_local: int = 0


class Task(Config):
    objective: Loss = Loss()
    views: Views | None = None


class Backbone(Config):
    width: int = 16
    dim: int = 4


SECTIONS: dict[str, type[Config]] = {"": RunConfig, "task": Task, "backbone": Backbone}


def test_a_value_stays_a_text_until_the_type_of_its_key_is_known() -> None:
    assert parse_assignment("a.b=x=y") == ("a.b", "x=y")
    assert isinstance(parse_assignment("a.b=1")[1], Unread)


Packing = Literal["none", "blocks"]


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("none", Packing, "none"),
        ("none", Packing | None, "none"),
        ("null", Packing | None, None),
        ("none", str, "none"),
        ("None", str, "None"),
        ("none", str | None, None),
        ('"null"', str, "null"),
        ('"none"', str | None, "none"),
        ("5", str, "5"),
        ("true", str, "true"),
        ("1e-3", str, "1e-3"),
        ("[1]", str, "[1]"),
        ("", str, ""),
        ("0.2", float, 0.2),
        ("1e-3", float, 1e-3),
        ("3", int, 3),
        ("1e4", int, 10_000),
        ("2.0", int, 2),
        ("null", int | None, None),
        ("7", int | None, 7),
        ("auto", int | Literal["auto"], "auto"),
        ("32", Literal["auto", "32"], "32"),
        ("2", Literal[1, 2], 2),
        ("true", bool, True),
        ("off", bool, False),
        ("null", bool | None, None),
        ("0", bool | None, False),
        ("1", bool | int | None, 1),
        ("a, b", tuple[str, ...], ["a", "b"]),
        ("a", tuple[str, ...], ["a"]),
        ("", tuple[str, ...], []),
        ("[]", tuple[int, ...], []),
        ('["a, b", "c"]', tuple[str, ...], ["a, b", "c"]),
        ("[a, b]", tuple[str, ...], ["a", "b"]),
        ('["null"]', tuple[str, ...], ["null"]),
        ("[1, 2]", tuple[str, ...], ["1", "2"]),
        ("0.5,1", tuple[float, float], [0.5, 1.0]),
        ("(1, 2)", tuple[int, int], [1, 2]),
        ("[0.9, 0.95]", tuple[Annotated[float, Field(ge=0)], ...], [0.9, 0.95]),
        ("null", tuple[int, int] | None, None),
        ('{"a": 1}', dict[str, Any], {"a": 1}),
        ("0.2", Any, 0.2),
        ("word", Any, "word"),
    ],
)
def test_a_value_is_read_by_the_type_of_its_field(text: str, annotation: Any, value: Any) -> None:
    found = read_value(Unread(text), annotation, "a.b")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "annotation", [int, float, bool, tuple[str, ...], dict[str, Any], Literal["a", "b"], int | Literal["auto"]]
)
@pytest.mark.parametrize("text", ["null", "None"])
def test_null_is_an_error_for_a_field_that_has_none(text: str, annotation: Any) -> None:
    with pytest.raises(ConfigError, match=f"a.b={text} is not allowed: this option is .* and has no null"):
        read_value(text, annotation, "a.b")


@pytest.mark.parametrize(
    ("text", "annotation"), [("x", int), ("1.5", int), ("x", float), ("maybe", bool), ("c", Literal["a", "b"])]
)
def test_what_cannot_be_read_is_left_to_the_config_to_refuse(text: str, annotation: Any) -> None:
    assert read_value(text, annotation, "a.b") == text


def test_a_key_with_two_values_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.b is given twice, as 1 and as 2"):
        parse_assignments(["a.b=1", "a.b=2"])
    assert parse_assignments(["a.b=1", "a.b=1"]) == {"a.b": "1"}
    with pytest.raises(ConfigError, match="seed is given twice, as 1 and as 2"):
        join({"seed": Unread("1")}, {"seed": 2})
    with pytest.raises(ConfigError, match=r"width and backbone\.width are the same option, and are given as 1 and as 2"):
        place({"width": Unread("1"), "backbone.width": Unread("2")}, SECTIONS)


def test_values_are_placed_under_their_sections_and_read() -> None:
    options = {"width": Unread("3"), "columns.image": Unread("7"), "label": Unread("5"), "seed": 4}
    assert place(options, SECTIONS) == {"backbone": {"width": 3}, "": {"columns": {"image": "7"}, "label": "5", "seed": 4}}


def test_what_is_no_assignment_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'optimization\.lr' is not of the form key=value"):
        parse_assignment("optimization.lr")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("task.objective.temperature", ("task", "objective", "temperature")),
        ("objective.temperature", ("task", "objective", "temperature")),
        ("temperature", ("task", "objective", "temperature")),
        ("views.n_local", ("task", "views", "n_local")),
        ("backbone.width", ("backbone", "width")),
        ("backbone", ("", "backbone")),
        ("optimization.lr", ("", "optimization", "lr")),
        ("lr", ("", "optimization", "lr")),
        ("seed", ("", "seed")),
        ("columns.image", ("", "columns", "image")),
    ],
)
def test_a_key_is_found_in_full_in_part_and_by_its_leaf(key: str, path: tuple[str, ...]) -> None:
    assert resolve_key(key, SECTIONS) == path


def test_an_ambiguous_leaf_names_both_places() -> None:
    with pytest.raises(ConfigError, match=r"'dim' is ambiguous: it may be task\.objective\.dim, backbone\.dim"):
        resolve_key("dim", SECTIONS)


@pytest.mark.parametrize(
    ("key", "close"),
    [
        ("objective.temprature", "task.objective.temperature"),
        ("optimisation.lr", "optimization.lr"),
        ("widht", "backbone.width"),
        ("views.zzz", "task.views.n_local"),
    ],
)
def test_an_unknown_key_is_answered_with_what_is_close(key: str, close: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown config key '{key}'. Did you mean .*{close}"):
        resolve_key(key, SECTIONS)


def test_a_key_that_is_like_nothing_lists_all() -> None:
    with pytest.raises(ConfigError, match=r"The keys are: .*backbone\.width.*optimization\.lr"):
        resolve_key("qqqqqq", SECTIONS)


def test_values_are_placed_deeply() -> None:
    options: dict[str, Any] = {"a": {"b": 1}}
    apply(options, ("a", "c", "d"), 2)
    assert options == {"a": {"b": 1, "c": {"d": 2}}}


class Part(Config):
    name: str = ""
    share: float = 1.0
    options: dict[str, Any] = Field(default_factory=dict)


class Parts(Config):
    parts: dict[str, Part] = Field(default_factory=dict)


def test_keys_in_a_dictionary_of_configs_are_read_by_the_types_of_their_fields() -> None:
    given = {
        "backbone.parts.left.name": Unread("7"),
        "backbone.parts.left.share": Unread("1e-1"),
        "backbone.parts.left.options.width": Unread("32"),
        "backbone.parts.right.nmae": Unread("x"),
    }
    left = {"name": "7", "share": 0.1, "options": {"width": 32}}
    # What a config does not have it refuses itself.
    assert place(given, {"": RunConfig, "backbone": Parts}) == {"backbone": {"parts": {"left": left, "right": {"nmae": "x"}}}}


class Joined(Config):
    shown: Parts = Parts()
    heard: Parts = Parts()
    only: dict[str, float] = Field(default_factory=dict)


def test_a_dictionary_may_be_named_without_its_section() -> None:
    sections: dict[str, type[Config]] = {"": RunConfig, "task": Joined}
    assert resolve_key("only.left", sections) == ("task", "only", "left")
    assert resolve_key("shown.parts.left.options.width", sections) == ("task", "shown", "parts", "left", "options", "width")
    assert resolve_key("task.heard.parts.left.share", sections) == ("task", "heard", "parts", "left", "share")
    assert resolve_key("columns.image", sections) == ("", "columns", "image")
    with pytest.raises(ConfigError, match=r"'parts' is ambiguous: it may be task.shown.parts, task.heard.parts"):
        resolve_key("parts.left.share", sections)
    with pytest.raises(ConfigError, match="unknown config key"):
        resolve_key("nothing.left", sections)

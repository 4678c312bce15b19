from __future__ import annotations

from typing import Any

import pytest

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.training.config import RunConfig
from selfsup.training.overrides import apply, parse_assignment, resolve_key


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


@pytest.mark.parametrize(
    ("text", "value"),
    [("a.b=0.2", 0.2), ("a.b=x=y", "x=y"), ("a.b=[1, 2]", [1, 2]), ("a.b=true", True), ("a.b=None", None), ("a.b=", "")],
)
def test_values_are_json_or_text(text: str, value: Any) -> None:
    assert parse_assignment(text) == ("a.b", value)


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

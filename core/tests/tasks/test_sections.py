"""Config sections whose defaults a recipe has changed."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks.config_sections import accepts, join_sections, with_defaults, with_section


class Inner(Config):
    """Inner options."""

    low: float = Field(default=0.1, ge=0, le=1)
    """Low end."""
    high: float = 0.9
    """High end."""


class Outer(Config):
    """Outer options."""

    size: int = Field(default=3, ge=1)
    """Size."""
    names: list[str] = Field(default_factory=list)
    """Names."""
    inner: Inner = Inner()
    """Inner."""


def test_changed_defaults_hold_in_part_and_keep_bounds_and_descriptions():
    changed = with_defaults(Outer, {"size": 5, "names": ["a"], "inner": {"low": 0.3}})
    assert changed().model_dump() == {"size": 5, "names": ["a"], "inner": {"low": 0.3, "high": 0.9}}
    assert changed.model_validate({"inner": {"high": 0.7}}).inner.model_dump() == {"low": 0.3, "high": 0.7}
    assert isinstance(changed(), Outer)
    assert changed.model_fields["size"].description == "Size."
    with pytest.raises(ValidationError):
        changed(size=0)
    with pytest.raises(ValidationError):
        changed.model_validate({"inner": {"low": 2}})
    assert Outer().model_dump() == {"size": 3, "names": [], "inner": {"low": 0.1, "high": 0.9}}


def test_defaults_change_on_top_of_changed_ones():
    twice = with_defaults(with_defaults(Outer, {"size": 5, "inner": {"low": 0.3}}), {"inner": {"high": 0.8}})
    assert twice().model_dump() == {"size": 5, "names": [], "inner": {"low": 0.3, "high": 0.8}}


def test_unknown_or_bad_defaults_are_clear_errors():
    with pytest.raises(
        ConfigError, match=r"'sise' cannot have a default: Outer has no such option. It has: size, names, inner"
    ):
        with_defaults(Outer, {"sise": 1})
    with pytest.raises(ConfigError, match="Outer does not allow the defaults"):
        with_defaults(Outer, {"size": 0})


def test_accepts_says_whether_a_value_is_allowed():
    assert accepts(Outer, {"size": 2})
    assert not accepts(Outer, {"size": 0})
    assert not accepts(Outer, {"width": 2})


def test_joined_sections_refuse_unknown_keys_and_survive_json():
    joined = join_sections("Joined", {"outer": (with_defaults(Outer, {"size": 4}), "What is outside.")})
    config = joined.model_validate({"outer": {"names": ["x"]}})
    assert config.model_dump() == {"outer": {"size": 4, "names": ["x"], "inner": {"low": 0.1, "high": 0.9}}}
    assert joined.model_validate_json(config.model_dump_json()) == config
    assert joined.model_fields["outer"].description == "What is outside."
    with pytest.raises(ValidationError):
        joined.model_validate({"views": {}})


def test_classes_without_source_keep_descriptions_and_look_for_none():
    class Options(Config):
        width: int = 8
        """Width of the layers."""

    changed = with_defaults(Options, {"width": 16})
    assert changed.model_fields["width"].description == "Width of the layers."
    assert changed.model_config["use_attribute_docstrings"] is False
    assert with_section(changed, "more", Options, "More.").model_fields["width"].description == "Width of the layers."
    assert Options.model_config["use_attribute_docstrings"] is True

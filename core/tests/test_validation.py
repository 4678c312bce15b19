import pytest
from pydantic import Field, field_validator

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.validation import validated


class Inner(Config):
    depth: int = Field(default=1, ge=1)
    """Depth."""


class Outer(Config):
    inner: Inner = Inner()
    width: int
    """Width."""

    @field_validator("width")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it must be even")
        return value


def test_good_options_become_a_config():
    assert validated(Outer, {"width": 4, "inner": {"depth": 2}}, what="net") == Outer(width=4, inner=Inner(depth=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 3}, "net: width = 3 is not allowed: it must be even"),
        ({}, "net: the option 'width' has no default and must be given"),
        ({"width": 2, "inner": {"dept": 1}}, "net: there is no option 'inner.dept'; did you mean 'depth'?"),
        ({"width": 2, "colour": 1}, "net: there is no option 'colour'; known are inner, width"),
        ({"width": "wide", "inner": {"depth": 0}}, "inner.depth = 0 is not allowed"),
        ({"width": "wide", "inner": {"depth": 0}}, "width = 'wide' is not allowed"),
    ],
)
def test_every_wrong_option_is_named(options, message):
    with pytest.raises(ConfigError) as caught:
        validated(Outer, options, what="net")
    assert message in str(caught.value)

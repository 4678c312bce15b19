"""What all tests share: threads of tests that run side by side, tests that run only when asked for, and figures."""

from __future__ import annotations  # older versions of pytest do not export all types

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # read before torch is imported, and by every process they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that take minutes, unless ``-m`` names them (``pytest -m long``)."""
    if "long" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if not item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured: what they gave to ``record_property``."""
    reports = [report for status in ("passed", "failed") for report in terminalreporter.stats.get(status, [])]
    measured = [(report.nodeid, *figure) for report in reports for figure in report.user_properties]
    if measured:
        terminalreporter.section("figures")
        for test in dict.fromkeys(figure[0] for figure in measured):
            terminalreporter.line(test)
            for name, value in (figure[1:] for figure in measured if figure[0] == test):
                terminalreporter.line(f"    {name}: {value}")

"""The report page: a leaderboard and plots as one self-contained HTML file."""

from selfsup_bench.report.page import render

__all__ = ["render"]

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from selfsup_bench.leaderboard.board import Leaderboard, Matrix, MatrixCell, MatrixRow
from selfsup_bench.leaderboard.build import build
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Projection, Record
from selfsup_bench.report.charts import Series, bar, line_chart, scatter
from selfsup_bench.report.curves import metrics_section
from selfsup_bench.report.matrix_section import matrix_section, step
from selfsup_bench.report.palette import CLASS_COLOURS, DARK, LIGHT
from selfsup_bench.report.parts import colours, number_html
from selfsup_bench.report.style import content_policy, style_sheet
from selfsup_bench.report.svg import Scale, short, tick_label, ticks
from selfsup_bench.report.verdict_section import _ends
from selfsup_bench.statistics.estimates import Estimate, Interval

ERROR = "the loss is NaN </pre><script>"


def gain(mean: float, half: float = 0.05) -> Estimate:
    return Estimate(mean, Interval(mean - half, mean + half, "student-t"), (mean,))


def matrix_board(plan: Plan, records: dict[str, Record]) -> Leaderboard:
    cells = {
        "vision": MatrixCell(state="done", gain=gain(0.62)),
        "text": MatrixCell(state="failed", error=ERROR),
        "audio": MatrixCell(state="missing", error="not run yet"),
        "video": MatrixCell(state="unclear", gain=gain(0.3, 0.9)),
        "tabular": MatrixCell(state="done", gain=gain(-0.4)),
    }
    rows = (
        MatrixRow(method="a", name="A", family="joint-embedding", cells=cells, mean=None),
        MatrixRow(method="b", name="B", family="joint-embedding", cells={"vision": cells["vision"]}, mean=gain(0.5)),
        MatrixRow(method="c", name="C", family="masked-modeling", cells={"vision": cells["vision"]}, mean=gain(0.5, 0.6)),
    )
    return replace(build(plan, records), matrix=Matrix(modalities=(*cells, "multimodal"), rows=rows))


def test_matrix_shows_every_state(plan: Plan, records: dict[str, Record], read_page: Callable[[str], Any]) -> None:
    section = matrix_section(matrix_board(plan, records))
    parsed = read_page(section)
    rows = [re.findall(r"<td(.*?)</td>", row) for row in section.split("<tr>")[1:]]
    first, second, third = (row for row in rows if row)
    assert len(first) == len(second) == len(third) == 7
    vision, text, audio, video, tabular, none, mean = first
    assert 'class="m4"' in vision
    assert '62 <span class="pm">± 5</span>' in vision
    assert 'class="m0"' in tabular
    assert "−40" in tabular
    assert "<details>" in text
    assert "failed" in text
    assert "·" in audio
    assert "not run yet" in audio
    assert video.endswith(">unclear")
    assert "30.00 %, 95 % interval -60.00 to 120.00" in video
    assert "no benchmark" in none
    assert "no mean" in mean
    assert "50" in second[-1]
    assert third[-1].endswith(">unclear"), "an interval wider than the scale says nothing"
    families = [element.attributes["colspan"] for element in parsed.elements if element.attributes.get("class") == "family"]
    assert families == ["8", "8"]
    scopes = [element.attributes.get("scope") for element in parsed.elements if element.tag == "th"]
    assert None not in scopes


def test_matrix_of_one_modality_is_left_out(plan: Plan, records: dict[str, Record]) -> None:
    board = matrix_board(plan, records)
    one = Matrix(modalities=("vision",), rows=board.matrix.rows)
    assert matrix_section(replace(board, matrix=one)) == ""


@pytest.mark.parametrize(("value", "place"), [(-1, 0), (-0.1, 1), (0, 2), (0.2, 3), (0.5, 4), (2, 5)])
def test_colours_of_the_matrix_are_ordered(value: float, place: int) -> None:
    assert step(value) == place


def test_a_method_has_one_colour_on_the_page(plan: Plan, records: dict[str, Record]) -> None:
    (table,) = build(plan, records).tables
    beta = replace(table, rows=tuple(row for row in table.rows if row.benchmark != "alpha-toyset"))
    methods = ["alpha", "beta"]
    assert colours(table, methods) == {"alpha-toyset": "c0", "beta-toyset": "c1"}
    assert colours(beta, methods) == {"beta-toyset": "c1"}
    many = [*methods, *(f"m{i}" for i in range(20))]
    assert colours(beta, many) == {"beta-toyset": "c0"}, "of many methods, those of a table get different colours"
    assert colours(table, many) == {"alpha-toyset": "c0", "beta-toyset": "c1"}
    alpha = next(row for row in table.rows if row.benchmark == "alpha-toyset")
    crowd = tuple(replace(alpha, task=f"toy/m{i:02}", benchmark=f"m{i:02}") for i in reversed(range(12)))
    found = colours(replace(table, rows=crowd), [f"m{i:02}" for i in range(12)])
    assert [found[f"m{i:02}"] for i in (11, 2, 1, 0)] == ["c0", "c9", "cn", "cn"], "the best have the colours"


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_from_their_background(palette: dict[str, str]) -> None:
    # WCAG 2.2: 4.5 for text, 3 for the parts of a chart.
    for ground in ("page", "card"):
        for name in ("ink", "soft", "link", "bad", "good", "warn"):
            assert contrast(palette[name], palette[ground]) >= 4.5, (name, ground)
    for name in ("good", "bad", "warn", "idle"):
        assert contrast(palette[name], palette[f"{name}bg"]) >= 4.5, name
    assert contrast(palette["soft"], palette["idlebg"]) >= 4.5
    for place in range(6):
        assert contrast(palette["ink"], palette[f"m{place}"]) >= 4.5, place
    for place in range(CLASS_COLOURS):
        assert contrast(palette[f"c{place}"], palette["card"]) >= 3, place
    assert contrast(palette["faint"], palette["card"]) >= 3
    assert len({palette[f"c{place}"] for place in range(CLASS_COLOURS)}) == CLASS_COLOURS


def _blue_less_red(colour: str) -> int:
    return int(colour[5:7], 16) - int(colour[1:3], 16)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_matrix_runs_from_orange_to_blue(palette: dict[str, str]) -> None:
    hues = [_blue_less_red(palette[f"m{place}"]) for place in range(6)]
    assert hues == sorted(hues), "orange and blue differ for every kind of colour vision"
    assert hues[0] < -50 < 50 < hues[-1]


def test_style_knows_both_schemes_the_choice_and_paper() -> None:
    css = style_sheet()
    assert css.count("--ink:") == 5
    for rule in (
        "prefers-color-scheme:dark",
        ":root[data-theme=dark]",
        ":root[data-theme=light]",
        "@media print",
        ":focus-visible",
    ):
        assert rule in css
    used, known = set(re.findall(r"var\(--(\w+)", css)), set(LIGHT) | {"c", "n"}
    assert used <= known
    assert set(LIGHT) == set(DARK)
    assert "sha256-" in content_policy()


def test_bars_begin_at_zero_and_their_intervals_end_in_the_picture() -> None:
    low, high = _ends([gain(-0.5, 0.2), gain(0.5, 30)], share=False)
    assert low == pytest.approx(-1.5)
    assert high == pytest.approx(1.54)
    assert _ends([gain(0.9), gain(0.99, 0.5)], share=True) == (0, 1)
    assert _ends([gain(0.4, 0.1)], share=True) == (0, pytest.approx(0.52))
    x = Scale(-1.5, 1.54, 2, 154)

    def rect(mean: float) -> tuple[float, float]:
        found = re.search(r'<rect[^>]* x="([\d.]+)" width="([\d.]+)"', bar(gain(mean), low, high, colour="c0"))
        assert found is not None
        return float(found[1]), float(found[1]) + float(found[2])

    assert rect(-0.5) == pytest.approx((x(-0.5), x(0)), abs=0.2)
    assert rect(0.5) == pytest.approx((x(0), x(0.5)), abs=0.2)


def test_names_of_classes_do_not_hide_each_other() -> None:
    names = ("first", "second", "x" * 40)
    close = Projection(method="PCA", x=(0, 0.1, 1, 2), y=(0, 0, 1, 2), labels=(0, 1, 2, 2), class_names=names)
    shown = re.findall(r'<text x="([\d.]+)"[^>]*>([^<]*)</text>', scatter(close, label="x"))
    assert [name for _, name in shown] == ["first", "x" * 17 + "…"], "the second one would lie on the first"
    assert all(4 * len(name) <= float(x) <= 240 - 4 * len(name) for x, name in shown), "no name leaves the picture"
    apart = replace(close, y=(0, 1, 2, 2))
    assert len(re.findall(r"<text", scatter(apart, label="x"))) == 3


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1, 4) == [0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(0.63, 0.98, 4) == [0.7, 0.8, 0.9]
    assert ticks(3, 3) == [3]
    assert [tick_label(v) for v in (0.25, 4000, 2.5e6)] == ["0.25", "4k", "2.5M"]


def test_scale_is_linear_or_logarithmic() -> None:
    assert Scale(0, 10, 0, 100)(2.5) == 25
    assert Scale(1, 100, 0, 100, log=True)(10) == pytest.approx(50)
    assert Scale(5, 5, 0, 100)(5) == 50
    assert Scale(5, 5, 0, 100, log=True)(5) == pytest.approx(50)


def test_coordinates_are_short() -> None:
    assert [short(v) for v in (1.0, 1.25, -0.01, 0.04, 12.345)] == ["1", "1.2", "0", "0", "12.3"]


def test_line_chart_leaves_out_what_is_not_finite() -> None:
    chart = line_chart([Series("a", [(0, 1.0), (1, float("nan")), (2, 3.0)], "c0")], label="x", x_title="s", y_title="l")
    assert "nan" not in chart
    empty = line_chart([Series("a", [(0, float("inf"))], "c0")], label="x", x_title="s", y_title="l")
    assert empty == '<p class="empty">No values were logged.</p>'


def test_the_scale_of_the_gain_is_among_all_metrics_and_in_the_json(plan: Plan, records: dict[str, Record]) -> None:
    board = build(plan, records)
    (table,) = board.tables
    (supervised,) = (row for row in table.rows if row.kind == "supervised")
    score = supervised.metrics["few-labels.accuracy@10"]
    assert supervised.score is None
    assert score.mean == pytest.approx(0.9)
    section = metrics_section(table)
    assert "The 100 of the gain is few-labels accuracy @ 10 of supervised, which was trained with all labels." in section
    assert number_html(score, share=True) in section
    (shown,) = (row for row in board.as_dict()["tables"][0]["rows"] if row["kind"] == "supervised")
    assert shown["metrics"]["few-labels.accuracy@10"]["mean"] == pytest.approx(0.9)
    page = matrix_section(replace(board, matrix=replace(board.matrix, modalities=("toy", "other"))))
    assert "measured in the same way, with few labels by a probe with those same few" in page

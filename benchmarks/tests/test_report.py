from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from selfsup_bench.cells.previews import Previews
from selfsup_bench.leaderboard.build import build
from selfsup_bench.own_data.advice.recommendation import Recommendation
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record
from selfsup_bench.report import render
from selfsup_bench.report.style import script
from selfsup_bench.report.verdict_section import summary

Reader = Callable[[str], Any]
HOSTILE = "</script><script>alert(1)</script>\"'&"
ERROR = f"the loss is NaN {HOSTILE}"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def with_previews(records: dict[str, Record]) -> dict[str, Record]:
    """The same records, whose points are rows with previews."""
    found: dict[str, Record] = {}
    for key, record in records.items():
        drawn = record.projection
        if drawn is not None:
            record = replace(record, projection=replace(drawn, places=tuple(range(3, 203)), previews="abc"))
        found[key] = record
    return found


def previews() -> dict[str, Previews]:
    rows = {3 + i: ({"text": f"row {i} {HOSTILE}"}, {"curve": [0, 50, -100]}) for i in range(1, 200)}
    return {"abc": Previews(rows={3: ({"tile": 0, "w": 1, "h": 1},), **rows}, sheet=PIXEL, tile=(1, 1))}


@pytest.fixture
def failing(plan: Plan, records: dict[str, Record]) -> dict[str, Record]:
    """One cell of beta failed, one was not run yet."""
    found = with_previews(records)
    failed, missing = (plan.key(plan.lines[1].cells["task"][seed]) for seed in (2, 1))
    found[failed] = replace(found[failed], status="failed", error=ERROR, metrics={}, draws={}, rows={}, projection=None)
    del found[missing]
    return found


@pytest.fixture
def page(plan: Plan, failing: dict[str, Record]) -> str:
    return render(build(plan, failing), plan, failing, previews())


@pytest.fixture
def whole(plan: Plan, records: dict[str, Record]) -> str:
    return render(build(plan, records), plan, records)


def test_page_is_well_formed_and_fetches_nothing(page: str, read_page: Reader) -> None:
    parsed = read_page(page)
    links = parsed.values("src", "href", "srcset", "xlink:href", "action", "data")
    assert all(link.startswith(("#", "data:image/png;base64,")) or link == "data:," for link in links)
    ids = parsed.values("id")
    assert len(set(ids)) == len(ids), "an id is there twice"
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids), "a link leads nowhere"
    for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "localStorage", "cookie", "innerHTML"):
        assert word not in page


def test_policy_lets_this_script_run_and_nothing_else(page: str, read_page: Reader) -> None:
    parsed = read_page(page)
    (policy,) = [
        e.attributes["content"] for e in parsed.elements if e.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    (code,) = [text for attributes, text in parsed.scripts if not attributes]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not [name for element in parsed.elements for name in element.attributes if name.startswith("on")]


def test_page_has_its_parts_in_order(page: str, read_page: Reader) -> None:
    headings = re.findall(r"<h[123][^>]*>(.*?)</h[123]>", page)
    texts = [re.sub(r"<[^>]*>", "", heading).strip() for heading in headings]
    wanted = [
        "selfsup benchmark", "Is pretraining worth it?", "toyset toy", "toyset toy", "Ranking",
        "Over the number of labels", "Embeddings", "Loss curves", "All metrics", "Without a result: 2",
        "toy-beta.toyset.net.seed2", "Circumstances",
    ]  # fmt: skip
    assert texts == wanted
    ranks = read_page(page).headings()
    assert ranks[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(ranks)), "a rank is left out"


def test_verdict_is_told_by_colour_word_sign_sentence_and_picture(
    whole: str, plan: Plan, records: dict[str, Record], read_page: Reader
) -> None:
    verdict = build(plan, records).tables[0].verdict
    assert verdict.state == "pays"
    card = whole[whole.index('<article class="card verdict is-pays">') : whole.index("</article>") + len("</article>")]
    assert '<span class="badge good"><span aria-hidden="true">✓</span> pretraining pays</span>' in card
    text = read_page(card).text.replace("\u00a0", " ")
    assert verdict.sentence in text
    assert all(line in text for line in verdict.evidence)
    assert re.findall(r'<th scope="row">(.*?)</th>', card) == ["Alpha", "from scratch", "pixels", "random init"]
    assert card.count('class="bar c0"') == 1
    assert card.count('class="bar cn"') == card.count('class="error"') - 1 == 3


def test_summary_counts_states(plan: Plan, records: dict[str, Record]) -> None:
    board = build(plan, records)
    (table,) = board.tables
    assert summary(board) == ""
    states = ("pays", "pays", "unclear", "incomplete")
    tables = tuple(replace(table, verdict=replace(table.verdict, state=state)) for state in states)
    text = "Pretraining pays on 2 of 4 data sets. It is unclear on 1, and is not decided yet on 1."
    assert summary(replace(board, tables=tables)) == text


def test_what_failed_and_what_was_not_run_is_said(page: str, plan: Plan, read_page: Reader) -> None:
    text = read_page(page).text
    total = len(plan.cells())
    assert f"1 cell failed; {total - 1} of {total} cells are done, the rest was not run yet." in text
    assert ERROR in text
    assert "Not run yet: 1" in text
    assert "no gain, a cell is missing" not in text, "it is said once"
    assert "toy-beta.toyset.net.seed1" in text
    assert '<span class="badge idle"><span aria-hidden="true">…</span> incomplete</span>' in page


def test_page_in_the_middle_of_a_run_and_before_it(plan: Plan, records: dict[str, Record], read_page: Reader) -> None:
    empty = render(build(plan, {}), plan, {})
    cells = plan.cells()
    assert f"Without a result: {len(cells)}" in empty
    assert f"0 of {len(cells)} cells are done" in empty
    assert "<h3>Embeddings</h3>" not in empty
    assert "nan" not in read_page(empty).text
    for done in range(0, len(cells), 3):
        some = {plan.key(cell): records[plan.key(cell)] for cell in cells[:done]}
        page = render(build(plan, some), plan, some)
        assert f"{done} of {len(cells)} cells are done" in read_page(page).text


def test_hostile_names_errors_and_previews_are_only_text(plan: Plan, failing: dict[str, Record], read_page: Reader) -> None:
    lines = tuple(
        replace(line, title=f"{line.title} {HOSTILE}", raw_titles={"raw": f"pixels {HOSTILE}"}, family=f"fam{HOSTILE}")
        for line in plan.lines
    )
    hostile = replace(plan, lines=lines, suite=HOSTILE)
    board = replace(build(hostile, failing), recommendation=ADVICE)
    records = {
        key: replace(record, projection=replace(record.projection, class_names=(HOSTILE,) * 10))
        if record.projection
        else record
        for key, record in failing.items()
    }
    parsed = read_page(render(board, hostile, records, previews()))
    assert [attributes.get("type", "") for attributes, _ in parsed.scripts] == ["application/json", ""]
    assert parsed.text.count(HOSTILE) > 20
    shown = json.loads(parsed.scripts[0][1])
    assert shown["rows"]["4"] == [{"text": f"row 1 {HOSTILE}"}, {"curve": [0, 50, -100]}]
    assert parsed.scripts[1][1] == script()


ADVICE = Recommendation(
    state="pretrain",
    sentence=f"Pretrain with toy/alpha {HOSTILE}",
    evidence=("With all labels it reaches 94 %.",),
    task="toy/alpha",
    encoder="out/encoder",
    commands=(("embed", "selfsup embed out/encoder data/"),),
)


def test_recommendation_stands_first(plan: Plan, records: dict[str, Record], read_page: Reader) -> None:
    board = build(plan, records)
    page = render(replace(board, recommendation=ADVICE), plan, records)
    text = read_page(page).text.replace("\u00a0", " ")
    assert text.index("Recommendation") < text.index(ADVICE.sentence) < text.index(ADVICE.evidence[0])
    assert text.index("selfsup embed out/encoder data/") < text.index("Is pretraining worth it?")
    assert 'class="card advice is-pretrain"' in page
    assert "Recommendation" not in render(board, plan, records)


def test_tables_have_what_the_script_sorts_by(whole: str, read_page: Reader) -> None:
    ranking, metrics = read_page(whole).tables
    for table in (ranking, metrics):
        assert {len(row) for row in table.rows} == {len(table.heads)}
        assert all(head.get("scope") == "col" for head in table.heads)
        for place, head in enumerate(table.heads):
            values = [row[place] for row in table.rows]
            assert (None in values) == ("data-sort" not in head), head
    names = [row[1] for row in ranking.rows]
    assert names == ["Alpha", "pixels", "from scratch", "Beta", "random init"]
    assert [head["data-sort"] for head in ranking.heads if head.get("data-sort") == "initial"] == ["initial"]
    scores = [float(row[3] or "nan") for row in ranking.rows]
    assert scores == pytest.approx([0.81, 0.72, 0.64, 0.60, 0.50], abs=2e-3)
    for name in ("data-sortable", "data-sort", "data-rows", "data-embeddings", "previews-", "sheet-", "aria-sort"):
        assert name in script()
    for name in ("dataset.first", "dataset.v", "dataset.group", "dataset.theme"):
        assert name in script()


def test_ranking_says_how_sure_each_difference_is(plan: Plan, records: dict[str, Record]) -> None:
    board = build(plan, records)
    page = render(board, plan, records)
    (alpha,) = [row for row in board.tables[0].rows if row.name == "Alpha"]
    chips = re.findall(r'<span class="chip (\w+)" title="([^"]*)"', page)
    assert len(chips) == 6
    assert [colour for colour, _ in chips[:3]] == ["good"] * len(alpha.comparisons)
    assert "surely better than pixels: +9.0 points; 95 % interval" in chips[0][1].replace("&lt;", "<")
    assert "p = " in chips[0][1] or "p &lt;" in chips[0][1]
    assert any(colour == "bad" for colour, _ in chips[3:]), "Beta is worse than pixels"


def test_boxes_that_scroll_are_told_apart(plan: Plan, records: dict[str, Record], read_page: Reader) -> None:
    board = build(plan, records)
    (table,) = board.tables
    two = replace(board, tables=(table, replace(table, dataset="other")))
    elements = read_page(render(two, plan, records)).elements
    boxes = [element.attributes for element in elements if element.attributes.get("role") == "region"]
    labels = [box["aria-label"] for box in boxes]
    assert len(set(labels)) == len(labels) == 6
    assert {box["tabindex"] for box in boxes} == {"0"}, "they scroll by keyboard"


def test_unclear_gains_are_not_shown_as_numbers(plan: Plan, records: dict[str, Record]) -> None:
    board = build(plan, records)
    (table,) = board.tables
    rows = tuple(replace(row, unclear=True) if row.kind == "task" else row for row in table.rows)
    page = render(replace(board, tables=(replace(table, rows=rows),)), plan, records)
    assert len(re.findall(r'<td data-v="" title="[^"]*interval[^"]*">unclear</td>', page)) == 2


def test_every_point_has_its_row_and_previews_are_there_once(
    page: str, plan: Plan, failing: dict[str, Record], read_page: Reader
) -> None:
    parsed = read_page(page)
    panels = page.count('class="chart scatter"')
    assert panels == len(
        [record for record in failing.values() if record.projection is not None and record.cell.kind != "scratch"]
    )
    rows = [element.attributes["data-rows"].split() for element in parsed.elements if "data-rows" in element.attributes]
    assert sorted(int(row) for group in rows for row in group) == sorted(list(range(3, 203)) * panels)
    assert page.count(PIXEL) == 1
    assert page.count('id="previews-abc"') == page.count('id="sheet-abc"') == 1
    assert 'data-embeddings="abc"' in page
    # The example of class 0 is the picture, those of the others are texts and curves.
    assert page.count('<use href="#sheet-abc"/>') == 1
    assert page.count("before pretraining (net)</figcaption>") == page.count("after Alpha</figcaption>") == 1
    assert "class &lt;3&gt;: 20 samples" in page


def test_page_without_previews_has_a_legend_instead(whole: str) -> None:
    assert 'data-embeddings=""' in whole
    assert "&lt;3&gt;</li>" in whole
    assert "application/json" not in whole


def test_page_of_six_data_sets_with_pictures_stays_small(plan: Plan, records: dict[str, Record]) -> None:
    found = with_previews(records)
    sheet = base64.b64encode(np.random.default_rng(0).bytes(300_000)).decode()
    rows = {place: ({"tile": place, "w": 48, "h": 48}, {"text": "x" * 240}) for place in range(400)}
    big = {"abc": Previews(rows=rows, sheet=sheet, tile=(48, 48), columns=20)}
    assert len(render(build(plan, found), plan, found, big).encode()) < 4e6 / 6


def test_curves_run_over_the_labels_with_references_dashed(whole: str) -> None:
    start = whole.index("<h3>Over the number of labels</h3>")
    chart = whole[start : whole.index("</svg>", start)]
    assert {"5", "10", "50", "labels a class"} <= set(re.findall(r">([^<>]+)</text>", chart))
    assert len(re.findall(r'class="line c\d dashed"', chart)) == 0
    assert len(re.findall(r'class="line c\d"', chart)) == 2
    assert len(re.findall(r'class="line cn dashed"', chart)) == 3, "pixels, scratch and the untrained network"
    places = {
        name: float(x)
        for name, x in re.findall(r'<circle cx="([\d.]+)"[^>]*><title>Alpha: [\d.]+ at (\d+)', chart)
        for name, x in [(x, name)]
    }
    assert places["10"] - places["5"] < places["50"] - places["10"]
    assert (places["50"] - places["10"]) / (places["10"] - places["5"]) == pytest.approx(np.log(5) / np.log(2), rel=0.01)

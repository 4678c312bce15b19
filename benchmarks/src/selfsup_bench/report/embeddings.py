"""Embeddings of the test rows in two dimensions, and what each point is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape

from selfsup_bench.cells.cell import is_raw
from selfsup_bench.cells.previews import Part, Previews
from selfsup_bench.leaderboard.board import Row, Table
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Projection, Record
from selfsup_bench.report.charts import class_name, scatter
from selfsup_bench.report.palette import CLASS_COLOURS
from selfsup_bench.report.svg import element, path

MOST_ACROSS = 5
"""Pictures beside each other."""
MOST_EXAMPLES = 10
"""Classes at most that have an example row shown; with more there is a legend alone."""


def embedding_section(
    table: Table, plan: Plan, records: Mapping[str, Record], previews: Mapping[str, Previews], shown: set[str]
) -> str:
    """The test rows as the untrained network, each method, the raw input and supervised training see them.

    Args:
        table: of one data set.
        plan: whose first seed is drawn.
        records: by key.
        previews: by name.
        shown: names of previews that the page holds already; that of this data set is added.
    """
    panels = [(row, found) for row in _drawn(table) if (found := _projection(records, row.keys)) is not None]
    if not panels:
        return ""
    first = panels[0][1]
    name = next((found.previews for _, found in panels if found.previews in previews), "")
    figures = "".join(
        f"<figure>{scatter(found, label=f'{_caption(row)}: {len(found.x)} test rows as points')}"
        f"<figcaption>{escape(_caption(row))}</figcaption></figure>"
        for row, found in panels
    )
    data = _data(name, previews[name]) if name and name not in shown else ""
    shown.add(name)
    across = math.ceil(len(panels) / math.ceil(len(panels) / MOST_ACROSS))
    hint = " Point at one to see its row, here and in every other picture; by keyboard, use the arrows." if name else ""
    return (
        f"<h3>Embeddings</h3>"
        f'<p class="soft">{len(first.x):,} test rows, seed {plan.seeds[0]}, drawn in two dimensions ({escape(first.method)}), '
        "a colour a class. Neighbourhoods can be read off, distances between clusters cannot. Labels were used for colours "
        f'alone.<span class="live">{hint}</span></p>'
        f"{data}{_examples(name, previews.get(name), first) or _legend(first)}"
        f'<div class="panels" style="--n:{across}" data-embeddings="{escape(name)}">{figures}</div>'
    )


def _drawn(table: Table) -> list[Row]:
    """The rows whose embeddings are shown: before, after, and the two references with a picture of their own."""
    order = {"random-init": 0, "task": 1, "supervised": 3}
    wanted = [row for row in table.rows if row.kind in order or (is_raw(row.kind) and row.kind != "boosting")]
    return sorted(wanted, key=lambda row: order.get(row.kind, 2))


def _caption(row: Row) -> str:
    network = row.backbone.split("/", 1)[-1]
    return {
        "random-init": f"before pretraining ({network})",
        "task": f"after {row.name}",
        "supervised": "trained with all labels",
    }.get(row.kind, row.name)


def _projection(records: Mapping[str, Record], keys: Sequence[str]) -> Projection | None:
    record = records.get(keys[0]) if keys else None
    return record.projection if record is not None and record.status == "done" else None


def _legend(projection: Projection) -> str:
    items = (
        f'<li><i class="c{cls % CLASS_COLOURS}"></i>{escape(class_name(projection, cls))}</li>'
        for cls in sorted(set(projection.labels))
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _data(name: str, previews: Previews) -> str:
    """What the script shows of each point. The sheet of pictures is in the page once, and is used by parts."""
    sheet = ""
    if previews.sheet:
        width, height = previews.sheet_size
        image = element(
            "image",
            id=f"sheet-{name}",
            href=f"data:{previews.mime};base64,{previews.sheet}",
            width=width,
            height=height,
            style="image-rendering:pixelated" if max(previews.tile) <= 32 else "",
        )
        sheet = element("svg", element("defs", image), class_="sheet", aria_hidden="true", width=0, height=0)
    rows = {str(place): list(parts) for place, parts in previews.rows.items()}
    values = {"tile": list(previews.tile), "columns": previews.columns, "rows": rows}
    # "<" in a text would end the element.
    content = json.dumps(values, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
    return f'{sheet}<script type="application/json" id="previews-{escape(name)}">{content}</script>'


def _examples(name: str, previews: Previews | None, projection: Projection) -> str:
    """A row of each class, so that a reader sees what the data are, without a script; empty where there are many classes."""
    if previews is None or not projection.places or len(set(projection.labels)) > MOST_EXAMPLES:
        return ""
    chosen: dict[int, int] = {}
    for place, cls in zip(projection.places, projection.labels, strict=True):
        if place in previews.rows:
            chosen.setdefault(cls, place)
    if len(chosen) < len(set(projection.labels)):
        return ""
    items = "".join(
        f'<li><b class="c{cls % CLASS_COLOURS}">{escape(class_name(projection, cls))}</b>'
        f"{''.join(_part(name, previews, part) for part in previews.rows[place])}</li>"
        for cls, place in sorted(chosen.items())
    )
    pictures = all("tile" in part for place in chosen.values() for part in previews.rows[place])
    return f'<ul class="examples{" small" * pictures}" aria-label="A test row of each class">{items}</ul>'


def _part(name: str, previews: Previews, part: Part) -> str:
    if "text" in part:
        return f'<span class="tip-text">{escape(part["text"])}</span>'
    if "curve" in part:
        values = part["curve"]
        step = 200 / max(1, len(values) - 1)
        line = path([(place * step, 30 - value * 0.28) for place, value in enumerate(values)])
        return element("svg", element("path", d=line), viewBox="0 0 200 60", class_="wave", role="img", aria_label="waveform")
    width, height = part["w"], part["h"]
    left = part["tile"] % previews.columns * previews.tile[0]
    top = part["tile"] // previews.columns * previews.tile[1]
    scale = max(1.0, min(64 / height, 180 / width))
    return element(
        "svg",
        element("use", href=f"#sheet-{name}"),
        viewBox=f"{left} {top} {width} {height}",
        width=width * scale,
        height=height * scale,
        class_="tile",
        role="img",
        aria_label="picture",
    )

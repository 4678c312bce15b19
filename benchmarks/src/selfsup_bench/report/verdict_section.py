"""The report's first part: what to do with own data, and whether pretraining pays on each data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from selfsup_bench.cells.cell import is_raw
from selfsup_bench.leaderboard.board import Leaderboard, Row, Table
from selfsup_bench.leaderboard.wording import change_text, is_share
from selfsup_bench.own_data.advice.recommendation import Recommendation
from selfsup_bench.report.charts import bar
from selfsup_bench.report.parts import badge, data_name, fold, number_html, table_id, words
from selfsup_bench.statistics.estimates import Estimate

_WORDS = (("does-not-pay", "does not pay"), ("unclear", "is unclear"), ("incomplete", "is not decided yet"))


def recommendation_section(advice: Recommendation | None) -> str:
    """The advice of a benchmark of own data: one sentence, what it rests on, and how to go on."""
    if advice is None:
        return ""
    evidence = "".join(f"<li>{words(line)}</li>" for line in advice.evidence)
    commands = "".join(
        f"<dt>{escape(what)}</dt><dd><pre><code>{escape(command)}</code></pre></dd>" for what, command in advice.commands
    )
    encoder = f'<p class="soft">The encoder is in <code>{escape(advice.encoder)}</code>.</p>' if advice.encoder else ""
    return (
        f'<section id="advice" class="card advice {_colour(advice.state)}"><h2>Recommendation</h2>{badge(advice.state)}'
        f'<p class="sentence">{words(advice.sentence)}</p>'
        + (f"<ul>{evidence}</ul>" if evidence else "")
        + encoder
        + (f'<dl class="commands">{commands}</dl>' if commands else "")
        + "</section>"
    )


def verdict_section(board: Leaderboard) -> str:
    """A card a data set: the verdict as a sign, as a sentence and as a picture."""
    if not board.tables:
        return ""
    cards = "".join(_card(table, table_id(table, board.tables)) for table in board.tables)
    return (
        '<section id="verdicts"><h2>Is pretraining worth it?</h2>'
        f'<p class="soft">{escape(summary(board))}</p><div class="verdicts">{cards}</div></section>'
    )


def summary(board: Leaderboard) -> str:
    """``Pretraining pays on 4 of 6 data sets. It does not pay on 1, and is unclear on 1.``; empty for one data set."""
    if len(board.tables) < 2:
        return ""
    counts = Counter[str](table.verdict.state for table in board.tables)
    total = len(board.tables)
    first = f"Pretraining pays on {counts['pays']} of {total} data sets."
    rest = [f"{word} on {counts[state]}" for state, word in _WORDS if counts[state]]
    return f"{first} It {', and '.join(rest)}." if rest else first


def _card(table: Table, id_: str) -> str:
    verdict = table.verdict
    change = ""
    if verdict.difference is not None:
        change = f'<span class="change">{escape(change_text(verdict.difference, table.headline)).replace("-", "−")}</span>'
    evidence = "".join(f"<li>{words(line)}</li>" for line in verdict.evidence)
    return (
        f'<article class="card verdict {_colour(verdict.state)}">'
        f'<h3><a href="#{id_}">{escape(data_name(table))}</a> <span class="pill">{escape(table.modality)}</span></h3>'
        f'<p class="state">{badge(verdict.state)}{change}</p>'
        f"{_picture(table)}"
        f"<p>{words(verdict.sentence)}</p>" + (fold("Evidence", f"<ul>{evidence}</ul>") if evidence else "") + "</article>"
    )


def _picture(table: Table) -> str:
    """The best task and the references with the same few labels, as bars."""
    rows = _pictured(table)
    known = [row for row in rows if row.score is not None]
    if not known:
        return ""
    share = is_share(table.headline)
    low, high = _ends([row.score for row in known if row.score is not None], share=share)
    lines = "".join(
        f'<tr class="{"task" if row.key == table.verdict.best else "ref"}"><th scope="row">{escape(row.name)}</th>'
        f"<td>{bar(row.score, low, high, colour='c0' if row.key == table.verdict.best else 'cn')}</td>"
        f"<td>{number_html(row.score, share=share)}</td></tr>"
        for row in rows
    )
    return f'<table class="mini"><tbody>{lines}</tbody></table>'


def _ends(scores: Sequence[Estimate], *, share: bool) -> tuple[float, float]:
    """Ends of an axis with zero on it that holds all means, and intervals as far as they leave room for these."""
    means = [0.0, *(score.mean for score in scores)]
    span = max(means) - min(means) or 1.0
    bounds = [score.interval for score in scores if score.interval is not None]
    low = min([min(means), *(max(bound.low, min(means) - span) for bound in bounds)])
    high = max([max(means), *(min(bound.high, max(means) + span) for bound in bounds)])
    return (0.0, min(1.0, 1.04 * high)) if share else (low, high + 0.04 * span)


def _pictured(table: Table) -> list[Row]:
    """The best task, training from scratch, raw input and the untrained network; rows that do not exist are left out."""
    best = [row for row in table.rows if row.key == table.verdict.best]
    network = best[0].backbone if best else ""
    rest = [
        row
        for row in table.rows
        if is_raw(row.kind) or (row.kind in ("scratch", "random-init") and row.backbone == (network or row.backbone))
    ]
    order = {"scratch": 0, "random-init": 2}
    return [*best, *sorted(rest, key=lambda row: order.get(row.kind, 1))]


def _colour(state: str) -> str:
    return f"is-{state}"

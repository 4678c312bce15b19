"""The matrix of the report: what each method gains in each modality."""

from __future__ import annotations

from html import escape

from selfsup_bench.leaderboard.board import Leaderboard, Matrix, MatrixCell, MatrixRow
from selfsup_bench.report.parts import plain
from selfsup_bench.statistics.estimates import Estimate

BOUNDS = (-0.25, -0.05, 0.05, 0.4, 0.75)
"""Gains at which the colour of a cell changes, from ``m0`` to ``m5``."""
_WORDS = ("below −25", "−25 to −5", "−5 to 5", "5 to 40", "40 to 75", "75 and more")


def matrix_section(board: Leaderboard) -> str:
    """Objectives × modalities, methods grouped by family; empty where there is one modality, whose ranking says the same."""
    matrix = board.matrix
    if len(matrix.modalities) < 2:
        return ""
    means = any(row.mean is not None for row in matrix.rows)
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in matrix.modalities)
    heads += '<th scope="col" class="mean">mean</th>' * means
    legend = "".join(f'<li><i class="m{place}"></i>{word}</li>' for place, word in enumerate(_WORDS))
    return (
        '<section id="matrix"><h2>Methods across modalities</h2>'
        '<p class="soft">Gain in per cent: 0 is the untrained network, 100 is the same network trained with all labels and '
        "measured in the same way, with few labels by a probe with those same few. "
        "Mean over the data sets of a modality, ± half of the 95 % interval.</p>"
        '<div class="card scroll" role="region" tabindex="0" aria-label="Gain of each method in each modality">'
        f'<table class="matrix"><thead><tr><th scope="col">method</th>{heads}</tr></thead>'
        f"{_bodies(matrix, means)}</table></div>"
        f'<ul class="legend">{legend}<li><b>unclear</b> the interval is wider than the scale</li>'
        "<li><b>✕</b> failed: press it for the error</li><li><b>·</b> not run yet</li></ul></section>"
    )


def _bodies(matrix: Matrix, means: bool) -> str:
    families: dict[str, list[MatrixRow]] = {}
    for row in matrix.rows:
        families.setdefault(row.family, []).append(row)
    width = len(matrix.modalities) + 1 + means
    parts: list[str] = []
    for family, rows in families.items():
        name = escape(family.replace("-", " ")) or "other"
        shown = bool(family) or len(families) > 1
        head = f'<tr><th scope="rowgroup" class="family" colspan="{width}">{name}</th></tr>'
        parts.append("<tbody>" + head * shown)
        for row in rows:
            cells = "".join(_cell(row, modality) for modality in matrix.modalities)
            mean = _mean(row) if means else ""
            parts.append(f'<tr><th scope="row">{escape(row.name)}</th>{cells}{mean}</tr>')
        parts.append("</tbody>")
    return "".join(parts)


def _cell(row: MatrixRow, modality: str) -> str:
    cell = row.cells.get(modality)
    if cell is None:
        return '<td class="none"><span class="vh">no benchmark</span></td>'
    tip = f' title="{escape(f"{row.name}, {modality}: {_known(cell)}")}"'
    if cell.state == "failed":
        sign = '<span aria-hidden="true">✕</span> failed'
        return f'<td class="failed"{tip}><details><summary>{sign}</summary><pre>{escape(cell.error)}</pre></details></td>'
    if cell.state == "missing":
        return f'<td class="missing"{tip}><span aria-hidden="true">·</span><span class="vh">not run yet</span></td>'
    if cell.state == "unclear" or cell.gain is None:
        return f'<td class="unclear"{tip}>unclear</td>'
    return f'<td class="m{step(cell.gain.mean)}"{tip}>{_gain(cell.gain)}</td>'


def _known(cell: MatrixCell) -> str:
    gain = f"gain {plain(cell.gain, share=True)}" if cell.gain is not None else ""
    return "; ".join(part for part in (gain, cell.error) if part) or "no gain"


def _mean(row: MatrixRow) -> str:
    mean = row.mean
    if mean is None:
        return '<td class="mean none"><span class="vh">no mean</span></td>'
    if row.unclear:
        return f'<td class="mean unclear" title="{escape(plain(mean, share=True))}">unclear</td>'
    return f'<td class="mean m{step(mean.mean)}" title="{escape(plain(mean, share=True))}">{_gain(mean)}</td>'


def _gain(gain: Estimate) -> str:
    """In whole per cent."""
    text = f"{100 * gain.mean:.0f}".replace("-", "−")
    if gain.interval is not None:
        text += f' <span class="pm">± {100 * gain.interval.half_width:.0f}</span>'
    return text


def step(gain: float) -> int:
    """Which of the colours a gain has."""
    return sum(gain >= bound for bound in BOUNDS)

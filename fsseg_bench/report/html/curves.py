"""Training losses as a drawing inside the page; it needs no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fsseg_bench.conventions import Float64
from fsseg_bench.errors import UserError
from fsseg_bench.records.info import TRAIN_FILE
from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.contender import Contender
from fsseg_bench.report.figures.loss import FINAL, LossCurve, loss_curve, smoothed
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.html.dots import Palette, colour, ticks
from fsseg_bench.report.html.page import escape
from fsseg_bench.report.html.runs import Group

_WINDOWS = 25  # a window of the moving average is this part of the training
_POINTS = 240
_WIDTH, _HEIGHT = 480, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 36


@dataclass(frozen=True)
class _Line:
    label: str
    series: int
    """Which colour."""
    style: str
    """``solid``, ``dashed`` or ``dotted``."""
    x: Float64
    y: Float64


def curves_html(group: Group, palette: Palette) -> tuple[str, list[RecordWarning]]:
    """One drawing for each number of shots with a trained row, and a warning for each row that cannot be drawn."""
    drawn, warnings = [], []
    for shot in group.shots:
        curves: list[tuple[LossCurve, int]] = []
        for row in group.rows:
            series = palette.series(row.method, row.variant)
            try:
                curves += [(curve, series) for curve in _curve(row, shot)]
            except UserError as error:
                folder = next(iter(row.runs[shot].values())).record.folder
                warnings.append(RecordWarning(folder, f"{folder}: no loss curve: {error}"))
        if curves:
            drawn.append(_figure(f"{group.title} {shot}-shot", curves))
    return "\n".join(drawn), warnings


def _curve(row: Row, shot: int) -> list[LossCurve]:
    runs = {fold: run.record for fold, run in sorted(row.runs.get(shot, {}).items())}
    if not runs or not all((run.folder / TRAIN_FILE).is_file() for run in runs.values()):
        return []
    label = f"{row.method}, {row.backbone}" + (f" ({row.variant})" if row.variant else "")
    return [loss_curve(Contender(label, {fold: {run.settings.seed: run} for fold, run in runs.items()}))]


def _figure(title: str, curves: Sequence[tuple[LossCurve, int]]) -> str:
    longest = max(len(curve.total) for curve, _ in curves)
    window = max(1, longest // _WINDOWS)
    lines = [line for curve, series in curves for line in _lines(curve, window, series)]
    highest = max(float(line.y.max()) for line in lines) or 1.0
    key = "".join(
        f'<li><svg class="sign" width="28" height="8" aria-hidden="true"><line class="{_kind(line)}" x2="28" y1="4" '
        f'y2="4"/></svg> {escape(line.label)}</li>'
        for line in lines
    )
    return (
        f"<figure><h3>{escape(title)}: training loss</h3>"
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="training loss by iteration">'
        f"{_axes(longest, highest)}{''.join(_path(line, longest, highest) for line in lines)}</svg>"
        f'<ul class="key">{key}</ul>'
        f"<figcaption>Moving average over {window} iterations, mean over the row's folds. A sum of several parts is "
        "larger than a loss of one part whatever the model. Dotted: a constant predictor, with the same "
        "probabilities at every pixel, the best ones for the whole training.</figcaption></figure>"
    )


def _lines(curve: LossCurve, window: int, series: int) -> list[_Line]:
    several = len(curve.parts) > 1
    folds = f", {len(curve.folds)} fold{'s' if len(curve.folds) > 1 else ''}"
    label = curve.name + folds + (f", sum of {len(curve.parts)} parts" if several else "")
    lines = [_Line(label, series, "solid", *_thinned(*smoothed(curve.total, window)))]
    if curve.constant is not None:
        name = f"{curve.name}, constant predictor"
        lines.append(_Line(name, series, "dotted", *_thinned(*smoothed(curve.constant, window))))
    if several and FINAL in curve.parts:
        name = f"{curve.name}, part {FINAL} alone"
        lines.append(_Line(name, series, "dashed", *_thinned(*smoothed(curve.parts[FINAL], window))))
    return lines


def _thinned(x: Float64, y: Float64) -> tuple[Float64, Float64]:
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(int))
    return x[kept], y[kept]


def _place(x: float, y: float, longest: int, highest: float) -> tuple[float, float]:
    """Where iteration ``x`` and loss ``y`` are drawn."""
    across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / max(1, longest - 1)
    return across, _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * y / highest


def _path(line: _Line, longest: int, highest: float) -> str:
    places = (_place(float(x), float(y), longest, highest) for x, y in zip(line.x, line.y, strict=True))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="{_kind(line)}" points="{points}"/>'


def _kind(line: _Line) -> str:
    """The classes of style."""
    return f"curve {colour(line.series)} {line.style}"


def _axes(longest: int, highest: float) -> str:
    parts = []
    for value in ticks(0, highest):
        _, y = _place(0, value, longest, highest)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(0, longest - 1):
        x, y = _place(value, 0, longest, highest)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{value:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">iteration</text>')
    return "".join(parts)

"""Figures of the report as inline SVG and PNG. No text of the user's enters one: names stand in the HTML."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .record_words import RELEASED
from .report_files import Curve
from .report_labels import Ground, edge, place
from .types import Estimate, Float64, PrivacyClaim
from .wording import NOMINAL_FPR, tpr_ceiling

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, ACCENT = "#1d2733", "#5a6572", "#e3e7eb", "#1f4e79"
VERDICT_COLOURS = {
    "PASS": "#1b6e3c",
    "FAIL": "#a4161a",
    "INCONCLUSIVE": "#855400",
    "ERROR": "#5b2a86",
    "NO POLICY": "#4a5560",
}
# Okabe and Ito's palette without yellow, which is too pale for a line on white.
_PALETTE = ("#d55e00", "#009e73", "#56b4e9", "#cc79a7", "#e69f00", "#777777")
SHAPES = {
    "no defence": ("o", "\u25cf"),
    "heuristic defence": ("s", "\u25a0"),
    "formal claim": ("D", "\u25c6"),
    "formal defence, no claim": ("v", "\u25bc"),
    RELEASED: ("^", "\u25b2"),
}
"""By what protects a candidate, in words: its marker in the plot, and the same as a character for the legend."""

_DASHES = ("", "5 2", "1.5 1.5")
_FLOOR = 1e-3
_MOST_NUMBERS = 60  # placing them takes seconds; those on the front come first
_BESIDE = 12  # points: a number further away gets a line to its marker
_STYLE: dict[Any, Any] = {  # matplotlib types its keys one by one, from version to version
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class LineStyle:
    """How one curve is drawn, so that the HTML legend can repeat it: `dash` is an SVG dash array."""

    colour: str
    dash: str
    width: float


@dataclass(frozen=True)
class Point:
    """One candidate in the privacy-utility plot: its number, what protects it, and whether no other one beats it."""

    number: int
    verdict: str
    kind: str
    leakage: Estimate
    accuracy: Estimate
    best: bool


def line_styles(count: int, strongest: int | None) -> list[LineStyle]:
    """Styles for `count` curves: the strongest attack in the accent colour, the others by hue and dash."""
    styles = []
    for i in range(count):
        dash = _DASHES[(i // len(_PALETTE)) % len(_DASHES)]
        styles.append(
            LineStyle(ACCENT, "", 2.4) if i == strongest else LineStyle(_PALETTE[i % len(_PALETTE)], dash, 1.5)
        )
    return styles


def null_band(fpr: Float64, members: int, outsiders: int) -> tuple[Float64, Float64]:
    """Where 95 % of attacks that only guess would lie, at each FPR, on one target model.

    The threshold sits at the (k+1)-th largest of the outsiders' scores, k = floor(fpr x outsiders);
    the members above it follow a beta-binomial law (order statistics of exchangeable scores without ties).
    """
    from scipy.stats import betabinom

    allowed = np.minimum(np.floor(fpr * outsiders + 1e-9), outsiders - 1)
    counts = np.arange(members + 1)
    ends = []
    for k in allowed:
        cumulative = np.cumsum(betabinom.pmf(counts, members, k + 1, outsiders - k))
        ends.append(np.searchsorted(cumulative, (0.025, 0.975)))
    low, high = np.minimum(ends, members).T / members
    return low, high


def _grid() -> Float64:
    """False positive rates at which every ROC figure draws its lines."""
    return np.logspace(np.log10(_FLOOR), 0, 91)


@lru_cache
def _band(per_side: int) -> tuple[Float64, Float64]:
    """The null band on the grid."""
    return null_band(_grid(), per_side, per_side)


def roc(curves: Sequence[tuple[Curve, LineStyle]], claim: PrivacyClaim | None, per_side: int | None) -> str:
    """Log-log ROC curves as SVG.

    Args:
        curves: curves with their styles; the widest line also gets its interval shaded.
        claim: draws the ceiling that it leaves to any attack where one record replaces another.
        per_side: members, and outsiders, of one target: the width of the null band; None where that is not known.
    """
    figure, axes = _figure(4.6, 4.3)
    grid = _grid()
    if per_side is not None:
        low, high = _band(per_side)
        axes.fill_between(grid, np.maximum(low, _FLOOR), high, color=MUTED, alpha=0.16, linewidth=0)
    axes.plot(grid, grid, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    if claim is not None:
        ceiling = [tpr_ceiling(claim, f) for f in grid]
        axes.plot(grid, ceiling, color=INK, linewidth=1.4, linestyle=(0, (1, 1.5)))
    for curve, style in curves:
        dashes = tuple(float(d) for d in style.dash.split())
        tpr = np.maximum(curve.tpr, _FLOOR)
        axes.plot(curve.fpr, tpr, color=style.colour, linewidth=style.width, linestyle=(0, dashes or None))
        if style.colour == ACCENT:
            axes.fill_between(
                curve.fpr, np.maximum(curve.low, _FLOOR), curve.high, color=ACCENT, alpha=0.18, linewidth=0
            )
    axes.set(xscale="log", yscale="log", xlim=(_FLOOR, 1), ylim=(_FLOOR, 1.02))
    axes.set_xlabel("Outsiders wrongly flagged (FPR)")
    axes.set_ylabel("Members correctly flagged (TPR)")
    _percent_ticks(axes)
    return _svg(figure, "ROC curves on logarithmic axes")


def privacy_utility(points: Sequence[Point], limit: float | None, flagged: str) -> tuple[str, tuple[int, ...]]:
    """TPR at 1 % FPR against held-out accuracy, with error bars and the front.

    The front is drawn as steps: at any accuracy, the least leakage among candidates that are at least as accurate.

    Args:
        points: candidates; the number stands beside the marker, whose shape says what protects it.
        limit: the policy's limit on the vertical axis, when there is one.
        flagged: whose rate it is, for the axis: "Members flagged by the primary attack".

    Returns:
        The SVG, and the numbers that found no room in it.
    """
    figure, axes = _figure(6.6, 5.2)
    steps = _steps([_at(p) for p in points if p.best])
    axes.plot(*steps.T, color=INK, linewidth=1.4, zorder=1.5)
    for point in points:
        _draw(axes, point)
    limits = {} if limit is None else {"limit": 100 * limit}
    _levels(axes, {"guessing": 100 * NOMINAL_FPR, **limits})
    axes.margins(0.08)
    axes.set_ylim(bottom=-0.04 * axes.get_ylim()[1])
    axes.set_xlabel("Accuracy on held-out data (%)")
    axes.set_ylabel(f"{flagged}\nat 1 % FPR (%)")
    unplaced = _number(figure, axes, points, steps)
    best = ", ".join(str(number) for number in sorted(p.number for p in points if p.best))
    ends = f"; on the front: {best}" if best else ""
    label = f"Accuracy on held-out data and members flagged at 1 % FPR: {len(points)} candidates{ends}"
    return _svg(figure, label), unplaced


def _draw(axes: Axes, point: Point) -> None:
    colour = VERDICT_COLOURS[point.verdict]
    for ends in _bars(point):
        axes.plot(*ends.T, color=colour, linewidth=1.1, alpha=0.7, solid_capstyle="butt")
    marker = SHAPES[point.kind][0]
    size = {"^": 9, "v": 9, "s": 7, "D": 7}.get(marker, 8)
    axes.plot(*_at(point), marker, color=colour, markersize=size, markeredgecolor="white", zorder=3)


def _at(point: Point) -> Float64:
    return 100.0 * np.array([point.accuracy.value, point.leakage.value])


def _bars(point: Point) -> Float64:
    """Ends of both intervals in percent: (2, 2, 2)."""
    x, y = point.accuracy, point.leakage
    return 100.0 * np.array([[(x.low, y.value), (x.high, y.value)], [(x.value, y.low), (x.value, y.high)]])


def _steps(best: Sequence[Float64]) -> Float64:
    """Corners of the front, from left to right: (k, 2)."""
    corners: list[Float64] = []
    for at in sorted(best, key=tuple):
        corners += [np.array([corners[-1][0], at[1]]), at] if corners else [at]
    return np.array(corners).reshape(-1, 2)


def _levels(axes: Axes, levels: dict[str, float]) -> None:
    """Lines across the plot, named beyond its right edge; of two names the upper one stands above its line."""
    styles = {"guessing": (MUTED, (4, 3)), "limit": (VERDICT_COLOURS["FAIL"], (1, 1.5))}
    top = max(levels.values())
    for name, y in levels.items():
        colour, dashes = styles[name]
        axes.axhline(y, color=colour, linewidth=1, linestyle=(0, dashes))
        side = "center" if len(levels) == 1 else "bottom" if y == top else "top"
        axes.annotate(
            name, (1, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            ha="left", va=side, fontsize=9, color=MUTED,
        )  # fmt: skip


def _number(figure: Figure, axes: Axes, points: Sequence[Point], steps: Float64) -> tuple[int, ...]:
    """Write the numbers beside the markers, with a line to those that stand away; returns those without room."""
    figure.draw_without_rendering()  # lays the axes out
    points = sorted(points, key=lambda point: not point.best)

    def in_points(data: Float64) -> Float64:
        return np.asarray(axes.transData.transform(data.reshape(-1, 2)).reshape(data.shape) * 72 / figure.dpi)

    anchors = in_points(np.array([_at(point) for point in points]))
    lines = [*(_bars(point) for point in points), np.stack([steps[:-1], steps[1:]], axis=1)]
    area = axes.get_window_extent().get_points() * 72 / figure.dpi
    ground = Ground(anchors, 4.0, in_points(np.concatenate(lines)), area)
    sizes = np.array([(3.0 + 6.3 * len(str(point.number)), 11.0) for point in points[:_MOST_NUMBERS]])
    placed = list(zip(points, sizes, place(ground, sizes), strict=False))
    for point, size, offset in placed:
        if offset is None:
            continue
        if np.hypot(*offset) > _BESIDE:
            _annotate(axes, point, "", edge(offset, size))
        _annotate(axes, point, str(point.number), offset)
    numbered = {point.number for point, _, offset in placed if offset is not None}
    return tuple(sorted({point.number for point in points} - numbered))


def _annotate(axes: Axes, point: Point, text: str, offset: Float64) -> None:
    """Write `text` at `offset` points from a marker; no text draws the line to there."""
    line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
    annotation = axes.annotate(
        text, tuple(_at(point)), xytext=tuple(offset), textcoords="offset points", arrowprops=None if text else line,
        ha="center", va="center_baseline", color=INK, fontsize=9, fontweight="bold",
    )  # fmt: skip
    annotation.set_in_layout(False)


def picture(image: Float64, bounds: tuple[float, float]) -> str:
    """An image (height, width) as a PNG data URI in grey, `bounds` being black and white."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    nothing: dict[Any, Any] = {"Software": None}
    low, high = bounds
    imsave(buffer, image, cmap="gray", vmin=low, vmax=high, format="png", metadata=nothing)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def _percent_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([0.001, 0.01, 0.1, 1]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))


def _svg(figure: Figure, label: str) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    nothing: dict[Any, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({**_STYLE, "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)  # not needed inside HTML
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    head, _, body = svg.partition(">")
    head = re.sub(r' (width|height|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{label}">{body}'

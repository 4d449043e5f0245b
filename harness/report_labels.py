"""Where the numbers of a plot stand: none on another number, on a marker or on the line from a number to its marker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .types import Bools, Float64

_REACHES = (10.5, 14, 19, 25, 32, 40, 49, 59, 70, 82, 95, 110, 125)
_DIRECTIONS = 32
_ROUNDS = 2
_FURTHER_OUT = (25.0, 49.0, 82.0, 110.0)
_CROWD = 30.0  # points around a marker whose label found no place
_CROSSING, _OVER_A_MARKER, _ON_A_LINE = 60.0, 8.0, 6.0
_TINY = 1e-9


@dataclass(frozen=True)
class Ground:
    """What labels are placed on, in points (1/72 inch).

    Attributes:
        anchors: centres of the markers, float64 (n, 2).
        half: half the height of a marker.
        lines: ends of lines that a label keeps off where it can, float64 (m, 2, 2).
        area: lower left and upper right corner that labels stay within, float64 (2, 2).
    """

    anchors: Float64
    half: float
    lines: Float64
    area: Float64


@dataclass(frozen=True)
class _Label:
    """One label with its places that are not ruled out from the start: corners `low`, `high` (c, 2) and `cost` (c,)."""

    anchor: Float64
    low: Float64
    high: Float64
    cost: Float64

    @property
    def centres(self) -> Float64:
        """Middles of the places, where their leaders end: (c, 2)."""
        return (self.low + self.high) / 2


def place(ground: Ground, sizes: Float64) -> list[Float64 | None]:
    """Centres of the labels relative to their markers, or None where there is no room.

    Each label takes the place that costs least: near its marker, off the lines, and with a leader to its marker that
    crosses no other one. Those in a crowd are placed first, and all of them once more, since later ones may have left
    a better place. Where one found none, its crowd starts again further out, where there is more room. The same input
    gives the same places.

    Args:
        ground: what is there already.
        sizes: width and height of the labels in points, float64 (k, 2), for the first k <= n markers.
    """
    nearest = np.zeros(len(sizes))
    best: list[Float64 | None] = [None] * len(sizes)
    for reach in _FURTHER_OUT:
        labels = [_label(ground, i, size, nearest[i]) for i, size in enumerate(sizes)]
        found = _settle(labels)
        if sum(at is not None for at in found) > sum(at is not None for at in best):
            best = found
        lost = ground.anchors[[i for i, at in enumerate(found) if at is None]]
        if not len(lost):
            break
        crowd = (np.abs(ground.anchors[: len(sizes), None] - lost).max(axis=2) < _CROWD).any(axis=1)
        nearest[crowd] = reach
    return best


def edge(offset: Float64, size: Float64) -> Float64:
    """Where the leader meets its label: relative to the marker, for a label of `size` (2,) at `offset` (2,)."""
    inside = np.min(size / 2 / np.maximum(np.abs(offset), _TINY))
    return np.asarray(offset * max(0.0, 1 - inside))


def _offsets(nearest: float) -> Float64:
    """Where a label may stand, relative to its marker, and no nearer than that: (c, 2)."""
    angles = np.pi / 4 + 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([reach * ways for reach in _REACHES if reach >= nearest])


def _label(ground: Ground, i: int, size: Float64, nearest: float) -> _Label:
    """The places of label `i`, judged by what never moves: the area, the markers and the lines."""
    anchor, offsets = ground.anchors[i], _offsets(nearest)
    centres = anchor + offsets
    low, high = centres - size / 2, centres + size / 2
    markers = ground.anchors - ground.half, ground.anchors + ground.half
    on_a_marker = ((low[:, None] < markers[1]) & (high[:, None] > markers[0])).all(axis=2).any(axis=1)
    free = (low >= ground.area[0]).all(axis=1) & (high <= ground.area[1]).all(axis=1) & ~on_a_marker
    cost = np.hypot(*offsets.T)
    cost += _ON_A_LINE * _through(low[:, None], high[:, None], ground.lines[:, 0], ground.lines[:, 1]).sum(axis=1)
    cost += _OVER_A_MARKER * _through(*markers, anchor, centres[:, None]).sum(axis=1)
    return _Label(anchor, low[free], high[free], cost[free])


def _settle(labels: list[_Label]) -> list[Float64 | None]:
    """Each label's best place beside the others, relative to its marker."""
    tightest_first = sorted(range(len(labels)), key=lambda i: -labels[i].cost.min(initial=np.inf))
    taken: dict[int, int] = {}
    for _ in range(_ROUNDS):
        for i in tightest_first:
            taken.pop(i, None)
            choice = _cheapest(labels[i], [(labels[j], at) for j, at in taken.items()])
            if choice is not None:
                taken[i] = choice
    return [label.centres[taken[i]] - label.anchor if i in taken else None for i, label in enumerate(labels)]


def _cheapest(label: _Label, others: list[tuple[_Label, int]]) -> int | None:
    """The cheapest place of a label that is free beside `others` at theirs."""
    low = np.array([other.low[at] for other, at in others]).reshape(-1, 2)
    high = np.array([other.high[at] for other, at in others]).reshape(-1, 2)
    starts = np.array([other.anchor for other, _ in others]).reshape(-1, 2)
    ends, own_ends = (low + high) / 2, label.centres[:, None]
    taken = ((label.low[:, None] < high) & (label.high[:, None] > low)).all(axis=2)
    taken |= _through(low, high, label.anchor, own_ends)
    taken |= _through(label.low[:, None], label.high[:, None], starts, ends)
    cost = label.cost + _CROSSING * _cross(label.anchor, own_ends, starts, ends).sum(axis=1)
    cost[taken.any(axis=1)] = np.inf
    return int(cost.argmin()) if np.isfinite(cost).any() else None


def _through(low: Float64, high: Float64, a: Float64, b: Float64) -> Bools:
    """Which segments from `a` to `b` pass through which boxes; all are broadcast, with coordinates on the last axis."""
    way = b - a
    way = np.where(np.abs(way) < _TINY, _TINY, way)
    one, two = (low - a) / way, (high - a) / way
    enter, leave = np.minimum(one, two).max(axis=-1), np.maximum(one, two).min(axis=-1)
    return np.asarray((enter < leave) & (enter < 1) & (leave > 0))


def _cross(a: Float64, b: Float64, c: Float64, d: Float64) -> Bools:
    """Which segments from `a` to `b` cross the one from `c` to `d`; those from one point do not."""

    def side(p: Float64, q: Float64, r: Float64) -> Float64:
        u, v = q - p, r - p
        return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])

    return np.asarray((side(c, d, a) * side(c, d, b) < 0) & (side(a, b, c) * side(a, b, d) < 0))

"""Features of the stacked attack: what a model answers to a record beside what the reference models answer.

Every reference model is used as a target in turn and then may be no reference, nor may a model on the same or the
complementary half. Sums over references are taken once and what belongs to such models is taken off, so that the cost
hardly grows with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...harness.errors import NotApplicable, UsageError
from ...harness.types import Bools, Float32, Float64, Floats, Ints
from ._references import Moments
from .signals import log_probabilities
from .student_t import Prior, log_predictive

SIGNALS = 7
"""Numbers that the attack keeps of a model's answer to a record."""

_TEMPERATURES = (1.0, 2.0, 4.0)  # each twice the one before
_RECORDS_AT_ONCE, _RECORDS_SUMMED = 8192, 512  # what a step works on stays in the processor's cache
_LOGIT, _CONFIDENCE = 0, slice(2, 5)  # columns of the signals
_COMPARED = np.array([0, 1, 3])  # logit, hinge and log confidence at T = 2: these get a mean and a variance a side
_NU0 = 16.0
_TINY = 1e-30  # a side whose signals are all equal has no variance
_LEAST_CONFIDENCE = 1e-12  # differences of sums of confidences mean nothing below


def signals_of(logits: Floats, labels: Ints) -> Float32:
    """All that the attack asks of one model: float32 (n, 7) from logits (n, classes >= 2) and labels (n,).

    LiRA logit, hinge, log confidence in the label at T = 1, 2, 4, log confidence in the runner-up, and how far the
    first is ahead of it. Each is the same for logits and for logarithms of probabilities.

    Computed class by class in float32, on logits less that of the label, with one exponential for all temperatures.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise UsageError(f"{logits.shape} answers and {labels.shape} labels: must be (n, classes) and (n,)")
    n, classes = logits.shape
    signals = np.empty((n, SIGNALS), dtype=np.float32)
    room = np.empty((classes, min(n, _RECORDS_AT_ONCE)), dtype=np.float32)
    for start in range(0, n, _RECORDS_AT_ONCE):
        rows = slice(start, start + _RECORDS_AT_ONCE)
        signals[rows] = _block(logits[rows], labels[rows], room[:, : len(labels[rows])])
    return signals


def _block(logits: Floats, labels: Ints, ahead: Float32) -> Float32:
    """`signals_of` of a few records; `ahead` (classes, n) is overwritten."""
    rows = np.arange(len(labels))
    np.subtract(logits.T, logits[rows, labels], out=ahead, casting="same_kind")
    first, second = _top_two(ahead)
    rival = np.where(first > 0, first, second)  # the best but the label, which stands at 0
    ahead[labels, rows] = -np.inf
    ahead -= rival
    ahead /= _TEMPERATURES[-1]
    np.exp(ahead, out=ahead)
    against: list[
        Float32
    ] = []  # log odds against the label at T = 4, 2, 1: squaring the exponentials halves the temperature
    for temperature in reversed(_TEMPERATURES):
        against.insert(0, rival / np.float32(temperature) + np.log(ahead.sum(axis=0)))
        np.multiply(ahead, ahead, out=ahead)
    confidences = [-np.maximum(odds, 0) - np.log1p(np.exp(-np.abs(odds))) for odds in against]
    return np.stack([-against[0], -rival, *confidences, second + confidences[0], first - second], axis=1)


def _top_two(rows: Float32) -> tuple[Float32, Float32]:
    """The largest and the second largest (n,) of each column of (k, n)."""
    first, second = np.maximum(rows[0], rows[1]), np.minimum(rows[0], rows[1])
    for row in rows[2:]:
        second = np.maximum(second, np.minimum(first, row))
        first = np.maximum(first, row)
    return first, second


def signals_of_probabilities(probabilities: Float64, labels: Ints) -> Float64:
    """`signals_of` for answered probabilities (n, classes); references measure this."""
    return signals_of(log_probabilities(probabilities), labels).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over references, IN first and OUT second.

    Attributes:
        count: float64 (2, n), references on each side of each record.
        total: float64 (2, n, 3), sums of the compared signals.
        squares: float64 (2, n, 3), sums of their squares.
        confidence: float64 (n, 3), sums over both sides of the confidence at each temperature.
        variance: float64 (2, 3), variance within records, pooled. One number for all records and always from all
            references: it says nothing of whom a single model trained on.
    """

    count: Float64
    total: Float64
    squares: Float64
    confidence: Float64
    variance: Float64

    @classmethod
    def of(cls, references: Floats, member: Bools) -> Sums:
        """Sums of signals (m, n, 7) with bool (m, n), which reference trained on which record."""
        n = member.shape[1]
        count, total, squares = np.zeros((2, n)), np.zeros((2, n, 3)), np.zeros((2, n, 3))
        confidence = np.zeros((n, 3))
        for start in range(0, n, _RECORDS_SUMMED):
            rows = slice(start, start + _RECORDS_SUMMED)
            sides = np.stack([member[:, rows], ~member[:, rows]]).astype(np.float64)
            compared = references[:, rows][:, :, _COMPARED].astype(np.float64)
            count[:, rows] = sides.sum(axis=1)
            total[:, rows] = np.einsum("smr,mrj->srj", sides, compared)
            squares[:, rows] = np.einsum("smr,mrj->srj", sides, compared**2)
            confidence[rows] = np.exp(references[:, rows, _CONFIDENCE]).sum(axis=0, dtype=np.float64)
        deviations = (squares - total**2 / np.maximum(count, 1)[:, :, np.newaxis]).sum(axis=1)
        degrees = np.maximum((count - 1).sum(axis=1), 1)[:, np.newaxis]
        return cls(count, total, squares, confidence, np.maximum(deviations / degrees, _TINY))

    def without(self, rows: Ints, signals: Floats, member: Bools) -> Sums:
        """Sums for `rows` (r,) less some references: their signals (d, r, 7) and membership (d, r) on these rows."""
        gone = Sums.of(signals, member)
        return Sums(
            self.count[:, rows] - gone.count,
            self.total[:, rows] - gone.total,
            self.squares[:, rows] - gone.squares,
            self.confidence[rows] - gone.confidence,
            self.variance,
        )


def halves(member: Bools) -> list[Ints]:
    """References grouped by the half they trained on, complements together: numbers of the models of each group.

    Whoever knows one model of a group knows what all of them trained on.
    """
    first = member ^ ~member[:, :1]  # a half and its complement look alike when the first record is always inside
    groups: dict[bytes, list[int]] = {}
    for k, half in enumerate(first):
        groups.setdefault(np.packbits(half).tobytes(), []).append(k)
    return [np.array(group, dtype=np.int64) for group in groups.values()]


def check_left(member: Bools, groups: Sequence[Ints]) -> None:
    """Every record must keep an IN and an OUT reference whichever group is left out.

    Raises:
        NotApplicable: a record does not.
    """
    inside, m = member.sum(axis=0), len(member)
    lacking = np.zeros(member.shape[1], dtype=np.bool_)
    for group in groups:
        left = inside - member[group].sum(axis=0)
        lacking |= (left < 1) | (left > m - len(group) - 1)
    if lacking.any():
        raise NotApplicable(
            f"needs at least 4 reference models, in complementary pairs: {int(lacking.sum())} of {len(lacking)} "
            "records have none on one side once a model and its complement are left out"
        )


def features(target: Floats, sums: Sums) -> Float64:
    """One row a record: float64 (r, 21) from the signals (r, 7) of a target and the sums of its references.

    The target's signals; on each side mean and shrunk standard deviation of the references' logit; distances from the
    means; log likelihood ratios of LiRA and of Student t; log ratios of RMIA.
    """
    own = target.astype(np.float64)
    logit, compared = own[:, _LOGIT], own[:, _COMPARED]
    mean = sums.total / sums.count[:, :, np.newaxis]
    deviations = np.maximum(sums.squares - sums.total * mean, 0.0)
    spread = (_NU0 * sums.variance[:, :1] + deviations[:, :, 0]) / (_NU0 + sums.count)
    lira = -0.5 * ((logit - mean[:, :, 0]) ** 2 / sums.variance[:, :1] + np.log(sums.variance[:, :1]))
    marginal = sums.confidence / sums.count.sum(axis=0)[:, np.newaxis]
    ratios = own[:, _CONFIDENCE] - np.log(np.maximum(marginal, _LEAST_CONFIDENCE))
    inside, outside = mean[:, :, 0]
    both = sums.total[:, :, 0].sum(axis=0) / sums.count.sum(axis=0)
    columns = [inside, outside, inside - outside, both, logit - inside, logit - outside, *np.sqrt(spread)]
    columns += [lira[0] - lira[1]]
    for j in range(len(_COMPARED)):
        density = [
            log_predictive(
                compared[:, j],
                Moments(sums.count[side], mean[side, :, j], deviations[side, :, j]),
                Prior(0.0, float(sums.variance[side, j]), 0.0, _NU0),
            )
            for side in (0, 1)
        ]
        columns.append(density[0] - density[1])
    keep = np.delete(own, _CONFIDENCE.start, axis=1)  # at T = 1 the confidence is the logit in other words
    return np.column_stack([keep, *columns, ratios])

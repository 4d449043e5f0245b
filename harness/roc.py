"""ROC points on tied scores under weighted records, in full or on a few hundred blocks of them (numpy, scipy.sparse).

A bootstrap asks the same ordered records the same questions a thousand times under other weights. `Curve.of` answers
exactly, one row a block of equal scores. `Blocks` merges neighbours first, so that a resample costs a few hundred
rows instead of thousands. It never divides a block of equal scores and keeps apart

- at the high end whatever a small false positive rate depends on: TPR and FPR at a threshold change only where a
  non-member is next, so one row for each non-member (with the members after it) loses nothing;
- at the low end the same with members and non-members exchanged, for TNR at a small false negative rate;
- in between quantiles of the scores, and the thresholds that are best for the advantage before any resampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .types import Bools, Float64, Ints

Weights = NDArray[Any]  # whole numbers, in a type that holds their total

_TINY = 1e-12  # keeps ratios finite where a resample holds no member or no non-member


@dataclass(frozen=True, eq=False)
class RocOrder:
    """One target's records sorted by falling score, with the ends of tied blocks.

    Attributes:
        records: int64 (k,), columns of the score table in order.
        member: bool (k,), truth in that order.
        ends: int64 (b,), position of the last record of each block of equal scores.
    """

    records: Ints
    member: Bools
    ends: Ints

    @classmethod
    def of(cls, scores: Float64, member: Bools, scored: Bools) -> RocOrder:
        """Sort the scored records of one target; all arrays (n,)."""
        columns = np.flatnonzero(scored)
        order = columns[np.argsort(-scores[columns], kind="stable")]
        values = scores[order]
        ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
        return cls(order, member[order], ends)


@dataclass(frozen=True, eq=False)
class Curve:
    """Cumulative weights at block ends: `tp`, `fp` (b, r), one column a repetition; the last row holds the totals.

    Weights are whole numbers, in a type that holds their total.
    """

    tp: Weights
    fp: Weights

    @classmethod
    def of(cls, order: RocOrder, weights: Weights) -> Curve:
        """Accumulate `weights` (n, r) of all records along `order`."""
        sorted_weights = weights[order.records]
        tp = np.cumsum(sorted_weights * order.member[:, np.newaxis], axis=0)[order.ends]
        fp = np.cumsum(sorted_weights, axis=0)[order.ends] - tp
        return cls(tp, fp)

    def __add__(self, other: Curve) -> Curve:
        """The curve of both sets of records together."""
        return Curve(self.tp + other.tp, self.fp + other.fp)

    def at(self, rows: Ints) -> Curve:
        """The curve through some of its points only; `rows` rise and end with the last one."""
        return Curve(self.tp[rows], self.fp[rows])

    def mirrored(self) -> Curve:
        """The same records from the lowest score up, members and non-members exchanged."""
        left = [cumulated[-1] - cumulated[-2::-1] for cumulated in (self.fp, self.tp)]
        tp, fp = (np.vstack([rest, total[-1:]]) for rest, total in zip(left, (self.fp, self.tp), strict=True))
        return Curve(tp, fp)

    def mixed(self) -> Bools:
        """Whether a repetition holds members and non-members: bool (r,). Where not, no rate or area has a meaning."""
        return np.asarray((self.tp[-1] > 0) & (self.fp[-1] > 0))

    def auc(self) -> Float64:
        """Area under the ROC (r,); ties count one half, as in the Mann-Whitney statistic."""
        # twice the sum of the trapezia (fp[i] - fp[i-1]) (tp[i] + tp[i-1]) / 2, whose diagonal terms cancel
        over = np.einsum("br,br->r", self.fp[1:], self.tp[:-1], dtype=np.float64)
        under = np.einsum("br,br->r", self.fp[:-1], self.tp[1:], dtype=np.float64)
        whole = self.tp[-1] * self.fp[-1].astype(np.float64)
        return np.asarray((whole + over - under) / 2 / np.maximum(whole, _TINY), dtype=np.float64)

    def within(self, fpr: float) -> Ints:
        """How many blocks may be flagged, from the highest score on, with an FPR of at most `fpr`: int64 (r,)."""
        most = np.floor(fpr * self.fp[-1].astype(np.float64) + 1e-9).astype(self.fp.dtype)
        return np.asarray((self.fp <= most).sum(axis=0))

    def tpr_at(self, fpr: float) -> Float64:
        """TPR (r,) at the largest set of flagged blocks whose FPR on these records is at most `fpr`.

        A block of equal scores is flagged whole or not at all; nothing is interpolated.
        """
        return _share(self.tp, self.within(fpr))

    def tprs_at(self, fprs: Float64) -> Float64:
        """`tpr_at` for many rates (g,) at once: (g, r)."""
        most = np.floor(np.multiply.outer(fprs, self.fp[-1]) + 1e-9).astype(self.fp.dtype)
        blocks = [np.searchsorted(fp, allowed, side="right") for fp, allowed in zip(self.fp.T, most.T, strict=True)]
        return _share(self.tp, np.stack(blocks, axis=1))

    def tnr_at(self, fnr: float) -> Float64:
        """TNR (r,) at the largest set of blocks left unflagged that misses at most a share `fnr` of the members."""
        return self.mirrored().tpr_at(fnr)

    def difference(self) -> Weights:
        """TPR - FPR after every block, with "flag nobody" in front: (b + 1, r)."""
        real = np.result_type(self.tp, np.float32)
        gains, costs = (1 / np.maximum(total, _TINY, dtype=real) for total in (self.tp[-1], self.fp[-1]))
        difference = np.zeros((len(self.tp) + 1, self.tp.shape[1]), dtype=real)
        np.multiply(self.tp, gains, out=difference[1:])
        difference[1:] -= self.fp * costs
        return difference


def _share(cumulated: Weights, blocks: Ints) -> Float64:
    """Share of the total that the first `blocks` (..., r) blocks hold: (..., r)."""
    held = cumulated[np.maximum(blocks, 1) - 1, np.arange(cumulated.shape[1])] * (blocks > 0)
    return np.asarray(held / np.maximum(cumulated[-1].astype(np.float64), _TINY))


def split_advantage(first: Curve, second: Curve) -> Float64:
    """Membership advantage TPR - FPR (Yeom et al. 2018, definition 4), threshold and estimate on separate halves.

    The threshold that is best on one half of the records is applied to the other half, both ways, and the two are
    averaged. The usual maximum over thresholds on the same records is positive even at chance; this is not.

    Args:
        first: curve of one half of the records, along the same order as `second`.
        second: curve of the other half.

    Returns:
        float64 (r,), between -1 and 1.
    """
    one, other = first.difference(), second.difference()
    columns = np.arange(one.shape[1])
    crossed = other[one.argmax(axis=0), columns] + one[other.argmax(axis=0), columns]
    return np.asarray(crossed / 2, dtype=np.float64)


def crossed_fpr(first: Curve, second: Curve, fpr: float) -> Float64:
    """False positive rate that a threshold for `fpr` really has: set on one half of the records, counted on the other.

    Counted on the records that set the threshold, the rate never exceeds `fpr`, whatever the truth. Both ways are
    averaged. The thresholds rest on half of the records, so the rate is a little higher than that of the full sample:
    about (k + 1) / (m + 1) where k of m non-members may be flagged.

    Returns:
        float64 (r,).
    """
    return (_share(second.fp, first.within(fpr)) + _share(first.fp, second.within(fpr))) / 2


@dataclass(frozen=True, eq=False)
class Halves:
    """Curves of two halves of the records along the same order, and of all of them."""

    first: Curve
    second: Curve

    @classmethod
    def of(cls, order: RocOrder, weights: Weights, half: Bools) -> Halves:
        """Exact curves under `weights` (n, r); `half` bool (n,) is true in the first half."""
        return cls(*(Curve.of(order, weights * chosen[:, np.newaxis]) for chosen in (half, ~half)))

    @cached_property
    def whole(self) -> Curve:
        """The curve of all records."""
        return self.first + self.second

    def best(self) -> Ints:
        """Tied blocks after which the advantage is largest on either half, under the first repetition's weights."""
        after = np.array([curve.difference()[:, 0].argmax() for curve in (self.first, self.second)]) - 1
        return np.asarray(after[after >= 0])


@dataclass(frozen=True, eq=False)
class Excerpts:
    """The same curves through the points that each kind of statistic needs: `Blocks` says which."""

    high: Halves
    middle: Halves
    low: Halves


@dataclass(frozen=True, eq=False)
class Blocks:
    """One target's records merged into `b` blocks, for many resamples of them; see the module docstring.

    Attributes:
        ends: int64 (b,), the tied block that each ends with.
        cells: sparse int16 (4 b, n), ones: which record counts for which block, by half and membership.
        high: int64, blocks through whose ends small false positive rates are exact.
        middle: blocks for the area and the advantage.
        low: blocks through whose ends small false negative rates are exact.
    """

    ends: Ints
    cells: Any
    high: Ints
    middle: Ints
    low: Ints

    @classmethod
    def of(
        cls,
        order: RocOrder,
        half: Bools,
        rates: tuple[float, float],
        kept: Ints,
        quantiles: int,
    ) -> Blocks:
        """Choose the blocks of one target.

        Args:
            order: its sorted records.
            half: bool (n,), the first half of the records.
            rates: largest false positive rate and largest false negative rate that must be exact.
            kept: tied blocks after which a block ends in the middle, whatever the quantiles.
            quantiles: how many stand for the middle; with fewer records than that, each is a block of its own.
        """
        last = len(order.ends) - 1
        high = _before_each(~order.member, order.ends, rates[0])
        middle = np.searchsorted(order.ends, np.linspace(0, order.ends[-1], quantiles + 1))
        below = np.append(order.ends[-1] - 1 - order.ends[-2::-1], order.ends[-1])  # the ends, from the lowest score up
        low = last - 1 - _before_each(order.member[::-1], below, rates[1])
        parts = [np.union1d(rows, last) for rows in (high, np.append(middle, kept), low)]
        ends = np.unique(np.concatenate(parts))
        return cls(ends, _cells(order, half, ends), *(np.searchsorted(ends, part) for part in parts))

    def cumulated(self, weights: Weights) -> Weights:
        """Weights (n, r) added up to the end of each block: (b, 4, r), TP and FP of each half.

        Weights are whole numbers in a type that holds their total.
        """
        cells: Weights = (self.cells @ weights).reshape(-1, 4, weights.shape[1])
        for before, here in pairwise(cells):
            np.add(before, here, out=here)
        return cells

    def whole(self, weights: Weights) -> Curve:
        """The curve of all records under `weights` (n, r), through the ends of all blocks."""
        tp, fp, other_tp, other_fp = np.moveaxis(self.cumulated(weights), 1, 0)
        return Curve(tp + other_tp, fp + other_fp)

    def curves(self, weights: Weights) -> Excerpts:
        """Curves of each half under `weights` (n, r), through the ends that each kind of statistic needs."""
        sums = self.cumulated(weights)
        return Excerpts(*(_halves(sums[rows]) for rows in (self.high, self.middle, self.low)))


def _halves(cumulated: Weights) -> Halves:
    tp, fp, other_tp, other_fp = np.moveaxis(cumulated, 1, 0)
    return Halves(Curve(tp, fp), Curve(other_tp, other_fp))


def _cells(order: RocOrder, half: Bools, ends: Ints) -> Any:
    """The sparse matrix of `Blocks`; `ends` are tied blocks."""
    from scipy.sparse import csr_array

    block = np.repeat(np.arange(len(ends)), np.diff(order.ends[ends], prepend=-1))
    row = 4 * block + 2 * ~half[order.records] + ~order.member
    starts = np.append(0, np.cumsum(np.bincount(row, minlength=4 * len(ends))))
    columns = order.records[np.argsort(row, kind="stable")]
    return csr_array((np.ones(len(row), dtype=np.int16), columns, starts), shape=(4 * len(ends), len(half)))


def _before_each(counted: Bools, ends: Ints, rate: float) -> Ints:
    """Tied blocks after which the next one holds a counted record, as far as a resample may reach for `rate`.

    A resample's threshold lies where the counted records above it weigh `rate` times all N of them. The first
    2 rate N + 50 weigh more than that, but for a Poisson sum seven standard deviations under its mean (on one half
    of the records: five).
    """
    found = np.cumsum(counted)[ends]
    reach = 2 * rate * found[-1] + 50
    return np.flatnonzero((np.diff(found) > 0) & (found[:-1] < reach))

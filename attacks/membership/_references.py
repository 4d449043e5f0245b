"""What the attacks with reference models share: their checks, and sums over the references of one side.

Sums are float64 whatever the signals are, and are taken over a few hundred records at a time, so that 50,000 records
with 256 references need no second matrix of their size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...harness.errors import NotApplicable, UsageError
from ...harness.protocols import MembershipContext, References
from ...harness.types import Bools, Float64, Floats

_CELLS = 1_000_000  # of the matrix of references held as float64 at once: 8 MB a temporary


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations from that mean of each record's signals on one side: float64 (n,)."""

    count: Float64
    mean: Float64
    squares: Float64

    def pooled_variance(self) -> float:
        """Variance within records, one for all: deviations from each record's own mean over their degrees of freedom.

        Raises:
            NotApplicable: no record has two references on this side.
        """
        degrees = float((self.count - 1).sum())
        if degrees < 1:
            raise NotApplicable("needs at least 4 reference models, half of them trained on each record")
        return float(self.squares.sum()) / degrees


def granted(context: MembershipContext) -> References:
    """The references of an attack that cannot do without.

    Raises:
        NotApplicable: there are none.
    """
    if context.references is None or len(context.references) == 0:
        raise NotApplicable("needs reference models")
    return context.references


def check_shapes(target: Floats, references: Floats, member: Bools) -> None:
    """Signals of the target (n,), of the references (m, n), and who trained on what, bool (m, n).

    Raises:
        UsageError: anything else.
    """
    if target.ndim != 1 or references.shape != member.shape or references.shape[1:] != target.shape:
        raise UsageError(
            f"signals {target.shape}, reference signals {references.shape}, member {member.shape}: "
            "must be (n,), (m, n) and (m, n)"
        )
    if member.dtype != np.bool_:
        raise UsageError(f"member is {member.dtype}: must be bool")


def counted(chosen: Bools, side: str, least: int = 1) -> Float64:
    """How many references each record has among `chosen` (m, n): float64 (n,).

    Args:
        chosen: the references of one side.
        side: its name in the message, IN or OUT.
        least: so many are needed for every record.

    Raises:
        NotApplicable: a record has fewer.
    """
    counts = chosen.sum(axis=0)
    lacking = int((counts < least).sum())
    if lacking:
        raise NotApplicable(
            f"needs at least {2 * least} reference models, {least} of them {side} for each record: "
            f"{lacking} of {len(counts)} records have fewer"
        )
    return np.asarray(counts, dtype=np.float64)


def chunks(references: Floats) -> Iterator[slice]:
    """Consecutive columns of `references` (m, n), few enough at a time."""
    m, n = references.shape
    width = max(1, _CELLS // max(1, m))
    return (slice(start, start + width) for start in range(0, n, width))


def side_mean(signals: Floats, chosen: Bools, side: str) -> Float64:
    """Mean of each record's `chosen` signals: float64 (n,) from (m, n) and (m, n). Raises as `counted`."""
    counts = counted(chosen, side)
    total = np.empty(signals.shape[1])
    for part in chunks(signals):
        total[part] = np.where(chosen[:, part], signals[:, part], 0.0).sum(axis=0, dtype=np.float64)
    return total / counts


def side_moments(signals: Floats, chosen: Bools, side: str, least: int = 1) -> Moments:
    """Moments of each record's `chosen` signals, from (m, n) and (m, n). Raises as `counted`."""
    counts = counted(chosen, side, least)
    mean, squares = np.empty_like(counts), np.empty_like(counts)
    for part in chunks(signals):
        of_side, values = chosen[:, part], signals[:, part].astype(np.float64)
        mean[part] = np.where(of_side, values, 0.0).sum(axis=0) / counts[part]
        values -= mean[part]
        values[~of_side] = 0.0
        squares[part] = np.einsum("mn,mn->n", values, values)
    return Moments(counts, mean, squares)


def side_median(signals: Floats, chosen: Bools, side: str) -> Float64:
    """Median of each record's `chosen` signals: float64 (n,) from (m, n) and (m, n). Raises as `counted`."""
    counts = counted(chosen, side).astype(np.int64)
    median = np.empty(signals.shape[1])
    for part in chunks(signals):
        ordered = np.sort(np.where(chosen[:, part], signals[:, part], np.inf).T, axis=1)  # the side's values come first
        rows, count = np.arange(len(ordered)), counts[part]
        lower = ordered[rows, (count - 1) // 2].astype(np.float64)
        median[part] = (lower + ordered[rows, count // 2]) / 2
    return median

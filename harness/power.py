"""Power: what a sample of records can decide, and how large one would have to be.

Records are taken as independent, and the observed share as the true one: a planning figure, not a promise. With the
number that is returned, about half of the repetitions of the experiment decide; the other half, where chance moves the
share towards the limit, does not.
"""

from __future__ import annotations

import math

from .checks import open_unit, require
from .intervals import clopper_pearson
from .types import Estimate

_MOST = 10**9


def nonmembers_needed(fpr: float, level: float = 0.95) -> int:
    """Fewest non-members of which none may be flagged if the true FPR is to be shown to be at most `fpr`.

    The smallest n with (1 - fpr)^n <= 1 - level. `level` is one-sided here, as in the rule of three (Hanley and
    Lippman-Hand 1983): 2995 for 0.1 %. Everything else in this module goes by the two-sided intervals.

    Args:
        fpr: between 0 and 1, both excluded.
        level: one-sided confidence, between 0 and 1.

    Raises:
        UsageError: an argument is out of range.
    """
    open_unit(fpr=fpr, level=level)
    return math.ceil(math.log1p(-level) / math.log1p(-fpr))


def smallest_certifiable(n: int, level: float) -> float:
    """Upper end of the two-sided interval of a share of which `n` records show nothing: no smaller limit can pass.

    1 - ((1 - level) / 2)^(1/n), about 3.7 / n at 95 %.

    Raises:
        UsageError: `n` is not positive, or `level` is out of range.
    """
    require(n > 0, "n", n, "at least 1")
    open_unit(level=level)
    return clopper_pearson(0, n, level).high


def records_needed(share: float, limit: float, level: float) -> int | None:
    """Fewest independent records with which an observed `share` would be told from `limit`.

    The smallest n whose two-sided Clopper-Pearson interval of `share` excludes `limit`: upper end at most `limit` for
    a share under it, lower end above it for one over it. That is one-sided at (1 - level) / 2, as the gate decides.
    `share` x n need not be whole: the exact tail is continued between whole numbers (incomplete beta function).

    Args:
        share: between 0 and 1.
        limit: between 0 and 1, both excluded.
        level: two-sided, between 0 and 1.

    Returns:
        The number, or None where `share` equals `limit` or the number exceeds 10**9.

    Raises:
        UsageError: an argument is out of range.
    """
    require(0 <= share <= 1, "share", share, "between 0 and 1")
    open_unit(limit=limit, level=level)
    if share == limit or not _decides(_MOST, share, limit, level):
        return None
    fails, works = 0, _MOST
    while works - fails > 1:
        middle = (fails + works) // 2
        if _decides(middle, share, limit, level):
            works = middle
        else:
            fails = middle
    return works


def _decides(n: int, share: float, limit: float, level: float) -> bool:
    """Whether the interval of `share` among `n` excludes `limit`: a tail of the binomial law at `limit`."""
    from scipy.special import betainc

    flagged = share * n
    fewer, more = (n - flagged, flagged + 1, 1 - limit), (flagged, n - flagged + 1, limit)
    tail = betainc(*(fewer if share < limit else more))  # that many or fewer, that many or more
    return bool(tail <= (1 - level) / 2)


def records_needed_scaled(estimate: Estimate, limit: float) -> int | None:
    """Units with which the interval of `estimate` would no longer hold `limit`, if it shrinks with 1 / sqrt(n).

    For any interval, asymmetric ones by the side on which the limit lies. Where `over` names models and records, both
    have to grow in that proportion: more records alone leave what models add.

    Args:
        estimate: a number with its interval.
        limit: what it is compared with.

    Returns:
        The number, rounded up to two digits; `estimate.n` where the interval excludes `limit` already; None where
        the value equals the limit or the number exceeds 10**9.
    """
    if not estimate.low <= limit <= estimate.high:
        return estimate.n
    reach = estimate.value - estimate.low if limit < estimate.value else estimate.high - estimate.value
    distance = abs(estimate.value - limit)
    if distance == 0 or reach / distance > math.sqrt(_MOST / estimate.n):
        return None
    return _two_digits_up(estimate.n * (reach / distance) ** 2)


def _two_digits_up(number: float) -> int:
    step = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return step * math.ceil(number / step)

"""How batches were really drawn: what a log of them shows, before a claim is made for a sampler."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from .checks import require
from .errors import PrivassayError
from .types import Float64, Ints, ObservedSampling

FALSE_ALARM = 1e-6
"""At most this share of logs of real Poisson batches is taken for another sampler or refused as dependent."""

_TESTS = 4  # shuffled, fixed size, a batch repeated, overlaps
_RATE_FALSE_ALARM = 1e-9
_CELLS = 2**21  # records times steps that overlaps are counted over: some 100 MB for a moment


def observed_from_batches(batches: Sequence[Ints], records: int, sample_rate: float) -> ObservedSampling:
    """Return the sampling that logged batches show.

    Likelihood-ratio tests whose false-alarm rate is exact in small logs too (universal inference, Wasserman et al.
    2020, arXiv:1912.11436: a ratio against the best Poisson likelihood exceeds 1/a with probability at most a):

    - shuffled: no record comes twice in a pass, and passes are complete (a dropped remainder is allowed if all
      batches are equally large). The ratio compares the contents of batches, given their sizes, with independent
      draws. The epochs returned are the passes begun.
    - fixed size: all batches are equally large. The ratio compares the sizes with binomial ones.
    - otherwise Poisson, at `sample_rate` if as many records joined as that lets expect, else at the largest rate
      that so many go with (false-alarm rate 1e-9). Batches that are all full are Poisson at rate 1.

    Poisson batches must also be independent of each other, which batches drawn for one epoch and replayed are not.
    Given their sizes, independent batches are equal with known probability, and those `lag` steps apart share
    hypergeometric numbers of records. A batch that comes back, or a lag at which batches share too many or too few
    records, is refused. Lags are tested on the first rows alone if all would be too many.

    Coins that are tied between the records of a batch, or weighted a little by record, are not told apart from fair
    ones.

    Args:
        batches: int64 arrays of rows, one a step, empty ones included, in order.
        records: how many records they were drawn from, rows 0 .. records - 1.
        sample_rate: rate at which Poisson batches were to be drawn, in (0, 1].

    Raises:
        UsageError: no batch, a row out of range, or a rate out of range.
        PrivassayError: a record is twice in one batch, the log is too short to tell the samplers apart, or batches
            depend on each other.
    """
    require(0 < sample_rate <= 1, "sample_rate", sample_rate, "> 0 and <= 1")
    _check_batches(batches, records)
    sizes = np.array([len(batch) for batch in batches], dtype=np.int64)
    steps, drawn = len(sizes), int(sizes.sum())
    share = drawn / (steps * records)
    if share == 1:
        return ObservedSampling("poisson", 1.0, steps, float(steps))
    passes, log_shuffled = _shuffled(batches, sizes, records)
    log_fixed = _log_fixed(sizes, records)
    needed = math.log(_TESTS / FALSE_ALARM)
    if log_shuffled >= needed:
        return ObservedSampling("shuffled", share, steps, float(passes))
    if log_fixed >= needed:
        return ObservedSampling("fixed_size", share, steps, steps * share)
    if max(log_shuffled, log_fixed) > -math.inf:
        raise PrivassayError(
            f"{steps} batches of {records} records are too few to tell Poisson sampling from shuffled batches or"
            " batches of fixed size: no claim can be made"
        )
    _refuse_repeated(batches, records)
    _refuse_overlapping(batches, records)
    rate = _rate(drawn, steps * records, sample_rate)
    return ObservedSampling("poisson", rate, steps, steps * rate)


def _check_batches(batches: Sequence[Ints], records: int) -> None:
    require(records >= 1, "records", records, ">= 1")
    require(len(batches) >= 1, "batches", list(batches), "at least one")
    for step, batch in enumerate(batches):
        if not len(batch):
            continue
        inside = batch.min() >= 0 and batch.max() < records
        require(inside, f"batches[{step}]", (int(batch.min()), int(batch.max())), f"rows 0 to {records - 1}")
        if len(np.unique(batch)) < len(batch):
            raise PrivassayError(f"batch {step} has a record twice, which counts beyond its clip: no claim can be made")


def _shuffled(batches: Sequence[Ints], sizes: Ints, records: int) -> tuple[int, float]:
    """Passes begun, and the log-likelihood ratio of shuffled batches to independent ones of the same sizes."""
    used, left, passes = np.zeros(records, dtype=np.bool_), records, 1
    before = np.empty(len(sizes), dtype=np.int64)
    may_drop = bool((sizes == sizes[0]).all())
    for step, batch in enumerate(batches):
        if len(batch) > left:
            if left and not may_drop:
                return passes, -math.inf
            used[:], left, passes = False, records, passes + 1
        if used[batch].any():
            return passes, -math.inf
        before[step], used[batch] = left, True
        left -= len(batch)
    ratios = _log_choose(np.full(len(sizes), records), sizes) - _log_choose(before, sizes)
    return passes, float(ratios.sum())


def _log_fixed(sizes: Ints, records: int) -> float:
    """Log-likelihood ratio of a fixed size, any of 0 .. records, to binomial sizes at the rate that fits best."""
    from scipy.special import xlog1py, xlogy

    if (sizes != sizes[0]).any():
        return -math.inf
    size = int(sizes[0])
    log_one = _log_choose(np.array([records]), sizes[:1])[0]
    log_one += xlogy(size, size / records) + xlog1py(records - size, -size / records)
    return float(-len(sizes) * log_one - math.log(records + 1))


def _log_choose(n: Ints, k: Ints) -> Float64:
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _refuse_repeated(batches: Sequence[Ints], records: int) -> None:
    """Refuse a batch that comes twice, of a size at which no pair of independent batches is likely to be equal."""
    pairs = math.comb(len(batches), 2)
    sizes = np.arange(records + 1)
    telling = _log_choose(np.full(records + 1, records), sizes) >= math.log(max(pairs, 1) * _TESTS / FALSE_ALARM)
    seen = Counter(np.sort(batch).astype(np.int64).tobytes() for batch in batches if telling[len(batch)])
    often = max(seen.values(), default=0)
    if often > 1:
        raise PrivassayError(
            f"one batch was used {often} times, which independent draws do not bring about: these are no Poisson"
            " batches, no claim can be made"
        )


def _refuse_overlapping(batches: Sequence[Ints], records: int) -> None:
    """Refuse if, at some lag, batches share more or fewer records than independent batches of their sizes do.

    Given the sizes, the overlaps at one lag are independent hypergeometric numbers: pairs at one lag form paths, in
    which every batch overlaps the one before like a fresh draw. A hypergeometric number is at most as spread as a
    binomial one (Hoeffding 1963, section 6), and a sum of binomials as one with the mean probability, so Chernoff's
    bound for the binomial holds for both tails.
    """
    from scipy.special import rel_entr

    steps = len(batches)
    watched = min(records, max(1, _CELLS // steps))
    member = np.zeros((watched, steps))
    for step, batch in enumerate(batches):
        member[batch[batch < watched], step] = 1
    sizes = member.sum(axis=0)
    shared, by_sizes = _at_lags(member), _at_lags(sizes[np.newaxis])
    coins = sizes.sum() - np.cumsum(sizes[::-1])[:-1]  # records in the earlier batches of the pairs at each lag
    kept = np.flatnonzero(coins)
    if not len(kept):
        return
    expected = by_sizes[kept] / watched
    found, mean = shared[kept] / coins[kept], np.minimum(expected / coins[kept], 1)
    exponents = coins[kept] * (rel_entr(found, mean) + rel_entr(1 - found, 1 - mean))
    worst = int(exponents.argmax())
    if exponents[worst] >= math.log(2 * len(kept) * _TESTS / FALSE_ALARM):  # two tails
        raise PrivassayError(
            f"batches {kept[worst] + 1} steps apart share {shared[kept][worst]:.0f} records, independent ones would"
            f" share about {expected[worst]:.6g}: these are no Poisson batches, no claim can be made"
        )


def _at_lags(series: Float64) -> Float64:
    """Sum over rows and t of series[:, t] x series[:, t + lag], whole numbers, for lags 1 .. columns - 1."""
    from scipy.fft import irfft, next_fast_len, rfft

    steps = series.shape[1]
    length = next_fast_len(2 * steps, real=True)
    power = (np.abs(rfft(series, length, axis=1)) ** 2).sum(axis=0)
    return np.asarray(np.rint(irfft(power, length)[1:steps]), dtype=np.float64)


def _rate(drawn: int, coins: int, planned: float) -> float:
    """The planned rate if `drawn` of `coins` goes with it, else the upper Clopper-Pearson limit of the true one."""
    from scipy.special import betainc, betaincinv

    at_most = betainc(coins - drawn, drawn + 1, 1 - planned)
    at_least = betainc(drawn, coins - drawn + 1, planned) if drawn else 1.0
    tail = _RATE_FALSE_ALARM / 2
    return planned if min(at_most, at_least) >= tail else float(betaincinv(drawn + 1, coins - drawn, 1 - tail))

"""What a sample can decide: budget vectors, brute force, and simulated repetitions of the planned size."""

import numpy as np
import pytest
from privassay.harness.errors import UsageError
from privassay.harness.intervals import clopper_pearson, delong
from privassay.harness.power import nonmembers_needed, records_needed, records_needed_scaled, smallest_certifiable
from privassay.harness.types import Estimate
from scipy.stats import beta, norm


@pytest.mark.parametrize(("fpr", "n"), [(0.01, 299), (0.001, 2995), (0.0001, 29956), (1e-05, 299572)])
def test_nonmembers_needed_vectors(fpr, n):
    assert nonmembers_needed(fpr) == n
    assert clopper_pearson(0, n, 0.9).high <= fpr < clopper_pearson(0, n - 1, 0.9).high  # one-sided 95 %


BUDGET = [  # non-members, FPR asked for, flagged, one-sided upper end, two-sided ends; all at 95 %
    (500, 0.01, 5, 0.0209103, 0.00325472, 0.0231814),
    (500, 0.0001, 0, 0.00597355, 0.0, 0.00735061),
    (1000, 0.001, 1, 0.00473499, 2.53175e-05, 0.00555892),
    (2000, 0.01, 20, 0.0144981, 0.00611866, 0.0154021),
    (5000, 0.001, 5, 0.00210145, 0.000324774, 0.00233211),
    (10000, 0.0001, 1, 0.000474298, 2.53178e-06, 0.000557037),
    (50000, 0.01, 500, 0.0107634, 0.00914641, 0.0109112),
    (100000, 0.001, 100, 0.00118069, 0.000813712, 0.00121614),
]


@pytest.mark.parametrize(("n", "fpr", "flagged", "upper", "low", "high"), BUDGET)
def test_budget_of_nonmembers_vectors(n, fpr, flagged, upper, low, high):
    assert int(n * fpr + 1e-9) == flagged
    assert clopper_pearson(flagged, n, 0.9).high == pytest.approx(upper, rel=1e-5)
    two_sided = clopper_pearson(flagged, n, 0.95)
    assert (two_sided.low, two_sided.high) == pytest.approx((low, high), rel=1e-5)
    assert smallest_certifiable(n, 0.95) == pytest.approx(1 - 0.025 ** (1 / n), rel=1e-9)


def naive_needed(share, limit, level):
    """Smallest n whose interval excludes the limit; counts need not be whole."""
    tail = (1 - level) / 2
    for n in range(1, 100_000):
        k = share * n
        if share < limit and beta.ppf(1 - tail, k + 1, n - k) <= limit:
            return n
        if share > limit and beta.ppf(tail, k, n - k + 1) >= limit:
            return n
    return None


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(
    ("share", "limit"), [(0, 0.01), (0.01, 0.03), (0.03, 0.01), (0.5, 0.6), (0.9, 0.8), (1, 0.9), (0.95, 0.99)]
)
def test_records_needed_is_the_first_number_that_decides(share, limit, level):
    assert records_needed(share, limit, level) == naive_needed(share, limit, level)


def test_no_number_of_records_tells_a_share_from_itself():
    assert records_needed(0.1, 0.1, 0.95) is None
    assert records_needed(0.1, 0.1 + 1e-6, 0.95) is None  # 3.5e11
    assert records_needed(0.1, 0.1001, 0.95) == pytest.approx(0.09 * 1.96**2 / 1e-8, rel=0.02)
    assert records_needed_scaled(Estimate(0.1, 0.05, 0.15, 0.95, "", 100, "records"), 0.1) is None
    assert records_needed_scaled(Estimate(0.1, 0.05, 0.15, 0.95, "", 100, "records"), 0.1 + 1e-6) is None


@pytest.mark.parametrize(("share", "limit"), [(0.01, 0.03), (0.05, 0.03), (0.55, 0.6)])
def test_about_half_of_the_repetitions_decide_with_the_records_needed(share, limit):
    rng, n = np.random.default_rng(0), records_needed(share, limit, 0.95)

    def decided(records):
        ends = (clopper_pearson(k, records, 0.95) for k in rng.binomial(records, share, 1000))
        return np.mean([e.high <= limit if share < limit else e.low > limit for e in ends])

    assert 0.4 < decided(n) < 0.7
    assert decided(2 * n) > 0.75
    assert decided(n // 2) < 0.35  # the near miss: half of the records are not enough


@pytest.mark.parametrize(
    ("limit", "needed"),
    [(0.65, 400), (0.63, 1200), (0.5, 130), (0.48, 100), (0.71, 100), (0.59, 13000), (0.601, 1_000_000)],
)
def test_scaled_number_goes_by_the_side_of_the_limit(limit, needed):
    estimate = Estimate(0.6, 0.486, 0.7, 0.95, "", 100, "records")  # 0.6 - 0.114, 0.6 + 0.1
    assert records_needed_scaled(estimate, limit) == needed


def test_about_half_of_the_repetitions_decide_with_the_scaled_number():
    rng, limit, auc = np.random.default_rng(1), 0.6, 0.56

    def interval(n):
        member = np.arange(n) < n // 2
        return delong(rng.normal(size=n) + np.sqrt(2) * norm.ppf(auc) * member, member, 0.95)

    def decided(n):
        return np.mean([interval(n).high <= limit for _ in range(300)])

    pilot = interval(200)
    shift = auc - pilot.value  # as if the pilot had hit the truth
    centred = Estimate(auc, pilot.low + shift, pilot.high + shift, 0.95, "", pilot.n, "records")
    assert centred.low < limit < centred.high
    needed = records_needed_scaled(centred, limit)
    assert 0.4 < decided(needed) < 0.75
    assert decided(needed // 3) < 0.35


def test_bad_input_is_one_line():
    for call, words in [
        (lambda: nonmembers_needed(0.0), "fpr=0.0"),
        (lambda: nonmembers_needed(0.01, 1.0), "level=1.0"),
        (lambda: smallest_certifiable(0, 0.95), "n=0"),
        (lambda: records_needed(1.1, 0.5, 0.95), "share=1.1"),
        (lambda: records_needed(0.1, 1.0, 0.95), "limit=1.0"),
    ]:
        with pytest.raises(UsageError, match=words):
            call()

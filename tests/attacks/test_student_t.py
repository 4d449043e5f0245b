"""The Student-t ratio against reference vectors (group nig_student_t_predictive), scipy's t and a real pool."""

import numpy as np
import pytest
from privassay.attacks.membership._references import Moments
from privassay.attacks.membership.lira import lira_scores
from privassay.attacks.membership.signals import confidence_logit
from privassay.attacks.membership.student_t import Prior, StudentT, log_predictive, student_t_scores
from privassay.harness import catalog
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.evaluation import NamedAttack, run_membership
from privassay.tests.support import small
from scipy.stats import t


def example(records=40, models=8, dtype=np.float64):
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(models) < rng.integers(1, models) for _ in range(records)]).T
    signals = (rng.normal(size=(models + 1, records)) + 3 * rng.normal(size=records)).astype(dtype)
    return signals[0], signals[1:], member


def naive(target, references, member, kappa0, nu0):
    """The same scores, record by record, in the (kappa, a, b) form of the posterior."""

    def side(chosen):
        lists = [references[chosen[:, j], j].astype(float) for j in range(len(target))]
        m0 = np.concatenate(lists).mean()
        v0 = sum(((x - x.mean()) ** 2).sum() for x in lists) / sum(len(x) - 1 for x in lists)
        densities = []
        for value, x in zip(target, lists, strict=True):
            n, kappa = len(x), kappa0 + len(x)
            a = nu0 / 2 + n / 2
            b = nu0 * v0 / 2 + ((x - x.mean()) ** 2).sum() / 2 + kappa0 * n * (x.mean() - m0) ** 2 / (2 * kappa)
            location = (kappa0 * m0 + x.sum()) / kappa
            densities.append(t.logpdf(value, 2 * a, location, np.sqrt(b * (kappa + 1) / (a * kappa))))
        return np.array(densities)

    return side(member) - side(~member)


@pytest.mark.parametrize(
    ("seen", "m0", "value", "expected"),
    [([4.0, 5.0, 6.0, 5.5], 4, 5.0, -0.8330836987), ([1.0], 0, 0.0, -1.018394116), ([], 0, 1.0, -1.538688131)],
)
def test_vectors(seen, m0, value, expected):
    # kappa0 = 1, a0 = 2, b0 = 1: nu0 = 2 a0 = 4 and v0 = b0 / a0 = 0.5
    x = np.array(seen)
    mean = x.mean() if seen else 0.0
    moments = Moments(np.array([float(len(x))]), np.array([mean]), np.array([((x - mean) ** 2).sum()]))
    found = log_predictive(np.array([value]), moments, Prior(m0=m0, v0=0.5, kappa0=1, nu0=4))
    assert found[0] == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kappa0", "nu0"), [(0.0, 16.0), (1.0, 4.0), (0.5, 0.1)])
def test_equals_naive_oracle(kappa0, nu0, dtype):
    arrays = example(dtype=dtype)
    scores = student_t_scores(*arrays, kappa0=kappa0, nu0=nu0)
    assert scores.dtype == np.float64
    assert scores == pytest.approx(naive(*arrays, kappa0, nu0), rel=1e-4, abs=1e-6)


def test_much_prior_variance_is_lira_with_many_references():
    # Without weight on the variance's own data only LiRA's normal density is left, but for the mean's uncertainty.
    rng = np.random.default_rng(1)
    member = np.arange(2000)[:, None] % 2 == np.zeros((1, 5), int)
    references, target = rng.normal(size=(2000, 5)) + member, rng.normal(size=5)
    assert student_t_scores(target, references, member, nu0=1e9) == pytest.approx(
        lira_scores(target, references, member), abs=0.01
    )


@pytest.mark.parametrize("side", ["IN", "OUT"])
def test_a_record_without_a_side_is_refused(side):
    target, references, member = example()
    member[:, 3] = side == "OUT"
    with pytest.raises(NotApplicable, match=f"{side} for each record: 1 of 40 records"):
        student_t_scores(target, references, member)


def test_one_reference_a_side_is_too_few():
    with pytest.raises(NotApplicable, match="at least 4 reference models"):
        student_t_scores(np.zeros(1), np.zeros((2, 1)), np.array([[True], [False]]))


def test_signals_that_never_vary_stay_finite():
    member = np.array([[True], [True], [False], [False]])
    assert np.isfinite(student_t_scores(np.ones(1), np.zeros((4, 1)), member)).all()


def test_wrong_arguments_are_named():
    target, references, member = example()
    with pytest.raises(UsageError, match="must be"):
        student_t_scores(target, references[:-1], member)
    with pytest.raises(UsageError, match="nu0=0"):
        student_t_scores(target, references, member, nu0=0.0)
    with pytest.raises(UsageError, match="kappa0=-1"):
        StudentT(kappa0=-1.0)


def test_component_scores_the_released_answers(small_setting):
    pool, split, attack = small.pool(small_setting), small_setting.split, StudentT(kappa0=0.5, nu0=8.0)
    named = NamedAttack("attack", attack, catalog.identity(attack, "student_t"))
    signals, others = pool.measured(confidence_logit), split.references(3)
    expected = student_t_scores(signals[3], signals[others], split.member[others], kappa0=0.5, nu0=8.0)
    assert run_membership(named, pool, small_setting).scores[3] == pytest.approx(expected, rel=1e-3, abs=1e-3)

"""LiRA against reference vectors, a naive oracle of every variant and a real pool."""

import itertools

import numpy as np
import pytest
from privassay.attacks.membership.lira import LiRA, lira_scores
from privassay.attacks.membership.signals import confidence_logit
from privassay.harness import catalog
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.evaluation import NamedAttack, run_membership
from privassay.tests.support import small
from scipy.stats import norm

VARIANTS = list(itertools.product([True, False], ["pooled", "per_record"], ["mean", "median"], [None, "carlini2021"]))


def one_record(value, signals_in, signals_out):
    """The arguments for one record with these reference signals."""
    references = np.array([*signals_in, *signals_out])[:, None]
    member = (np.arange(len(references)) < len(signals_in))[:, None]
    return np.array([value]), references, member


def example(records=40, models=8, unequal=False, dtype=np.float64, seed=0):
    """Signals of a target and of references, and who trained on what."""
    rng = np.random.default_rng(seed)
    inside = [models // 2 if not unequal else rng.integers(2, models - 1) for _ in range(records)]
    member = np.array([rng.permutation(models) < k for k in inside]).T
    references = (rng.normal(size=(models, records)) + member + 3 * rng.normal(size=records)).astype(dtype)
    return rng.normal(size=records).astype(dtype), references, member


def naive(target, references, member, *, online, variance, center, compat):
    """The same scores, record by record."""

    def side(chosen):
        lists = [references[chosen[:, j], j].astype(float) for j in range(len(target))]
        centres = [np.mean(values) if center == "mean" else np.median(values) for values in lists]
        if variance == "per_record":
            sds = [np.std(values) for values in lists]
        elif compat:
            sds = [np.std(np.concatenate(lists))] * len(lists)
        else:
            squares = sum(((values - values.mean()) ** 2).sum() for values in lists)
            sds = [np.sqrt(squares / sum(len(values) - 1 for values in lists))] * len(lists)
        return centres, sds

    (mu_in, sd_in), (mu_out, sd_out) = side(member), side(~member)
    if compat and variance == "pooled" and online:
        sd_out = sd_in
    scores = []
    for j, value in enumerate(target):
        if online:
            scores.append(norm.logpdf(value, mu_in[j], sd_in[j]) - norm.logpdf(value, mu_out[j], sd_out[j]))
        elif compat:
            scores.append(-norm.logpdf(value, mu_out[j], sd_out[j]))
        else:
            scores.append(norm.logcdf(value, mu_out[j], sd_out[j]))
    return scores


# Group lira_scores of the project's vectors.json: signal, online, offline one-sided, offline as released, all with
# medians and a standard deviation (ddof 0) a record.
@pytest.mark.parametrize(
    ("value", "online", "offline", "released"),
    [
        (0.0, -22.4, -4.712728809, 3.417171022),
        (3.5, 0.0, -0.009020804148, 3.417171022),
        (9.0, 35.2, -5.421975135e-23, 48.67431388),
    ],
)
def test_vectors(value, online, offline, released):
    record = one_record(value, [4.0, 5.0, 6.0, 5.5], [1.0, 2.0, 3.0, 1.5])
    own = {"variance": "per_record", "center": "median"}
    assert lira_scores(*record, **own)[0] == pytest.approx(online, abs=1e-9)
    assert lira_scores(*record, **own, online=False)[0] == pytest.approx(offline)
    assert lira_scores(*record, **own, online=False, compat="carlini2021")[0] == pytest.approx(released)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize(("online", "variance", "center", "compat"), VARIANTS)
def test_equals_naive_oracle(online, variance, center, compat, unequal, dtype):
    arrays = example(unequal=unequal, dtype=dtype)
    variant = {"online": online, "variance": variance, "center": center, "compat": compat}
    scores = lira_scores(*arrays, **variant)
    assert scores.dtype == np.float64
    assert scores == pytest.approx(naive(*arrays, **variant), rel=1e-5)


def test_many_records_are_scored_as_few_are():
    # More records than are held as float64 at once; the pooled variance is the only thing that records share.
    few = example(records=50, models=64)
    many = tuple(np.concatenate([array] * 400, axis=-1) for array in few)
    for center in ("mean", "median"):
        expected = lira_scores(*few, center=center)
        assert lira_scores(*many, center=center) == pytest.approx(np.tile(expected, 400))


def test_higher_means_member():
    for online in (True, False):
        inside, outside = (lira_scores(*one_record(v, [5.0, 6.0], [0.0, 1.0]), online=online)[0] for v in (5.5, 0.5))
        assert inside > outside


@pytest.mark.parametrize("member", [[[True], [False]], [[True], [True], [True]]], ids=["2", "one side"])
@pytest.mark.parametrize("variance", ["pooled", "per_record"])
def test_too_few_references(member, variance):
    member = np.array(member)
    with pytest.raises(NotApplicable, match="reference models"):
        lira_scores(np.zeros(1), np.zeros(member.shape), member, variance=variance)


def test_signals_that_never_vary_stay_finite():
    record = one_record(1.0, [1.0, 1.0], [0.0, 0.0])
    for online, variance, center, compat in VARIANTS:
        scores = lira_scores(*record, online=online, variance=variance, center=center, compat=compat)
        assert np.isfinite(scores).all()


def test_wrong_arguments_are_named():
    target, references, member = example()
    with pytest.raises(UsageError, match=r"must be \(n,\), \(m, n\) and \(m, n\)"):
        lira_scores(target[:-1], references, member)
    with pytest.raises(UsageError, match="must be bool"):
        lira_scores(target, references, member.astype(int))
    with pytest.raises(UsageError, match="variance='global'"):
        lira_scores(target, references, member, variance="global")
    with pytest.raises(UsageError, match="compat='other'"):
        LiRA(compat="other")


@pytest.mark.parametrize("attack", [LiRA(), LiRA(online=False, variance="per_record", center="median")])
def test_component_scores_the_released_answers(attack, small_setting):
    pool = small.pool(small_setting)
    table = run_membership(NamedAttack("attack", attack, catalog.identity(attack, "lira")), pool, small_setting)
    signals, split = pool.measured(confidence_logit), small_setting.split
    for target in (0, 3):
        others = split.references(target)
        settings = {"online": attack.online, "variance": attack.variance, "center": attack.center}
        expected = lira_scores(signals[target], signals[others], split.member[others], **settings)
        assert table.scores[target] == pytest.approx(expected, rel=1e-3, abs=1e-3)

"""RMIA against reference vectors (group rmia_offline of the project's vectors.json), oracles and a real pool."""

import numpy as np
import pytest
from privassay.attacks.membership.rmia import RMIA, rmia_calibrated, rmia_scores, tuned_a
from privassay.attacks.membership.signals import LogConfidence
from privassay.harness import catalog
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.evaluation import NamedAttack, run_membership
from privassay.tests.support import small
from sklearn.metrics import roc_auc_score

P_X, P_X_OUT = np.array([0.9, 0.5, 0.99]), np.array([[0.4, 0.6], [0.45, 0.55], [0.2, 0.1]]).T
P_Z, P_Z_OUT = np.array([0.8, 0.3, 0.6, 0.95]), np.array([[0.7, 0.9], [0.4, 0.2], [0.6, 0.6], [0.5, 0.7]]).T


def example(records=40, population=25, models=8, dtype=np.float64):
    """Probabilities of the target and the references on records and population, and the memberships of both."""
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(models) < rng.integers(1, models) for _ in range(records)]).T
    z_member = np.array([rng.permutation(models) < rng.integers(0, models) for _ in range(population)]).T
    p, z = (rng.uniform(size=(models + 1, n)).astype(dtype) for n in (records, population))
    return (p[0], p[1:], member), (z[0], z[1:]), z_member


def halves(records=300, models=6, overfit=0.0, seed=0):
    """Probabilities of references that answer `overfit` p + 1 - `overfit` on their members, in complementary pairs."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(size=(models // 2, records)) < 0.5
    member = np.stack([first, ~first], axis=1).reshape(models, records)
    easy = rng.uniform(0.05, 0.95, size=records)
    noisy = np.clip(easy + 0.1 * rng.normal(size=(models, records)), 0.01, 0.99)
    return np.where(member, overfit * noisy + 1 - overfit, noisy), member


def naive_marginal(probabilities, chosen, online, a):
    out = [probabilities[~chosen[:, j], j].astype(float).mean() for j in range(chosen.shape[1])]
    return probabilities.mean(axis=0) if online else (1 + a) / 2 * np.array(out) + (1 - a) / 2


@pytest.mark.parametrize(
    ("a", "gamma", "ratio", "score"),
    [
        (0.3, 1.0, [1.333333333, 0.7407407407, 2.212290503], [1.0, 0.25, 1.0]),
        (0.0, 1.0, [1.2, 0.6666666667, 1.72173913], [1.0, 0.25, 1.0]),
        (0.33, 1.2, [1.348314607, 0.7490636704, 2.277170788], [0.75, 0.25, 1.0]),
    ],
)
def test_vectors(a, gamma, ratio, score):
    out = np.zeros((2, 3), bool)
    assert np.exp(rmia_scores(P_X, P_X_OUT, out, online=False, a=a)) == pytest.approx(ratio)
    found = rmia_calibrated(P_X, P_X_OUT, out, P_Z, P_Z_OUT, gamma=gamma, online=False, a=a)
    assert found.tolist() == score


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_z_member", [False, True])
@pytest.mark.parametrize("online", [True, False])
def test_equals_naive_oracle(online, with_z_member, dtype):
    records, (z, z_references), z_member = example(dtype=dtype)
    if not with_z_member:
        z_member = np.zeros_like(z_member)
    ratio = records[0] / naive_marginal(records[1], records[2], online, 0.4)
    of_z = z / naive_marginal(z_references, z_member, online, 0.4)
    share = [np.mean([x / other > 1.5 for other in of_z]) for x in ratio]
    assert rmia_scores(*records, online=online, a=0.4) == pytest.approx(np.log(ratio), rel=1e-4, abs=1e-5)
    settings = {"gamma": 1.5, "online": online, "a": 0.4, "z_member": z_member if with_z_member else None}
    assert rmia_calibrated(*records, z, z_references, **settings).tolist() == pytest.approx(share)


def test_a_population_record_equal_to_the_record_is_not_dominated():
    (p, references, member), *_ = example(records=1)
    assert rmia_calibrated(p, references, member, p, references, gamma=1.0).tolist() == [0.0]
    assert rmia_calibrated(p, references, member, p, references, gamma=0.999).tolist() == [1.0]


def test_published_score_is_the_share_of_non_members_below():
    # The published score of gamma 1 applied to the population itself is uniform: its own false positive rate.
    _, (z, z_references), _ = example(population=400)
    member = np.arange(8)[:, None] % 2 == np.zeros((1, 400), int)
    scores = rmia_calibrated(z, z_references, member, z, z_references, gamma=1.0)
    assert np.sort(scores) == pytest.approx(np.arange(400) / 400)


def test_answers_of_zero_stay_finite():
    zero, member = np.zeros((3, 2)), np.array([[True, False], [False, True]])
    assert rmia_scores(zero[0], zero[1:], member).tolist() == [0.0, 0.0]
    assert np.isfinite(rmia_scores(zero[0], zero[1:], member, online=False)).all()


def naive_tuned_a(probabilities, member):
    """The best a by definition: every reference a target of the others without its complement."""
    areas = []
    for a in np.arange(11) / 10:
        of_a = []
        for k in range(len(member)):
            others = [j for j in range(len(member)) if j not in (k, k ^ 1)]
            scores = rmia_scores(probabilities[k], probabilities[others], member[others], online=False, a=a)
            of_a.append(roc_auc_score(member[k], scores))
        areas.append(np.mean(of_a))
    return int(np.argmax(areas)) / 10


@pytest.mark.parametrize("overfit", [0.0, 0.3, 0.6, 0.8])
def test_tuned_a_equals_naive_oracle(overfit):
    probabilities, member = halves(overfit=overfit)
    assert tuned_a(probabilities, member) == naive_tuned_a(probabilities, member)


def test_tuned_a_follows_the_models():
    assert tuned_a(*halves(overfit=0.0)) < tuned_a(*halves(overfit=0.8))


def test_tuned_a_attacks_at_most_so_many():
    probabilities, member = halves(models=40)
    assert 0 <= tuned_a(probabilities, member, pseudo_targets=3) <= 1
    with pytest.raises(UsageError, match="pseudo_targets=0"):
        tuned_a(probabilities, member, pseudo_targets=0)


@pytest.mark.parametrize("models", [0, 2])
def test_tuned_a_needs_two_pairs(models):
    probabilities, member = halves(models=2)
    with pytest.raises(NotApplicable, match="at least 4 reference models"):
        tuned_a(probabilities[:models], member[:models])


@pytest.mark.parametrize(("online", "side"), [(True, "IN"), (True, "OUT"), (False, "OUT")])
def test_a_record_without_a_side_is_refused(online, side):
    (p, references, member), *_ = example()
    member[:, 3] = side == "OUT"
    with pytest.raises(NotApplicable, match=f"{side} for each record: 1 of 40 records"):
        rmia_scores(p, references, member, online=online)


def test_wrong_arguments_are_named():
    records, (z, z_references), _ = example()
    with pytest.raises(UsageError, match=r"a=1.5: must be between 0 and 1"):
        rmia_scores(*records, a=1.5)
    with pytest.raises(UsageError, match="gamma=0"):
        rmia_calibrated(*records, z, z_references, gamma=0.0)
    with pytest.raises(UsageError, match="population signals"):
        rmia_calibrated(*records, z, z_references[1:])
    with pytest.raises(UsageError, match="k at least 1"):
        rmia_calibrated(*records, z[:0], z_references[:, :0])
    with pytest.raises(UsageError, match="must be"):
        rmia_scores(records[0], records[1].T, records[2])
    for wrong in ({"a": -0.1}, {"temperature": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            RMIA(**wrong)


@pytest.mark.parametrize(
    ("attack", "needed"), [(RMIA(), 2), (RMIA(a=0.3), 2), (RMIA(online=False, a=0.3), 2), (RMIA(online=False), 4)]
)
def test_tuning_needs_two_more_references(attack, needed):
    assert attack.threat_model.reference_models == needed


@pytest.mark.parametrize("attack", [RMIA(), RMIA(online=False), RMIA(online=False, temperature=1.0, a=0.2)])
def test_component_scores_the_released_answers(attack, small_setting):
    pool, split = small.pool(small_setting), small_setting.split
    table = run_membership(NamedAttack("attack", attack, catalog.identity(attack, "rmia")), pool, small_setting)
    p = np.exp(pool.measured(LogConfidence(attack.temperature)), dtype=np.float64)
    others = split.references(3)
    a = tuned_a(p[others], split.member[others]) if attack.a is None else attack.a
    expected = rmia_scores(p[3], p[others], split.member[others], online=attack.online, a=a)
    assert table.scores[3] == pytest.approx(expected, rel=1e-4, abs=1e-5)

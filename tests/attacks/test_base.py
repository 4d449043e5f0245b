"""BASE against reference vectors (group base_scores of the project's vectors.json), an oracle and a real pool."""

import numpy as np
import pytest
from privassay.attacks.membership.base import BASE, base_scores
from privassay.attacks.membership.rmia import rmia_scores
from privassay.attacks.membership.signals import LogConfidence
from privassay.harness import catalog
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.evaluation import NamedAttack, run_membership
from privassay.tests.support import small
from scipy.special import logsumexp


def example(records=40, models=8, dtype=np.float64):
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(models) < rng.integers(1, models) for _ in range(records)]).T
    logs = -rng.exponential(5, size=(models + 1, records)).astype(dtype)
    return logs[0], logs[1:], member


@pytest.mark.parametrize(
    ("target", "references", "online", "offline"),
    [
        (-0.1, [-1.0, -2.0], 1.279885493, 0.3553622127),
        (-3.0, [-3.0, -1.0], -1.43378083, -2.483147674),
        (-2.0, [-0.1, -0.1], -1.9, -1.967),
    ],
)
def test_vectors(target, references, online, offline):
    target, references = np.array([target]), np.array(references)[:, None]
    assert base_scores(target, references, np.array([[True], [False]]))[0] == pytest.approx(online)
    assert base_scores(target, references, np.zeros((2, 1), bool), online=False)[0] == pytest.approx(offline)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_naive_oracle(dtype):
    target, references, member = example(dtype=dtype)
    logs = references.astype(float)
    online = [target[j] - (logsumexp(logs[:, j]) - np.log(8)) for j in range(40)]
    out = [logs[~member[:, j], j] for j in range(40)]
    offline = [target[j] - 0.5 * (logsumexp(out[j]) - np.log(len(out[j]))) for j in range(40)]
    assert base_scores(target, references, member) == pytest.approx(online, rel=1e-5)
    assert base_scores(target, references, member, online=False, scale=0.5) == pytest.approx(offline, rel=1e-5)


def test_online_is_the_log_ratio_of_rmia():
    target, references, member = example()
    assert base_scores(target, references, member) == pytest.approx(
        rmia_scores(np.exp(target), np.exp(references), member)
    )


def test_hopeless_records_stay_finite():
    logs = np.full((3, 1), -1e4)
    scores = base_scores(logs[0], logs[1:], np.array([[True], [False]]))
    assert scores == pytest.approx([0.0])


@pytest.mark.parametrize(("online", "side"), [(True, "IN"), (True, "OUT"), (False, "OUT")])
def test_a_record_without_a_side_is_refused(online, side):
    target, references, member = example()
    member[:, 3] = side == "OUT"
    with pytest.raises(NotApplicable, match=f"{side} for each record: 1 of 40 records"):
        base_scores(target, references, member, online=online)


def test_wrong_arguments_are_named():
    target, references, member = example()
    with pytest.raises(UsageError, match="must be"):
        base_scores(target, references[:, :-1], member)
    with pytest.raises(UsageError, match="scale=0"):
        base_scores(target, references, member, scale=0.0)
    with pytest.raises(UsageError, match="temperature=-1"):
        BASE(temperature=-1.0)


@pytest.mark.parametrize("attack", [BASE(), BASE(online=False, temperature=1.0)])
def test_component_scores_the_released_answers(attack, small_setting):
    pool, split = small.pool(small_setting), small_setting.split
    table = run_membership(NamedAttack("attack", attack, catalog.identity(attack, "base")), pool, small_setting)
    logs, others = pool.measured(LogConfidence(attack.temperature)), split.references(3)
    expected = base_scores(logs[3], logs[others], split.member[others], online=attack.online)
    assert table.scores[3] == pytest.approx(expected, rel=1e-4, abs=1e-5)

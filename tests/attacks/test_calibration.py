"""Difficulty calibration against its definition and a real pool."""

import numpy as np
import pytest
from privassay.attacks.membership.calibration import DifficultyCalibration, difficulty_scores
from privassay.attacks.membership.signals import confidence_logit
from privassay.harness import catalog
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.evaluation import NamedAttack, run_membership
from privassay.tests.support import small


def example(records=40, models=8, dtype=np.float64):
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(models) < rng.integers(0, models) for _ in range(records)]).T
    signals = rng.normal(size=(models + 1, records)).astype(dtype)
    return signals[0], signals[1:], member


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_naive_oracle(dtype):
    target, references, member = example(dtype=dtype)
    expected = [float(target[j]) - references[~member[:, j], j].astype(float).mean() for j in range(40)]
    scores = difficulty_scores(target, references, member)
    assert scores.dtype == np.float64
    assert scores == pytest.approx(expected)


def test_signals_of_members_do_not_count():
    target, references, member = example()
    changed = np.where(member, 99.0, references)
    assert difficulty_scores(target, changed, member).tolist() == difficulty_scores(target, references, member).tolist()


def test_a_record_in_every_reference_is_refused():
    target, references, member = example()
    member[:, :2] = True
    with pytest.raises(NotApplicable, match="OUT for each record: 2 of 40 records"):
        difficulty_scores(target, references, member)


def test_wrong_shapes_are_named():
    target, references, member = example()
    with pytest.raises(UsageError, match=r"\(40,\), reference signals \(40, 8\)"):
        difficulty_scores(target, references.T, member)


def test_component_scores_the_released_answers(small_setting):
    pool, split, attack = small.pool(small_setting), small_setting.split, DifficultyCalibration()
    named = NamedAttack("attack", attack, catalog.identity(attack, "difficulty_calibration"))
    signals, others = pool.measured(confidence_logit), split.references(3)
    expected = difficulty_scores(signals[3], signals[others], split.member[others])
    assert run_membership(named, pool, small_setting).scores[3] == pytest.approx(expected, rel=1e-4, abs=1e-4)

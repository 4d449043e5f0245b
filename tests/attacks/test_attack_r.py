"""Attack R against its definition and a real pool."""

import numpy as np
import pytest
from privassay.attacks.membership.attack_r import AttackR, attack_r_scores
from privassay.attacks.membership.signals import log_loss
from privassay.harness import catalog
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.evaluation import NamedAttack, run_membership
from privassay.tests.support import small


def example(records=40, models=8, dtype=np.float64):
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(models) < rng.integers(0, models) for _ in range(records)]).T
    losses = rng.exponential(size=(models + 1, records)).round(1).astype(dtype)  # rounded: with ties
    return losses[0], losses[1:], member


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_naive_oracle(dtype):
    target, references, member = example(dtype=dtype)
    expected = [np.mean(references[~member[:, j], j] > target[j]) for j in range(40)]
    scores = attack_r_scores(target, references, member)
    assert scores.dtype == np.float64
    assert scores == pytest.approx(expected)
    assert 0 < scores.mean() < 1


def test_equal_losses_do_not_exceed():
    losses, member = np.zeros((4, 1)), np.zeros((4, 1), bool)
    assert attack_r_scores(losses[0], losses, member)[0] == 0
    assert attack_r_scores(losses[0] - 1, losses, member)[0] == 1


def test_a_record_in_every_reference_is_refused():
    target, references, member = example()
    member[:, :2] = True
    with pytest.raises(NotApplicable, match="OUT for each record: 2 of 40 records"):
        attack_r_scores(target, references, member)


def test_wrong_shapes_are_named():
    target, references, member = example()
    with pytest.raises(UsageError, match="must be"):
        attack_r_scores(target[:-1], references, member)


def test_component_scores_the_released_answers(small_setting):
    pool, split, attack = small.pool(small_setting), small_setting.split, AttackR()
    named = NamedAttack("attack", attack, catalog.identity(attack, "attack_r"))
    losses, others = pool.measured(log_loss), split.references(3)
    expected = attack_r_scores(losses[3], losses[others], split.member[others])
    assert run_membership(named, pool, small_setting).scores[3].tolist() == expected.tolist()

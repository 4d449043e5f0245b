"""Ranks among the population's losses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from privassay.attacks.membership.attack_p import AttackP, drawn, share_above
from privassay.attacks.membership.loss import Loss
from privassay.defenses.none import NoDefense
from privassay.harness.errors import NotApplicable
from privassay.harness.protocols import MembershipContext
from privassay.harness.types import Candidates
from privassay.harness.view import Behind, TargetView

FEW = st.lists(st.integers(-3, 3), min_size=1, max_size=20)


@given(FEW, FEW)
def test_share_above_counts_pairs(values, population):
    naive = [np.mean([(p > v) + 0.5 * (p == v) for p in population]) for v in values]
    assert share_above(np.array(values), np.array(population)) == pytest.approx(naive)


class Slope:
    """Two classes; the first is the surer, the larger the feature."""

    def logits(self, x):
        return np.hstack([x, np.zeros_like(x)]).astype(np.float32)


def score(attack, candidates, auxiliary):
    budget = attack.threat_model.query_budget * len(candidates)
    view = TargetView(Behind(Slope(), NoDefense(), 1, None), attack.threat_model, ((1,), (-9.0, 9.0), 2), budget)
    return attack.score(view, candidates, MembershipContext(auxiliary, None, None, seed=1)), view.queries


def records(n, seed):
    x = np.random.default_rng(seed).normal(size=(n, 1)).astype(np.float32)
    return Candidates(np.arange(n), x, np.zeros(n, np.int64))


def test_ranks_as_the_loss_attack_does():
    candidates, auxiliary = records(3000, 0), records(2500, 1)
    ranks, queries = score(AttackP(), candidates, auxiliary)
    losses, _ = score(Loss(), candidates, auxiliary)
    assert queries == 5500
    assert (np.diff(ranks.values[np.argsort(losses.values)]) >= 0).all()
    # under the null the share is uniform: 1 - alpha is a threshold for a false positive rate of about alpha
    assert (ranks.values > 0.9).mean() == pytest.approx(0.1, abs=0.03)


def test_asks_no_more_auxiliary_records_than_there_are_candidates():
    candidates = records(20, 0)
    ranks, queries = score(AttackP(), candidates, records(500, 1))
    assert queries == 40
    assert len(np.unique(ranks.values)) <= 21
    again, _ = score(AttackP(), candidates, records(500, 1))
    assert ranks.values.tobytes() == again.values.tobytes()


def test_drawn_rows_belong_together():
    every = records(100, 0)
    few = drawn(every, 10, seed=3)
    assert len(set(few.ids)) == 10
    assert np.array_equal(few.x, every.x[few.ids])
    assert few.ids.tolist() != drawn(every, 10, seed=4).ids.tolist()
    assert drawn(every, 100, seed=3) is every


def test_needs_auxiliary_records():
    with pytest.raises(NotApplicable):
        score(AttackP(), records(5, 0), records(0, 1))

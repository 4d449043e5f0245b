"""Quantile regression on signals whose mean and spread are known."""

import numpy as np
import pytest
from privassay.attacks.membership.loss import Loss
from privassay.attacks.membership.quantile_regression import QuantileRegression, gaussian_head
from privassay.defenses.none import NoDefense
from privassay.harness.errors import NotApplicable
from privassay.harness.protocols import MembershipContext
from privassay.harness.types import Candidates
from privassay.harness.view import Behind, TargetView
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits


def drawn(rows, seed):
    """Features (rows, 3); signals whose mean follows the first and whose spread follows the second."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (rows, 3))
    spread = np.where(x[:, 1] > 0, 2.0, 0.5)
    return x, 4 * x[:, 0] + spread * rng.normal(size=rows), spread


def test_finds_mean_and_spread():
    x, signals, _ = drawn(2000, 0)
    asked, _, spread = drawn(500, 1)
    mean, found = gaussian_head(x, signals, asked, seed=0)
    assert np.sqrt(np.mean((mean - 4 * asked[:, 0]) ** 2)) < 0.5
    assert found[spread == 2].mean() == pytest.approx(2.0, rel=0.15)
    assert found[spread == 0.5].mean() < 1  # the mean's own error adds to it


def test_spread_is_not_taken_from_records_the_mean_was_fitted_on():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(200, 30)), rng.normal(size=200)
    _, spread = gaussian_head(x, noise, rng.normal(size=(200, 30)), seed=0)
    assert spread.mean() > 0.7  # the true one is 1; from residuals on the mean's own records it comes out at 0.45


def test_number_of_threads_changes_no_byte():
    x, signals, _ = drawn(300, 0)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(np.stack(gaussian_head(x, signals, x, seed=3)).tobytes())
    assert found[0] == found[1]


class Remembering:
    """Answers record i, told apart by its last feature, with a logit that is known."""

    def __init__(self, signals):
        self._signals = signals

    def logits(self, x):
        rows = x[:, -1].astype(int)
        return np.stack([np.zeros(len(x)), self._signals[rows]], axis=1).astype(np.float32)


def world(candidates, auxiliary, features=3, seed=0):
    """Records of label 1 whose signal depends on their first feature, and on membership less than on that."""
    rng = np.random.default_rng(seed)
    n = candidates + auxiliary
    x = np.zeros((n, features + 1), np.float32)
    x[:, :features] = rng.uniform(-1, 1, (n, features))
    x[:, 0] *= 5  # the largest, so that it is among the principal components
    member = (rng.random(n) < 0.5) & (np.arange(n) < candidates)
    spread = np.where(x[:, 0] > 0, 1.0, 0.25)
    model = Remembering(x[:, 0] + 1.5 * member + spread * rng.normal(size=n))
    x[:, -1] = np.arange(n)
    records = Candidates(np.arange(n), x, np.ones(n, np.int64))
    first = Candidates(records.ids[:candidates], x[:candidates], records.y[:candidates])
    rest = Candidates(records.ids[candidates:], x[candidates:], records.y[candidates:])
    return model, first, rest, member[:candidates]


def score(attack, model, candidates, auxiliary):
    records = (candidates.x.shape[1:], (-1.0, 1e4), 2)
    budget = attack.threat_model.query_budget * len(candidates)
    view = TargetView(Behind(model, NoDefense(), 1, np.random.default_rng(0)), attack.threat_model, records, budget)
    return attack.score(view, candidates, MembershipContext(auxiliary, None, None, seed=0)).values


@pytest.mark.parametrize("features", [3, 60], ids=["plain", "principal components"])
def test_sees_what_the_loss_cannot(features):
    model, candidates, auxiliary, member = world(600, 600, features)
    loss = roc_auc_score(member, score(Loss(), model, candidates, auxiliary))
    found = score(QuantileRegression(), model, candidates, auxiliary)
    assert loss < 0.7
    assert roc_auc_score(member, found) > loss + 0.15
    steady = ~member & (candidates.x[:, 0] < 0)
    assert found[steady].std() > 0.6 * found[~member & ~steady].std()  # a quarter, were the spread not divided out


def test_needs_auxiliary_records():
    model, candidates, auxiliary, _ = world(100, 49)
    with pytest.raises(NotApplicable, match="49 may be asked, it needs 50"):
        score(QuantileRegression(), model, candidates, auxiliary)

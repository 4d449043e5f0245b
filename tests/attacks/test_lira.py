"""LiRA against a naive oracle and the golden signals of 18 real models."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from privassay.attacks.membership.lira import lira_scores
from privassay.harness.errors import NotApplicable
from privassay.harness.stats import CrossedStatistic, Resampling
from privassay.harness.types import ScoreTable
from scipy.stats import norm


def naive(target, references, member):
    def side(chosen):
        means, residuals, degrees = [], [], 0
        for j in range(len(target)):
            values = references[chosen[:, j], j]
            means.append(values.mean())
            residuals.extend(values - values.mean())
            degrees += len(values) - 1
        return np.array(means), np.sqrt(np.square(residuals).sum() / degrees)

    (mean_in, sd_in), (mean_out, sd_out) = side(member), side(~member)
    return norm.logpdf(target, mean_in, sd_in) - norm.logpdf(target, mean_out, sd_out)


def test_equals_naive_oracle():
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(8) < 4 for _ in range(30)]).T
    references = rng.normal(size=(8, 30)) + member
    target = rng.normal(size=30)
    assert lira_scores(target, references, member) == pytest.approx(naive(target, references, member))


def test_higher_means_member():
    member = np.array([[True], [True], [False], [False]])
    references = np.array([[5.0], [6.0], [0.0], [1.0]])
    inside, outside = (lira_scores(np.array([v]), references, member)[0] for v in (5.5, 0.5))
    assert inside > 0 > outside


@pytest.mark.parametrize("member", [[[True], [False]], [[True], [True], [True], [False]][:3]], ids=["2", "one side"])
def test_too_few_references(member):
    member = np.array(member)
    with pytest.raises(NotApplicable, match="at least 4 reference models"):
        lira_scores(np.zeros(1), np.zeros(member.shape), member)


def test_golden_signals_of_location_30():
    cache = Path(os.environ.get("PRIVASSAY_CACHE", "no-cache")) / "golden_location30"
    if not cache.is_dir():
        pytest.skip("golden_location30 is not in the data cache (PRIVASSAY_CACHE)")
    with np.load(cache / "scores.npz") as signals:
        pool, phi, keep = int(signals["pool"]), signals["phi"].astype(np.float64), signals["keep"]
    expected = json.loads((cache / "expected.json").read_text())["expected"]["lira_online_pooled_within"]
    scores = lira_scores(phi[0, :pool], phi[2:, :pool], keep[2:])
    table = ScoreTable(np.array([0]), scores[None], keep[:1], np.ones((1, pool), bool))
    points, _ = CrossedStatistic(table, Resampling(resamples=1)).draws([0.01, 0.001])
    found = [points["auc"], points["tpr_at_fpr_0.01"], points["tpr_at_fpr_0.001"]]
    assert found == pytest.approx(expected, abs=1e-5)

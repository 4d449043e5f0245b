"""Attacks that read one answer: scores against reference values, and what they do not look at."""

import numpy as np
import pytest
from privassay.attacks.membership.confidence import Confidence, top_confidence
from privassay.attacks.membership.entropy import Entropy
from privassay.attacks.membership.margin import Margin
from privassay.defenses.none import NoDefense
from privassay.harness.protocols import MembershipContext
from privassay.harness.types import Candidates
from privassay.harness.view import Behind, TargetView

ATTACKS = [Confidence(), Margin(), Entropy()]


class Table:
    """Answers record i with row i of a table of logits."""

    def __init__(self, logits):
        self._logits = np.asarray(logits, np.float32)

    def logits(self, x):
        return self._logits[x[:, 0].astype(int)]


def scored(attack, logits, labels):
    n, classes = np.shape(logits)
    candidates = Candidates(np.arange(n), np.arange(n, dtype=np.float32)[:, None], np.array(labels))
    records = ((1,), (0.0, float(n)), classes)
    view = TargetView(Behind(Table(logits), NoDefense(), 1, np.random.default_rng(0)), attack.threat_model, records, n)
    scores = attack.score(view, candidates, MembershipContext(candidates, None, None, seed=0))
    assert scores.ids.tolist() == list(range(n))
    assert view.queries == n
    return scores.values


# Entropies: reference vectors of this project (scipy.stats.entropy gives the same).
@pytest.mark.parametrize(
    ("probabilities", "label", "p_max", "margin", "entropy"),
    [
        ([0.7, 0.2, 0.1], 0, 0.7, np.log(0.7 / 0.2), 0.8018185525),
        ([0.34, 0.33, 0.33], 2, 0.34, np.log(0.33 / 0.34), 1.098512617),
    ],
)
def test_reference_values(probabilities, label, p_max, margin, entropy):
    logits = np.log([probabilities])
    assert scored(Confidence(), logits, [label])[0] == pytest.approx(np.log(p_max / (1 - p_max)), abs=1e-6)
    assert scored(Margin(), logits, [label])[0] == pytest.approx(margin, abs=1e-6)
    assert scored(Entropy(), logits, [label])[0] == pytest.approx(-entropy, abs=1e-6)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
def test_surer_and_right_means_member(attack):
    values = scored(attack, [[1.0, 0, 0], [4.0, 0, 0], [9.0, 0, 0]], [0, 0, 0])
    assert (np.diff(values) > 0).all()


def test_only_margin_minds_the_label():
    logits = [[5.0, 1.0, 0.0]] * 2
    assert np.ptp(scored(Confidence(), logits, [0, 1])) == 0
    assert np.ptp(scored(Entropy(), logits, [0, 1])) == 0
    assert scored(Margin(), logits, [0, 1]) == pytest.approx([4.0, -4.0], abs=1e-5)


def test_sure_answers_are_told_apart():
    # float64 says p_max = 1.0 for both: a score of p_max itself would tie them
    values = scored(Confidence(), [[60.0, 0, 0], [120.0, 0, 0]], [0, 0])
    assert values == pytest.approx([60 - np.log(2), 120 - np.log(2)])


def test_ranks_like_the_largest_probability():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 200)
    assert (top_confidence(probabilities).argsort() == probabilities.max(axis=1).argsort()).all()

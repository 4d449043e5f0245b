"""Thresholds by class against a slow oracle; what the attack learns from its references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.attacks.membership.modified_entropy import ModifiedEntropy, class_thresholds
from privassay.attacks.membership.signals import modified_entropy
from privassay.defenses.none import NoDefense
from privassay.harness.errors import NotApplicable
from privassay.harness.protocols import MembershipContext
from privassay.harness.types import Candidates
from privassay.harness.view import Behind, TargetView, softmax


def balanced_accuracy(values, member, threshold):
    """In whole numbers, so that equally good thresholds are equal."""
    flagged = values <= threshold
    return int(flagged[member].sum() * (~member).sum() + (~flagged)[~member].sum() * member.sum())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_threshold_separates_a_class_better(data):
    m, n = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    values = rng.integers(0, 6, (m, n)).astype(np.float32)  # few values: ties are the hard part
    member, labels = rng.random((m, n)) < 0.5, rng.integers(0, 3, n)
    if member.all() or not member.any():
        with pytest.raises(NotApplicable):
            class_thresholds(values, member, labels)
        return
    thresholds = class_thresholds(values, member, labels)
    assert len(thresholds) == labels.max() + 1
    for label in np.unique(labels):
        v, k = values[:, labels == label].ravel(), member[:, labels == label].ravel()
        if k.all() or not k.any():
            v, k = values.ravel(), member.ravel()
        every = {t: balanced_accuracy(v, k, t) for t in np.unique(v)}
        best = max(every.values())
        assert thresholds[label] == min(t for t, accuracy in every.items() if accuracy == best and t in v[k])


def test_class_without_nonmembers_takes_the_threshold_over_all():
    values = np.array([[1.0, 5.0, 2.0, 3.0]])
    thresholds = class_thresholds(values, np.array([[True, False, True, True]]), np.array([0, 0, 1, 1]))
    assert thresholds.tolist() == [1.0, 3.0]


class Table:
    """Answers record i with row i of a table of logits."""

    def __init__(self, logits):
        self._logits = logits.astype(np.float32)

    def logits(self, x):
        return self._logits[x[:, 0].astype(int)]


class Known:
    """References by their logits (m, n, classes)."""

    def __init__(self, logits, member):
        self._logits, self.member = logits, member

    def __len__(self):
        return len(self.member)

    def measured(self, measure):
        return np.stack([measure(softmax(each), LABELS) for each in self._logits]).astype(np.float32)


LABELS = np.repeat([0, 1], 200)


def remembering(member, rng):
    """Logits of a model that is surer of its members, and of class 1 altogether surer than of class 0."""
    right = np.where(LABELS == 1, 6.0, 0.0) + 3.0 * member + rng.normal(0, 0.5, len(LABELS))
    logits = np.zeros((len(LABELS), 2))
    logits[np.arange(len(LABELS)), LABELS] = right
    return logits


def score(references, logits):
    n = len(LABELS)
    attack = ModifiedEntropy()
    candidates = Candidates(np.arange(n), np.arange(n, dtype=np.float32)[:, None], LABELS)
    records = ((1,), (0.0, float(n)), 2)
    view = TargetView(Behind(Table(logits), NoDefense(), 1, np.random.default_rng(0)), attack.threat_model, records, n)
    return attack.score(view, candidates, MembershipContext(candidates, references, None, seed=0)).values


def test_classes_get_their_own_thresholds():
    rng = np.random.default_rng(0)
    trained, target = rng.random((2, len(LABELS))) < 0.5, rng.random(len(LABELS)) < 0.5
    references = Known(np.stack([remembering(member, rng) for member in trained]), trained)
    logits = remembering(target, rng)
    right = (score(references, logits) >= 0) == target
    assert right.mean() > 0.95
    values = modified_entropy(softmax(logits), LABELS)
    assert max(((values <= t) == target).mean() for t in values) < 0.85  # no single threshold does that


def test_needs_references():
    with pytest.raises(NotApplicable, match="reference model"):
        score(None, remembering(LABELS == 0, np.random.default_rng(0)))

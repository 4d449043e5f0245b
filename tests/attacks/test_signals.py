"""Signals against identities and reference vectors (groups mia_scores and logit_scores of vectors.json)."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from privassay.attacks.membership import signals
from privassay.attacks.membership.signals import (
    LogConfidence,
    confidence_logit,
    entropy,
    hinge,
    lira_logit,
    log_confidence,
    log_loss,
    modified_entropy,
)
from privassay.harness.errors import UsageError
from privassay.harness.view import softmax

# probabilities, label, cross-entropy, entropy, modified entropy, LiRA logit
PROBABILITY_VECTORS = [
    ([0.7, 0.2, 0.1], 0, 0.3566749439, 0.8018185525, 0.162167245, 0.8472978604),
    ([0.34, 0.33, 0.33], 2, 1.108662625, 1.098512617, 1.016236806, -0.7081850579),
    ([0.5, 0.5, 0.0], 0, 0.6931471806, 0.6931471806, 0.6931471806, 0.0),
]
# logits, label, LiRA logit, hinge, softmax at temperature 2; the last row is the margin at which float32 sums underflow
LOGIT_VECTORS = [
    ([5.0, 1.0, -2.0], 0, 3.951412648, 4.0, 0.8579768106),
    ([60.0, 0.0, 0.0], 0, 59.30685282, 60.0, 1.0),
    ([0.0, 0.0, 0.0], 1, -0.6931471806, 0.0, 0.3333333333),
    ([120.0, 0.0, 0.0], 0, 119.3068528194, 120.0, 1.0),
]

LOGITS = arrays(np.float64, (4, 3), elements=st.floats(-300, 300))


@pytest.mark.parametrize(("p", "label", "xent", "plain", "modified", "logit"), PROBABILITY_VECTORS)
def test_probability_vectors(p, label, xent, plain, modified, logit):
    probabilities, labels = np.array([p]), np.array([label])
    assert log_loss(probabilities, labels)[0] == pytest.approx(xent)
    assert entropy(probabilities)[0] == pytest.approx(plain)
    assert modified_entropy(probabilities, labels)[0] == pytest.approx(modified)
    assert confidence_logit(probabilities, labels)[0] == pytest.approx(logit, abs=1e-9)
    assert LogConfidence()(probabilities, labels)[0] == pytest.approx(-xent)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("z", "label", "logit", "margin", "halved"), LOGIT_VECTORS)
def test_logit_vectors(z, label, logit, margin, halved, dtype):
    logits, labels = np.array([z], dtype), np.array([label])
    assert lira_logit(logits, labels)[0] == pytest.approx(logit)
    assert hinge(logits, labels)[0] == pytest.approx(margin)
    assert np.exp(log_confidence(logits, labels, temperature=2.0))[0] == pytest.approx(halved)
    for values in (lira_logit(logits, labels), hinge(logits, labels), log_confidence(logits, labels)):
        assert values.dtype == np.float64


@pytest.mark.parametrize("z", [[5.0, 1.0, -2.0], [60.0, 0.0, 0.0], [120.0, 0.0, 0.0]])
def test_answered_probabilities_carry_the_logits_signals(z):
    logits, labels = np.array([z], np.float32), np.array([0])
    probabilities = softmax(logits)
    assert confidence_logit(probabilities, labels) == pytest.approx(lira_logit(logits, labels))
    assert LogConfidence(2.0)(probabilities, labels) == pytest.approx(log_confidence(logits, labels, 2.0))


@given(logits=LOGITS, shift=st.floats(-100, 100))
@settings(max_examples=50, deadline=None)
def test_identities(logits, shift):
    labels = np.array([0, 1, 2, 0])
    below = hinge(logits, labels) - lira_logit(logits, labels)
    assert ((below >= -1e-9) & (below <= np.log(2) + 1e-9)).all()  # the two other logits: one to two times the largest
    assert log_confidence(logits, labels) == pytest.approx(-np.logaddexp(0, -lira_logit(logits, labels)), abs=1e-9)
    for signal in (lira_logit, hinge, log_confidence):
        assert signal(logits + shift, labels) == pytest.approx(signal(logits, labels), abs=1e-9)


def test_modified_entropy_tells_sure_right_from_sure_wrong():
    sure = np.array([[1.0, 0.0, 0.0]])
    right, wrong = (modified_entropy(sure, np.array([label]))[0] for label in (0, 1))
    assert entropy(sure)[0] == 0
    assert right == 0
    assert wrong == pytest.approx(-2 * np.log(1e-30))


def test_certain_answers_stay_finite():
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    labels = np.array([0, 0])
    for signal in (confidence_logit, log_loss, modified_entropy, LogConfidence(2.0)):
        assert np.isfinite(signal(certain, labels)).all()
    assert confidence_logit(certain, labels)[0] > 0 > confidence_logit(certain, labels)[1]


@pytest.mark.parametrize("name", ["log_loss", "log_confidence", "lira_logit", "hinge", "modified_entropy"])
def test_input_is_left_alone_and_checked(name):
    signal = getattr(signals, name)
    probabilities = np.array([[0.7, 0.2, 0.1]])
    signal(probabilities, np.array([0]))
    assert probabilities.tolist() == [[0.7, 0.2, 0.1]]
    with pytest.raises(UsageError, match=r"must be \(n, classes\) and \(n,\)"):
        signal(probabilities, np.array([0, 1]))


def test_equal_temperatures_are_one_measure():
    assert LogConfidence(2.0) == LogConfidence(2.0)
    assert len({LogConfidence(2.0), LogConfidence(2.0), LogConfidence(1.0)}) == 2
    with pytest.raises(UsageError, match="temperature=0"):
        LogConfidence(0)


def test_many_records_are_fast():
    logits = np.random.default_rng(0).normal(size=(50_000, 100)).astype(np.float32)
    labels = np.zeros(50_000, np.int64)
    start = time.process_time()
    lira_logit(logits, labels)
    assert time.process_time() - start < 1  # 0.05 s where it was written

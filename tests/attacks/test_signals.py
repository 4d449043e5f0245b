"""Signals against reference vectors."""

import numpy as np
import pytest
from privassay.attacks.membership.signals import confidence_logit, log_loss
from privassay.harness.view import softmax


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([5.0, 1.0, -2.0], 3.951412648), ([60.0, 0.0, 0.0], 59.3068528), ([120.0, 0.0, 0.0], 119.3068528)],
)
def test_lira_logit_from_logits_does_not_saturate(logits, expected):
    probabilities = softmax(np.array([logits], np.float32))
    assert confidence_logit(probabilities, np.array([0]))[0] == pytest.approx(expected, abs=1e-6)


def test_lira_logit_and_loss_from_probabilities():
    probabilities = np.array([[0.7, 0.2, 0.1]])
    assert confidence_logit(probabilities, np.array([0]))[0] == pytest.approx(0.8472978604)
    assert log_loss(probabilities, np.array([0]))[0] == pytest.approx(0.3566749439)


def test_certain_answers_stay_finite():
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    labels = np.array([0, 0])
    assert np.isfinite(confidence_logit(certain, labels)).all()
    assert np.isfinite(log_loss(certain, labels)).all()
    assert confidence_logit(certain, labels)[0] > 0 > confidence_logit(certain, labels)[1]


def test_input_is_left_alone():
    probabilities = np.array([[0.7, 0.2, 0.1]])
    confidence_logit(probabilities, np.array([0]))
    assert probabilities.tolist() == [[0.7, 0.2, 0.1]]

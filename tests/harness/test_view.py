"""The view gives what the threat model grants and nothing more."""

import numpy as np
import pytest
from privassay.defenses.gaussian_noise import GaussianNoise
from privassay.defenses.none import NoDefense
from privassay.defenses.output_perturbation import OutputPerturbation
from privassay.harness.types import ThreatModel
from privassay.harness.view import AccessDenied, Behind, TargetView, softmax


class Linear:
    def logits(self, x):
        return np.stack([x.sum(axis=1), -x.sum(axis=1)], axis=1).astype(np.float32)

    def class_gradient(self, x, labels):
        return np.ones_like(x)

    def save(self, folder):
        pass


def view(access, budget=100, defense=None, repeats=1):
    threat_model = ThreatModel(access, False, False, 0, 1)
    records = ((3,), (0.0, 1.0), 2)
    return TargetView(
        Behind(Linear(), defense or NoDefense(), repeats, np.random.default_rng(0)), threat_model, records, budget
    )


X = np.ones((4, 3), np.float32)
Y = np.zeros(4, np.int64)


@pytest.mark.parametrize(("access", "allowed"), [("labels", 1), ("probabilities", 2), ("gradients", 3)])
def test_access_levels(access, allowed):
    calls = [lambda v: v.predict_labels(X), lambda v: v.predict(X), lambda v: v.class_gradient(X, Y)]
    for number, call in enumerate(calls):
        if number < allowed:
            assert len(call(view(access))) == 4
        else:
            with pytest.raises(AccessDenied, match=f"grants {access}"):
                call(view(access))


def test_queries_are_counted_and_bounded():
    seen = view("gradients", budget=10)
    seen.predict(X)
    seen.class_gradient(X, Y)
    assert seen.queries == 8
    with pytest.raises(AccessDenied, match="budget 10"):
        seen.predict(X)
    assert seen.queries == 8


def test_defence_stands_between_model_and_answer_but_not_before_the_weights():
    seen = view("gradients", defense=OutputPerturbation(noise_scale=0.3, decimals=1))
    assert not np.allclose(seen.predict(X), softmax(Linear().logits(X)))
    assert np.array_equal(seen.class_gradient(X, Y), np.ones_like(X))


def test_softmax_keeps_confident_records_apart():
    probabilities = softmax(np.array([[60, 0, 0], [120, 0, 0], [600, 0, 0]], np.float32))
    others = probabilities[:, 1:].sum(axis=1)
    assert np.log(others) == pytest.approx([-60 + np.log(2), -120 + np.log(2), -600 + np.log(2)], rel=1e-9)


# Repeated questions


class Answers:
    """Answers of a defence in turn, whatever the model says."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def release(self, probabilities, rng):
        return np.asarray(self.answers.pop(0), dtype=np.float64)


def test_who_sees_labels_only_takes_the_label_that_most_answers_have():
    """Mean and majority disagree: one answer in three is very sure of label 0."""
    answers = [[[0.45, 0.55]], [[0.45, 0.55]], [[1.0, 0.0]]]
    assert view("labels", defense=Answers(*answers), repeats=3).predict_labels(X[:1]).tolist() == [1]
    seen = view("probabilities", defense=Answers(*answers, *answers), repeats=3)
    assert seen.predict(X[:1]) == pytest.approx(np.array([[1.9 / 3, 1.1 / 3]]))
    assert seen.predict_labels(X[:1]).tolist() == [0]


def test_noisy_labels_vote_as_a_count_by_hand():
    class Close(Linear):
        def logits(self, x):
            return np.log(np.tile([[0.55, 0.45]], (len(x), 1))).astype(np.float32)

    def seen(repeats):
        records = ((3,), (0.0, 1.0), 2)
        threat_model = ThreatModel("labels", False, False, 0, 1)
        return TargetView(
            Behind(Close(), GaussianNoise(1.0), repeats, np.random.default_rng(3)), threat_model, records, 10**6
        )

    x = np.ones((200, 3), np.float32)
    asked = seen(1)
    votes = sum(asked.predict_labels(x) for _ in range(11))
    voted = seen(11).predict_labels(x)
    np.testing.assert_array_equal(voted, (votes > 5).astype(np.int64))
    assert 0 < voted.mean() < 1

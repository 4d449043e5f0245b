"""The view gives what the threat model grants and nothing more."""

import numpy as np
import pytest
from privassay.defenses.none import NoDefense
from privassay.defenses.output_perturbation import OutputPerturbation
from privassay.harness.types import ThreatModel
from privassay.harness.view import AccessDenied, TargetView, softmax


class Linear:
    def logits(self, x):
        return np.stack([x.sum(axis=1), -x.sum(axis=1)], axis=1).astype(np.float32)

    def class_gradient(self, x, labels):
        return np.ones_like(x)

    def save(self, folder):
        pass


def view(access, budget=100, defense=None):
    threat_model = ThreatModel(access, False, False, 0, 1)
    records = ((3,), (0.0, 1.0), 2)
    return TargetView(Linear(), defense or NoDefense(), threat_model, records, budget, np.random.default_rng(0))


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

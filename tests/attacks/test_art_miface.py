"""MIFace really takes its steps, where ART's own default stops after one."""

import numpy as np
import pytest
from privassay.attacks._art import ProbabilityClassifier
from privassay.attacks.inversion.art_miface import ArtMIFace
from privassay.defenses.none import NoDefense
from privassay.harness.protocols import InversionContext
from privassay.harness.types import Candidates
from privassay.harness.view import Behind, TargetView, softmax

CLASSES = 3
RECORDS = ((4,), (0.0, 1.0), CLASSES)
WEIGHTS = np.array([[9, -9, 0, 0], [0, 9, -9, 0], [-9, 0, 9, 9]], np.float32)
BIAS = np.array([0, 0, 1], np.float32)  # at the start the model is sure of class 2


class Softmax:
    """A softmax regression with its exact gradient."""

    def logits(self, x):
        return (x @ WEIGHTS.T + BIAS).astype(np.float32)

    def class_gradient(self, x, labels):
        p = softmax(self.logits(x))
        own = p[np.arange(len(x)), labels][:, None]
        return (own * (WEIGHTS[labels] - p @ WEIGHTS)).astype(np.float32)

    def save(self, folder):
        pass


def view(attack, classes):
    budget = attack.threat_model.query_budget * classes
    return TargetView(Behind(Softmax(), NoDefense(), 1, np.random.default_rng(0)), attack.threat_model, RECORDS, budget)


def context():
    return InversionContext(Candidates(np.arange(0), np.empty((0, 4), np.float32), np.arange(0)), seed=0)


def test_every_class_gets_all_its_steps_and_becomes_more_probable():
    attack = ArtMIFace(max_iter=200, learning_rate=10.0)
    seen, labels = view(attack, CLASSES), np.arange(CLASSES)
    found = attack.reconstruct(seen, labels, context())
    assert seen.queries == CLASSES * 2 * 200
    start = softmax(Softmax().logits(np.full((CLASSES, 4), 0.5, np.float32)))[labels, labels]
    end = softmax(Softmax().logits(found.samples))[labels, labels]
    assert start[0] < 0.01  # improbable: the case in which ART's default gives up
    assert (end > start).all()
    assert end.min() > 0.9
    assert found.samples.min() >= 0.0
    assert found.samples.max() <= 1.0


def test_small_steps_from_an_improbable_start_are_all_taken():
    attack = ArtMIFace(max_iter=20, learning_rate=0.1)
    seen = view(attack, 1)
    attack.reconstruct(seen, np.array([0]), context())
    assert seen.queries == 2 * 20


def test_arts_own_default_stops_after_one_step():
    # The trap that the attack avoids; if ART mends it, the deviation in its docstring can go.
    from art.attacks.inference.model_inversion import MIFace

    attack = ArtMIFace(max_iter=200)
    seen = view(attack, 1)
    start = np.full((1, 4), 0.5, np.float32)
    MIFace(ProbabilityClassifier(seen), max_iter=200, batch_size=1, verbose=False).infer(start, np.array([0]))
    assert seen.queries == 2


@pytest.mark.parametrize("parameters", [{"max_iter": 0}, {"learning_rate": -1.0}])
def test_bad_parameters(parameters):
    with pytest.raises(Exception, match="must be > 0"):
        ArtMIFace(**parameters)

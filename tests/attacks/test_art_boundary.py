"""Distances to a boundary that is known, and the queries they cost."""

import numpy as np
import pytest
from privassay.attacks.membership.art_boundary import ArtBoundary, boundary_distance
from privassay.defenses.none import NoDefense
from privassay.defenses.output_perturbation import OutputPerturbation
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.protocols import MembershipContext
from privassay.harness.types import Candidates, ThreatModel
from privassay.harness.view import Behind, TargetView
from scipy.stats import spearmanr

D = 8
NORMAL = np.full(D, 1 / np.sqrt(D))


class Plane:
    """Label 1 on one side of a plane through the middle of the cube [0, 1]^8."""

    def __init__(self, steepness=10.0):
        self._steepness = steepness

    def logits(self, x):
        side = (x - 0.5) @ NORMAL * self._steepness
        return np.stack([-side, side], axis=1).astype(np.float32)


def records(n, seed):
    x = np.random.default_rng(seed).uniform(0, 1, (n, D)).astype(np.float32)
    return Candidates(np.arange(n), x, ((x - 0.5) @ NORMAL > 0).astype(np.int64))


def view(budget, model=None, defense=None):
    threat_model = ThreatModel("labels", False, False, 0, 1)
    model, defense = model or Plane(), defense or NoDefense()
    return TargetView(Behind(model, defense, 1, np.random.default_rng(0)), threat_model, ((D,), (0.0, 1.0), 2), budget)


def score(attack, candidates, auxiliary, seed=0, **target):
    seen = view(attack.queries * min(attack.max_records, len(candidates)), **target)
    return attack.score(seen, candidates, MembershipContext(auxiliary, None, None, seed)), seen


def test_distance_to_a_plane():
    candidates = records(12, 0)
    scores, _ = score(ArtBoundary(queries=600), candidates, records(20, 1))
    true = np.abs((candidates.x - 0.5) @ NORMAL)
    assert (scores.values >= true - 1e-4).all()  # a point with another label lies beyond the boundary
    assert (scores.values <= 1.25 * true + 0.02).all()
    assert spearmanr(scores.values, true)[0] > 0.9


def test_queries_are_kept_to():
    candidates = records(30, 0)
    _, seen = score(ArtBoundary(max_records=20, queries=60), candidates, records(20, 1))  # the view would refuse more
    assert 20 * 40 < seen.queries <= 20 * 60


def test_wrong_answer_is_distance_0_for_one_query():
    x, other = records(2, 0).x, np.zeros(D, np.float32)
    seen = view(1)
    label = int(seen.predict_labels(x[:1])[0])
    seen = view(1)
    assert boundary_distance(seen, x[0], 1 - label, other, queries=100) == 0
    assert seen.queries == 1


def test_random_few_are_scored_by_the_seed():
    candidates, auxiliary = records(40, 0), records(20, 1)
    state = np.random.get_state()[1].tobytes()
    first, second, other = (score(ArtBoundary(20, 60), candidates, auxiliary, seed)[0] for seed in (1, 1, 2))
    assert len(set(first.ids)) == 20
    assert first.ids.tolist() == second.ids.tolist() != other.ids.tolist()
    assert first.values.tobytes() == second.values.tobytes()
    assert np.random.get_state()[1].tobytes() == state  # whoever shares numpy's generator is not disturbed


def test_noisy_labels_stay_finite_and_repeat():
    target = {"model": Plane(steepness=1.0), "defense": OutputPerturbation(noise_scale=0.2)}
    first, second = (score(ArtBoundary(30, 100), records(30, 0), records(30, 1), **target)[0] for _ in range(2))
    assert np.isfinite(first.values).all()
    assert first.values.tobytes() == second.values.tobytes()


def test_one_label_everywhere_has_no_boundary():
    with pytest.raises(NotApplicable, match="one label"):
        score(ArtBoundary(), records(10, 0), records(20, 1), model=Plane(steepness=0.0))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"queries": 49}, "queries=49: must be >= 50"), ({"max_records": 19}, "max_records=19: must be >= 20")],
)
def test_parameters_are_checked(wrong, says):
    with pytest.raises(UsageError, match=says):
        ArtBoundary(**wrong)

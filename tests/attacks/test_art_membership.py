"""ART's membership attacks through our borders: what feeds them and what they score."""

import numpy as np
import pytest
from privassay.attacks.membership.art_black_box import ArtBlackBox, ArtBlackBoxKnowsMembers
from privassay.attacks.membership.art_rule_based import ArtRuleBased
from privassay.defenses.none import NoDefense
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.protocols import KnownMembers, MembershipContext
from privassay.harness.types import Candidates
from privassay.harness.view import Behind, TargetView
from sklearn.metrics import roc_auc_score

N, CLASSES = 400, 4
# ART asks scikit-learn for SVC(probability=True), which 1.9 deprecates and 1.11 will drop
SVM = pytest.param("svm", 0.5, marks=pytest.mark.filterwarnings("ignore:The `probability` parameter:FutureWarning"))


class Remembering:
    """Sure of the right label on its members, less so elsewhere."""

    def __init__(self, labels, member):
        self.confidence = np.where(member, 4.0, 1.0)
        self.labels = labels

    def logits(self, x):
        rows = x[:, 0].astype(int)
        logits = np.zeros((len(x), CLASSES), np.float32)
        logits[np.arange(len(x)), self.labels[rows]] = self.confidence[rows]
        return logits


class Known:
    """References of an attacker, and a count of how often each was asked."""

    def __init__(self, labels, trained, believed=None):
        self.member = trained if believed is None else believed
        self.asked = []
        self._labels, self._trained = labels, trained

    def __len__(self):
        return len(self.member)

    def probabilities(self, reference):
        self.asked.append(reference)
        model = Remembering(self._labels, self._trained[reference])
        logits = model.logits(np.arange(N, dtype=np.float32)[:, None])
        powers = np.exp(logits.astype(np.float64))
        return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, N)
    target, references = rng.random(N) < 0.5, rng.random((6, N)) < 0.5
    candidates = Candidates(np.arange(N), np.arange(N, dtype=np.float32)[:, None], labels)
    return candidates, Remembering(labels, target), target, Known(labels, references)


def view(attack, model):
    records = ((1,), (0.0, float(N)), CLASSES)
    return TargetView(Behind(model, NoDefense(), 1, np.random.default_rng(0)), attack.threat_model, records, N)


def context(candidates, references=None, known=None):
    return MembershipContext(candidates, references, known, seed=0)


@pytest.mark.parametrize(
    ("model_type", "least"), [("rf", 0.95), ("gb", 0.95), ("dt", 0.95), ("knn", 0.95), ("lr", 0.5), SVM]
)
def test_learns_from_references_alone(world, model_type, least):
    candidates, model, member, references = world
    attack = ArtBlackBox(attack_model_type=model_type, max_rows=600)
    scores = attack.score(view(attack, model), candidates, context(candidates, references))
    assert roc_auc_score(member, scores.values) > least  # the linear ones cannot compare a probability with a label
    assert sorted(references.asked) == list(range(6))  # every reference feeds it


def test_told_members_are_learnt_from_and_not_scored(world):
    candidates, model, member, _ = world
    told = np.arange(0, N, 2)
    attack = ArtBlackBoxKnowsMembers()
    known = KnownMembers(told, member[told])
    scores = attack.score(view(attack, model), candidates, context(candidates, known=known))
    assert scores.ids.tolist() == list(range(1, N, 2))
    assert roc_auc_score(member[scores.ids], scores.values) > 0.95


def test_wrong_lessons_give_wrong_answers(world):
    candidates, model, member, references = world
    attack = ArtBlackBox(max_rows=600)
    fooled = Known(candidates.y, trained=references.member, believed=~references.member)
    scores = attack.score(view(attack, model), candidates, context(candidates, fooled))
    assert roc_auc_score(member, scores.values) < 0.05


@pytest.mark.parametrize("attack", [ArtBlackBox(), ArtBlackBoxKnowsMembers()])
def test_refuses_without_what_it_needs(world, attack):
    candidates, model, _, _ = world
    with pytest.raises(NotApplicable):
        attack.score(view(attack, model), candidates, context(candidates))


def test_rule_based_is_right_or_wrong_even_where_a_class_is_missing(world):
    # ART counts classes among the labels it is given; ours are encoded, so a missing class shifts nothing.
    candidates, model, _, _ = world
    few = np.flatnonzero(candidates.y != 0)
    chosen = Candidates(candidates.ids[few], candidates.x[few], candidates.y[few].copy())
    chosen.y[:10] = 0
    chosen.y[:10][candidates.y[few][:10] == 0] = 1
    attack = ArtRuleBased()
    scores = attack.score(view(attack, model), chosen, context(chosen))
    assert scores.values.tolist() == (chosen.y == candidates.y[few]).astype(float).tolist()


def test_unknown_attack_model():
    with pytest.raises(UsageError, match="attack_model_type='nn': must be one of rf"):
        ArtBlackBox(attack_model_type="nn")

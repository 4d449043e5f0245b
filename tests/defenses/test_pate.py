import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from privassay.defenses.pate import PATE
from privassay.experiments.digits import Digits
from privassay.harness.accounting import gaussian_epsilon
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.types import TrainingData
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.torch_mlp import TorchMLP
from scipy import stats

SMALL = PATE(target_epsilon=200.0, target_delta=1e-4, teachers=10, queries=100)


@dataclass(frozen=True)
class Constant:
    label: int
    n_classes: int

    def logits(self, x):
        return np.tile(np.eye(self.n_classes, dtype=np.float32)[self.label], (len(x), 1))


@dataclass
class Majority:
    """A recipe whose models answer with the commonest label; keeps what it was asked to train on."""

    framework: ClassVar[str] = "numpy"

    def __init__(self):
        self.asked = []

    def fit(self, data, rows, seed):
        self.asked.append((data, rows, seed))
        return Constant(int(np.bincount(data.y[rows]).argmax()), data.n_classes)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    digits = Digits().load()
    order = np.random.default_rng(0).permutation(len(digits.y))
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds, public=order[1000:1300])


@pytest.fixture(scope="module")
def rows(data) -> np.ndarray:
    return np.setdiff1d(np.arange(len(data.y)), data.public)[:1000]


def one(defense, recipe, data, rows, seed=0):
    (trained,) = defense.train(recipe, data, [rows], [seed])
    return trained


def test_teachers_share_no_record_and_the_student_sees_none(data, rows):
    recipe = Majority()
    one(SMALL, recipe, data, rows)
    *teachers, (student_data, student_rows, _) = recipe.asked
    assert len(teachers) == 10
    parts = np.concatenate([part for _, part, _ in teachers])
    assert sorted(parts) == sorted(rows)
    assert {len(part) for _, part, _ in teachers} == {100}
    assert len({seed for _, _, seed in recipe.asked}) == 11
    assert len(student_rows) == len(student_data.x) == len(student_data.y) == 100
    public = {record.tobytes() for record in data.x[data.public]}
    assert all(record.tobytes() in public for record in student_data.x)


def test_labels_of_public_records_are_never_read(data, rows):
    y = data.y.copy()
    y[data.public] = (y[data.public] + 3) % 10
    other = dataclasses.replace(data, y=y)
    recipe = SklearnLogisticRegression(max_iter=1000)
    logits = one(SMALL, recipe, data, rows).model.logits(data.x)
    assert np.array_equal(one(SMALL, recipe, other, rows).model.logits(data.x), logits)
    assert not np.array_equal(one(SMALL, recipe, data, rows, seed=1).model.logits(data.x), logits)


def test_claim_holds_the_queries_that_were_answered(data, rows):
    recipe = Majority()
    claim = one(SMALL, recipe, data, rows).mechanism
    answered = len(recipe.asked[-1][0].y)
    assert answered == 100
    assert claim.event.startswith("100 queries, each the class with most of 10 votes")
    deviation = float(claim.event.split("deviation ")[1].split()[0])
    assert claim.epsilon == pytest.approx(gaussian_epsilon(deviation / (2 * answered) ** 0.5, 1e-4), rel=1e-6)
    assert 200 * (1 - 1e-7) < claim.epsilon <= 200
    assert (claim.delta, claim.neighbouring, claim.sampler) == (1e-4, "replace_one", "none")
    assert any("whatever the votes were" in text for text in claim.assumptions)


@pytest.mark.parametrize("wrong", [0.8, 1.0, 1.2])
def test_share_of_overruled_votes_is_that_of_the_claimed_noise(wrong):
    """Ten teachers agree on class 1 of two; noise turns round as many labels as two normal draws do."""
    x = np.zeros((2500, 1), dtype=np.float32)
    data = TrainingData(x, np.ones(2500, dtype=np.int64), 2, (0.0, 1.0), public=np.arange(500, 2500))
    defense, recipe = PATE(12.0, 1e-4, teachers=10, queries=1000), Majority()
    turned = 0
    for seed in range(10):
        one(defense, recipe, data, np.arange(500), seed)
        turned += int((recipe.asked[-1][0].y == 0).sum())
    deviation = (2 * 1000) ** 0.5 * 0.395213  # gaussian_epsilon(0.395213, 1e-4) = 12
    assert gaussian_epsilon(0.395213, 1e-4) == pytest.approx(12.0, abs=1e-3)
    expected = stats.norm.cdf(-10 / (2**0.5 * deviation * wrong))
    accepted = stats.binomtest(turned, 10_000, expected).pvalue > 1e-3
    assert accepted == (wrong == 1)


def test_a_replaced_record_changes_one_teachers_votes_at_most(data, rows):
    recipe = SklearnLogisticRegression(max_iter=1000)
    asked = data.public[:100]
    counts = SMALL._votes(recipe, data, rows, (asked, 3))
    assert counts.sum(axis=1) == pytest.approx(np.full(100, 10.0))
    moved = []
    for row in rows[:5]:
        x, y = data.x.copy(), data.y.copy()
        x[row], y[row] = 1 - x[row], (y[row] + 5) % 10
        changed = SMALL._votes(recipe, dataclasses.replace(data, x=x, y=y), rows, (asked, 3))
        assert np.abs(changed - counts).max() <= 1
        moved.append(np.linalg.norm(changed - counts))
    assert 0 < max(moved) <= (2 * 100) ** 0.5


def test_a_teacher_that_saw_one_class_votes_for_it(data, rows):
    one_class = dataclasses.replace(data, y=np.full_like(data.y, 4))
    counts = SMALL._votes(SklearnLogisticRegression(), one_class, rows, (data.public[:7], 0))
    assert np.array_equal(counts, 10 * np.tile(np.eye(10)[4], (7, 1)))


@pytest.mark.parametrize(
    "recipe", [SklearnLogisticRegression(max_iter=2000), TorchMLP(hidden=(16,), epochs=20, batch_size=16)]
)
def test_utility_rises_with_epsilon_for_every_framework(recipe, data, rows):
    held_out = np.setdiff1d(np.arange(len(data.y)), np.concatenate([rows, data.public]))

    def accuracy(epsilon):
        model = one(PATE(epsilon, 1e-4, teachers=10, queries=300), recipe, data, rows).model
        return (model.logits(data.x).argmax(axis=1) == data.y)[held_out].mean()

    assert accuracy(0.5) < 0.5
    assert accuracy(5000.0) > 0.8


def test_refusals_say_why(data, rows):
    recipe = SklearnLogisticRegression()
    assert "10 records each, 99 are there" in SMALL.supports(recipe, 99)
    assert "sklearn" in SMALL.supports(recipe, 99)
    assert SMALL.supports(recipe, 100) is None
    assert "below 1 / 10000" in SMALL.supports(recipe, 10_000)
    with pytest.raises(NotApplicable, match="99 are there"):
        next(iter(SMALL.train(recipe, data, [rows[:99]], [0])))
    without = TrainingData(data.x, data.y, 10, data.bounds)
    with pytest.raises(NotApplicable, match=r"100 queries need as many public records, .* 0 are there"):
        next(iter(SMALL.train(recipe, without, [rows], [0])))


def test_parameters_are_all_told():
    assert dict(SMALL.training_parameters()) == {
        "target_epsilon": 200.0,
        "target_delta": 1e-4,
        "teachers": 10,
        "queries": 100,
    }
    assert SMALL.guarantee == "formal"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"target_epsilon": 0.0}, "target_epsilon=0.0"),
        ({"target_delta": 0.0}, "target_delta=0.0"),
        ({"teachers": 1}, "teachers=1"),
        ({"queries": 0}, "queries=0"),
    ],
)
def test_bad_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(UsageError, match=message):
        PATE(**parameters)

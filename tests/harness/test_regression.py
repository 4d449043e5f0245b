"""A data set with a grid through the harness: which attacks run, what they find, and what the models are good for."""

import dataclasses

import numpy as np
import pytest
from privassay.defenses.none import NoDefense
from privassay.experiments.diabetes import Diabetes
from privassay.harness import catalog
from privassay.harness.candidates import Bench
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import UsageError
from privassay.harness.evaluation import ArtifactWriter, Setting, evaluate, run_membership
from privassay.harness.events import ignore
from privassay.harness.groups import group_columns
from privassay.harness.metrics import crossed_r2, explained, membership_metrics, regression_metrics
from privassay.harness.pool import CandidateSpec
from privassay.harness.protocols import ClassAttack
from privassay.harness.splits import paired_halves
from privassay.harness.stats import Resampling
from privassay.harness.store import Store
from privassay.harness.training import train_pool
from privassay.tests.support import small
from privassay.tests.support.regressors import regressor

REFUSED = {
    "art_black_box": "learns from the probabilities of classes",
    "art_black_box_knows_members": "learns from the probabilities of classes",
    "art_boundary": "looks for the border between predicted classes",
    "art_miface": "reconstructs a typical record of each class",
    "art_rule_based": "asks whether the predicted class is right",
    "confidence": "how surely it is given is not told",
    "entropy": "how surely it is given is not told",
    "margin": "no other class competes with the true one",
    "modified_entropy": "sets a threshold for each class",
}
MODELS, RECORDS = 8, 300


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    dataset = Diabetes().load()
    return Setting(
        dataset=dataset,
        split=paired_halves(dataset, MODELS, RECORDS, 0),
        targets=np.arange(MODELS),
        fprs=(0.1,),
        resampling=Resampling(resamples=200),
        seed=0,
        store=Store(tmp_path_factory.mktemp("store")),
        observe=ignore,
    )


@pytest.fixture(scope="module")
def pool_of(setting):
    def train(name, defense=None):
        recipe, defense = regressor(name), defense or NoDefense()
        identities = catalog.identity(recipe, name), catalog.identity(defense, "defense")
        spec = CandidateSpec(name, "none", recipe, identities[0], defense, identities[1])
        return train_pool(spec, (setting.dataset, setting.split), setting.store, 0, ignore)

    return train


def auc(name, pool, setting):
    return membership_metrics(run_membership(small.attack(name), pool, setting), (), setting.resampling)["auc"]


def test_attacks_find_the_members_of_an_overfitted_forest(pool_of, setting):
    forest = pool_of("sklearn_random_forest_regressor")
    found = {name: auc(name, forest, setting).low for name in ("loss", "lira", "rmia")}
    assert min(found.values()) > 0.7
    assert min(found[name] for name in ("lira", "rmia")) > found["loss"]


def test_a_ridge_of_ten_weights_hardly_leaks(pool_of, setting):
    ridge = pool_of("sklearn_ridge")
    for name in ("loss", "lira", "rmia"):
        assert auc(name, ridge, setting).high < 0.65


@pytest.mark.parametrize("name", sorted(catalog.BUILT_IN["attacks"]))
def test_every_attack_runs_on_a_regressor_or_says_why_not(name, pool_of, setting, tmp_path):
    named = small.attack(name)
    result = evaluate(named, pool_of("sklearn_ridge"), setting, lambda: None, ArtifactWriter(tmp_path))
    assert isinstance(named.attack, ClassAttack) == (name in REFUSED)
    if name in REFUSED:
        assert result.status == "not_run"
        assert REFUSED[name] in result.reason
        assert "regressor" in result.reason
        assert "\n" not in result.reason
    else:
        assert (result.status, result.reason) == ("ok", "")
        assert 0.4 < result.metrics["auc"].value < 0.7


def test_the_loss_attack_ranks_by_the_squared_error(pool_of, setting):
    pool = pool_of("sklearn_ridge")
    table = run_membership(small.attack("loss"), pool, setting)
    records, grid = setting.split.pool, setting.dataset.grid
    for k in range(2):
        answers = pool.model(k).answers(setting.dataset.x[records])
        errors = np.abs(answers - grid[setting.dataset.y[records]])
        inside = (np.abs(answers - 200) < 160) & (errors > 2)  # 2 h from the ends, half a step
        assert inside.sum() > 250
        order, by_error = np.argsort(-table.scores[k][inside]), np.argsort(errors[inside])
        ranks = np.empty((2, inside.sum()))
        ranks[0, order], ranks[1, by_error] = np.arange(inside.sum()), np.arange(inside.sum())
        assert np.corrcoef(ranks)[0, 1] > 0.999


def test_explained_is_one_minus_squared_error_over_variance():
    grid, wanted = np.linspace(0, 10, 11), np.array([2, 4, 9])
    answers = np.zeros((3, 11))
    answers[[0, 1, 2], [2, 5, 8]] = 1
    answers[2, [8, 6]] = 0.5  # mean 7
    spread = np.var([2, 4, 9])
    assert explained(answers, wanted, grid).tolist() == pytest.approx([1, 1 - 1 / spread, 1 - 4 / spread])
    assert np.isfinite(explained(answers, np.array([5, 5, 5]), grid)).all()


def test_r2_is_that_of_the_regressors_own_numbers(pool_of, setting, tmp_path):
    pool = pool_of("sklearn_ridge")
    bench = Bench((small.attack("loss"),), setting, lambda: None, "loss", "bonferroni", None, ArtifactWriter(tmp_path))
    measured = bench.measure(pool)
    records, member = setting.split.pool, setting.split.member
    numbers = setting.dataset.grid[setting.dataset.y[records]]
    squared = np.array([(pool.model(k).answers(setting.dataset.x[records]) - numbers) ** 2 for k in range(MODELS)])
    for name, asked in (("train_r2", member), ("heldout_r2", ~member)):
        naive = np.mean([1 - row[chosen].mean() / numbers.var() for row, chosen in zip(squared, asked, strict=True)])
        found = measured.candidate.utility[name]
        assert found.value == pytest.approx(naive, abs=1e-3)  # answers beyond the grid's ends are cut to it
        assert found.low < naive < found.high
        assert found.high - found.low < 0.4
    assert {group.column for group in measured.candidate.groups} == {"sex"}


def test_a_defence_is_compared_by_its_r2(pool_of, setting, tmp_path):
    bench = Bench((small.attack("loss"),), setting, lambda: None, None, "bonferroni", None, ArtifactWriter(tmp_path))
    labels = catalog.build("defenses", "class_labels", {}, "test")  # answers become numbers of the grid
    plain, rounded = pool_of("sklearn_ridge"), pool_of("sklearn_ridge", labels)
    own, other = (bench.measure(pool) for pool in (rounded, plain))
    own = dataclasses.replace(own, candidate=own.candidate.model_copy(update={"guarantee": "heuristic"}))
    _, compared = bench.compared([other, own])
    (row,) = [row for row in compared.comparisons if row.metric.startswith("utility/")]
    assert row.metric == "utility/heldout_r2"
    gap = own.candidate.utility["heldout_r2"].value - other.candidate.utility["heldout_r2"].value
    assert row.difference.value == pytest.approx(gap)
    assert abs(gap) < 0.01
    assert row.difference.high - row.difference.low < 0.02, "both sides are resampled alike"


def test_intervals_of_r2_hold_the_truth_about_as_often_as_they_say():
    # errors are independent with mean square half of the variance: R^2 is 0.5, with a standard error of 0.014
    rng, targets = np.random.default_rng(0), np.arange(6)
    hits = near_misses = 0
    for run in range(100):
        values = 1 - 0.5 * rng.chisquare(4, (6, 200)) / 4
        half = np.array([rng.permutation(200) < 100 for _ in range(3)])
        member = np.stack([half, ~half], axis=1).reshape(6, 200)
        found = regression_metrics(values, member, targets, Resampling(resamples=100, seed=run))["heldout_r2"]
        hits += found.low <= 0.5 <= found.high
        near_misses += found.low <= 0.57 <= found.high
    assert hits >= 86  # of 95 expected
    assert near_misses <= 14


def test_negative_r2_has_an_interval():
    values = np.full((2, 40), -3.0) + np.arange(40) / 40
    asked = np.ones((2, 40), dtype=np.bool_)
    found = crossed_r2(values, asked, np.arange(2), Resampling(resamples=100))
    assert found.low < found.value < found.high < -2


def test_a_grid_has_no_class_groups(setting):
    assert list(group_columns(setting.dataset, setting.split.pool)) == ["sex"]
    classes = dataclasses.replace(setting.dataset, grid=None)
    assert list(group_columns(classes, setting.split.pool)) == ["class", "sex"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (np.linspace(0, 1, 100), r"grid is float64 \(100,\): must be float64 \(101,\)"),
        (np.linspace(0, 1, 101).astype(np.float32), r"grid is float32 \(101,\): must be float64"),
        (np.linspace(1, 0, 101), "grid: must be finite and ascending"),
        (np.full(101, np.nan), "grid: must be finite and ascending"),
        (np.zeros(101), "grid: must be finite and ascending"),
    ],
)
def test_a_wrong_grid_is_refused(setting, grid, message):
    with pytest.raises(UsageError, match=message):
        check_dataset(dataclasses.replace(setting.dataset, grid=grid), "test")

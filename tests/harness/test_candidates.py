import dataclasses

import numpy as np
import pytest
from privassay.defenses.none import NoDefense
from privassay.experiments.diabetes import Diabetes
from privassay.harness import catalog
from privassay.harness.canaries import among_members, ordinary
from privassay.harness.candidates import Bench, baseline_of
from privassay.harness.evaluation import ArtifactWriter
from privassay.harness.named_target import NamedTarget
from privassay.harness.pool import CandidateSpec
from privassay.harness.protocols import Released
from privassay.harness.released import released_pool
from privassay.harness.splits import paired_halves, released_split, subset
from privassay.harness.training import train_pool
from privassay.harness.types import Identity
from privassay.tests.support import small
from privassay.tests.support.regressors import regressor


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two candidates of one model, measured by two attacks."""
    folder = tmp_path_factory.mktemp("candidates")
    where = small.setting(folder / "store")
    attacks = (small.attack("loss"), small.attack("lira"))

    def judge():
        raise AssertionError("no inversion attack is run")

    bench = Bench(attacks, where, judge, "lira", "bonferroni", None, ArtifactWriter(folder))
    measured = [bench.measure(small.pool(where, name)) for name in ("none", "output_perturbation")]
    return bench, measured


def test_every_attack_has_its_scores_and_the_strongest_is_one_of_them(world):
    _, measured = world
    for own in measured:
        assert list(own.tables) == ["loss", "lira"]
        assert set(own.candidate.strongest) == {"auc", "tpr_at_fpr_0.1"}
        for name, best in own.candidate.strongest.items():
            lows = {a.id: a.metrics[name].low for a in own.candidate.attacks}
            assert best.of == ("loss", "lira")
            assert best.estimate.low <= max(lows.values())
            assert best.estimate.level == pytest.approx(0.975)


def test_the_corrected_strongest_has_a_full_name_like_any_metric(world):
    names = dict(world[1][0].candidate.metrics())
    assert names["mia/strongest/auc"] == world[1][0].candidate.strongest["auc"].estimate


def test_a_defence_is_compared_with_the_undefended_model(world):
    bench, measured = world
    plain, perturbed = bench.compared(measured)
    assert plain.comparisons == ()
    found = {row.metric: row for row in perturbed.comparisons}
    assert set(found) == {
        "utility/heldout_accuracy",
        "mia/lira/auc",
        "mia/lira/advantage",
        "mia/lira/bayes_security",
        "mia/lira/tpr_at_fpr_0.1",
    } - {"mia/lira/bayes_security"}
    assert all(row.baseline == "mlp/none" for row in perturbed.comparisons)
    aucs = [next(a for a in c.attacks if a.id == "lira").metrics["auc"].value for c in (perturbed, plain)]
    assert found["mia/lira/auc"].difference.value == pytest.approx(aucs[0] - aucs[1])
    gap = perturbed.utility["heldout_accuracy"].value - plain.utility["heldout_accuracy"].value
    assert found["utility/heldout_accuracy"].difference.value == pytest.approx(gap)


def test_without_an_undefended_model_nothing_is_compared(world):
    _, (plain, perturbed) = world
    assert baseline_of(perturbed, [perturbed]) is None
    assert baseline_of(plain, [plain, perturbed]) is None
    assert baseline_of(perturbed, [perturbed, plain]) is plain


def test_correct_answers_are_those_of_the_deployed_model(world):
    _, measured = world
    for own in measured:
        assert set(np.unique(own.worth)) == {0.0, 1.0}
        assert own.worth.shape == (6, 200)


class Uniform:
    """Answers as if it knew nothing."""

    answers = "probabilities"

    def predict(self, x):
        return np.full((len(x), 10), 0.1)


def test_a_released_model_has_no_guarantee_whatever_defends_its_references(tmp_path):
    where = small.setting(tmp_path / "store")
    truth = (np.arange(len(where.dataset)) % 2).astype(np.int8)
    dataset = dataclasses.replace(where.dataset, released_member=truth)
    rows, split = released_split(dataset, 2, 200, seed=0)
    data = subset(dataset, rows), split
    spec = dataclasses.replace(small.spec("output_perturbation"), model="api", defense_name="released")
    opened = Released(Uniform(), "here", "1")
    named = NamedTarget("api", "a.yaml: targets.api", Identity("endpoint", {}, "0"), opened, spec, True)
    pool = released_pool(named, data, where.store, 0, where.observe)
    where = dataclasses.replace(where, dataset=data[0], split=split, targets=np.arange(1))
    bench = Bench((), where, lambda: None, None, "bonferroni", None, ArtifactWriter(tmp_path))
    candidate = bench.measure(pool).candidate
    assert (candidate.guarantee, candidate.claim) == ("none", None)
    assert spec.defense.guarantee == "heuristic"
    assert candidate.origin.component == "endpoint"


def test_canaries_are_no_part_of_what_a_number_is_explained_of(tmp_path):
    plain = Diabetes().load()
    split = paired_halves(plain, 2, 300, 0)
    dataset = among_members(plain, split.pool, 60, 0)
    where = dataclasses.replace(small.setting(tmp_path / "store"), dataset=dataset, split=split, targets=np.arange(2))
    recipe, defense = regressor("sklearn_ridge"), NoDefense()
    identities = catalog.identity(recipe, "sklearn_ridge"), catalog.identity(defense, "none")
    spec = CandidateSpec("ridge", "none", recipe, identities[0], defense, identities[1])
    pool = train_pool(spec, (dataset, split), where.store, 0, where.observe)
    bench = Bench((), where, lambda: None, None, "bonferroni", None, ArtifactWriter(tmp_path))
    found = bench.measure(pool).candidate.utility["heldout_r2"].value
    counted = ordinary(dataset, split.pool)
    numbers = dataset.grid[dataset.y[split.pool]]
    naive = []
    for k in range(2):
        errors = (pool.released(k) @ dataset.grid - numbers) ** 2
        naive.append(1 - errors[counted & ~split.member[k]].mean() / numbers[counted].var())
    assert found == pytest.approx(np.mean(naive), abs=1e-9)
    assert numbers.var() > 1.1 * numbers[counted].var()


def test_canaries_are_the_worst_case_and_nothing_else(tmp_path):
    plain = small.setting(tmp_path, models=6, records=400)
    split = paired_halves(plain.dataset, 6, 400, 0)
    dataset = among_members(plain.dataset, split.pool, 100, 0)
    where = dataclasses.replace(plain, dataset=dataset, split=split)
    files = ArtifactWriter(tmp_path)
    bench = Bench([small.attack("lira")], where, lambda: None, "lira", "bonferroni", None, files)
    found = bench.measure(small.pool(where)).candidate
    rows = {(group.column, group.value): group for group in found.groups}
    canary, usual = rows["canaries", "canary"], rows["canaries", "ordinary"]
    assert (canary.members, usual.members) == (100, 300)
    assert sum(group.members for group in found.groups if group.column == "class") == 300
    assert canary.metrics["auc"].low > found.attacks[0].metrics["auc"].high
    assert found.attacks[0].metrics["auc"].n == found.strongest["auc"].estimate.n == 300
    files.publish()
    with np.load(tmp_path / "restricted" / "vulnerability" / "mlp" / "none.npz") as stored:
        assert len(stored["records"]) == 300

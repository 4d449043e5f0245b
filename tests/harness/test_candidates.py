import numpy as np
import pytest
from privassay.harness.candidates import Bench, baseline_of
from privassay.harness.evaluation import ArtifactWriter
from privassay.tests.support import small


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

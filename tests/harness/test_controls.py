"""The instrument's own checks must fire on a broken instrument."""

import dataclasses
import itertools

import numpy as np
import pytest
from privassay.harness import catalog, controls, gate, wording
from privassay.harness.errors import ExitCode, NotApplicable
from privassay.harness.evaluation import NamedAttack
from privassay.harness.events import StepFinished, StepStarted
from privassay.harness.policy import MetricRule, Policy
from privassay.harness.splits import paired_halves
from privassay.harness.store import Store
from privassay.harness.types import Dataset, Identity, Scores, Split, ThreatModel, Verdict
from privassay.harness.users import of_users
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.models.torch_mlp import TorchMLP
from privassay.tests.support import evidence_example as example
from privassay.tests.support import small
from scipy.special import ndtri

FOREST = SklearnRandomForest(n_estimators=20)
BLIND = SklearnRandomForest(n_estimators=20, min_samples_leaf=10)
THREAT_MODEL = ThreatModel("labels", False, False, 0, 1)


@dataclasses.dataclass(frozen=True)
class Peeking:
    """Reads the answers from where an attack has no business: the masks the harness believes in, target by target."""

    believed: object
    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        return Scores(candidates.ids, next(self.believed).astype(float))


@dataclasses.dataclass(frozen=True)
class Blind:
    """Finds nothing."""

    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        return Scores(candidates.ids, np.random.default_rng(context.seed).normal(size=len(candidates)))


@dataclasses.dataclass(frozen=True)
class Backwards:
    """Takes members for non-members."""

    family = "membership"
    implementation = "test"
    threat_model = small.attack("loss").attack.threat_model

    def score(self, view, candidates, context):
        scores = small.attack("loss").attack.score(view, candidates, context)
        return Scores(scores.ids, -scores.values)


@dataclasses.dataclass(frozen=True)
class Absent:
    """Cannot run."""

    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        raise NotApplicable("not here")


@dataclasses.dataclass(frozen=True)
class Broken:
    """Raises."""

    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        raise RuntimeError("boom")


def named(attack):
    return NamedAttack(type(attack).__name__, attack, Identity("test", {}, ""))


@pytest.fixture(scope="module")
def where(small_setting, tmp_path_factory):
    return dataclasses.replace(small_setting, store=Store(tmp_path_factory.mktemp("store")))


def plain(name, recipe):
    identity = catalog.identity(recipe, name)
    return dataclasses.replace(small.spec(), model=name, recipe=recipe, recipe_identity=identity)


def run(where, attacks, recipe=FOREST, primary=None):
    forests = plain("planted", recipe), plain("blind", BLIND)
    found = controls.run_controls(small.pool(where), forests, where, attacks, primary)
    return {control.id: control for control in found}


def test_sound_instrument_passes_all(where):
    found = run(where, [small.attack("loss"), small.attack("lira")])
    assert found["model_free_baseline"].status == "passed", found["model_free_baseline"].reason
    assert found["shuffled_membership"].status == "passed", found["shuffled_membership"].reason
    assert found["planted_leak"].status == "passed", found["planted_leak"].reason
    assert found["planted_leak"].metrics["loss/auc"].low > controls.PLANTED_LEAST_AUC


def test_peeking_attack_fails_the_shuffled_control(where):
    # Peeks at the masks as shuffled by the control: leaks exactly what an honest attack cannot know.
    order = controls.generator(where.seed, "control", "shuffled").permutation(len(where.split.pool))
    attack = named(Peeking(itertools.cycle(where.split.member[:, order])))
    found = run(where, [attack])["shuffled_membership"]
    assert found.status == "failed"
    assert "Peeking" in found.reason


def test_the_controls_do_not_rest_on_one_pair_however_few_targets_the_run_attacks(where):
    found = run(dataclasses.replace(where, targets=np.arange(1)), [small.attack("loss")])
    for name in ("shuffled_membership", "planted_leak"):
        auc = found[name].metrics["loss/auc"]
        assert auc.level == controls.SHUFFLED_LEVEL
        assert "mean over 6 target models; percentile bootstrap, 5000 resamples" in auc.method  # the run asks for 100


def test_blind_instrument_fails_the_planted_control(where):
    found = run(where, [named(Blind())])["planted_leak"]
    assert found.status == "failed"
    assert "not caught by any of: Blind/auc" in found.reason


def test_one_blind_attack_among_seeing_ones_fails_as_the_primary_only(where):
    attacks = [named(Blind()), small.attack("loss")]
    for primary in ("loss", None):
        found = run(where, attacks, primary=primary)["planted_leak"]
        assert (found.status, found.reason) == ("passed", "")
        assert found.metrics["Blind/auc"].low < 0.5 < found.metrics["loss/auc"].low
    found = run(where, attacks, primary="Blind")["planted_leak"]
    assert (found.status, found.reason) == ("failed", "the planted leak was not caught by any of: Blind/auc")
    assert found.expectation.startswith("Blind/auc catches")


def test_a_primary_that_cannot_run_leaves_it_to_the_others(where):
    found = run(where, [named(Absent()), small.attack("loss")], primary="Absent")["planted_leak"]
    assert (found.status, list(found.metrics)) == ("passed", ["loss/auc"])
    assert found.expectation.startswith("some attack catches")


def test_an_attack_that_is_worse_than_guessing_fails_the_planted_control(where):
    found = run(where, [named(Backwards()), small.attack("loss")], primary="loss")
    assert found["shuffled_membership"].status == "passed"
    assert found["planted_leak"].status == "failed"
    assert found["planted_leak"].reason == "the wrong way round on the planted leak: Backwards/auc"


def test_models_that_memorise_nothing_are_not_caught(where):
    assert run(where, [small.attack("loss")], TorchMLP(hidden=(2,), epochs=1))["planted_leak"].status == "failed"


def test_broken_attack_is_an_error_not_a_crash(where):
    found = run(where, [named(Broken())])
    assert {name: control.status for name, control in found.items()} == {
        "shuffled_membership": "error",
        "planted_leak": "error",
        "model_free_baseline": "passed",  # asks no attack
    }
    assert "RuntimeError: boom" in found["planted_leak"].reason


def test_no_attack_at_all_is_an_error(where):
    found = run(where, [])["shuffled_membership"]
    assert (found.status, found.reason) == ("error", "no attack could run")


def test_every_step_that_starts_is_finished(where):
    seen = []
    run(dataclasses.replace(where, observe=seen.append), [small.attack("loss"), named(Blind())])
    started = [event.step for event in seen if isinstance(event, StepStarted)]
    finished = [event.step for event in seen if isinstance(event, StepFinished)]
    assert len(started) == 8  # the planted pool, two attacks in each of two controls, forests for three targets
    assert started == finished


def table(x, seed=0, classes=3):
    """Records whose labels mean nothing."""
    labels = np.random.default_rng([seed, 1]).integers(0, classes, len(x))
    return Dataset("table", x.astype(np.float32), labels, classes, (-20.0, 20.0), True, "")


def normal(n, features, seed=0):
    return np.random.default_rng(seed).normal(size=(n, features))


def pairs(*masks):
    member = np.stack([each for mask in masks for each in (mask, ~mask)])
    return Split(np.arange(member.shape[1]), np.arange(0), member)


def coin(n, seed):
    return np.random.default_rng([seed, 2]).permutation(n) < n // 2


def first_half(values):
    """Members are the records with the lower half of `values`."""
    return values < np.median(values)


def asked_blindly(where, dataset, split, store=None, recipe=BLIND):
    changes = {"dataset": dataset, "split": split, "targets": np.arange(split.models), "seed": 0}
    here = dataclasses.replace(where, store=store or where.store, **changes)
    return controls.model_free_baseline(plain("blind", recipe), here)


def telling(control):
    return {name for name, auc in control.metrics.items() if not auc.low <= 0.5 <= auc.high}


def test_auc_by_chance_is_that_of_all_pairs_and_its_deviation_that_of_all_draws():
    columns = np.array([[0, 3, 3, 1, 2, 3, 0, 9], [1, 1, 1, 1, 1, 1, 1, 1], [8, 7, 6, 5, 4, 3, 2, 1]], np.float32).T
    draws = np.array([np.isin(np.arange(8), chosen) for chosen in itertools.combinations(range(8), 3)])
    aucs, deviations = controls.chance_auc(columns, draws)
    for j, column in enumerate(columns.T):
        oracle = [
            np.mean([(a > b) + (a == b) / 2 for a, b in itertools.product(column[member], column[~member])])
            for member in draws
        ]
        np.testing.assert_allclose(aucs[:, j], oracle, rtol=0, atol=1e-12)
        np.testing.assert_allclose(deviations[:, j], np.std(oracle), rtol=0, atol=1e-12)
        assert np.mean(oracle) == pytest.approx(0.5)


def test_fair_masks_pass_with_an_interval_for_each_pair(where):
    found = asked_blindly(where, table(normal(300, 5)), pairs(*(coin(300, seed) for seed in range(5))))
    assert (found.status, found.reason) == ("passed", "")
    targets = [f"target_{k}" for k in (0, 2, 4, 6)]  # the fifth pair is not asked
    assert [name.split("/")[1] for name in found.metrics] == targets * 2
    assert [name for name in found.metrics if name.startswith("forests")] == [f"forests/{k}/auc" for k in targets]
    for auc in found.metrics.values():
        assert (auc.level, auc.n, auc.over) == (controls.SHUFFLED_LEVEL, 300, "records")
        assert auc.low < 0.5 < auc.high


def test_a_small_shift_of_one_feature_in_one_given_mask_is_seen(where):
    x, masks = normal(3000, 64), [coin(3000, seed) for seed in range(4)]
    x[masks[2], 7] += 0.3
    found = asked_blindly(where, table(x), pairs(*masks))
    assert found.status == "failed"
    assert telling(found) == {"feature_7/target_4/auc"}  # forests alone would miss it
    assert found.reason == "members differ from non-members before any model saw them: feature_7/target_4/auc"
    x[masks[2], 7] -= 0.3
    assert asked_blindly(where, table(x), pairs(*masks)).status == "passed"


def test_members_of_other_classes_are_seen_by_the_label(where):
    dataset = table(normal(600, 3))
    odd = np.random.default_rng(0).random(600) + (dataset.y == 1)
    found = asked_blindly(where, dataset, pairs(first_half(odd)))
    assert "label_1/target_0/auc" in telling(found)


def test_members_from_another_time_are_seen(where):
    time = np.linspace(0, 1, 600)
    x = normal(600, 10) + np.outer(time, np.linspace(-1, 1, 10))  # features drift apart
    found = asked_blindly(where, table(x), pairs(first_half(time)))
    assert found.status == "failed"
    assert "forests/target_0/auc" in telling(found)


def test_a_difference_in_no_single_mean_is_seen_by_the_forests(where):
    member = coin(600, 0)
    x = normal(600, 6)
    x[member] *= 2
    found = asked_blindly(where, table(x), pairs(member))
    assert telling(found) == {"forests/target_0/auc"}


def test_large_pools_cost_the_forests_no_more(where):
    found = asked_blindly(where, table(normal(5400, 1)), pairs(coin(5400, 0)))
    assert [auc.n for auc in found.metrics.values()] == [5400, controls.MODEL_FREE_RECORDS]


def test_blind_forests_are_trained_once(where, tmp_path):
    seen, store = [], Store(tmp_path)
    arguments = table(normal(100, 3)), pairs(coin(100, 0), coin(100, 1))
    watched = dataclasses.replace(where, observe=seen.append)
    first, again = (asked_blindly(watched, *arguments, store) for _ in range(2))
    started = [(event.step, event.done) for event in seen if isinstance(event, StepStarted)]
    assert started == [(f"train blind_{k}/none", done) for done in (0, 2) for k in (0, 2)]
    assert first == again


@pytest.mark.parametrize(
    ("recipe", "runs"),
    [
        (SklearnLogisticRegression(), 100),  # the two halves agree most: their mean varies as much as one of them
        pytest.param(SklearnRandomForest(n_estimators=50, min_samples_leaf=10), 300, marks=pytest.mark.slow),
    ],
)
def test_fair_splits_pass(where, tmp_path, recipe, runs):
    statistics, store = [], Store(tmp_path)
    for seed in range(runs):
        found = asked_blindly(where, table(normal(200, 5, seed), seed), pairs(coin(200, seed)), store, recipe)
        assert found.status == "passed"  # one in 1000 does not, at the most
        auc = found.metrics["forests/target_0/auc"]
        statistics.append((auc.value - 0.5) / (auc.high - auc.value) * ndtri(1 - 0.001 / 4))
    # The interval's reach is right: not wider by half than needed, and not as narrow as if the halves were independent.
    assert abs(np.mean(statistics)) < 3.3 / np.sqrt(runs)
    assert 0.67 < np.std(statistics) < 1.2


def test_members_told_by_their_records_alone_end_every_verdict_in_error(where):
    split = where.split
    lower = first_half(where.dataset.x[split.pool, 4, 4] + 1e-6 * split.pool)  # by one pixel, ties by number
    sorted_out = dataclasses.replace(where, split=dataclasses.replace(split, member=np.stack([lower, ~lower])))
    found = run(sorted_out, [small.attack("loss")], primary="loss")
    assert {name: control.status for name, control in found.items()} == {
        "shuffled_membership": "passed",
        "planted_leak": "passed",
        "model_free_baseline": "failed",
    }
    evidence = example.evidence(controls=tuple(found.values()))
    policy = Policy("p", None, (MetricRule(id="rule", metric="mia/*/auc", max=1.0),), "0" * 64, "p.yaml")
    assert {verdict.verdict for verdict in gate.judge(evidence, policy, None)} == {Verdict.ERROR}
    assert gate.exit_code_without_policy(evidence) is ExitCode.ERROR


@pytest.mark.parametrize("name", ["shuffled_membership", "planted_leak", "model_free_baseline"])
def test_each_failed_control_says_what_to_do(where, name):
    control = run(where, [small.attack("loss")])[name]
    assert wording.control_meaning(control) == ""
    failed, broken = (control.model_copy(update={"status": status}) for status in ("failed", "error"))
    assert len(wording.control_meaning(failed)) > 100
    assert "repair what it names" in wording.control_meaning(broken)


@pytest.fixture(scope="module")
def users_where(tmp_path_factory):
    """Digits of users with 2 to 18 records each."""
    plain = small.setting(tmp_path_factory.mktemp("users"))
    sizes = np.resize([2, 18, 5, 15], 200)
    units = np.repeat(np.arange(200), sizes)[: len(plain.dataset)]
    dataset = dataclasses.replace(plain.dataset, units=units)
    return dataclasses.replace(plain, dataset=dataset, split=paired_halves(dataset, 6, 800, seed=0))


def test_a_sound_instrument_passes_all_about_users(users_where):
    found = run(users_where, [small.attack("loss"), small.attack("lira")])
    assert {name: (c.status, c.reason) for name, c in found.items()} == {
        "shuffled_membership": ("passed", ""),
        "planted_leak": ("passed", ""),
        "model_free_baseline": ("passed", ""),
    }
    for control in found.values():
        for auc in control.metrics.values():
            assert auc.n == len(users_where.subjects)
            assert auc.over in ("users", "models and users")
            assert "records" not in auc.method


def test_users_are_shuffled_whole(users_where):
    shuffled, users = controls._shuffled(users_where).member, users_where.users
    masks = np.stack([shuffled[:, users == user][:, 0] for user in range(users.max() + 1)], axis=1)
    assert np.array_equal(masks[:, users], shuffled)
    true = of_users(users_where.split.member, users)
    assert sorted(map(tuple, masks.T)) == sorted(map(tuple, true.T))
    assert 0.3 < (masks == true).mean() < 0.7


def test_broken_instruments_about_users_are_caught(users_where):
    peeking = named(Peeking(itertools.cycle(controls._shuffled(users_where).member)))
    found = run(users_where, [peeking])["shuffled_membership"]
    assert found.status == "failed"
    assert "Peeking" in found.reason
    assert run(users_where, [named(Blind())])["planted_leak"].status == "failed"


def people(n, seed=0, classes=3):
    """Records of n users with 1 to 9 each, alike in features and label, and the number of each record's user."""
    rng = np.random.default_rng([seed, 3])
    users = np.repeat(np.arange(n), np.resize([1, 9, 2, 4], n))
    x = normal(n, 5, seed)[users] + 0.05 * rng.normal(size=(len(users), 5))
    dataset = table(x, seed)
    return dataclasses.replace(dataset, y=rng.integers(0, classes, n)[users], units=users + 1000), users


def test_members_users_that_are_shifted_a_little_are_seen(where):
    dataset, users = people(1600)
    masks = [coin(1600, seed)[users] for seed in range(4)]
    shift = np.zeros_like(dataset.x)
    shift[masks[2], 3] = 0.3
    found = asked_blindly(where, dataclasses.replace(dataset, x=dataset.x + shift), pairs(*masks))
    assert telling(found) == {"feature_3/target_4/auc"}
    assert found.status == "failed"
    found = asked_blindly(where, dataset, pairs(*masks))
    assert (found.status, telling(found)) == ("passed", set())
    assert {auc.n for auc in found.metrics.values()} == {1600}


def test_users_who_differ_in_no_mean_are_seen_by_the_forests(where):
    dataset, users = people(800)
    member = coin(800, 0)[users]
    spread = dataclasses.replace(dataset, x=dataset.x * np.where(member, 2, 1)[:, None].astype(np.float32))
    assert telling(asked_blindly(where, spread, pairs(member))) == {"forests/target_0/auc"}


@pytest.mark.parametrize(
    ("recipe", "runs"),
    [
        (SklearnLogisticRegression(), 40),
        pytest.param(SklearnRandomForest(n_estimators=50, min_samples_leaf=10), 100, marks=pytest.mark.slow),
    ],
)
def test_fair_splits_of_users_pass(where, tmp_path, recipe, runs):
    statistics, store = [], Store(tmp_path)
    for seed in range(runs):
        dataset, users = people(120, seed)
        found = asked_blindly(where, dataset, pairs(coin(120, seed)[users]), store, recipe)
        assert found.status == "passed"
        auc = found.metrics["forests/target_0/auc"]
        statistics.append((auc.value - 0.5) / (auc.high - auc.value) * ndtri(1 - 0.001 / 4))
    assert abs(np.mean(statistics)) < 3.3 / np.sqrt(runs)
    assert 0.67 < np.std(statistics) < 1.2


def test_no_user_is_told_in_part_and_large_ones_are_asked_about_in_part(monkeypatch):
    users = np.random.default_rng(0).permutation(np.repeat(np.arange(40), np.resize([1, 100, 20, 7], 40)))
    member = coin(40, 0)[users]

    def drawn():
        return controls._drawn(member, users, np.random.default_rng(0))

    rows, first = drawn()
    assert sorted(rows) == list(range(len(users)))
    assert not set(users[rows[first]]) & set(users[rows[~first]])
    for kind in (member, ~member):
        assert len(set(users[rows[first & kind[rows]]])) == 10
    monkeypatch.setattr(controls, "MODEL_FREE_RECORDS", 400)
    rows, first = drawn()
    assert np.bincount(users[rows]).tolist() == np.minimum(np.bincount(users), 10).tolist()
    assert len(np.unique(rows)) == len(rows) == len(first)
    monkeypatch.setattr(controls, "MODEL_FREE_RECORDS", 20)
    rows, _ = drawn()
    assert np.bincount(np.bincount(users[rows], minlength=40)).tolist() == [20, 20]
    assert member[rows].sum() == 10

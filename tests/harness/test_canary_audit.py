"""Audits by canaries: they see what leaks, accept what is true, and contradict what is not."""

import argparse
import dataclasses
import json

import numpy as np
import pytest
from privassay.defenses.dp_sgd import DPSGD
from privassay.defenses.none import NoDefense
from privassay.harness import audit_words, catalog, config, evidence, report
from privassay.harness.accounting import noise_multiplier_for
from privassay.harness.audit import epsilon_one_run
from privassay.harness.canaries import insert
from privassay.harness.canary_audit import (
    Runs,
    audit_candidate,
    best_threshold,
    contradicts,
    right_guesses,
    train_with_canaries,
    what_follows,
)
from privassay.harness.cli_audit_run import add_audit_run
from privassay.harness.config import AuditSection
from privassay.harness.errors import UsageError
from privassay.harness.events import StepStarted
from privassay.harness.evidence import Audit
from privassay.harness.pool import CandidateSpec
from privassay.harness.training import train_pool
from privassay.harness.types import AuditedEpsilon, Identity, ObservedSampling, PrivacyClaim
from privassay.tests.support import evidence_example as example
from privassay.tests.support import small
from privassay.tests.support.experiments import write
from privassay.tests.support.false_claim import FalseClaim

RUNS = 1000
AT_MOST = 72  # of 1000 at 5 %: three standard deviations above 50


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    return small.setting(tmp_path_factory.mktemp("audits"), models=2)


def pool_of(where, defense):
    identity = Identity(type(defense).__name__, dataclasses.asdict(defense), "0")
    recipe = catalog.identity(small.RECIPE, "torch_mlp")
    spec = CandidateSpec("mlp", type(defense).__name__, small.RECIPE, recipe, defense, identity)
    return train_pool(spec, (where.dataset, where.split), where.store, where.seed, where.observe)


def audits_of(where, defense, **section):
    found = audit_candidate(pool_of(where, defense), where, AuditSection(**{"canaries": 100, **section}))
    return {audit.id: audit for audit in found}


def flattened(where):
    dataset = dataclasses.replace(where.dataset, x=where.dataset.x.reshape(len(where.dataset), -1))
    return dataclasses.replace(where, dataset=dataset)


@pytest.mark.parametrize("kind", ["mislabelled", "out_of_distribution", "own_feature"])
def test_an_undefended_model_gives_its_coins_away(where, kind):
    found = audits_of(flattened(where), NoDefense(), kind=kind, guesses=30)["one_run"]
    assert found.epsilon.kind == "lower bound"
    assert found.epsilon.value > 0.5
    assert found.epsilon.value == epsilon_one_run(100, 30, found.right, delta=1e-5).value
    assert found.ceiling == epsilon_one_run(100, 30, 30, delta=1e-5).value
    assert (found.canaries, found.kind, found.models, found.guesses) == (100, kind, 1, 30)
    assert (found.claimed, found.contradicts) == (None, False)


def test_duplicates_prove_less_for_each_of_the_two(where):
    (found,) = audits_of(where, NoDefense(), kind="mislabelled_duplicates", canaries=50, guesses=30).values()
    assert 0 < found.epsilon.value <= found.ceiling < 0.6 * epsilon_one_run(50, 30, 30, delta=1e-5).value
    assert found.id == "one_run"


def test_a_model_that_keeps_its_claim_is_not_accused(where):
    defense = DPSGD(target_epsilon=None, noise_multiplier=8.0, epochs=20, batch_size=100)
    found = audits_of(flattened(where), defense, kind="own_feature", guesses=40)
    for audit in found.values():
        assert audit.epsilon.value < audit.claimed
        assert not audit.contradicts
    assert found["one_run"].claimed < found["one_run"].ceiling


def test_noise_that_was_never_added_is_found_out(where):
    found = audits_of(where, FalseClaim(), guesses=40)
    assert found["one_run"].claimed == pytest.approx(1.0, abs=0.05)
    assert found["one_run"].epsilon.value > found["one_run"].claimed
    assert found["one_run"].contradicts
    assert not found["one_run_fdp"].contradicts  # the claim was not made for the Gaussian family


def test_delta_is_that_of_the_claim_and_bounds_the_canaries(where):
    assert audits_of(where, FalseClaim(delta=1e-4), guesses=40)["one_run"].epsilon.delta == 1e-4
    with pytest.raises(UsageError, match=r"canaries=100: must be at most 10, 0\.01 / delta for delta=0\.001"):
        audits_of(where, FalseClaim(delta=1e-3))


def test_runs_differ_by_their_coins_only_and_the_store_keeps_them(where):
    pool, section = pool_of(where, NoDefense()), AuditSection(canaries=20, models=3)
    first = train_with_canaries(pool, where, section)
    seen = []
    again = train_with_canaries(pool, dataclasses.replace(where, observe=seen.append), section)
    np.testing.assert_array_equal(first.scores, again.scores)
    assert seen[0] == StepStarted("audit, train mlp/NoDefense", 3, 3)
    assert len({row.tobytes() for row in first.included}) == 3
    assert not set(first.canaries.rows.ravel()) & set(where.split.rows(0))


class Recorded(NoDefense):
    """Keeps the rows and seeds that it is asked to train."""

    guarantee = "none"

    def __init__(self):
        self.asked = []

    def training_parameters(self):
        return {"kept": "apart"}

    def train(self, recipe, data, rows, seeds):
        self.asked += list(zip(rows, seeds, strict=True))
        yield from super().train(recipe, data, rows, seeds)

    def release(self, probabilities, rng):
        return probabilities


def test_what_is_trained_on_and_with_whose_noise(where):
    defense = Recorded()
    spec = dataclasses.replace(small.spec(), defense=defense, defense_identity=Identity("recorded", {}, "0"))
    pool = train_pool(spec, (where.dataset, where.split), where.store, where.seed, where.observe)
    pools_seeds = {seed for _, seed in defense.asked}
    defense.asked.clear()
    runs = train_with_canaries(pool, where, AuditSection(canaries=40, models=2))
    for (rows, seed), included in zip(defense.asked, runs.included, strict=True):
        assert seed not in pools_seeds  # with the pool's noise, a score relative to the pool would be free of noise
        expected = np.concatenate([where.split.rows(0), runs.canaries.rows[included, 0]])
        np.testing.assert_array_equal(rows, np.sort(expected))


@pytest.mark.parametrize("levels", [0, 2], ids=["continuous", "tied"])
def test_chance_scores_prove_nothing(levels):
    rng, alarms = np.random.default_rng(0), 0
    for run in range(RUNS):
        scores = rng.integers(0, levels, 200).astype(float) if levels else rng.normal(size=200)
        right = right_guesses(scores, rng.random(200) < 0.5, 40, seed=run)
        alarms += epsilon_one_run(200, 40, right, delta=1e-5).value > 0
    assert alarms <= AT_MOST


def test_randomised_response_is_believed():
    """The mechanism on which the bound has least to spare: each coin is told truly with chance e / (1 + e)."""
    rng, beyond, proved = np.random.default_rng(0), 0, 0
    for run in range(RUNS):
        included = rng.random(200) < 0.5
        told = included ^ (rng.random(200) > np.e / (1 + np.e))
        bound = epsilon_one_run(200, 100, right_guesses(told.astype(float), included, 100, run), delta=1e-5).value
        beyond, proved = beyond + (bound > 1), proved + bound
    assert beyond <= AT_MOST
    assert proved / RUNS > 0.5


def test_equal_scores_tell_nothing_even_where_members_come_first():
    included = np.arange(200) < 100
    right = [right_guesses(np.zeros(200), included, 40, seed) for seed in range(200)]
    assert abs(np.mean(right) - 20) < 1


def test_guesses_are_the_extremes():
    scores, included = np.array([5.0, -3, 0, 1, 9, 2]), np.array([True, False, True, False, False, True])
    assert right_guesses(scores, included, 2, 0) == 1
    assert right_guesses(scores, included, 4, 0) == 2
    assert right_guesses(scores, included, 6, 0) == 4


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores, included = rng.integers(0, 6, 12).astype(float), rng.random(12) < 0.5
        most = max(((scores >= t) == included).sum() for t in scores)
        assert ((scores >= best_threshold(scores, included)) == included).sum() == most


def test_several_runs_are_one_audit_of_all_their_canaries(where):
    found = audits_of(where, NoDefense(), canaries=60, models=12, guesses=20)
    assert set(found) == {"one_run", "one_run_fdp", "multi_run"}
    together, alone = found["one_run"], found["multi_run"]
    assert (together.models, together.canaries, together.guesses) == (12, 60, 240)
    assert (alone.models, alone.canaries, alone.guesses) == (11, 1, 11)
    assert together.epsilon.kind == alone.epsilon.kind == "lower bound"
    assert together.epsilon.n == 12 * 60
    assert together.epsilon.level == alone.epsilon.level == pytest.approx(0.975)  # two bounds share alpha
    assert alone.epsilon.value <= alone.ceiling < 2.0  # one canary in few runs proves little, however strong the leak
    single = audits_of(where, NoDefense(), canaries=60, models=1, guesses=20)["one_run"]
    assert together.epsilon.value > single.ceiling  # more than one run could prove
    assert single.epsilon.level == pytest.approx(0.95)


def test_one_canary_in_one_further_run_proves_nothing_and_says_so(where):
    alone = audits_of(where, NoDefense(), canaries=20, models=2, guesses=4)["multi_run"]
    assert (alone.epsilon.value, alone.ceiling, alone.contradicts) == (0, 0, False)
    assert "the same in every run" in alone.epsilon.method


def test_candidates_of_one_section_share_alpha(where):
    def both(**section):
        return audits_of(where, NoDefense(), guesses=20, candidates=("mlp/none", "mlp/dp_sgd", "mlp/none"), **section)

    assert both()["one_run"].epsilon.level == pytest.approx(0.975)
    assert both()["one_run"].ceiling < epsilon_one_run(100, 20, 20, delta=1e-5).value
    assert [audit.epsilon.level for audit in both(canaries=60, models=12).values()] == pytest.approx([0.9875] * 3)


@pytest.mark.parametrize("section", [{}, {"candidates": ["mlp/none", "mlp/output_perturbation"]}])
def test_a_section_without_names_names_all_candidates(tmp_path, section):
    assert config.load(write(tmp_path, audit=section)).audit.sharing == 2


DELTA, REPEATED = 1e-5, 400
FALSE_ALARMS = 33  # of 400 at 5 %: three standard deviations above 20


def claim(neighbouring="add_or_remove_one", value=1.0):
    return PrivacyClaim(value, DELTA, "record", neighbouring, "poisson", "pld", "", ())


def gaussian_scores(true_epsilon, included, rng):
    once = ObservedSampling("poisson", sample_rate=1.0, steps=1, epochs=1.0)
    return included + noise_multiplier_for(true_epsilon, DELTA, once) * rng.normal(size=included.shape)


def randomised_response(true_epsilon, included, rng):
    return (included ^ (rng.random(included.shape) > 1 / (1 + np.exp(-true_epsilon)))).astype(float)


def contradicted(where, mechanism, true_epsilon, section):
    """How many of the repetitions contradict the true epsilon, and how many a third of it."""
    rng, true, false = np.random.default_rng(0), 0, 0
    canaries = insert(where.dataset, np.arange(section.canaries), section.kind, 0)
    for repetition in range(REPEATED):
        included = rng.random((section.models, section.canaries)) < 0.5
        claims = (claim(value=true_epsilon),) * section.models
        runs = Runs(canaries, included, mechanism(true_epsilon, included, rng), claims)
        found = what_follows(runs, dataclasses.replace(where, seed=repetition), section, DELTA)
        true += any(audit.contradicts for audit in found)
        false += any(contradicts(audit.epsilon, claim(value=true_epsilon / 3)) for audit in found)
    return true, false


@pytest.mark.parametrize(
    ("mechanism", "true_epsilon", "section"),
    [
        (gaussian_scores, 4.0, {"canaries": 1000, "guesses": 100}),
        (gaussian_scores, 4.0, {"canaries": 100, "guesses": 10, "models": 10}),
        (randomised_response, 1.0, {"canaries": 300, "guesses": 150}),
        (randomised_response, 2.0, {"canaries": 4, "guesses": 2, "models": 100}),
    ],
)
def test_a_true_claim_is_seldom_contradicted_and_a_false_one_often(where, mechanism, true_epsilon, section):
    true, false = contradicted(where, mechanism, true_epsilon, AuditSection(**section))
    assert true <= FALSE_ALARMS
    assert false > REPEATED / 2


def test_one_canary_in_many_runs_contradicts_by_itself(where):
    rng, section = np.random.default_rng(0), AuditSection(canaries=4, guesses=2, models=200)
    included = rng.random((200, 4)) < 0.5
    canaries = insert(where.dataset, np.arange(4), section.kind, 0)
    runs = Runs(canaries, included, included.astype(float), (claim(),) * 200)
    assert {a.id: a.contradicts for a in what_follows(runs, where, section, DELTA)}["multi_run"]


def test_claims_about_other_neighbours_are_never_contradicted(where):
    included = np.random.default_rng(0).random((1, 300)) < 0.5
    canaries = insert(where.dataset, np.arange(300), "mislabelled", 0)

    def audits(own):
        return what_follows(Runs(canaries, included, included.astype(float), (own,)), where, AuditSection(), DELTA)

    for found in audits(claim("zero_out_one")):
        assert found.epsilon.value > found.claimed == 1.0
        assert not found.contradicts
        assert "stops counting while the number of records stays the same" in found.note
        assert found.note in audit_words.audit_sentence(found)
        assert "number of records is public" not in found.epsilon.assumes
    for found in audits(claim()):
        assert found.contradicts == (found.id == "one_run")
        assert found.note == ""
        assert "it is assumed that the number of records is public" in found.epsilon.assumes
    for found in audits(None):
        assert found.note == ""
        assert "public" not in found.epsilon.assumes


def epsilon(kind, value=1.5):
    return AuditedEpsilon(value, value, None, 0.95, kind, "a method", 1e-5, 100, "Something.")


@pytest.mark.parametrize(
    ("kind", "neighbouring", "expected"),
    [
        ("lower bound", "add_or_remove_one", True),
        ("lower bound", "zero_out_one", False),
        ("conditional lower bound", "add_or_remove_one", False),
        ("heuristic", "add_or_remove_one", False),
        ("credible interval", "add_or_remove_one", False),
    ],
)
def test_only_proofs_about_the_same_neighbours_contradict(kind, neighbouring, expected):
    assert contradicts(epsilon(kind), claim(neighbouring)) is expected
    assert not contradicts(epsilon(kind, 1.0), claim(neighbouring))


def audit(**changes):
    fields = {"id": "one_run", "canaries": 300, "kind": "mislabelled", "models": 1, "guesses": 60, "right": 60}
    rest = {"epsilon": epsilon("lower bound", 2.96), "claimed": 2.98, "ceiling": 3.4, "contradicts": False}
    return Audit(**{**fields, **rest, **changes})


def test_the_report_shows_each_audit_beside_claim_and_ceiling(tmp_path):
    run = example.evidence()
    found = (run.candidates[0].model_copy(update={"audits": (audit(),)}), *run.candidates[1:])
    html = report.render(run.model_copy(update={"candidates": found}), tmp_path)
    assert "Audits of epsilon" in html
    for words in ("300 records with a wrong label", "60 of 60", "ε\u00a0≥\u00a02.96 (lower bound)", ">2.98<", ">3.4<"):
        assert words in html
    assert "Claim contradicted" not in html
    assert "Audits of epsilon" not in report.render(run, tmp_path)


def test_the_report_says_when_a_claim_is_contradicted(tmp_path):
    run = example.evidence()
    refuted = audit(claimed=1.0, contradicts=True)
    found = (run.candidates[0].model_copy(update={"audits": (refuted,)}), *run.candidates[1:])
    html = report.render(run.model_copy(update={"candidates": found}), tmp_path)
    assert '<p class="alert">Claim contradicted: by guesses in one training run, ε is at least 2.96' in html
    assert "CLAIM CONTRADICTED" in audit_words.audit_sentence(refuted)


def test_the_report_says_once_why_a_bound_cannot_contradict(tmp_path):
    run, hint = example.evidence(), "Where the most that is provable does not lie above the claim"

    def rendered(note):
        beside = (audit(claimed=1.0, note=note), audit(id="one_run_fdp", claimed=1.0, note=note))
        found = (run.candidates[0].model_copy(update={"audits": beside}), *run.candidates[1:])
        return report.render(run.model_copy(update={"candidates": found}), tmp_path)

    html = rendered("Other neighbours.")
    assert html.count("Other neighbours.") == 1
    assert "Claim contradicted" not in html
    assert hint not in html
    assert hint in rendered("")


def test_nothing_proved_is_not_an_epsilon_of_zero():
    nothing = audit(epsilon=epsilon("lower bound", 0.0))
    assert (
        audit_words.audited(nothing)
        == "nothing proved; so many canaries and guesses could have proved up to ε\u00a03.4"
    )
    few = audit(id="multi_run", epsilon=epsilon("lower bound", 0.0), ceiling=0.0)
    assert audit_words.audited(few) == "nothing proved; with so few trials nothing could have been proved"
    assert "only if the trade-off curve is Gaussian" in audit_words.audited(
        audit(epsilon=epsilon("conditional lower bound"))
    )
    assert "not a bound" in audit_words.audited(audit(epsilon=epsilon("heuristic")))
    assert "≥" not in audit_words.audited(audit(epsilon=epsilon("heuristic")))
    assert audit_words.out_of_reach(audit(ceiling=2.0))
    assert not audit_words.out_of_reach(audit())
    assert not audit_words.out_of_reach(audit(claimed=None))


def command(*arguments):
    parser = argparse.ArgumentParser()
    add_audit_run(parser.add_subparsers())
    parsed = parser.parse_args(["run", *map(str, arguments)])
    return int(parsed.command(parsed))


@pytest.fixture
def lying(monkeypatch):
    """The false defence where an experiment can name it."""
    monkeypatch.setitem(catalog.BUILT_IN["defenses"], "false_claim", "tests.support.false_claim:FalseClaim")
    catalog.targets.cache_clear()
    yield
    catalog.targets.cache_clear()


def test_the_command_ends_with_1_where_a_claim_is_contradicted(lying, tmp_path, capsys):
    file = write(tmp_path, defenses={"none": {}, "false_claim": {"noise_multiplier": 15.0}})
    options = ("--canaries", 100, "--guesses", 60, "--out", tmp_path / "out", "--json")
    assert command(file, "--candidate", "mlp/false_claim", *options) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["exit_code"] == 1
    assert [evidence.Audit(**one).id for one in found["audits"]["mlp/false_claim"]] == ["one_run", "one_run_fdp"]
    assert "CLAIM CONTRADICTED" in captured.err
    assert command(file, "--candidate", "mlp/none", *options) == 0
    assert "no claim" in capsys.readouterr().err
    assert command(file, "--candidate", "mlp/none", "--candidate", "mlp/false_claim", *options) == 1
    both = json.loads(capsys.readouterr().out)["audits"]
    assert [one["epsilon"]["level"] for audits in both.values() for one in audits] == pytest.approx([0.975] * 4)


def test_the_command_refuses_what_cannot_be(tmp_path):
    file = write(tmp_path)
    with pytest.raises(UsageError, match=r"audit\.candidates: 'mlp/nobody' is not a candidate"):
        command(file, "--candidate", "mlp/nobody")
    with pytest.raises(UsageError, match=r"audit\.canaries=101: must be at most 100"):
        command(file, "--candidate", "mlp/none", "--canaries", 101)

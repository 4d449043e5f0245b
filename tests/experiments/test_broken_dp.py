"""The audit of broken DP-SGD trainers flags what it can see, names it, and leaves correct ones alone."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from privassay.experiments.benchmarks.broken_dp import checks, faults, readings
from privassay.experiments.benchmarks.broken_dp.audit import Effort, audit, claimed_plan
from privassay.experiments.benchmarks.broken_dp.network import Network
from privassay.experiments.benchmarks.broken_dp.opacus_trainer import OpacusTrainer
from privassay.experiments.benchmarks.broken_dp.trainers import MomentumTrainer, Release, Trainer
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.seeds import generator
from privassay.harness.types import DPMechanism, ObservedSampling

PAGE = Path(__file__).resolve().parents[2] / "docs/broken-dp.md"
SMALL = Effort(canaries=300, ordinary=30, watched=120)
PLAN = claimed_plan(SMALL)

SEEN = {
    faults.NoNoise: ("noise", "no noise at all"),
    faults.HalfNoise: ("noise", "noise is 0.5"),
    faults.NoiseWithoutClip: ("noise", "does not scale with the clip"),
    faults.NoiseForgotten: ("noise", "noise on the output weights is 0.00 of what is claimed"),
    faults.ClipPerBatch: ("sensitivity", "the batch is clipped"),
    faults.ClipForgotten: ("sensitivity", "exceeds the clip: output weights"),
    faults.NoiseReused: ("noise", "the same noise in every step"),
    faults.FixedNoiseSeed: ("noise", "the same noise whatever the seed"),
    faults.FixedSizeBatches: ("claim", "training used batches of fixed size"),
    faults.ShuffledBatches: ("claim", "training used shuffled batches"),
    faults.HalfOfTheSteps: ("claim", "fed 20 steps, training took 40"),
    faults.LargerDelta: ("claim", "is what it gives at delta 0.001, not 1e-06"),
    faults.MemberNormaliser: ("by-products", "the normaliser's scale depends on members"),
    faults.StopsOnMemberLoss: ("by-products", "the number of steps depends on one member"),
}
UNSEEN = (faults.BestOfSeveral, faults.GuessableNoiseSeed)


def test_every_trainer_is_tested():
    assert {*SEEN, *UNSEEN} == set(faults.BROKEN)
    assert all(trainer.fault for trainer in faults.BROKEN)
    assert not any(trainer.fault for trainer in faults.CORRECT)


@pytest.mark.parametrize("trainer", SEEN, ids=lambda trainer: trainer.__name__)
def test_a_fault_is_flagged_and_named(trainer):
    check, cause = SEEN[trainer]
    report = audit(trainer(), 0, SMALL)
    assert report.flagged
    assert [f for f in report.findings if f.check == check and cause in f.cause], report.findings
    also = {"one-run bound, white box", "one-run bound, black box"}
    if trainer is faults.MemberNormaliser:
        also.add("absent records")
    assert {f.check for f in report.findings} <= {check, *also}  # no second cause that is not there


@pytest.mark.parametrize("trainer", UNSEEN, ids=lambda trainer: trainer.__name__)
def test_what_the_audit_cannot_see_is_said_to_be_unseen(trainer):
    """If this fails the audit has become better: the page must say so."""
    assert not audit(trainer(), 0, SMALL).flagged


@pytest.mark.parametrize("trainer", faults.CORRECT, ids=lambda trainer: trainer.__name__)
def test_a_correct_trainer_is_not_flagged(trainer):
    for seed in range(3):
        report = audit(trainer(), seed, SMALL)
        assert report.findings == ()
        assert report.epsilon_bound <= report.epsilon_claimed
        assert report.epsilon_bound_black_box <= report.epsilon_claimed


def test_without_noise_the_one_run_bound_contradicts_the_claim():
    report = audit(faults.NoNoise(), 0, SMALL)
    assert "one-run bound, white box" in {f.check for f in report.findings}
    assert report.epsilon_claimed < report.epsilon_bound <= report.ceiling


def test_the_same_seed_gives_the_same_report():
    trainer = faults.ClipPerBatch()
    assert audit(trainer, 5, SMALL) == audit(trainer, 5, SMALL)
    assert audit(trainer, 5, SMALL) != audit(trainer, 6, SMALL)


class LittleLessNoise(Trainer):
    """Noise 5 % short: eight standard deviations of the measured noise."""

    name = "5 % short"

    def noises(self, network, plan, seed):
        return (0.95 * noise for noise in super().noises(network, plan, seed))


def test_noise_a_little_short_is_a_near_miss_that_is_caught():
    findings = audit(LittleLessNoise(), 0, SMALL).findings
    assert [f.cause[:12] for f in findings] == ["noise is 0.9"]


class ClipPerLayer(Trainer):
    """Each layer clipped to the whole norm: the record's gradient may be twice as long as the claim says."""

    name = "clip per layer"

    def clipped_sum(self, network, gradients, plan):
        parts = [Trainer.clipped_sum(self, network, gradients[:, part], plan) for part in network.layers.values()]
        return np.concatenate(parts)


def test_layers_that_are_each_within_the_clip_are_judged_together():
    """No layer exceeds the clip, all together do."""
    (finding,) = audit(ClipPerLayer(), 0, SMALL).findings
    assert finding.check == "sensitivity"
    assert "output weights" not in finding.cause
    assert "all layers together" in finding.cause


def test_gradients_are_those_of_torch():
    rng = np.random.default_rng(0)
    network = Network(5)
    theta, x, y = network.start(1) + rng.normal(size=network.size), rng.normal(size=(7, 5)), rng.integers(0, 2, 7)
    parts = [torch.tensor(part, requires_grad=True) for part in network.matrices(theta)]
    gradients, losses = network.gradients(theta, x, y), network.losses(theta, x, y)
    for record, (gradient, loss) in enumerate(zip(gradients, losses, strict=True)):
        logits = torch.tanh(torch.tensor(x[record]) @ parts[0] + parts[1]) @ parts[2] + parts[3]
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor(y[record]))
        slopes = torch.autograd.grad(expected, parts)
        assert loss == pytest.approx(expected.item(), rel=1e-12)
        np.testing.assert_allclose(gradient, np.concatenate([slope.ravel() for slope in slopes]), rtol=1e-9, atol=1e-12)


def test_no_records_give_no_gradients():
    network = Network(5)
    assert network.gradients(network.start(0), np.zeros((0, 5)), np.zeros(0, dtype=np.int64)).shape == (0, network.size)


def records(seed=0):
    return readings.with_ordinary(readings.canaries(40), 40, np.random.default_rng(seed))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_without_noise_the_reference_takes_the_steps_of_opacus(momentum):
    plan = dataclasses.replace(PLAN, noise_multiplier=0.0, records=80, learning_rate=0.3, momentum=momentum)
    ours, theirs = (trainer.train(*records(), plan, 3) for trainer in (Trainer(), OpacusTrainer()))
    assert np.abs(ours.path[-1] - ours.start).max() > 0.1
    np.testing.assert_allclose(ours.path, theirs.path, atol=1e-5)  # Opacus adds 1e-6 to norms


@pytest.mark.parametrize("trainer", [Trainer(), MomentumTrainer(), OpacusTrainer()], ids=lambda trainer: trainer.name)
def test_the_sums_are_solved_from_the_weights(trainer):
    """The clipped gradients of each step, computed anew record by record."""
    plan = trainer.adapted(dataclasses.replace(PLAN, noise_multiplier=0.0, records=80))
    x, y = records()
    reading = readings.read(trainer, (x, y), plan, 3)
    network = Network(x.shape[1])
    weights = np.vstack([reading.release.start, reading.release.path])
    for step, batch in enumerate(trainer.batches(len(y), plan, generator(3, "batches"))):
        total = np.zeros(network.size)
        for record in batch:
            (gradient,) = network.gradients(weights[step], x[[record]], y[[record]])
            total += gradient * min(1.0, plan.max_grad_norm / np.linalg.norm(gradient))
        np.testing.assert_allclose(reading.sums[step], total, atol=1e-4)


def test_the_noise_of_a_correct_run_has_the_claimed_deviation():
    reading = readings.read(Trainer(), records(), PLAN, 0)
    assert reading.claimed == 8.0
    assert reading.measured == pytest.approx(8.0, rel=0.04)
    assert reading.blank.shape == (40, readings.BLANK * 4)


def test_participation_is_read_off_the_weights():
    quiet = dataclasses.replace(PLAN, noise_multiplier=0.05, records=60, learning_rate=1e-3)
    trainer = Kept()
    reading = readings.read(trainer, readings.canaries(60), quiet, 0)
    seen = [np.flatnonzero(row) for row in checks.joined(reading)]
    assert len(seen) == len(trainer.kept) == 40
    for found, drawn in zip(seen, trainer.kept, strict=True):
        np.testing.assert_array_equal(found, drawn)


class Kept(Trainer):
    """Keeps its batches."""

    def batches(self, n, plan, rng):
        self.kept = list(super().batches(n, plan, rng))
        return iter(self.kept)


def released(steps, shift):
    return Release(np.zeros(2), np.zeros((steps, 2)), np.full(3, shift), np.ones(3))


@pytest.mark.parametrize(
    ("without", "with_one", "found"),
    [
        ([(5, 0.0), (7, 0.0)], [(8, 0.0), (9, 0.0)], ["steps"]),
        ([(8, 0.0), (9, 0.0)], [(5, 0.0), (7, 0.0)], ["steps"]),
        ([(5, 0.0), (8, 0.0)], [(8, 0.0), (9, 0.0)], []),
        ([(9, 0.0), (9, 0.0)], [(9, 0.0), (9, 0.0)], []),
        ([(9, 0.0), (9, 0.0)], [(9, 1.0), (9, 1.0)], ["shift"]),
        ([(9, 0.0), (9, 0.1)], [(9, 1.0), (9, 1.0)], []),  # it varies by itself: there may be noise in it
    ],
)
def test_by_products(without, with_one, found):
    findings = checks.by_products([released(*one) for one in without], [released(*one) for one in with_one])
    assert [word for f in findings for word in ("shift", "scale", "steps") if word in f.cause] == found


def test_the_claim_is_the_accountants():
    stated = Trainer().state(PLAN, PLAN.steps)
    sampling = ObservedSampling("poisson", PLAN.sample_rate, 40, 8.0)
    assert stated.epsilon == dp_sgd_claim(DPMechanism(4.0, 2.0, sampling, 1e-6)).epsilon
    assert faults.HalfOfTheSteps().state(PLAN, 40).epsilon < stated.epsilon
    assert faults.LargerDelta().state(PLAN, 40).epsilon < stated.epsilon


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("trainer", faults.CORRECT, ids=lambda trainer: trainer.__name__)
def test_no_correct_trainer_is_flagged_with_any_of_20_seeds(trainer):
    for seed in range(1, 21):
        assert audit(trainer(), seed, Effort()).findings == ()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_checks_err_as_often_as_their_level_says(monkeypatch):
    """At level 0.05 instead of 1e-5: four tests of noise, one of absent records, the others conservative."""
    monkeypatch.setattr(checks, "LEVEL", 0.05)
    audits = 200
    wrong = [f.check for seed in range(audits) for f in audit(Trainer(), seed, SMALL).findings]
    assert set(wrong) <= {"noise", "absent records", "sensitivity"}
    for check, rate in (("noise", 1 - 0.95**4), ("absent records", 0.05), ("sensitivity", 0.1)):
        assert wrong.count(check) <= audits * rate + 4 * np.sqrt(audits * rate * (1 - rate))
    assert wrong.count("noise") >= audits * 0.05  # they are no dead checks


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_shows_what_the_command_prints(capsys):
    main = importlib.import_module("privassay.experiments.benchmarks.broken_dp.__main__").main
    main(["--markdown"])
    assert capsys.readouterr().out.strip() in PAGE.read_text()

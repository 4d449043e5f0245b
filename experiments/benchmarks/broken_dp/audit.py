"""The audit of one trainer: a few runs on the auditor's own records, plans and seeds, and all checks on them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ....harness.seeds import derive, generator
from . import checks, readings
from .checks import Finding
from .readings import Reading, Records
from .trainers import Plan, Release, Trainer

_STEPS, _RATE, _DELTA = 40, 0.2, 1e-6
_LITTLE = 0.05  # noise multiplier at which a record's part in a sum is seen with the bare eye


@dataclass(frozen=True)
class Effort:
    """How much the auditor spends.

    Attributes:
        canaries: each in the data by a fair coin, for the one-run bound.
        ordinary: records beside them.
        watched: canaries whose part in each step is read.
        seeds: runs on each of two neighbouring data sets; 11 make chance take 2 in 705,432.
    """

    canaries: int = 1000
    ordinary: int = 100
    watched: int = 300
    seeds: int = 11


@dataclass(frozen=True)
class Report:
    """What the audit says of a trainer.

    Attributes:
        trainer: its name.
        fault: what is wrong with it, None where nothing is.
        findings: why it is flagged; empty where it is not.
        epsilon_claimed: what its owner states.
        epsilon_bound: one-run lower bound from all steps' weights.
        epsilon_bound_black_box: one-run lower bound from losses of the final model.
        ceiling: the most that the one-run bound could have shown.
    """

    trainer: str
    fault: str | None
    findings: tuple[Finding, ...]
    epsilon_claimed: float
    epsilon_bound: float
    epsilon_bound_black_box: float
    ceiling: float

    @property
    def flagged(self) -> bool:
        """Whether any check found a fault."""
        return bool(self.findings)


def audit(trainer: Trainer, seed: int, effort: Effort) -> Report:
    """Run the trainer and check it; it is used as a black box that takes records, a plan and a seed."""
    auditor = _Auditor(trainer, derive(seed, trainer.name), effort)
    records = readings.canaries(effort.canaries)
    coins = generator(auditor.seed, "coins").random(effort.canaries) < 0.5
    chosen = readings.included(records, coins)
    data = readings.with_ordinary(chosen, effort.ordinary, generator(auditor.seed, "ordinary"))
    plan = trainer.adapted(claimed_plan(effort))
    first, second = (auditor.read(data, plan, run) for run in ("first", "second"))
    stated = trainer.state(plan, first.release.steps)
    white = checks.bound(checks.scores(first, records), coins, plan.delta)
    black = checks.bound(-first.release.losses(*records), coins, plan.delta)
    contradicted = [
        Finding(f"one-run bound, {access}", f"epsilon is at least {bound:.2f}, above the claim")
        for access, bound in (("white box", white), ("black box", black))
        if bound > stated.epsilon
    ]
    single, quiet = auditor.single(plan), auditor.quiet(plan)
    findings = [
        *checks.claim(stated, quiet),
        *checks.noise(first, second, single),
        *checks.sensitivity(quiet, single),
        *checks.by_products(*auditor.neighbours(plan)),
        *checks.absent_records(quiet),
        *contradicted,
    ]
    ceiling = checks.bound(coins.astype(np.float64), coins, plan.delta)  # if the scores were the coins themselves
    return Report(trainer.name, trainer.fault, tuple(findings), stated.epsilon, white, black, ceiling)


def claimed_plan(effort: Effort) -> Plan:
    """The plan that the claim is about: epsilon 1.49 at delta 1e-6."""
    return Plan(
        noise_multiplier=4.0,
        max_grad_norm=2.0,
        sample_rate=_RATE,
        steps=_STEPS,
        records=effort.canaries // 2 + effort.ordinary,
        learning_rate=0.1,
        momentum=0.0,
        delta=_DELTA,
    )


@dataclass(frozen=True)
class _Auditor:
    trainer: Trainer
    seed: int
    effort: Effort

    def read(self, records: Records, plan: Plan, run: str) -> Reading:
        return readings.read(self.trainer, records, plan, derive(self.seed, run))

    def quiet(self, plan: Plan) -> Reading:
        """Canaries alone, little noise, and steps so short that gradients stay what they were."""
        probe = dataclasses.replace(plan, noise_multiplier=_LITTLE, records=self.effort.watched, learning_rate=1e-3)
        return self.read(readings.canaries(self.effort.watched), probe, "quiet")

    def single(self, plan: Plan) -> Reading:
        """One record in every step, and a clip that gradients of all layers exceed."""
        probe = dataclasses.replace(
            plan,
            noise_multiplier=_LITTLE,
            max_grad_norm=plan.max_grad_norm / 20,
            sample_rate=1.0,
            records=1,
            learning_rate=1e-3,
        )
        return self.read(readings.canaries(1), probe, "single")

    def neighbours(self, plan: Plan) -> tuple[list[Release], list[Release]]:
        """Runs that fit two neighbouring data sets well, each with its own seeds."""
        probe = dataclasses.replace(plan, noise_multiplier=_LITTLE, sample_rate=0.5, records=8, learning_rate=1.0)
        sides = []
        for name, records in zip(("without", "with"), readings.neighbours(), strict=True):
            runs = [self.read(records, probe, f"{name} {run}") for run in range(self.effort.seeds)]
            sides.append([run.release for run in runs])
        return sides[0], sides[1]

"""Checks of the instrument in every run. When one does not pass, no verdict of the run may be trusted.

- Shuffled membership: the attacks run once more, from end to end, on a pool whose masks were shuffled over the
  records, for attacker and metrics alike. Nothing can be learnt; whatever still separates "members" comes from the
  instrument: an attack that peeks at the answer, a metric that invents a signal.
- Planted leak: forests fitted to random labels can only memorise. If none of the run's attacks sees that, the
  instrument is blind. The recipe is the same in every run: one that cannot memorise would accuse the instrument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .errors import NotApplicable
from .evaluation import NamedAttack, Setting, run_membership
from .evidence import Control
from .metrics import membership_metrics
from .pool import CandidateSpec, Pool, train_pool
from .protocols import SamplingAttack
from .seeds import generator
from .types import Estimate, Split

SHUFFLED_LEVEL = 0.999
"""Level of the shuffled control's intervals: about one false alarm in 1000 runs for each attack."""

PLANTED_LEAST_AUC = 0.6
CONTROL_MODELS = 8
"""A control asks a yes-or-no question: four pairs of models answer it."""


def run_controls(
    pool: Pool, planted: CandidateSpec, setting: Setting, attacks: Sequence[NamedAttack]
) -> tuple[Control, ...]:
    """Run every control; one that breaks is recorded as an error.

    Args:
        pool: trained models of the first candidate.
        planted: what the planted control trains: a recipe that is known to memorise, undefended.
        setting: the run's setting.
        attacks: the membership attacks of the run, or any that can run where it has none.
    """
    return (
        _guarded("shuffled_membership", lambda: _shuffled_membership(pool, setting, attacks)),
        _guarded("planted_leak", lambda: _planted_leak(planted, setting, attacks)),
    )


def _shuffled_membership(pool: Pool, setting: Setting, attacks: Sequence[NamedAttack]) -> Control:
    """Every attack at chance on shuffled masks: the interval of its AUC contains one half."""
    order = generator(setting.seed, "control", "shuffled").permutation(len(setting.split.pool))
    shuffled = replace(setting.split, member=setting.split.member[:, order])
    where = replace(
        setting,
        split=shuffled,
        targets=setting.targets[:CONTROL_MODELS],
        phase="control, shuffled membership: ",
        resampling=replace(setting.resampling, level=SHUFFLED_LEVEL),
    )
    metrics = _aucs(attacks, pool, where)
    wrong = [name for name, auc in metrics.items() if not auc.low <= 0.5 <= auc.high]
    return _control(
        "shuffled_membership",
        f"with membership shuffled, every attack's AUC is 0.5 (level {SHUFFLED_LEVEL:g})",
        metrics,
        f"not at chance on shuffled membership: {', '.join(wrong)}" if wrong else "",
    )


def _planted_leak(planted: CandidateSpec, setting: Setting, attacks: Sequence[NamedAttack]) -> Control:
    """Models that memorised random labels are caught: some AUC's lower end exceeds `PLANTED_LEAST_AUC`."""
    dataset, split = setting.dataset, setting.split
    labels = generator(setting.seed, "control", "planted").integers(0, dataset.n_classes, len(dataset))
    relabelled = replace(dataset, name=f"{dataset.name} with random labels", y=labels.astype(np.int64))
    few = Split(split.pool, split.auxiliary, split.member[:CONTROL_MODELS])
    pool = train_pool(planted, (relabelled, few), setting.store, setting.seed, setting.observe)
    where = replace(
        setting, dataset=relabelled, split=few, targets=np.arange(few.models), phase="control, planted leak: "
    )
    quick = [named for named in attacks if not isinstance(named.attack, SamplingAttack)]  # one that sees it suffices
    metrics = _aucs(quick or attacks, pool, where)
    caught = any(auc.low > PLANTED_LEAST_AUC for auc in metrics.values())
    return _control(
        "planted_leak",
        f"some attack catches models fitted to random labels: AUC over {PLANTED_LEAST_AUC:g}",
        metrics,
        "" if caught else f"the planted leak was not caught by any of: {', '.join(metrics)}",
    )


def _aucs(attacks: Sequence[NamedAttack], pool: Pool, setting: Setting) -> dict[str, Estimate]:
    """AUC of each attack that can run."""
    metrics = {}
    for named in attacks:
        try:
            table = run_membership(named, pool, setting)
        except NotApplicable:
            continue
        metrics[f"{named.id}/auc"] = membership_metrics(table, (), setting.resampling)["auc"]
    return metrics


def _guarded(name: str, control: Callable[[], Control]) -> Control:
    try:
        return control()
    except Exception as error:
        return Control(
            id=name, expectation="runs", status="error", reason=f"{type(error).__name__}: {error}", metrics={}
        )


def _control(name: str, expectation: str, metrics: dict[str, Estimate], reason: str) -> Control:
    if not metrics:
        return Control(id=name, expectation=expectation, status="error", reason="no attack could run", metrics={})
    return Control(
        id=name,
        expectation=expectation,
        status="failed" if reason else "passed",
        reason=reason,
        metrics=metrics,
    )

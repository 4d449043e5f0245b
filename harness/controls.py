"""Checks of the instrument in every run. When one does not pass, no verdict of the run may be trusted.

- Shuffled membership: the attacks run once more, from end to end, on a pool whose masks were shuffled over the
  records, for attacker and metrics alike. Nothing can be learnt; whatever still separates "members" comes from the
  instrument: an attack that peeks at the answer, a metric that invents a signal.
- Planted leak: forests fitted to random labels can only memorise. If the primary attack does not see that, or none of
  the attacks where a run has no primary one, the instrument is blind. An attack that is worse than guessing there has
  its sign wrong. The recipe is the same in every run: one that cannot memorise would accuse the instrument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from .errors import NotApplicable
from .evaluation import NamedAttack, Setting, run_membership
from .evidence import Control
from .metrics import auc_metric
from .pool import CandidateSpec, Pool, train_pool
from .protocols import SamplingAttack
from .seeds import generator
from .stats import Resampling
from .types import Estimate, Split

SHUFFLED_LEVEL = 0.999
"""Level of the controls' intervals: about one false alarm in 1000 runs for each attack on shuffled membership."""

LEAST_RESAMPLES = 5000
"""With fewer, an interval of that level would end at the most extreme of them, and alarm more often than it says."""

PLANTED_LEAST_AUC = 0.6
CONTROL_MODELS = 8
"""A control asks a yes-or-no question: four pairs of models answer it. One pair alone alarms too often."""


def run_controls(
    pool: Pool, planted: CandidateSpec, setting: Setting, attacks: Sequence[NamedAttack], primary: str | None
) -> tuple[Control, ...]:
    """Run every control; one that breaks is recorded as an error.

    Args:
        pool: trained models of the first candidate.
        planted: what the planted control trains: a recipe that is known to memorise, undefended.
        setting: the run's setting; its targets and its resampling's level are not used.
        attacks: the membership attacks of the run, or any that can run where it has none.
        primary: name of the primary attack, where there is one.
    """
    strict = Resampling(SHUFFLED_LEVEL, max(setting.resampling.resamples, LEAST_RESAMPLES), setting.resampling.seed)
    where = replace(setting, targets=np.arange(min(CONTROL_MODELS, setting.split.models)), resampling=strict)
    return (
        _guarded("shuffled_membership", lambda: _shuffled_membership(pool, where, attacks)),
        _guarded("planted_leak", lambda: _planted_leak(planted, where, attacks, primary)),
    )


def _shuffled_membership(pool: Pool, setting: Setting, attacks: Sequence[NamedAttack]) -> Control:
    """Every attack at chance on shuffled masks: the interval of its AUC contains one half."""
    order = generator(setting.seed, "control", "shuffled").permutation(len(setting.split.pool))
    shuffled = replace(setting.split, member=setting.split.member[:, order])
    where = replace(setting, split=shuffled, phase="control, shuffled membership: ")
    metrics = _aucs(attacks, pool, where)
    wrong = [name for name, auc in metrics.items() if not auc.low <= 0.5 <= auc.high]
    return _control(
        "shuffled_membership",
        f"with membership shuffled, every attack's AUC is 0.5 (level {SHUFFLED_LEVEL:g})",
        metrics,
        f"not at chance on shuffled membership: {', '.join(wrong)}" if wrong else "",
    )


def _planted_leak(
    planted: CandidateSpec, setting: Setting, attacks: Sequence[NamedAttack], primary: str | None
) -> Control:
    """Models that memorised random labels are caught: the lower end of an AUC exceeds `PLANTED_LEAST_AUC`.

    That of the primary attack where it gave one, else of any attack; and no AUC lies wholly below one half.
    """
    dataset, split = setting.dataset, setting.split
    labels = generator(setting.seed, "control", "planted").integers(0, dataset.n_classes, len(dataset))
    relabelled = replace(dataset, name=f"{dataset.name} with random labels", y=labels.astype(np.int64))
    few = Split(split.pool, split.auxiliary, split.member[:CONTROL_MODELS])
    pool = train_pool(planted, (relabelled, few), setting.store, setting.seed, setting.observe)
    where = replace(setting, dataset=relabelled, split=few, phase="control, planted leak: ")
    quick = [n for n in attacks if n.id == primary or not isinstance(n.attack, SamplingAttack)]  # the others are slow
    metrics = _aucs(quick or attacks, pool, where)
    decisive = [_metric(n.id) for n in quick if n.id == primary and _metric(n.id) in metrics]
    caught = any(metrics[name].low > PLANTED_LEAST_AUC for name in decisive or metrics)
    backwards = [name for name, auc in metrics.items() if auc.high < 0.5]
    reasons = [] if caught else [f"the planted leak was not caught by any of: {', '.join(decisive or metrics)}"]
    reasons += [f"the wrong way round on the planted leak: {', '.join(backwards)}"] if backwards else []
    return _control(
        "planted_leak",
        f"{decisive[0] if decisive else 'some attack'} catches models fitted to random labels: AUC over "
        f"{PLANTED_LEAST_AUC:g}, and none is wholly below 0.5 (level {SHUFFLED_LEVEL:g})",
        metrics,
        "; ".join(reasons),
    )


def _aucs(attacks: Sequence[NamedAttack], pool: Pool, setting: Setting) -> dict[str, Estimate]:
    """AUC of each attack that can run."""
    metrics = {}
    for named in attacks:
        with suppress(NotApplicable):
            metrics[_metric(named.id)] = auc_metric(run_membership(named, pool, setting), setting.resampling)
    return metrics


def _metric(attack: str) -> str:
    return f"{attack}/auc"


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

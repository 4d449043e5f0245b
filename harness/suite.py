"""Which membership attacks a number of reference models is worth: `suite: auto` in an experiment.

The steps are those at which an attack begins to earn its place. Below four references nothing that compares models can
be fitted; with four, everything that pools its spread over records works; a spread for each record needs dozens; ranks
among references need hundreds (measured on four data sets: docs/attacks-by-budget.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FEW, MANY, HUNDREDS = 4, 48, 200

_WITHOUT: Mapping[str, Mapping[str, object]] = {
    "loss": {},
    "margin": {},
    "art_rule_based": {},
    "quantile_regression": {},
}
_WITH_FEW: Mapping[str, Mapping[str, object]] = {
    "loss": {},
    "modified_entropy": {},
    "difficulty_calibration": {},
    "rmia": {},
    "rmia_offline": {"component": "rmia", "online": False},
    "lira": {},
    "student_t": {},
    "stacked": {},
}
_WITH_MANY: Mapping[str, Mapping[str, object]] = {
    "lira_offline": {"component": "lira", "online": False},
    "lira_per_record": {"component": "lira", "variance": "per_record"},
}
_WITH_HUNDREDS: Mapping[str, Mapping[str, object]] = {"attack_r": {}}


@dataclass(frozen=True)
class Suite:
    """Attacks by name, each with its section of an experiment file, and why these."""

    attacks: Mapping[str, Mapping[str, object]] = field(repr=False)
    reason: str


def suite_for(references: int) -> Suite:
    """The suite for a number of reference models a target.

    >>> suite_for(14).reason
    '14 reference models: from 4 on, the attacks that pool their spread over records'
    """
    if references < FEW:
        reason = (
            f"{references} reference models: below {FEW} no attack that compares models can be fitted, and what is "
            "left says nothing about low false positive rates"
        )
        return Suite(_WITHOUT, reason)
    attacks = dict(_WITH_FEW)
    reason = f"{references} reference models: from {FEW} on, the attacks that pool their spread over records"
    if references >= MANY:
        attacks |= _WITH_MANY
        reason += f"; from {MANY} on, those with a spread for each record"
    if references >= HUNDREDS:
        attacks |= _WITH_HUNDREDS
        reason += f"; from {HUNDREDS} on, ranks among references"
    return Suite(attacks, reason)

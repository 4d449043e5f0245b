"""Which membership attacks a number of reference models is worth: `suite: auto` in an experiment.

The steps are those at which an attack begins to earn its place. With two references no spread can be fitted,
but the difficulty of a record can be taken off; with four, everything that pools its spread over records works; a
spread for each record needs dozens; ranks among references need hundreds (measured on six data sets:
docs/attacks-by-budget.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TWO, FEW, MANY, HUNDREDS = 2, 4, 48, 200

_WITHOUT: Mapping[str, Mapping[str, object]] = {
    "loss": {},
    "margin": {},
    "art_rule_based": {},
    "quantile_regression": {},
}
_WITH_TWO: Mapping[str, Mapping[str, object]] = {
    "loss": {},
    "modified_entropy": {},
    "difficulty_calibration": {},
    "rmia": {},
}
_WITH_FEW: Mapping[str, Mapping[str, object]] = {
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
    if references < TWO:
        return Suite(_WITHOUT, f"{references} reference models: below {TWO}, the attacks that compare with none")
    if references < FEW:
        reason = (
            f"{references} reference models: from {TWO} on, the attacks that set a record's answer against the "
            f"references'; below {FEW} neither a spread nor a classifier of members can be fitted to them"
        )
        return Suite(_WITH_TWO, reason)
    attacks = {**_WITH_TWO, **_WITH_FEW}
    reason = f"{references} reference models: from {FEW} on, the attacks that pool their spread over records"
    if references >= MANY:
        attacks |= _WITH_MANY
        reason += f"; from {MANY} on, those with a spread for each record"
    if references >= HUNDREDS:
        attacks |= _WITH_HUNDREDS
        reason += f"; from {HUNDREDS} on, ranks among references"
    return Suite(attacks, reason)

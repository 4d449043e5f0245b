"""Whom it is worst for: groups and single records of a candidate, by one attack that is fixed before the run.

Canaries are in no row but those of their own column, whose thresholds are those of all records.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .canaries import CANARY_COLUMN
from .evaluation import NamedAttack, Setting, npz
from .evidence import GROUPS, SINGLE, AttackResult, Group, Unmeasured, Vulnerability
from .groups import group_columns, groups, varying_columns
from .metrics import nonmember_records, too_few_nonmembers
from .types import ScoreTable
from .vulnerability import restricted_rows, vulnerability, why_none

STAND_INS = ("stacked", "rmia", "lira", "student_t", "base", "difficulty_calibration", "attack_r")
"""Components that judge in the primary attack's place: they set an answer against references' to the same record.

Others go by the target's answer alone, and take a record with a wrong label for a non-member, whoever trained on it.
"""

_NOBODY = "no membership attack gave a result"


@dataclass(frozen=True)
class Exposure:
    """Groups and single records of one candidate.

    Attributes:
        groups: as they enter the evidence.
        vulnerability: single records, None where they cannot be judged.
        rows: bytes of the file about each record, which is restricted; None where there is nothing to tell.
        unmeasured: what has no number, and why.
    """

    groups: tuple[Group, ...]
    vulnerability: Vulnerability | None
    rows: bytes | None
    unmeasured: tuple[Unmeasured, ...]


def judging_attack(attacks: Sequence[NamedAttack], primary: str | None, finished: Container[str]) -> str | None:
    """By which attack groups and single records are judged: never by what came out.

    The primary attack. Where none was named, or it gave no result: the first component of `STAND_INS` that gave one,
    and without any the first attack of the experiment that gave one.

    Args:
        attacks: of the experiment, in order.
        primary: name of the primary attack.
        finished: names of the membership attacks that gave a result on the candidate.

    Returns:
        Its name, None where no membership attack gave a result.
    """
    if primary is not None and primary in finished:
        return primary
    ran = [named for named in attacks if named.id in finished]
    stand_ins = (named for component in STAND_INS for named in ran if named.identity.component == component)
    return next((named.id for named in (*stand_ins, *ran)), None)


def exposure(by: str | None, tables: Mapping[str, ScoreTable], setting: Setting) -> Exposure:
    """Groups and single records of a candidate.

    Args:
        by: name of the attack, as `judging_attack` gives it.
        tables: scores of the attacks that gave a result, by name, canaries among them.
        setting: of the run.
    """
    if by is None:
        return Exposure((), None, None, tuple(Unmeasured(what=what, reason=_NOBODY) for what in (GROUPS, SINGLE)))
    table = tables[by].part(setting.ordinary)
    found = vulnerability(table, setting.fprs, by, setting.resampling)
    rows = None
    if found is not None:
        counted = restricted_rows(table, found.fpr, setting.resampling.level)
        rows = npz(records=setting.subjects[setting.ordinary], **counted)
    left_out = varying_columns(setting.dataset, setting.split.pool)
    unmeasured = [Unmeasured(what=f"{GROUPS} by {name}", reason=reason) for name, reason in left_out.items()]
    if found is None:
        unmeasured.append(Unmeasured(what=SINGLE, reason=why_none(table, setting.fprs)))
    return Exposure(_groups(by, tables[by], setting), found, rows, tuple(unmeasured))


def _groups(by: str, whole: ScoreTable, setting: Setting) -> tuple[Group, ...]:
    columns = group_columns(setting.dataset, setting.split.pool)
    worst = {name: columns.pop(name) for name in (CANARY_COLUMN,) if name in columns}
    average = {name: values[setting.ordinary] for name, values in columns.items()}
    found = groups(whole.part(setting.ordinary), average, setting.fprs, setting.resampling)
    found += groups(whole, worst, setting.fprs, setting.resampling)
    return tuple(group.model_copy(update={"attack": by}) for group in found)


def unresolved(
    results: Sequence[AttackResult], tables: Mapping[str, ScoreTable], setting: Setting
) -> Iterator[Unmeasured]:
    """The false positive rates of the experiment at which attacks that gave a result state no TPR, and why not.

    Args:
        results: every attack on the candidate.
        tables: scores of the membership attacks among them that gave a result, by name, without canaries.
        setting: of the run.
    """
    whom = "non-members" if setting.users is None else "users outside of the training data"
    for rate in setting.fprs:
        metric = f"tpr_at_fpr_{rate:g}"
        silent = [result.id for result in results if result.id in tables and metric not in result.metrics]
        if silent:
            by = "" if len(silent) == len(tables) else f"{', '.join(silent)}: "
            widest = max((tables[name] for name in silent), key=nonmember_records)
            yield Unmeasured(what=metric, reason=by + too_few_nonmembers(widest, rate, whom))

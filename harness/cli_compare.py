"""`privassay compare`: this release against the approved one, on the same records."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ExitCode

if TYPE_CHECKING:
    from .compare_runs import Compared
    from .types import Estimate


def add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    compare = commands.add_parser("compare", help="compare two runs on the same records: which leaks more?")
    compare.add_argument("new", type=Path, metavar="DIR", help="output folder of the new run")
    compare.add_argument("approved", type=Path, metavar="APPROVED_DIR", help="output folder of the approved run")
    compare.add_argument("--candidate", metavar="MODEL/DEFENSE", help="of the new run (default: its release candidate)")
    compare.add_argument("--approved-candidate", metavar="MODEL/DEFENSE", help="of the approved run (default: its own)")
    compare.add_argument("--json", action="store_true", help="print the differences as JSON on stdout")
    compare.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from . import gate
    from .compare_runs import Side, compare

    new = Side.of(arguments.new, arguments.candidate)
    approved = Side.of(arguments.approved, arguments.approved_candidate)
    faults = [f"{side.folder}: {fault}" for side in (new, approved) if (fault := gate.control_fault(side.evidence))]
    for fault in faults:
        _say(f"privassay: {fault}")
    if faults:
        return ExitCode.ERROR
    compared = compare(new, approved)
    _say(f"{new.candidate.id} less {approved.candidate.id}; above 0: the new one leaks more")
    for name, difference in compared.differences.items():
        sign = "more" if difference.low > 0 else "less" if difference.high < 0 else ""
        ends = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
        primary = " (primary)" if new.evidence.primary and name.split("/")[1] == new.evidence.primary else ""
        _say(f"{name + primary:<56} {difference.value:+.4f} {ends} {sign}".rstrip())
    for name, reason in compared.left_out.items():
        _say(f"{name}: left out, {reason}")
    _say(_caution(compared.differences))
    if arguments.json:
        _print(compared, {"new": new.evidence.run_id, "approved": approved.evidence.run_id})
    return ExitCode.PASS


def _caution(differences: Mapping[str, Estimate]) -> str:
    level = 100 * next(iter(differences.values())).level
    return (
        f"each of the {len(differences)} intervals holds its difference with {level:g} % confidence by itself; among "
        "many some are off by chance, so go by the primary attack"
    )


def _print(compared: Compared, runs: Mapping[str, str]) -> None:
    found = {name: asdict(difference) for name, difference in compared.differences.items()}
    content = {"exit_code": int(ExitCode.PASS), **runs, "differences": found, "left_out": compared.left_out}
    print(json.dumps(content, indent=1))


def _say(line: str) -> None:
    print(line, file=sys.stderr)

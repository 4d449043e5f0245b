"""`privassay compare`: this release against the approved one, on the same records."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from .errors import ExitCode


def add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    compare = commands.add_parser("compare", help="compare two runs on the same records: which leaks more?")
    compare.add_argument("new", type=Path, metavar="DIR", help="output folder of the new run")
    compare.add_argument("approved", type=Path, metavar="APPROVED_DIR", help="output folder of the approved run")
    compare.add_argument("--candidate", metavar="MODEL/DEFENSE", help="of the new run (default: its release candidate)")
    compare.add_argument("--approved-candidate", metavar="MODEL/DEFENSE", help="of the approved run")
    compare.add_argument("--json", action="store_true", help="print the differences as JSON on stdout")
    compare.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from .compare_runs import Side, compare

    new = Side.of(arguments.new, arguments.candidate)
    approved = Side.of(arguments.approved, arguments.approved_candidate)
    differences = compare(new, approved)
    print(f"{new.candidate.id} less {approved.candidate.id}; above 0: the new one leaks more", file=sys.stderr)
    for name, difference in differences.items():
        sign = "more" if difference.low > 0 else "less" if difference.high < 0 else ""
        ends = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
        print(f"{name:<40} {difference.value:+.4f} {ends} {sign}".rstrip(), file=sys.stderr)
    if arguments.json:
        found = {name: asdict(difference) for name, difference in differences.items()}
        ids = {"new": new.evidence.run_id, "approved": approved.evidence.run_id}
        print(json.dumps({**ids, "differences": found}, indent=1))
    return ExitCode.PASS

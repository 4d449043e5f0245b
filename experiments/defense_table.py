"""Candidates of a finished run as a table: use, leakage, worst case, and what DP-SGD of the same run says to each.

privassay run experiments/defenses.yaml --out out-defenses
python -m privassay.experiments.defense_table out-defenses [--markdown]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..harness.errors import PrivassayError
from ..harness.evidence import Evidence, evidence_path, read
from ..harness.front import Front, Mark, against_dp_sgd, front
from ..harness.types import Estimate

HEADINGS = ("candidate", "protects", "ε", "accuracy", "TPR", "TPR of canaries", "beside DP-SGD")


def rows(evidence: Evidence) -> list[dict[str, object]]:
    """One row a candidate that has an accuracy and a TPR at 1 % FPR, the leakiest last.

    Each has `candidate`, `guarantee`, `epsilon` (None without a claim), `accuracy`, `tpr` and `canaries` (value, low,
    high; None without canaries), `on_front`, and `dp_sgd`: what the run's DP-SGD candidates say beside it.
    """
    found = front(evidence)
    against = against_dp_sgd(evidence, found)
    return [_row(mark, found, against) for mark in sorted(found.marks, key=lambda mark: mark.leakage.value)]


def _row(mark: Mark, found: Front, against: dict[str, str]) -> dict[str, object]:
    candidate = mark.candidate
    return {
        "candidate": candidate.id,
        "guarantee": candidate.guarantee,
        "epsilon": None if candidate.claim is None else candidate.claim.epsilon,
        "accuracy": _ends(mark.accuracy),
        "tpr": _ends(mark.average),
        "canaries": None if mark.canaries is None else _ends(mark.canaries),
        "on_front": candidate.id in found.best,
        "dp_sgd": against.get(candidate.id, ""),
    }


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def markdown(found: list[dict[str, object]]) -> str:
    """The rows as a Markdown table, rates in percent with their intervals."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for row in found:
        epsilon = "" if row["epsilon"] is None else f"{row['epsilon']:.4g}"
        name = f"**{row['candidate']}**" if row["on_front"] else row["candidate"]
        cells = [name, row["guarantee"], epsilon, *(_percent(row[key]) for key in ("accuracy", "tpr", "canaries"))]
        lines.append(f"| {' | '.join(map(str, [*cells, row['dp_sgd']]))} |")
    return "\n".join(lines)


def _percent(ends: object) -> str:
    if not isinstance(ends, tuple):
        return ""
    value, low, high = (f"{100 * end:.1f}" for end in ends)
    return f"{value} [{low}, {high}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of a run; one line on stderr if it cannot be read."""
    parser = argparse.ArgumentParser(description="Candidates of a finished run by use and leakage.")
    parser.add_argument("evidence", type=Path, metavar="DIR|evidence.json")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args(argv)
    try:
        found = rows(read(evidence_path(arguments.evidence)))
    except PrivassayError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    print(markdown(found) if arguments.markdown else json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

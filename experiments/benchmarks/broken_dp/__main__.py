"""The audit against deliberately broken DP-SGD trainers and correct ones.

`python -m privassay.experiments.benchmarks.broken_dp [--seed 0] [--json | --markdown]` prints a row for each trainer,
as JSON unless told otherwise; the same seed gives the same rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence

from threadpoolctl import threadpool_limits

from .audit import Effort, Report, audit
from .faults import BROKEN, CORRECT


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit all trainers and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="printed", action="store_const", const=as_json, default=as_json)
    form.add_argument("--markdown", dest="printed", action="store_const", const=as_markdown)
    chosen = parser.parse_args(arguments)
    with threadpool_limits(1):  # matrices are small, and sums are then taken in one order everywhere
        reports = [audit(trainer(), chosen.seed, Effort()) for trainer in (*BROKEN, *CORRECT)]
    print(chosen.printed(reports))


def as_json(reports: Sequence[Report]) -> str:
    """Every report with all its findings."""
    rows = [{**dataclasses.asdict(report), "flagged": report.flagged} for report in reports]
    return json.dumps(rows, indent=1)


def as_markdown(reports: Sequence[Report]) -> str:
    """A table, and the ceiling of its bounds below it."""
    lines = [
        "| trainer | what is wrong | flagged by | cause named | claimed ε | one-run bound, white box | black box |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(report) for report in reports]
    ceiling = reports[0].ceiling
    return "\n".join([*lines, "", f"The one-run bounds could have reached {ceiling:.2f} at the most."])


def _row(report: Report) -> str:
    checks = "; ".join(dict.fromkeys(finding.check for finding in report.findings))
    causes = "; ".join(finding.cause for finding in report.findings if not finding.check.startswith("one-run"))
    unseen = "not seen" if report.fault else "nothing, rightly"
    numbers = (report.epsilon_claimed, report.epsilon_bound, report.epsilon_bound_black_box)
    cells = [report.trainer, report.fault or "nothing", checks or unseen, causes, *(f"{n:.2f}" for n in numbers)]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

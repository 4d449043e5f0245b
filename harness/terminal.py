"""What a person at a terminal sees, on stderr: progress with the time left, and one table at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from .events import Event, Observer, StepAdvanced, StepFinished, StepStarted
from .evidence import AttackResult, Candidate, Evidence, RuleVerdict
from .gate import overall
from .types import Estimate, Verdict

_COLOUR = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.ERROR: "magenta",
}


def console() -> Console:
    """The terminal, or a pipe, on stderr."""
    return Console(stderr=True)


@contextmanager
def progress(terminal: Console) -> Iterator[Observer]:
    """An observer that draws a bar for each long part; without a terminal, one line when a part is finished."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as live:

        def observe(event: Event) -> None:
            match event:
                case StepStarted(step, total, done):
                    bars[step] = live.add_task(escape(step), total=total, completed=done)
                case StepAdvanced(step):
                    live.advance(bars[step])
                case StepFinished(step, note):
                    if step in bars:
                        live.remove_task(bars.pop(step))
                    terminal.print(
                        escape(f"  {step}{': ' + note if note else ''}"), style="dim" if not note else ""
                    )

        yield observe


def verdict_table(evidence: Evidence) -> Table:
    """One row a candidate: use, strongest attack, inversion, claim, verdict."""
    table = Table(title=f"{evidence.experiment['name']} (run {evidence.run_id})", title_justify="left")
    for heading in (
        "candidate",
        "train",
        "held-out",
        "strongest attack",
        "AUC",
        "TPR @ 1 % FPR",
        "inversion",
        "claim",
    ):
        table.add_column(heading)
    table.add_column("verdict")
    for candidate in evidence.candidates:
        table.add_row(*_row(candidate), _verdict(v for v in evidence.verdicts if v.candidate == candidate.id))
    return table


def verdict_lines(verdicts: Iterable[RuleVerdict]) -> Iterator[str]:
    """One line a verdict, with markup."""
    for verdict in verdicts:
        colour = _COLOUR[verdict.verdict]
        label = f"[{colour}]{verdict.verdict.value:<12}[/{colour}]"
        yield f"{label} {escape(verdict.candidate)}  {escape(verdict.rule)}: {escape(verdict.reason)}"


def control_lines(evidence: Evidence) -> Iterator[str]:
    """One line a control, and one for every attack without a result."""
    for control in evidence.controls:
        yield escape(
            f"control {control.id}: {control.status}{'; ' + control.reason if control.reason else ''}"
        )
    for candidate in evidence.candidates:
        for attack in candidate.attacks:
            if attack.status != "ok":
                yield escape(f"{candidate.id} {attack.id}: {attack.status}: {attack.reason}")


def _row(candidate: Candidate) -> list[str]:
    membership = [a for a in candidate.attacks if a.family == "membership" and "auc" in a.metrics]
    inversion = [a for a in candidate.attacks if "lift" in a.metrics]
    strongest = max(membership, key=_strength, default=None)
    claim = candidate.claim
    return [
        escape(candidate.id),
        _short(candidate.utility.get("train_accuracy")),
        _short(candidate.utility.get("heldout_accuracy")),
        escape(strongest.id) if strongest else "none ran",
        _interval(strongest.metrics.get("auc")) if strongest else "n/a",
        _interval(strongest.metrics.get("tpr_at_fpr_0.01")) if strongest else "n/a",
        _interval(max((a.metrics["lift"] for a in inversion), key=lambda e: e.low)) if inversion else "n/a",
        f"({claim.epsilon:.2f}, {claim.delta:g})" if claim else "none",
    ]


def _strength(attack: AttackResult) -> float:
    return attack.metrics["auc"].low


def _verdict(verdicts: Iterable[RuleVerdict]) -> str:
    judged = list(verdicts)
    if not judged:
        return "not judged"
    verdict = overall(judged)
    return f"[{_COLOUR[verdict]}]{verdict.value}[/{_COLOUR[verdict]}]"


def _short(estimate: Estimate | None) -> str:
    return "n/a" if estimate is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate | None) -> str:
    return "n/a" if estimate is None else f"{estimate.value:.3f} \\[{estimate.low:.3f}, {estimate.high:.3f}]"

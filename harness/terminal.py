"""What a person at a terminal sees, on stderr: progress with the time left, and one table at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .audit_words import audit_sentence
from .events import Event, Observer, StepAdvanced, StepFinished, StepStarted
from .evidence import Candidate, Evidence, RuleVerdict
from .gate import overall
from .metric_words import heldout
from .record_words import record_sentences
from .types import Estimate, Verdict
from .wording import control_meaning, remark, strongest

_COLOUR = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.ERROR: "magenta",
}


_WIDTH_OF_A_PIPE = 140
_ANY_WIDTH = 1000
_WIDTH_OF_AN_INTERVAL = 16
_NUMBERS = ("AUC", "TPR at\n1 % FPR", "inversion\nlift", "epsilon\n(delta)")
_USUAL_FPR = 0.01


def console() -> Console:
    """The terminal, or a pipe, on stderr."""
    found = Console(stderr=True)
    return found if found.is_terminal else Console(stderr=True, width=_WIDTH_OF_A_PIPE)


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
                    terminal.print(escape(f"  {step}{': ' + note if note else ''}"), style="dim" if not note else "")

        yield observe


@dataclass(frozen=True)
class VerdictTable:
    """Every candidate: verdict, use, strongest attack, inversion, claim. Intervals in brackets.

    One row a candidate; where that would break names or numbers, a line with its name above a row of numbers.
    """

    evidence: Evidence

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich draws."""
        wide = _one_row_each(self.evidence)
        attacks = [_row(self.evidence, candidate)[1] for candidate in self.evidence.candidates]
        foldable = max(map(len, attacks)) - max(len(word) for attack in attacks for word in attack.split())
        unbroken = console.measure(wide, options=options.update_width(_ANY_WIDTH)).maximum - foldable
        yield from [wide] if unbroken <= options.max_width else _two_rows_each(self.evidence)


def verdict_table(evidence: Evidence) -> VerdictTable:
    """The table at the end of a run, for any width of the window."""
    return VerdictTable(evidence)


def _one_row_each(evidence: Evidence) -> Table:
    table = Table(title=_title(evidence), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("candidate", "verdict", "held-out\naccuracy", "leading\nattack", *_NUMBERS):
        table.add_column(heading, overflow="fold", no_wrap=not heading.endswith("attack"))
    for candidate in evidence.candidates:
        accuracy, attack, *numbers = _row(evidence, candidate)
        name = escape(f"{candidate.model}/\n{candidate.defense}")
        table.add_row(name, _verdict(evidence, candidate), accuracy, attack, *numbers)
    return table


def _two_rows_each(evidence: Evidence) -> Iterator[RenderableType]:
    """Tables of one row with the same fixed widths, under their names."""
    yield Text(_title(evidence), style="italic")
    yield ""
    lifts = any("lift" in attack.metrics for c in evidence.candidates for attack in c.attacks)
    yield _numbers_only(("held-out\naccuracy", *_NUMBERS), lifts)
    for candidate in evidence.candidates:
        accuracy, attack, *numbers = _row(evidence, candidate)
        yield f"[bold]{escape(candidate.id)}[/bold]  {_verdict(evidence, candidate)}  {attack}"
        yield _numbers_only((accuracy, *numbers), lifts)


def _numbers_only(cells: Sequence[str], lifts: bool) -> Table:
    """One row without frame; the inversion lift, last but one, is left out where no candidate has any."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(width=1)
    for _ in range(4 if lifts else 3):
        table.add_column(width=_WIDTH_OF_AN_INTERVAL)
    table.add_column(overflow="fold")
    kept = [cell for i, cell in enumerate(cells) if lifts or i != len(cells) - 2]
    table.add_row("", *kept)
    return table


def _title(evidence: Evidence) -> str:
    return f"{evidence.experiment['name']} (run {evidence.run_id})"


def verdict_lines(verdicts: Iterable[RuleVerdict]) -> Iterator[str]:
    """One line a verdict, with markup."""
    for verdict in verdicts:
        colour = _COLOUR[verdict.verdict]
        label = f"[{colour}]{verdict.verdict.value:<12}[/{colour}]"
        yield f"{label} {escape(verdict.candidate)}  {escape(verdict.rule)}: {escape(verdict.reason)}"


def control_lines(evidence: Evidence) -> Iterator[str]:
    """One line a control, and one for every attack without a result."""
    for control in evidence.controls:
        yield escape(f"control {control.id}: {control.status}{'; ' + control.reason if control.reason else ''}")
        if meaning := control_meaning(control):
            yield escape(f"  {meaning}")
    for candidate in evidence.candidates:
        for attack in candidate.attacks:
            if attack.status != "ok":
                yield escape(f"{candidate.id} {attack.id}: {attack.status}: {attack.reason}")


def audit_lines(evidence: Evidence) -> Iterator[str]:
    """One line an audit."""
    for candidate in evidence.candidates:
        for audit in candidate.audits:
            yield escape(f"{candidate.id} {audit_sentence(audit)}")


def record_lines(evidence: Evidence) -> Iterator[str]:
    """One line for each released model, and for users, duplicates and trusted files where there are any."""
    yield from map(escape, record_sentences(evidence))


def _row(evidence: Evidence, candidate: Candidate) -> list[str]:
    """Accuracy, leading attack, and what `_NUMBERS` names."""
    lifts = [a.metrics["lift"] for a in candidate.attacks if "lift" in a.metrics]
    found = strongest(candidate)
    metrics = found.attack.metrics if found else {}
    claim = candidate.claim
    return [
        _worth(candidate),
        escape(found.attack.id + remark(evidence, found.attack)) if found else "none ran",
        _interval(metrics.get("auc")),
        _lowest_tpr(metrics),
        _interval(max(lifts, key=lambda lift: lift.low, default=None)),
        f"{claim.epsilon:.2f}\n({claim.delta:g})" if claim else "not known" if candidate.origin else "no claim",
    ]


def _worth(candidate: Candidate) -> str:
    """Accuracy, or R² where the target is a number."""
    name, estimate = heldout(candidate)
    return f"R² {_interval(estimate)}" if name == "heldout_r2" else _interval(estimate)


def _verdict(evidence: Evidence, candidate: Candidate) -> str:
    verdicts = [v for v in evidence.verdicts if v.candidate == candidate.id]
    if not verdicts:
        return "not judged"
    verdict = overall(verdicts)
    return f"[{_COLOUR[verdict]}]{verdict.value}[/{_COLOUR[verdict]}]"


def _lowest_tpr(metrics: Mapping[str, Estimate]) -> str:
    """TPR at 1 % FPR, or else at the lowest FPR that was measured, which is then named."""
    found = {float(name.rpartition("_")[2]): e for name, e in metrics.items() if name.startswith("tpr_at_fpr_")}
    if not found:
        return "n/a"
    if _USUAL_FPR in found:
        return _interval(found[_USUAL_FPR])
    return f"{_interval(found[min(found)])} at {100 * min(found):g} %"


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "n/a"
    return f"{estimate.value:.3f}\n\\[{estimate.low:.3f}, {estimate.high:.3f}]"

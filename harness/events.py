"""What a run tells its observers (progress bars, logs) while it works. The engine imports no observer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StepStarted:
    """A long part begins: `step` names it, `total` counts its units, `done` of which were found in the store."""

    step: str
    total: int
    done: int


@dataclass(frozen=True)
class StepAdvanced:
    """One more unit of `step` is finished."""

    step: str


@dataclass(frozen=True)
class StepFinished:
    """`step` is complete; `note` says what is worth saying, e.g. why an attack did not run."""

    step: str
    note: str


Event = StepStarted | StepAdvanced | StepFinished
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Observe nothing."""

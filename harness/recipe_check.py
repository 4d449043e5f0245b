"""Whether references were trained as the released model was, judged from outside: by how often each is right.

A heuristic of this project. It sees another recipe only where that shows in the accuracy on members or on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from .types import Bools

LEVEL = 0.05
"""How often, at most, a recipe that is the same gets the note about another one, where accuracies are normal."""

SMALLEST = 0.05
"""Difference of accuracies that is worth a note."""


@dataclass(frozen=True)
class Compared:
    """Accuracy of the released model beside its references.

    Attributes:
        released: its own.
        references: the mean of theirs.
        reach: by how much the two may differ before that speaks of another recipe.
    """

    released: float
    references: float
    reach: float

    @property
    def apart(self) -> bool:
        """Whether they lie clearly apart."""
        return abs(self.released - self.references) > self.reach


def recipe_note(right: Sequence[Bools], member: Bools) -> str:
    """What accuracies say about the references' recipe, in one line.

    Args:
        right: of the released model and of each reference, bool (n,): whether its answer to an audit record is right.
        member: bool (1 + k, n), which of the records each trained on.

    Returns:
        Nothing with fewer than two references, or where a model trained on all or none of the records.
    """
    told = member.any(axis=1) & ~member.all(axis=1)
    if len(member) < 3 or not told.all():
        return ""
    inside, outside = compared(right, member), compared(right, ~member)
    numbers = (
        f"the released model is right on {_percent(inside.released)} of its members and "
        f"{_percent(outside.released)} of the others, its {len(member) - 1} references on "
        f"{_percent(inside.references)} and {_percent(outside.references)} of theirs"
    )
    if inside.apart or outside.apart:
        return f"{numbers}: a heuristic takes that for another recipe or other data, so a low result says less"
    points = f"{100 * inside.reach:.0f} and {100 * outside.reach:.0f} points"
    return f"{numbers}: a heuristic finds no sign of another recipe (differences of more than {points} would be one)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def compared(right: Sequence[Bools], rows: Bools) -> Compared:
    """Accuracies of the released model and of k >= 2 references, each on its own `rows` (1 + k, n); see `recipe_note`.

    Trained alike, the released model is one more draw of what the references are draws of, so its accuracy lies in
    their prediction interval, mean +- t s sqrt(1 + 1/k), with the quantile t of k - 1 degrees of freedom for two
    comparisons at once (Bonferroni). It is widened by the released model's own binomial error, because a few references
    may agree by chance and because it may be asked about fewer records.
    """
    from scipy.special import ndtri, stdtrit

    counts = rows.sum(axis=1)
    hits = np.array([(hit & asked).sum() for hit, asked in zip(right, rows, strict=True)])
    released, *references = (hits / counts).tolist()
    k, tail = len(references), 1 - LEVEL / 4
    drawn = float(stdtrit(k - 1, tail)) * float(np.std(references, ddof=1)) * sqrt(1 + 1 / k)
    p = (hits[1:].sum() + 1) / (counts[1:].sum() + 2)  # never exactly 0 or 1
    counted = float(ndtri(tail)) * sqrt(p * (1 - p) / counts[0])
    return Compared(released, float(np.mean(references)), max(SMALLEST, sqrt(drawn**2 + counted**2)))

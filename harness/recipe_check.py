"""Whether references were trained as the released model was, judged from outside: by how often each is right.

A heuristic of this project. It sees another recipe only where that shows in the accuracy on members or on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from .types import Bools, Float64, Ints

LEVEL = 0.05
"""How often, at most, a recipe that is the same gets the note about another one, where accuracies are normal."""

SMALLEST = 0.05
"""Difference of accuracies that is worth a note."""

BLIND = 0.3
"""Reach from which on no difference within it says anything: accuracies of other recipes hardly differ by more."""


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

    @property
    def blind(self) -> bool:
        """Whether another recipe could hide in the reach."""
        return self.reach >= BLIND


def recipe_note(right: Sequence[Bools], member: Bools, users: Ints | None = None) -> str:
    """What accuracies say about the references' recipe, in one line.

    Args:
        right: of the released model and of each reference, bool (n,): whether its answer to an audit record is right.
        member: bool (1 + k, n), which of the records each trained on.
        users: int64 (n,), number of the user of each record; None where records stand for themselves.

    Returns:
        Nothing with fewer than two references, or where a model trained on all or none of the records.
    """
    told = member.any(axis=1) & ~member.all(axis=1)
    if len(member) < 3 or not told.all():
        return ""
    inside, outside = compared(right, member, users), compared(right, ~member, users)
    numbers = (
        f"the released model is right on {_percent(inside.released)} of its members and "
        f"{_percent(outside.released)} of the others, its {len(member) - 1} references on "
        f"{_percent(inside.references)} and {_percent(outside.references)} of theirs"
    )
    if inside.apart or outside.apart:
        return f"{numbers}: a heuristic takes that for another recipe or other data, so a low result says less"
    if inside.blind or outside.blind:
        few = "references or records" if users is None else "references or users"
        return f"{numbers}: so few {few} cannot tell whether that is another recipe"
    points = f"{100 * inside.reach:.0f} and {100 * outside.reach:.0f} points"
    return f"{numbers}: a heuristic finds no sign of another recipe (differences of more than {points} would be one)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def compared(right: Sequence[Bools], rows: Bools, users: Ints | None = None) -> Compared:
    """Accuracies of the released model and of k >= 2 references, each on its own `rows` (1 + k, n); see `recipe_note`.

    Trained alike, the released model is one more draw of what the references are draws of, so its accuracy lies in
    their prediction interval, mean +- t s sqrt(1 + 1/k), with the quantile t of k - 1 degrees of freedom for two
    comparisons at once (Bonferroni). It is widened by the error of the released model's own count, because a few
    references may agree by chance and because it may be asked about fewer records.
    """
    from scipy.special import ndtri, stdtrit

    owners = np.arange(rows.shape[1]) if users is None else users
    counts = [_by_owner(hit, asked, owners) for hit, asked in zip(right, rows, strict=True)]
    released, *references = (float(hits.sum() / asked.sum()) for hits, asked in counts)
    k, tail = len(references), 1 - LEVEL / 4
    drawn = float(stdtrit(k - 1, tail)) * float(np.std(references, ddof=1)) * sqrt(1 + 1 / k)
    asked = counts[0][1]
    counted = float(ndtri(tail)) * sqrt(len(asked) * _variance(counts[1:])) / float(asked.sum())
    return Compared(released, float(np.mean(references)), max(SMALLEST, sqrt(drawn**2 + counted**2)))


def _by_owner(hit: Bools, asked: Bools, owners: Ints) -> tuple[Float64, Float64]:
    """Right answers and records of each owner of records that a model was asked about: float64 (owners,) each."""
    records = np.bincount(owners[asked]).astype(np.float64)
    hits = np.bincount(owners[asked], weights=hit[asked]).astype(np.float64)
    return hits[records > 0], records[records > 0]


def _variance(counts: Sequence[tuple[Float64, Float64]]) -> float:
    """Variance of one owner's right answers about their expected number, over all references.

    Two owners are added, one of whom no record is right and one of whom all are, so that it is never 0. Where each
    record has an owner of its own, this is the binomial p (1 - p) with Laplace's p = (right + 1) / (asked + 2).
    """
    hits, records = (np.concatenate(part) for part in zip(*counts, strict=True))
    hits = np.append(hits, [0.0, records.mean()])
    records = np.append(records, [records.mean()] * 2)
    return float(np.mean((hits - hits.sum() / records.sum() * records) ** 2))

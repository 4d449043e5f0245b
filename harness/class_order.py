"""Whether the columns of a released model's answers are in the order of the data's classes, judged by its members.

A heuristic of this project. Answers in another order look like those of a model that knows nothing, so attacks find
little: a leak would go unseen. A model is mostly right on the records it trained on. Where it is not, and would be if
its columns meant other classes, their order is the likelier cause.

No model whose answers tell nothing of the labels is suspected with probability above `LEVEL`, whatever its favourite
class, nor is one for which no order is truly better than the present one: each has a test of its own, corrected for
all the orders that might have fitted best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log
from typing import Any

import numpy as np

from .types import Float32, Float64, Ints

LEVEL = 1e-6
"""How often, at most, chance makes each of the tests fire."""

_FEW = 6
"""Classes that an error lists."""


@dataclass(frozen=True)
class OrderDoubt:
    """Why the columns of answers seem to be in another order than the data's classes.

    Attributes:
        words: one line.
        refused: whether the answers are of no use in this order; else the line is a note.
    """

    words: str
    refused: bool


def order_doubt(answers: Float32 | Float64, labels: Ints, names: Sequence[str] = ()) -> OrderDoubt | None:
    """Compare the order in which a model's answers are read with the one that fits its members best.

    An order speaks against the present one where it is right on clearly more members (a sign test) and on more than
    guessing the most frequent class would be, and the column that it takes for that class tells the class from others
    (Fisher's exact test). Then answers are refused that are, as they are read, right on no more members than that
    guess and on at most half of what they could be; else it is noted.

    Args:
        answers: the model's on its members, (n, k): probabilities, their logarithms, or one-hot labels.
        labels: int64 (n,), true classes 0 .. k - 1.
        names: of the classes; empty where they have numbers only.

    Returns:
        None where nothing speaks for another order, or where there are no members.
    """
    n, k = answers.shape
    if not n:
        return None
    counts = np.zeros((k, k), dtype=np.int64)
    np.add.at(counts, (answers.argmax(axis=1), labels), 1)
    order = _best(counts)
    right, best, guess = int(counts.trace()), int(counts[np.arange(k), order].sum()), int(counts.sum(axis=0).max())
    if best <= guess or not _clearly_better(counts, order) or not _informed(counts, order):
        return None
    told = (
        f"its answers are right on {right / n:.1%} of its {n} members, guessing the most frequent class would be on "
        f"{guess / n:.1%}, and with its columns in another order they would be on {best / n:.1%}: "
        f"{_words(order, names)}"
    )
    if right <= guess and best >= 2 * right:
        return OrderDoubt(f"{told}; name the classes in the order of its columns in `classes`", refused=True)
    return OrderDoubt(f"{told} (a heuristic; `classes` would name another order)", refused=False)


def _best(counts: Ints) -> Ints:
    """The class that each column is best taken for, a permutation (k,); of equally good ones one that moves few."""
    from scipy.optimize import linear_sum_assignment

    k = len(counts)
    return np.asarray(linear_sum_assignment(counts * (k + 1) + np.eye(k, dtype=np.int64), maximize=True)[1])


def _clearly_better(counts: Ints, order: Ints) -> bool:
    """Whether an order that was chosen after the fact is right on clearly more records than the present one.

    Of records on which one of the two is right, at most half would be the other's. The Chernoff bound
    P(X >= b) <= exp(-n KL(b / n || 1/2)) (Hoeffding 1963, theorem 1) has a logarithm that does not underflow.
    k! / (k - t)! bounds the number of orders that move t of k columns; t itself is one of k numbers.
    """
    from scipy.special import entr

    k, moved = len(order), np.flatnonzero(order != np.arange(len(order)))
    gained, lost = int(counts[moved, order[moved]].sum()), int(counts[moved, moved].sum())
    if gained <= lost:
        return False
    share, orders = gained / (gained + lost), lgamma(k + 1) - lgamma(k - len(moved) + 1)
    apart = (gained + lost) * (log(2) - float(entr(share) + entr(1 - share)))
    return apart >= orders - log(LEVEL / k)


def _informed(counts: Ints, order: Ints) -> bool:
    """Whether the column that is best taken for the most frequent class tells it from the others.

    Fisher's exact test, one-sided, for k^2 pairs of a column and a class.
    """
    frequent = int(counts.sum(axis=0).argmax())
    column = int(np.flatnonzero(order == frequent)[0])
    hits, given, wanted = int(counts[column, frequent]), int(counts[column].sum()), int(counts[:, frequent].sum())
    return _log_at_least(hits, given, wanted, int(counts.sum())) <= log(LEVEL / counts.size)


def _log_at_least(hits: int, given: int, wanted: int, n: int) -> float:
    """Logarithm of the probability that `given` of n records, drawn blindly, hold `hits` or more of the `wanted`."""
    from scipy.special import gammaln, logsumexp

    def choices(a: Any, b: Any) -> Any:
        return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)

    found = np.arange(max(hits, given + wanted - n), min(given, wanted) + 1)
    return float(logsumexp(choices(wanted, found) + choices(n - wanted, given - found) - choices(n, given)))


def _words(order: Ints, names: Sequence[str]) -> str:
    """What moves where; only how much where that is much."""
    called = list(names) or [f"{i}" for i in range(len(order))]
    moved = np.flatnonzero(order != np.arange(len(order)))
    if len(moved) > _FEW:
        return f"{len(moved)} of {len(order)} columns fit another class"
    return ", ".join(f"what it says of {called[i]} fits {called[order[i]]}" for i in moved)

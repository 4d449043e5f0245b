"""Columns of a user's table that say whose a record is, which group it is in and whether a model was trained on it.

Every function takes the table, the name of one of its columns and `kept`, bool (rows,): which rows stay. What it
returns is about those.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .tablefile import TableFile
from .types import Bools, Ints

UNKNOWN = "?"
"""The group of a record whose cell is missing."""

_FLAGS = {"1": 1, "true": 1, "yes": 1, "0": 0, "false": 0, "no": 0, "": -1, "-1": -1}


def groups(table: TableFile, name: str, kept: Bools) -> NDArray[np.str_]:
    """Groups; a missing cell is the group `?`."""
    texts = table.texts(name)[kept]
    return np.where(texts == "", UNKNOWN, texts).astype(np.str_)


def present(table: TableFile, name: str, kept: Bools, what: str = "id") -> NDArray[np.str_]:
    """Cells as text; `what` they hold is for the error.

    Raises:
        UsageError: a cell is missing.
    """
    texts = table.texts(name)
    absent = kept & (texts == "")
    if absent.any():
        row = int(absent.argmax())
        raise UsageError(f"{table.at(name, row)}: the {what} is missing{table.why_missing(name, row)}")
    return np.asarray(texts[kept])


def ids(table: TableFile, name: str, kept: Bools) -> NDArray[np.str_]:
    """Ids, no two alike.

    Raises:
        UsageError: an id is missing or repeats.
    """
    texts = present(table, name, kept)
    _, first, inverse = np.unique(texts, return_index=True, return_inverse=True)
    again = first[inverse] != np.arange(len(texts))
    if again.any():
        here = int(again.argmax())
        rows = np.flatnonzero(kept)[[int(first[inverse[here]]), here]] + 1
        raise UsageError(
            f"{table.source}: column {name!r}: the id {str(texts[here])!r} repeats in rows {rows[0]} and {rows[1]}"
        )
    return texts


def users(table: TableFile, name: str, kept: Bools) -> Ints:
    """Codes of users: int64, 0 .. users - 1.

    Raises:
        UsageError: a user is missing.
    """
    return np.unique(present(table, name, kept), return_inverse=True)[1].astype(np.int64).reshape(-1)


def flags(table: TableFile, name: str, kept: Bools) -> NDArray[np.int8]:
    """Membership, int8: 1 member, 0 not, -1 never asked about.

    Raises:
        UsageError: a cell says nothing of the kind, or there are no members or no non-members.
    """
    texts = table.texts(name)
    found = [_FLAGS.get(str(text).lower().removesuffix(".0")) for text in texts]
    if None in found:
        row = found.index(None)
        raise UsageError(
            f"{table.at(name, row)}: {str(texts[row])!r}: must be 1, true or yes for a member, 0, false or no for a "
            "non-member, empty or -1 for a record that was never asked about"
        )
    member = np.array(found, dtype=np.int8)[kept]
    said = set(member.tolist()) - {-1}
    if said != {0, 1}:
        every = f"every flag is {said.pop()}" if said else "every flag is missing"
        raise UsageError(f"{table.source}: column {name!r}: {every}; members and non-members are needed")
    return member

"""Refusing, at the start of training, what a defence does not support."""

from __future__ import annotations

from collections.abc import Sequence

from ..harness.errors import NotApplicable
from ..harness.protocols import Defense, Recipe
from ..harness.types import Ints


def require_supported(defense: Defense, recipe: Recipe, rows: Sequence[Ints]) -> None:
    """Check `recipe` for the number of records of each model; `rows` holds int64 (m,) for each.

    Raises:
        NotApplicable: `defense.supports` has a reason against it.
    """
    for records in {len(own_rows) for own_rows in rows}:
        reason = defense.supports(recipe, records)
        if reason is not None:
            raise NotApplicable(reason)

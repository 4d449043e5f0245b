"""Keyword validators: `positive(epsilon=-1.0)` raises `UsageError: epsilon=-1.0: must be > 0`."""

import math
from collections.abc import Sequence

from .errors import UsageError


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise `UsageError` naming `name=value` and what is allowed, unless `condition` holds."""
    if not condition:
        raise UsageError(f"{name}={value!r}: must be {allowed}")


def positive(**values: float) -> None:
    """Every value is finite and greater than zero."""
    for name, value in values.items():
        require(math.isfinite(value) and value > 0, name, value, "> 0")


def non_negative(**values: float) -> None:
    """Every value is finite and at least zero."""
    for name, value in values.items():
        require(math.isfinite(value) and value >= 0, name, value, ">= 0")


def open_unit(**values: float) -> None:
    """Every value lies strictly between 0 and 1."""
    for name, value in values.items():
        require(0 < value < 1, name, value, "between 0 and 1, both excluded")


def one_of(allowed: Sequence[str], **values: str) -> None:
    """Every value is one of `allowed`."""
    for name, value in values.items():
        require(value in allowed, name, value, f"one of {', '.join(allowed)}")

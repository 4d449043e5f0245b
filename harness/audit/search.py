"""The search that turns a test of "epsilon is at most e" into a lower bound."""

from __future__ import annotations

from collections.abc import Callable


def largest_rejected(rejected: Callable[[float], bool], tolerance: float = 1e-9) -> float:
    """Return the largest value >= 0 that `rejected` refuses, 0 if it does not even refuse 0.

    Args:
        rejected: a test that refuses everything below some finite value and nothing above it.
        tolerance: how far the result may lie below that value. It never lies above.
    """
    if not rejected(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while rejected(high):
        low, high = high, 2 * high
    while high - low > tolerance:
        middle = (low + high) / 2
        if rejected(middle):
            low = middle
        else:
            high = middle
    return low

"""What every audit refuses: impossible counts, and an alpha or a delta out of range."""

from __future__ import annotations

from ..checks import open_unit, require


def check_levels(alpha: float, delta: float) -> None:
    """Refuse an `alpha` outside (0, 1) and a `delta` outside [0, 1)."""
    open_unit(alpha=alpha)
    require(0 <= delta < 1, "delta", delta, ">= 0 and < 1")


def whole(value: float) -> bool:
    """Whether a number is a whole one; NaN and infinity are not."""
    return float(value).is_integer()


def check_trials(tp: int, n_in: int, fp: int, n_out: int) -> None:
    """Refuse counts that no two sets of trials can have."""
    for name, most, value in (("tp", n_in, tp), ("fp", n_out, fp)):
        require(whole(most) and most >= 1, f"trials of {name}", most, "a whole number >= 1")
        require(whole(value) and 0 <= value <= most, name, value, f"a whole number from 0 to {most}")


def check_guesses(m: int, r: int, v: int) -> None:
    """Refuse counts that do not meet 0 <= v <= r <= m and m >= 1."""
    require(whole(m) and m >= 1, "m", m, "a whole number >= 1")
    require(whole(r) and 0 <= r <= m, "r", r, f"a whole number from 0 to m = {m}")
    require(whole(v) and 0 <= v <= r, "v", v, f"a whole number from 0 to r = {r}")

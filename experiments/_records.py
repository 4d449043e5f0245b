"""How many records of a published data set an experiment takes."""

from __future__ import annotations

from ..harness.checks import positive, require


def check_records(records: int | None, available: int) -> None:
    """Refuse a number of records that is not there; None asks for all.

    Raises:
        UsageError: `records` is not in 1 .. available.
    """
    if records is not None:
        positive(records=records)
        require(records <= available, "records", records, f"at most {available}")

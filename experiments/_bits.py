"""Lines of digits 0 and 1 with commas between them, as Shokri et al. 2017 published their data sets."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import UsageError


def bits_of(lines: Iterable[bytes], features: int, records: int, source: Path) -> tuple[NDArray[np.uint8], list[bytes]]:
    """The last `features` digits of the first `records` lines, uint8 (n, features), and what stands before them.

    All features have one digit, so the characters of a line are its row: nothing is parsed.

    Raises:
        UsageError: a line has another form, or there are fewer lines.
    """
    width = 2 * features - 1
    bits = np.empty((records, features), dtype=np.uint8)
    before = []
    for row, line in enumerate(islice(lines, records)):
        text = line.strip()
        digits = np.frombuffer(text[-width:], dtype=np.uint8)
        # The last bit of a digit is the feature; every other character is a comma.
        if len(digits) != width or (digits[::2] & 0xFE != ord("0")).any() or (digits[1::2] != ord(",")).any():
            raise UsageError(f"{source}: line {row + 1} does not end in {features} digits 0 or 1 with commas between")
        bits[row] = digits[::2] & 1
        before.append(text[:-width].strip(b'",'))
    if len(before) < records:
        raise UsageError(f"{source}: {len(before)} lines, fewer than {records}")
    return bits, before


def labels_of(texts: Iterable[bytes], classes: int, source: Path) -> NDArray[np.int64]:
    """Labels 0 .. classes - 1 from the numbers 1 .. classes in the file, int64 (n,).

    Raises:
        UsageError: a label is not such a number.
    """
    labels = []
    for row, text in enumerate(texts):
        if not text.isdigit() or not 1 <= int(text) <= classes:
            raise UsageError(f"{source}: line {row + 1}: label {text.decode(errors='replace')!r}: not in 1..{classes}")
        labels.append(int(text) - 1)
    return np.array(labels, dtype=np.int64)

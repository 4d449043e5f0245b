"""Nursery: ranked applications for nursery schools. Downloaded at first use."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..harness.types import Dataset
from ._cache import Member, fetch_members
from ._records import check_records
from ._table_encoding import Category, Codebook, codes, encoded

ADDRESS = "https://archive.ics.uci.edu/static/public/76/nursery.zip"
# The publisher gives no hash: these are of the rows as we found them, with a line of names before them and without.
MEMBERS = (
    Member(
        "nursery/nursery.csv.gz",
        "nursery.data",
        ("53ed663cc164d104ad695d8642c5d39a", "4d6d5a8791be10254563cd670157d5cc"),
    ),
)
RECORDS = 12_958
CLASSES = ("not_recom", "very_recom", "priority", "spec_prior")
_COLUMNS = 9
_CLASS = 8

CODEBOOK: Codebook = {
    0: Category(("usual", "pretentious", "great_pret")),  # parents' occupation
    1: Category(("proper", "less_proper", "improper", "critical", "very_crit")),  # child's nursery
    2: Category(("complete", "completed", "incomplete", "foster")),  # form of the family
    3: Category(("1", "2", "3", "more")),  # children
    4: Category(("convenient", "less_conv", "critical")),  # housing
    5: Category(("convenient", "inconv")),  # finance
    6: Category(("nonprob", "slightly_prob", "problematic")),  # social conditions
    7: Category(("recommended", "priority", "not_recom")),  # health
}


@dataclass(frozen=True)
class Nursery:
    """Every combination of eight categories with the rank that a decision model gave it (Rajkovic 1997, UCI).

    The records are about no one. In the file's order, neighbours differ in one category. The class `recommend` is left
    out, for it has two records only, too few to be on both sides of a split.

    Attributes:
        records: take the first so many, 1 to 12,958; None takes all.
    """

    records: int | None = None

    def __post_init__(self) -> None:
        check_records(self.records, RECORDS)

    def load(self) -> Dataset:
        """Return the records in the order of the file: float32 (n, 27) of 0 and 1, labels 0 to 3 in rising rank.

        Raises:
            UsageError: the file is not in the cache folder and cannot be downloaded.
        """
        cells = read_rows(fetch_members(ADDRESS, MEMBERS)[0])
        y = codes(cells[:, _CLASS], CLASSES)
        kept = np.flatnonzero(y >= 0)[: self.records]
        return Dataset(
            name="nursery",
            x=encoded(cells[kept], CODEBOOK),
            y=y[kept],
            n_classes=len(CLASSES),
            bounds=(0.0, 1.0),
            public=True,
            licence="UCI Nursery, Vladislav Rajkovic, CC BY 4.0",
        )


def read_rows(content: bytes) -> NDArray[np.str_]:
    """Cells (n, 9) of the file, without its line of names where it has one."""
    rows = [row for row in csv.reader(content.decode().splitlines()) if len(row) == _COLUMNS]
    return np.array([row for row in rows if row[0] != "parents"])

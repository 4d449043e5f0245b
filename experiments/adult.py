"""Adult: who earns more than 50,000 dollars, from a census survey of 1994. Downloaded at first use."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..harness.types import Dataset
from ._cache import Member, fetch_members
from ._records import check_records
from ._table_encoding import Category, Codebook, Number, codes, encoded

ADDRESS = "https://archive.ics.uci.edu/static/public/2/adult.zip"
MEMBERS = (
    Member("adult/adult.data.gz", "adult.data", ("5d7c39d7b8804f071cdd1f2a7c460872",)),
    Member("adult/adult.test.gz", "adult.test", ("35238206dfdf7f1fe215bbb874adecdc",)),
)
RECORDS = 48_842
CLASSES = ("<=50K", ">50K")
_COLUMNS = 15
_RACE, _SEX, _INCOME = 8, 9, 14

# No range is measured on the records. Adults are 17 and older and work at least one hour, which is how the publisher
# chose them (adult.names: AAGE > 16, HRSWK > 0); the other ranges are round limits that we declare: ages to 90, hours
# of two digits, gains of five, losses of four. Values beyond would be clipped. The categories are those of adult.names.
CODEBOOK: Codebook = {
    0: Number(17, 90),  # age
    1: Category(
        (
            *("Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov"),
            *("Without-pay", "Never-worked", "?"),
        )
    ),
    4: Number(1, 16),  # years of education as 16 steps; column 3 has their names
    5: Category(
        (
            *("Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed", "Married-spouse-absent"),
            "Married-AF-spouse",
        )
    ),
    6: Category(
        (
            *("Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial", "Prof-specialty"),
            *("Handlers-cleaners", "Machine-op-inspct", "Adm-clerical", "Farming-fishing", "Transport-moving"),
            *("Priv-house-serv", "Protective-serv", "Armed-Forces", "?"),
        )
    ),
    7: Category(("Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried")),
    _RACE: Category(("White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black")),
    _SEX: Category(("Female", "Male")),
    10: Number(0, 99_999, "log"),  # capital gain
    11: Number(0, 9_999, "log"),  # capital loss
    12: Number(1, 99),  # hours a week
    13: Category(
        (
            *("United-States", "Cambodia", "England", "Puerto-Rico", "Canada", "Germany", "Outlying-US(Guam-USVI-etc)"),
            *("India", "Japan", "Greece", "South", "China", "Cuba", "Iran", "Honduras", "Philippines", "Italy"),
            *("Poland", "Jamaica", "Vietnam", "Mexico", "Portugal", "Ireland", "France", "Dominican-Republic", "Laos"),
            *("Ecuador", "Taiwan", "Haiti", "Columbia", "Hungary", "Guatemala", "Nicaragua", "Scotland", "Thailand"),
            *("Yugoslavia", "El-Salvador", "Trinadad&Tobago", "Peru", "Hong", "Holand-Netherlands", "?"),
        )
    ),
}


@dataclass(frozen=True)
class Adult:
    """People of the Current Population Survey of 1994 in two classes of income (Becker and Kohavi 1996, UCI).

    Numbers are scaled by declared ranges, capital gains and losses on a scale of logarithms, and categories become one
    feature each, a missing one (`?`) too. Nothing is measured on the records, so what they become is public knowledge.
    Left out are the survey's weight (`fnlwgt`) and the names of the steps of education, which `education-num` has as
    well; without them one record in five has an equal twin. Sex and race are features and groups of the report.

    Attributes:
        records: take the first so many, 1 to 48,842, the training part before the test part; None takes all.
    """

    records: int | None = None

    def __post_init__(self) -> None:
        check_records(self.records, RECORDS)

    def load(self) -> Dataset:
        """Return the records in the order of the files: float32 (n, 91) in [0, 1], label 1 for more than 50,000.

        Raises:
            UsageError: a file is not in the cache folder and cannot be downloaded.
        """
        parts = fetch_members(ADDRESS, MEMBERS)
        cells = np.vstack([read_part(content) for content in parts])[: self.records]
        return Dataset(
            name="adult",
            x=encoded(cells, CODEBOOK),
            y=codes(cells[:, _INCOME], CLASSES),
            n_classes=len(CLASSES),
            bounds=(0.0, 1.0),
            public=False,
            licence="UCI Adult, Barry Becker and Ronny Kohavi, CC BY 4.0",
            sensitive={"sex": cells[:, _SEX], "race": cells[:, _RACE]},
        )


def read_part(content: bytes) -> NDArray[np.str_]:
    """Cells (n, 15) of one of the files; lines of another length are the test file's remark and the blank last one."""
    rows = csv.reader(content.decode().splitlines(), skipinitialspace=True)
    cells = np.array([row for row in rows if len(row) == _COLUMNS])
    cells[:, _INCOME] = np.char.rstrip(cells[:, _INCOME], ".")  # labels of the test file end in a dot
    return cells

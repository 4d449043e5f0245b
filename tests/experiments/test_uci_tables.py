"""Adult, German credit and Nursery: parsers on a few rows in the real format, loaders on the published files."""

import gzip

import numpy as np
import pytest
from privassay.experiments import adult, german_credit, nursery
from privassay.experiments._table_encoding import Category, Number, encoded
from privassay.harness.cache import cache_folder
from privassay.harness.dataset_checks import check_dataset, duplicates
from privassay.harness.errors import UsageError


def cached(module):
    """The gunzipped files of a data set; absent ones are not downloaded for tests."""
    paths = [cache_folder() / member.name for member in module.MEMBERS]
    for path in paths:
        if not path.is_file():
            pytest.skip(f"{path} is not there: it is not downloaded for tests")
    return [gzip.decompress(path.read_bytes()).decode() for path in paths]


def test_codebooks_declare_and_do_not_measure():
    cells = np.array([["10", "b", "0"], ["40", "a", "9"], ["90", "z", "99"]])
    made = encoded(cells, {0: Number(20, 60), 2: Number(0, 99, "log"), 1: Category(("a", "b", "c"))})
    np.testing.assert_allclose(
        made, [[0, 0, 0, 1, 0], [0.5, 0.5, 1, 0, 0], [1, 1, 0, 0, 0]], rtol=1e-6
    )  # log(10) is half of log(100); z is none of the categories
    assert made.dtype == np.float32


TRAINING = """39, State-gov, 77516, Bachelors, 13, Divorced, Sales, Unmarried, White, Male, 2174, 0, 40, Peru, <=50K
54, ?, 180211, Some-college, 10, Married-civ-spouse, ?, Husband, Asian-Pac-Islander, Male, 0, 0, 60, South, >50K

"""
TEST = """|1x3 Cross validator
25, Private, 226802, 11th, 7, Never-married, Machine-op-inspct, Own-child, Black, Male, 0, 0, 40, United-States, <=50K.
44, Private, 160323, HS-grad, 10, Divorced, Sales, Husband, Black, Female, 7688, 0, 40, United-States, >50K.

"""


def test_adult_parts_have_the_same_labels():
    training, test = (adult.read_part(text.encode()) for text in (TRAINING, TEST))
    assert training.shape == test.shape == (2, 15)
    assert training[:, 14].tolist() == test[:, 14].tolist() == ["<=50K", ">50K"]
    assert training[1, 1] == "?"


def decoded(row, codebook, module_columns):
    """Category and number of each column from a row of features: the way back."""
    found, position = {}, 0
    for column, meaning in codebook.items():
        if isinstance(meaning, Category):
            block = row[position : position + len(meaning.values)]
            assert sorted(block)[:-1] == [0] * (len(block) - 1)
            assert block.max() == 1
            found[column] = meaning.values[int(block.argmax())]
            position += len(meaning.values)
        else:
            share = float(row[position])
            if meaning.scale == "log":
                low, high = np.log1p(meaning.low), np.log1p(meaning.high)
                found[column] = str(round(np.expm1(low + share * (high - low))))
            else:
                found[column] = str(round(meaning.low + share * (meaning.high - meaning.low)))
            position += 1
    assert position == len(row)
    return [found.get(column) for column in module_columns]


@pytest.fixture(scope="module")
def published_adult():
    texts = cached(adult)
    rows = [[cell.strip() for cell in line.split(",")] for text in texts for line in text.splitlines()]
    return [row for row in rows if len(row) == 15], adult.Adult().load()


def test_every_cell_of_adult_can_be_read_back_from_its_features(published_adult):
    rows, data = published_adult
    check_dataset(data, "here")
    assert data.x.shape == (48_842, 91)
    assert len(rows) == adult.RECORDS
    used = sorted(adult.CODEBOOK)
    for i in [*range(0, 48_842, 97), 48_841]:
        assert decoded(data.x[i], adult.CODEBOOK, used) == [rows[i][column] for column in used]


def test_adult_labels_groups_and_duplicates(published_adult):
    rows, data = published_adult
    assert data.y.tolist() == [int(row[14].startswith(">50K")) for row in rows]
    assert np.bincount(data.y).tolist() == [37_155, 11_687]  # 7841 and 3846, as adult.names counts them
    assert data.sensitive["sex"].tolist() == [row[9] for row in rows]
    assert data.sensitive["race"].tolist() == [row[8] for row in rows]
    assert not data.public
    assert "CC BY 4.0" in data.licence
    assert 0.19 < duplicates(data) / len(data) < 0.21, "one in five, as the class says"
    few = adult.Adult(records=300).load()
    np.testing.assert_array_equal(few.x, data.x[:300])


@pytest.mark.parametrize("records", [0, 48_843])
def test_a_number_of_records_that_is_not_there_is_refused(records):
    with pytest.raises(UsageError, match=f"records={records}: must be "):
        adult.Adult(records=records)


LOANS = """A11 6 A34 A43 1169 A65 A75 4 A93 A101 4 A121 67 A143 A152 2 A173 1 A192 A201 1
A12 48 A32 A43 5951 A61 A73 2 A92 A101 2 A121 22 A143 A152 1 A173 1 A191 A201 2
"""


def test_german_rows():
    cells = german_credit.read_rows(LOANS.encode())
    assert cells.shape == (2, 21)
    assert cells[1, [0, 1, 8, 20]].tolist() == ["A12", "48", "A92", "2"]


def test_every_cell_of_german_credit_can_be_read_back_from_its_features():
    rows = [line.split() for line in cached(german_credit)[0].splitlines()]
    data = german_credit.GermanCredit().load()
    check_dataset(data, "here")
    assert data.x.shape == (1000, 63)
    for row, features in zip(rows, data.x, strict=True):
        assert decoded(features, german_credit.CODEBOOK, range(20)) == row[:20]
    assert data.y.tolist() == [int(row[20]) - 1 for row in rows]
    assert np.bincount(data.y).tolist() == [700, 300]
    status = data.sensitive["personal_status_sex"]
    assert {name: (status == name).sum() for name in np.unique(status)} == {
        "female, divorced, separated or married": 310,
        "male, divorced or separated": 50,
        "male, married or widowed": 92,
        "male, single": 548,
    }
    assert (data.sensitive["age"] == "up to 25").sum() == sum(int(row[12]) <= 25 for row in rows) == 190


APPLICATIONS = """usual,proper,complete,1,convenient,convenient,nonprob,recommended,recommend
usual,proper,complete,1,convenient,convenient,nonprob,priority,priority

"""


@pytest.mark.parametrize(
    "header", ["", "parents,has_nurs,form,children,housing,finance,social,health,classification\n"]
)
def test_nursery_rows_with_and_without_a_line_of_names(header):
    cells = nursery.read_rows((header + APPLICATIONS).encode())
    assert cells[:, 8].tolist() == ["recommend", "priority"]


def test_every_cell_of_nursery_can_be_read_back_from_its_features():
    rows = [line.split(",") for line in cached(nursery)[0].splitlines()]
    rows = [row for row in rows if row[-1] in nursery.CLASSES]
    data = nursery.Nursery().load()
    check_dataset(data, "here")
    assert data.x.shape == (nursery.RECORDS, 27) == (12_958, 27)
    for i in range(0, len(rows), 13):
        assert decoded(data.x[i], nursery.CODEBOOK, range(8)) == rows[i][:8]
    assert data.y.tolist() == [nursery.CLASSES.index(row[8]) for row in rows]
    assert duplicates(data) == 0, "every combination occurs once"
    assert nursery.Nursery(records=10).load().y.tolist() == data.y[:10].tolist()

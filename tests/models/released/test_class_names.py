"""Classes that a model calls by their names in the user's file."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import skops.io
from privassay.experiments.table import Table
from privassay.harness.errors import UsageError
from privassay.harness.trust import Trust
from privassay.models.released._answers import Reading
from privassay.models.released.file import File
from privassay.tests.support import people

NAMES = {0: "<=50K", 1: ">50K"}


@pytest.fixture
def table():
    return people.people(200)


def loaded(folder, table, **changes):
    table.to_csv(folder / "people.csv", index=False)
    schema = {**people.SCHEMA, **changes, "path": folder / "people.csv"}
    return Table(**{name: value for name, value in schema.items() if name != "component"}).load()


def answers(folder, table, data):
    skops.io.dump(people.fitted(table), folder / "people.skops")
    return File(folder / "people.skops").open(data, Trust(given=True)).model.predict(data.x)


@pytest.mark.parametrize("renamed", [NAMES, {0: 1, 1: 2}, {0: False, 1: True}], ids=["texts", "from 1", "truth values"])
@pytest.mark.parametrize("positive", [None, 0], ids=["sorted", "reversed"])
def test_columns_of_an_estimator_are_put_where_its_classes_belong(tmp_path, table, renamed, positive):
    table["rich"] = table["rich"].map(renamed)
    name = None if positive is None else str(renamed[positive])
    data = loaded(tmp_path, table, positive=name)
    right = answers(tmp_path, table, data).argmax(axis=1) == data.y
    assert right[data.released_member == 1].all()  # a tree knows its own records by heart


def test_classes_that_the_data_do_not_have_are_refused_by_name(tmp_path, table):
    data = loaded(tmp_path, table.assign(rich=table["rich"].map(NAMES)))
    with pytest.raises(UsageError, match=r"its classes are no, yes, those of the data are <=50K, >50K$"):
        answers(tmp_path, table.assign(rich=table["rich"].map({0: "no", 1: "yes"})), data)
    data = loaded(tmp_path, table.assign(rich=table["rich"] + 1))
    with pytest.raises(UsageError, match=r"its classes are 0, 1, those of the data are 1, 2$"):
        answers(tmp_path, table, data)


@pytest.mark.parametrize(
    "raw",
    [["b", "a", "c"], np.array([["b"], ["a"], ["c"]]), pd.Series(["b", "a", "c"]), [1, 0, 2], np.array([1.0, 0, 2])],
    ids=["list", "column", "pandas", "numbers", "floats"],
)
def test_labels_by_name_or_by_number(raw):
    read = Reading("labels", 3, "here", ("a", "b", "c"))(raw, 3)
    assert read.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("raw", [[2, 1], np.array([2, 1], dtype=object), [np.int64(2), np.float32(1)], ["2", "1"]])
def test_numbers_are_names_where_classes_are_named_by_numbers(raw):
    assert Reading("labels", 2, "here", ("1", "2"))(raw, 2).argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("names", "raw", "words"),
    [
        (("a", "b"), ["a", "d"], "here: label d for record 2: must be one of a, b"),
        ((), ["a", "d"], r"label a for record 1: must be one of 0\.\.1"),
        (("1", "2"), [1, 0], "label 0 for record 2: must be one of 1, 2"),
        (("a", "b"), [1, np.nan], "label nan for record 2"),
        (("a", "b"), [["a", "b"], ["a", "b"]], r"answers of shape \(2, 2\) are not one label a record"),
        (("a", "b"), ["a"], "asked about 2 records, answers for 1"),
        (("a", "b"), [["a"], ["a", "b"]], "the answers are no labels"),
    ],
)
def test_what_is_no_label_is_refused_in_one_line(names, raw, words):
    with pytest.raises(UsageError, match=words):
        Reading("labels", 2, "here", names)(raw, 2)


def test_other_names_make_another_digest(tmp_path, table):
    data = loaded(tmp_path, table.assign(rich=table["rich"].map(NAMES)))
    assert data.class_names == ("<=50K", ">50K")
    assert dataclasses.replace(data, class_names=("a", "b")).sha256 != data.sha256

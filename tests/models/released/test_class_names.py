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
from privassay.models.released._class_names import class_numbers
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


def answers(folder, table, data, **fields):
    skops.io.dump(people.fitted(table), folder / "people.skops")
    return File(folder / "people.skops", **fields).open(data, Trust(given=True)).model.predict(data.x)


@pytest.mark.parametrize(
    "renamed",
    [NAMES, {0: 1, 1: 2}, {0: 0, 1: 1}, {0: 0.0, 1: 1.0}, {0: False, 1: True}],
    ids=["texts", "from 1", "from 0", "floats", "truth values"],
)
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
    with pytest.raises(UsageError, match=r"its classes are 0, 1, those of the data are 1, 2: call the columns"):
        answers(tmp_path, table, data)
    right = answers(tmp_path, table, data, classes=("1", "2")).argmax(axis=1) == data.y
    assert right[data.released_member == 1].all()


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


def test_an_estimator_of_codes_has_the_order_that_its_owner_states(tmp_path, table):
    """Labels were encoded before it was fitted, so only the owner knows which of the texts is 0."""
    data = loaded(tmp_path, table.assign(rich=table["rich"].map(NAMES)), positive="<=50K")
    member = data.released_member == 1
    right = {
        classes: (answers(tmp_path, table, data, classes=classes).argmax(axis=1) == data.y)[member].mean()
        for classes in ((), ("<=50K", ">50K"), (">50K", "<=50K"))
    }
    assert right == {(): 0.0, ("<=50K", ">50K"): 1.0, (">50K", "<=50K"): 0.0}
    fitted = table.assign(rich=table["rich"].map(NAMES))
    with pytest.raises(UsageError, match="calls its columns <=50K, >50K, `classes` says >50K, <=50K"):
        answers(tmp_path, fitted, data, classes=(">50K", "<=50K"))


@pytest.mark.parametrize("written", [("0", "1"), ("0.0", "1.0"), ("0", "1.0"), ("00", "+1"), ("0e0", "10e-1")])
@pytest.mark.parametrize("label", [1, 1.0, "1", "1.0", np.float32(1), np.int8(1), " 1 "])
def test_numbers_compare_as_numbers_however_they_are_written(written, label):
    assert class_numbers([label], written, 2).tolist() == [1]
    assert class_numbers([label], written[::-1], 2).tolist() == [0]
    assert class_numbers([label], (), 2).tolist() == [1]


@pytest.mark.parametrize("label", [2, 0.5, "", "one", None, float("nan"), float("inf"), "nan", "1_0", "0x1", True])
def test_what_is_no_number_of_a_class_is_none(label):
    assert class_numbers([label], ("0.0", "1.0"), 2).tolist() == [-1]


def test_texts_tell_classes_apart_whose_numbers_are_the_same():
    assert class_numbers(["01", "1", 1, "1.0"], ("1", "01"), 2).tolist() == [1, 0, 0, -1]


P = np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])


def frame(*columns):
    return pd.DataFrame(P, columns=list(columns) or None)


def mappings(*names):
    return [dict(zip(names, row, strict=True)) for row in P.tolist()]


@pytest.mark.parametrize("make", [frame, mappings])
@pytest.mark.parametrize(
    ("names", "columns", "stated", "place"),
    [
        (("a", "b", "c"), ("c", "a", "b"), (), [1, 2, 0]),
        (("a", "b", "c"), ("c", "a", "b"), ("c", "a", "b"), [1, 2, 0]),
        (("a", "b", "c"), (0, 1, 2), (), [0, 1, 2]),
        (("a", "b", "c"), (2, 0, 1), (), [1, 2, 0]),
        (("a", "b", "c"), ("0", "1", "2"), ("c", "a", "b"), [1, 2, 0]),
        (("a", "b", "c"), ("p_x", "p_y", "p_z"), ("c", "a", "b"), [1, 2, 0]),
        (("1", "2", "10"), ("1", "10", "2"), (), [0, 2, 1]),
        (("1", "2", "10"), (0, 1, 2), (), [0, 1, 2]),  # names that count say no more than where a column is
        (("2", "1", "0"), (0, 1, 2), (), [2, 1, 0]),  # but these are the classes
        (("2", "1", "0"), (0, 1, 2), ("2", "1", "0"), [0, 1, 2]),
        (("0.0", "2.0", "1.0"), ("0", "1", "2"), (), [0, 2, 1]),
        (("False", "True", "c"), (True, "c", False), (), [2, 0, 1]),
        ((), ("2", "0", "1"), (), [1, 2, 0]),
        ((), ("x", "y", "z"), ("2", "0", "1"), [1, 2, 0]),
    ],
)
def test_columns_are_put_where_their_names_belong(make, names, columns, stated, place):
    """Against a naive reading: the answer for class j stands in the column `place[j]`."""
    read = Reading("probabilities", 3, "here", names, stated)(make(*columns), 2)
    np.testing.assert_allclose(read, P[:, place], rtol=1e-15)


def test_unnamed_columns_have_the_order_that_is_stated():
    read = Reading("probabilities", 3, "here", ("a", "b", "c"), ("c", "a", "b"))
    for raw in (P, frame(), P.tolist()):
        np.testing.assert_allclose(read(raw, 2), P[:, [1, 2, 0]], rtol=1e-15)
    logits = Reading("logits", 3, "here", ("a", "b", "c"), ("c", "a", "b"))
    np.testing.assert_allclose(logits(np.log(P), 2), P[:, [1, 2, 0]], rtol=1e-12)
    labels = Reading("labels", 3, "here", ("a", "b", "c"), ("c", "a", "b"))
    assert labels([0, "c", "2", "a"], 4).argmax(axis=1).tolist() == [2, 2, 1, 0]
    assert labels([{"label": "c"}, {"label": 1}], 2).argmax(axis=1).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("columns", "stated", "words"),
    [
        (
            ("a", "b", "d"),
            (),
            "here: its classes are a, b, d, those of the data are a, b, c: call the columns by these",
        ),
        (("p_a", "p_b", "p_c"), (), "its classes are p_a, p_b, p_c"),
        (("a", "b", "p_c"), ("a", "b", "c"), "its classes are a, b, p_c"),
        (("a", "b", "b"), (), "its classes are a, b, b"),
        (("a", "b", "b"), ("a", "b", "c"), "its classes are a, b, b"),
        ((1, 2, 3), (), "its classes are 1, 2, 3"),
        (("c", "a", "b"), ("a", "b", "c"), "calls its columns c, a, b, `classes` says a, b, c"),
        ((2, 0, 1), ("c", "a", "b"), "calls its columns 2, 0, 1, `classes` says c, a, b"),
    ],
)
def test_columns_that_are_not_the_classes_are_refused_in_one_line(columns, stated, words):
    with pytest.raises(UsageError, match=words) as raised:
        Reading("probabilities", 3, "here", ("a", "b", "c"), stated)(frame(*columns), 2)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("column", "stated", "second"),
    [
        (None, (), True),
        ("b", (), True),
        ("a", (), False),
        ("score", (), True),
        (0, (), True),
        (None, ("b", "a"), False),
        ("score", ("b", "a"), False),
        ("a", ("b", "a"), False),
    ],
)
def test_a_single_column_is_about_the_class_of_its_name_or_the_second(column, stated, second):
    reading = Reading("probabilities", 2, "here", ("a", "b"), stated)
    raw = [0.2, 0.7] if column is None else [{column: 0.2}, {column: 0.7}]
    assert reading(raw, 2)[:, int(second)].tolist() == [0.2, 0.7]
    with pytest.raises(UsageError, match="calls its column b, the second of `classes` is a"):
        Reading("probabilities", 2, "here", ("a", "b"), ("b", "a"))([{"b": 0.2}], 1)


@pytest.mark.parametrize(
    ("names", "stated"),
    [
        (("a", "b"), ("a",)),
        (("a", "b"), ("a", "a")),
        (("a", "b"), ("a", "c")),
        (("a", "b"), ("0", "1")),
        ((), ("1", "2")),
    ],
)
def test_an_order_of_other_classes_is_refused(names, stated):
    with pytest.raises(UsageError, match=r"must name the classes of the data, each of them once: (a, b|0\.\.1)$"):
        Reading("probabilities", 2, "here", names, stated)


def test_labels_that_are_numbers_have_no_order():
    with pytest.raises(UsageError, match="`classes`: must be left out: labels are the classes 1, 2 by value"):
        Reading("labels", 2, "here", ("1", "2"), ("2", "1"))

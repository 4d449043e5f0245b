"""A table that is not what its schema says is refused in one line: file, column, row, value, what is allowed."""

import warnings

import numpy as np
import pytest
from privassay.experiments.table import Table
from privassay.harness.errors import UsageError

GOOD = "id,age,job,y,member\na,1,x,0,1\nb,2,y,1,0\nc,3,x,0,1\nd,4,y,1,0\n"


def refusal(path, content, **schema):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        Table(path, **{"target": "y", **schema}).load()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


MISSING = "the cell is missing, as are 0 more in this column; fill them in, or set missing to"
GAP = "is a gap in CSV, as for pandas; where it is a value, save the table as Parquet)"
ALL = {"categorical": ("job",), "record_id": "id", "member": "member"}


def test_the_table_itself_is_sound(tmp_path):
    (tmp_path / "t.csv").write_text(GOOD)
    assert len(Table(tmp_path / "t.csv", "y", **ALL).load()) == 4


@pytest.mark.parametrize(
    ("content", "schema", "message"),
    [
        (GOOD, {"target": "label"}, "target: unknown column 'label' (known: id, age, job, y, member)"),
        (GOOD, {"features": ("agee",)}, "features: unknown column 'agee', did you mean 'age'? (known: id, age, job, y"),
        (GOOD, {"sensitive": ("sex",)}, "sensitive: unknown column 'sex'"),
        (GOOD, {"ranges": {"agge": (0.0, 1.0)}}, "ranges: unknown column 'agge', did you mean 'age'?"),
        (GOOD, {"values": {"jobs": ("x",)}}, "values: unknown column 'jobs', did you mean 'job'?"),
        (GOOD, {"user_id": "user"}, "user_id: unknown column 'user'"),
        (GOOD.replace(",", ";"), {}, "target: unknown column 'y' (known: id;age;job;y;member)"),
        (changed("c,3,x,0", "c,3,x,"), ALL, "target 'y', row 3: the label is missing, as are 0 more; fill them in, or"),
        (GOOD.replace(",1,0\n", ",0,0\n"), ALL, "target 'y': every label is '0'; at least two classes are needed"),
        (GOOD, {**ALL, "target": "age"}, "target 'age': 4 different labels in 4 records: must be classes"),
        (GOOD, {**ALL, "positive": "2"}, "target 'y': positive='2': must be one of two classes, not ['0', '1']"),
        (GOOD, {**ALL, "values": {"y": ("0", "2")}}, "target 'y', row 2: '1' is none of the declared values (0, 2)"),
        (changed("b,2", "b,two"), ALL, "column 'age', row 2: 'two' is no finite number (a column of categories must"),
        (changed("b,2", "b,inf"), ALL, "column 'age', row 2: 'inf' is no finite number"),
        (changed("b,2", "b,nan"), ALL, "column 'age', row 2: the cell is missing, as are 0 more in this column; fill"),
        (changed("b,2", "b,1e39"), ALL, "column 'age', row 2: '1e+39' is no finite number"),
        (GOOD, {"features": ("job",)}, "column 'job', row 1: 'x' is no finite number"),
        (
            changed("b,2", "b,?"),
            ALL,
            "column 'age', row 2: the cell is missing, as are 0 more in this column; fill them",
        ),
        (changed("b,2", "b,"), {**ALL, "missing": "category"}, "column 'age', row 2: the cell is missing"),
        (changed("b,2,y", "b,2,"), ALL, "column 'job', row 2: the cell is missing"),
        (
            GOOD,
            {**ALL, "values": {"job": ("x", "z")}},
            "column 'job', row 2: 'y' is none of the declared values (x, z)",
        ),
        (changed("d,4", "b,4"), ALL, "column 'id': the id 'b' repeats in rows 2 and 4"),
        (changed("d,4", ",4"), ALL, "column 'id', row 4: the id is missing"),
        (changed("d,4", ",4"), {"user_id": "id", "features": ("age",)}, "column 'id', row 4: the id is missing"),
        (changed("x,0,1\nb", "x,0,in\nb"), ALL, "column 'member', row 1: 'in': must be 1, true or yes for a member, 0"),
        (GOOD.replace(",0\n", ",1\n"), ALL, "column 'member': every flag is 1; members and non-members are needed"),
        (GOOD.replace(",0\n", ",\n").replace(",1\n", ",\n"), ALL, "column 'member': every flag is missing"),
        (changed("b,2,y", "b,2,None"), ALL, f"column 'job', row 2: {MISSING} drop or category ('None' {GAP}"),
        (
            changed("c,3,x,0", "c,3,x,null"),
            ALL,
            "target 'y', row 3: the label is missing, as are 0 more; fill them in, or set missing to drop ('null' is",
        ),
        (changed("d,4", "NA,4"), ALL, f"column 'id', row 4: the id is missing ('NA' {GAP}"),
        (
            changed("d,4", "NA,4"),
            {"user_id": "id", "features": ("age",)},
            "column 'id', row 4: the id is missing ('NA'",
        ),
        ("", {}, "the file is empty"),
        ("id,age,job,y,member\n", ALL, "no rows"),
        ("a,y,a\n1,0,1\n", {}, "2 columns are named 'a'"),
        ("a,y\n1,0,3\n2,1,3\n", {}, "a row has more cells than the header, which has 2"),
        ("a,y\n1,0\n2,1,3\n", {}, "not a table in .csv (Error tokenizing data"),
        (b"a,y\n\xff\xfe,0\n", {}, "not a table in .csv ('utf-8' codec can't decode"),
        ("a,y\n?,0\n1,\n", {"missing": "drop"}, "every row has a missing cell: none stays"),
        ("y,g\n0,a\n1,b\n", {"sensitive": ("g",)}, "no column is left for features"),
    ],
)
def test_csv(tmp_path, content, schema, message):
    assert refusal(tmp_path / "t.csv", content, **schema).startswith(message)


def test_every_missing_cell_of_a_row_is_counted(tmp_path):
    message = refusal(tmp_path / "t.csv", "a,y\n1,0\n?,1\n,0\n?,1\n")
    assert "row 2: the cell is missing, as are 2 more" in message


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path.read_bytes()


X, Y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
NAN = np.where(np.arange(8).reshape(4, 2) == 5, np.nan, 0)


@pytest.mark.parametrize(
    ("arrays", "schema", "message"),
    [
        ({"y": Y}, {}, "no array 'x' of features (known: y)"),
        ({"x": X}, {}, "target: unknown column 'y'"),
        ({"x": X, "y": Y[:3]}, {}, "array 'y' has 3 rows, 'x' has 4"),
        ({"x": X, "y": X}, {}, "array 'y' has shape (4, 2): must have one dimension"),
        ({"x": Y, "y": Y}, {}, "array 'x' has shape (4,): must have at least two dimensions"),
        ({"x": NAN, "y": Y}, {}, "array 'x', row 3 holds NaN or infinity: must be finite"),
        ({"x": X + 1e300, "y": Y}, {}, "array 'x', row 1 holds NaN or infinity"),
        ({"x": X.astype(str), "y": Y}, {}, "array 'x' has type <U32: must hold numbers"),
        ({"x": X.reshape(4, 2, 1), "y": Y}, {}, "array 'x' has shape (4, 2, 1): pictures need a declared range"),
        ({"x": X, "y": Y}, {"categorical": ("y",)}, "array 'x' holds numbers: an NPZ file has no categorical features"),
        ({"x": X[:0], "y": Y[:0]}, {}, "no rows"),
        ({"x": X.astype(object), "y": Y}, {}, "not a table in .npz (Object arrays cannot be loaded"),
    ],
)
def test_npz(tmp_path, arrays, schema, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = npz(tmp_path / "t.npz", **arrays)
    assert refusal(tmp_path / "t.npz", content, **schema).startswith(message)


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_a_file_of_another_format(tmp_path, suffix):
    assert refusal(tmp_path / f"t.{suffix}", GOOD).startswith(f"not a table in .{suffix} (")


def test_no_such_file(tmp_path):
    with pytest.raises(UsageError, match=r"t\.csv: no such file"):
        Table(tmp_path / "t.csv", "y").load()


@pytest.mark.parametrize(
    ("name", "schema", "message"),
    [
        ("t.xlsx", {}, r"path='t.xlsx': must be a file in .csv, .parquet, .npz"),
        ("t.csv", {"ranges": {"a": (2.0, 1.0)}}, r"ranges.a=\(2.0, 1.0\): must be two finite numbers, the smaller one"),
        ("t.csv", {"ranges": {"a": (0.0, float("inf"))}}, "must be two finite numbers"),
        ("t.csv", {"ranges": {"a": (0.0, 1.0)}, "categorical": ("a",)}, "left out: the column holds categories"),
        ("t.csv", {"values": {"a": ()}}, r"values.a=\(\): must be different values, at least one"),
        ("t.csv", {"values": {"a": ("u", "u")}}, "must be different values"),
        (
            "t.csv",
            {"values": {"a": ("NA", "u")}},
            "values.a='NA': must be without what is a gap in CSV, as for pandas; s",
        ),
        ("t.csv", {"features": ("a", "y")}, "features='y': must be a column that is not target, id or membership flag"),
        ("t.npz", {"features": ("a", "b")}, "must be the name of one array in an NPZ file"),
        ("t.csv", {"missing": "ignore"}, "missing='ignore': must be one of refuse, drop, category"),
    ],
)
def test_schemas_that_contradict_themselves(tmp_path, name, schema, message):
    from pathlib import Path

    with pytest.raises(UsageError, match=message):
        Table(Path(name), "y", **schema)

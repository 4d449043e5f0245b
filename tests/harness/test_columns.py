"""The way back from features to the cells of the user's file."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from privassay.experiments.table import Table
from privassay.harness.columns import CategoryColumn, NumberColumn, RecordColumns
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.splits import subset

TEXTS = ["clerk", "smith", "Bäcker", "a, b", "0x", "01"]


def written(folder, frame, suffix=".csv", **schema):
    """The frame as a table with a target, loaded; and the path."""
    path = folder / f"people{suffix}"
    frame = frame.assign(y=np.arange(len(frame)) % 2)
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return Table(path, target="y", **schema).load(), path


def random_frame(rng, n):
    """Every kind of column, with more digits than float32 holds, and beyond the ranges below."""
    return pd.DataFrame(
        {
            "stamp": rng.integers(1_600_000_000, 1_700_000_000, n),
            "aged": rng.integers(0, 200, n),
            "real": rng.normal(size=n) * 10.0 ** rng.integers(-9, 9, n),
            "tight": rng.random(n),
            "coded": rng.choice(TEXTS, n),
            "spread": rng.choice(TEXTS, n),
            "zip": rng.choice(["01234", "12345", "99999"], n),
            "level": rng.integers(0, 5, n),
            "mark": rng.choice([1.0, 2.5], n),
            "price": rng.choice(["1.50", "2.00"], n),
            "flag": rng.choice(["TRUE", "FALSE"], n),
            "plain": rng.random(n) < 0.5,
        }
    )


SCHEMA = {
    "categorical": ("coded", "level", "mark", "zip", "price", "flag"),
    "values": {"spread": (*TEXTS, "never")},
    "ranges": {"aged": (0, 120), "tight": (-1e6, 1e6)},
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("seed", range(3))
def test_every_cell_is_the_one_that_pandas_reads(tmp_path, suffix, seed):
    data, path = written(tmp_path, random_frame(np.random.default_rng(seed), 300), suffix, **SCHEMA)
    expected = (pd.read_csv if suffix == ".csv" else pd.read_parquet)(path).drop(columns="y")
    names = list(expected)
    assert data.columns.names == tuple(names)
    assert data.columns.width == data.x.shape[1]
    assert_frame_equal(data.columns.frame(data.x, names), expected, check_exact=True)
    rows = np.array([7, 3, 3])
    some = subset(data, rows)
    picked = some.columns.frame(some.x, ["flag", "aged"])
    assert_frame_equal(picked, expected[["flag", "aged"]].iloc[rows].reset_index(drop=True))


def test_dates_keep_their_type(tmp_path):
    frame = pd.DataFrame({"born": pd.date_range("1970-01-01", periods=6), "n": range(6)})
    data, _ = written(tmp_path, frame, ".parquet", categorical=("born",))
    assert_frame_equal(data.columns.frame(data.x, ["born"]), frame[["born"]])


def test_what_is_missing_is_missing(tmp_path):
    frame = pd.DataFrame({"a": ["x", "", "y", "NA"], "b": ["u", "u", "?", "v"], "c": [1, 2, 3, 4]})
    data, path = written(tmp_path, frame, missing="category", categorical=("a",), values={"b": ("u", "v")})
    cells = data.columns.frame(data.x, ["a", "b", "c"])
    assert_frame_equal(cells, pd.read_csv(path).drop(columns="y"))
    assert cells["a"].isna().tolist() == [False, True, False, True]  # as pandas takes NA
    assert cells["b"].tolist() == ["u", "u", "?", "v"]


def test_rows_that_are_dropped_are_gone(tmp_path):
    frame = pd.DataFrame({"a": ["x", "", "w", "y", "x"], "n": [1.5, 500.0, 5.0, 3.0, None]})
    data, _ = written(tmp_path, frame, missing="drop", categorical=("a",), ranges={"n": (0, 9)})
    cells = data.columns.frame(data.x, ["a", "n"])
    assert cells["a"].tolist() == ["x", "w", "y"]
    assert cells["n"].tolist() == [1.5, 5.0, 3.0]


def test_blanks_are_part_of_a_cell_unless_only_that_makes_a_table(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("job, n, y\n clerk, 1, 0\nsmith, 2, 1\n")
    data = Table(path, target="y", categorical=("job",)).load()
    assert data.columns.frame(data.x, ["job", "n"])["job"].tolist() == [" clerk", "smith"]
    path.write_text('job, n, y\nclerk, 1, 0\n"a, b", 2, 1\n"c, d", 3, 1\n')
    data = Table(path, target="y", categorical=("job",)).load()
    assert data.columns.frame(data.x, ["job", "n"])["job"].tolist() == ["clerk", "a, b", "c, d"]
    path.write_text('n, job, y\n1, clerk, 0\n2, "a, b", 1\n')
    data = Table(path, target="y", categorical=("job",)).load()
    assert data.columns.frame(data.x, ["job"])["job"].tolist() == ["clerk", "a, b"]


@pytest.mark.parametrize(
    ("frame", "ranges", "words"),
    [
        ({"n": [100, 95, 3, 4], "m": [1, 1, 2, 3]}, {"n": (0, 90)}, "column 'n': 100 and 95 are one feature"),
        ({"n": [1_600_000_001, 1_600_000_002], "m": [1, 1]}, {}, "column 'n': 1600000001 and 1600000002 are one feat"),
    ],
)
def test_records_that_features_do_not_tell_apart_are_refused_where_the_column_is_wanted(tmp_path, frame, ranges, words):
    data, _ = written(tmp_path, pd.DataFrame(frame), ranges=ranges)
    with pytest.raises(UsageError, match=words):
        data.columns.frame(data.x, ["n", "m"])
    assert data.columns.frame(data.x, ["m"])["m"].tolist() == frame["m"]


@pytest.mark.parametrize("kind", ["string", "str", "category"])
def test_a_gap_and_a_text_that_stands_for_one_are_two_cells(tmp_path, kind):
    frame = pd.DataFrame({"a": pd.array(["?", None, "x", "x"], dtype=kind), "m": [1, 1, 2, 2]})
    data, _ = written(tmp_path, frame, ".parquet", missing="category", categorical=("a",))
    with pytest.raises(UsageError, match=r"column 'a': \? and .* are one feature"):
        data.columns.frame(data.x, ["a"])


def test_records_that_are_alike_in_every_cell_are_no_clash(tmp_path):
    frame = pd.DataFrame({"a": ["x", "x", "", ""], "n": [500, 500, 2, 2]})
    data, _ = written(tmp_path, frame, missing="category", categorical=("a",), ranges={"n": (0, 9)})
    assert data.columns.frame(data.x, ["n"])["n"].tolist() == [500, 500, 2, 2]


COLUMNS = RecordColumns(
    (
        CategoryColumn("job", ("clerk", 7, "baker"), coded=True),
        CategoryColumn("sex", ("f", "m")),
        NumberColumn("age", (20, 120)),
        NumberColumn("wage"),
    ),
    np.zeros((0, 5), np.float32),
    pd.DataFrame({"job": [], "sex": [], "age": [], "wage": []}),
)
NAMES = ["sex", "job", "age", "wage"]
RECORD = [2, 0, 1, 0.25, 1.75]


def test_a_record_of_no_file_has_what_its_features_say():
    moved = np.array([RECORD, [1, 1, 0, 0.5, -2]], np.float32)
    expected = pd.DataFrame({"sex": ["m", "f"], "job": ["baker", 7], "age": [45.0, 70.0], "wage": [1.75, -2.0]})
    assert_frame_equal(COLUMNS.frame(moved, NAMES), expected, check_dtype=False)


def test_records_of_the_file_keep_their_cells_beside_others(tmp_path):
    frame = pd.DataFrame({"job": ["clerk", "smith", "clerk"], "age": [100, 30, 40]})
    data, _ = written(tmp_path, frame, values={"job": ("clerk", "smith")}, ranges={"age": (0, 80)})
    moved = data.x[[1]] + np.array([0, 0, 0.125], np.float32)
    cells = data.columns.frame(np.vstack([data.x[:1], moved, data.x[2:]]), ["age", "job"])
    assert cells["age"].tolist() == [100, 40.0, 40]
    assert cells["job"].tolist() == ["clerk", "smith", "clerk"]
    assert data.columns.digest(np.vstack([data.x, moved])) == data.columns.digest(data.x)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (0, 2.7, "column 'job': 2.7 is the code of no category"),
        (0, 3, "column 'job': 3 is the code of no category"),
        (0, -1, "column 'job': -1 is the code of no category"),
        (2, 0, "column 'sex': the indicators are not those of one category"),
        (1, 1, "column 'sex': the indicators are not those of one category"),
        (2, 0.999, "column 'sex': the indicators are not those of one category"),
    ],
)
def test_a_record_that_stands_for_no_cells_is_not_asked_about(at, value, words):
    x = np.array([RECORD, RECORD], np.float32)
    x[1, at] = value
    with pytest.raises(NotApplicable) as refused:
        COLUMNS.frame(x, NAMES)
    assert str(refused.value).startswith(words)


def test_records_of_another_width_are_none_of_the_table():
    with pytest.raises(NotApplicable, match=r"records of shape \(7,\) are none of a table with 5 features"):
        COLUMNS.frame(np.zeros((1, 7), np.float32), NAMES)


def test_the_digest_holds_the_cells(tmp_path):
    """The same features of other cells are other records to a model that is asked with cells."""
    frame = pd.DataFrame({"a": ["x", "y", "x"], "n": [1, 2, 3]})
    one, _ = written(tmp_path, frame, categorical=("a",), ranges={"n": (0, 2)})
    for changes in ({"a": ["v", "w", "v"]}, {"n": [1, 2, 4]}, {"n": [1.0, 2.0, 3.0]}):
        other, _ = written(tmp_path, frame.assign(**changes), categorical=("a",), ranges={"n": (0, 2)})
        np.testing.assert_array_equal(one.x, other.x)
        assert one.sha256 != other.sha256

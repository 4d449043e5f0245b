"""The way back from features to the cells of the user's file."""

import numpy as np
import pandas as pd
import pytest
from privassay.experiments.table import Table
from privassay.harness.columns import CategoryColumn, NumberColumn, RecordColumns
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.splits import subset

TEXTS = ["clerk", "smith", "Bäcker", "a, b", "0x"]


def written(folder, frame, suffix=".csv", **schema):
    """The frame as a table with a target, loaded."""
    path = folder / f"people{suffix}"
    frame = frame.assign(y=np.arange(len(frame)) % 2)
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return Table(path, target="y", **schema).load()


def random_frame(rng, n):
    """Every kind of column, among them numbers with few and with many digits, large and small."""
    decimals = [0, 1, 2, 5]
    return pd.DataFrame(
        {
            "whole": rng.integers(-(2**24), 2**24, n),
            "aged": rng.integers(17, 91, n),
            "paid": rng.integers(0, 10_000_000, n),
            "real": [round(v, rng.choice(decimals)) for v in rng.normal(size=n) * 9],
            "small": np.array([float(f"{v:.3g}") for v in 10.0 ** rng.uniform(-12, -6, n)]),
            "money": np.round(rng.uniform(0, 5000, n), 2),
            "shift": np.round(rng.uniform(-0.75, 0.25, n), 4),
            "coded": rng.choice(TEXTS, n),
            "spread": rng.choice(TEXTS, n),
            "level": rng.integers(0, 5, n),
            "mark": rng.choice([1.5, 2.5], n),
            "flag": rng.random(n) < 0.5,
        }
    )


SCHEMA = {
    "categorical": ("coded", "level", "mark"),
    "values": {"spread": tuple(TEXTS), "flag": ("True", "False")},
    "ranges": {"aged": (0, 120), "paid": (-1, 10_000_000), "money": (0, 12_000.0), "shift": (-0.75, 0.25)},
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("seed", range(4))
def test_every_cell_comes_back(tmp_path, suffix, seed):
    frame = random_frame(np.random.default_rng(seed), 200)
    data = written(tmp_path, frame, suffix, **SCHEMA)
    assert data.columns.names == tuple(frame.columns)
    assert data.columns.width == data.x.shape[1]
    for name, cells in data.columns.cells(data.x).items():
        assert cells.tolist() == frame[name].tolist(), name
        assert cells.dtype.kind == frame[name].to_numpy().dtype.kind.replace("O", "U"), name
    rows = np.array([7, 3, 3])
    some = subset(data, rows)
    assert some.columns == data.columns
    picked = some.columns.cells(some.x, ("flag", "aged"))
    assert set(picked) == {"aged", "flag"}
    assert picked["aged"].tolist() == frame["aged"][rows].tolist()


def test_numbers_with_more_digits_than_float32_holds_become_the_same_features():
    rng = np.random.default_rng(0)
    for low, high in [(0.0, 1.0), (-3.5, 1e-3), (1e6, 3e9), (0.5, 0.75), (0, 1e-9)]:
        column = NumberColumn("c", (low, high))
        x = column.features(np.concatenate([rng.uniform(low, high, 2000), [low, high]]))
        cells = column.cells(x)
        np.testing.assert_array_equal(column.features(cells), x)
        assert cells.min() >= low
        assert cells.max() <= high
    column = NumberColumn("c")
    x = column.features(10 ** rng.uniform(-30, 30, 2000))
    np.testing.assert_array_equal(column.features(column.cells(x)), x)


def test_floats_are_the_shortest_decimals():
    cells = NumberColumn("c").cells(np.array([[0.1], [1e-12], [3], [-2.75]], np.float32))
    assert cells.tolist() == [0.1, 1e-12, 3.0, -2.75]
    column = NumberColumn("c", (0.0, 0.3))
    assert column.cells(column.features(np.array([0.1, 0.0, 0.3, 0.123456]))).tolist() == [0.1, 0.0, 0.3, 0.123456]


def test_whole_numbers_of_wide_ranges_are_whole_and_near():
    column = NumberColumn("c", (0, 2.0**31), whole=True)
    numbers = np.random.default_rng(0).integers(0, 2**31, 5000)
    cells = column.cells(column.features(numbers.astype(np.float64)))
    assert cells.dtype == np.int64
    assert np.abs(cells - numbers).max() <= 64
    np.testing.assert_array_equal(cells[numbers < 2**20], numbers[numbers < 2**20])


def test_texts_that_look_like_numbers_stay_texts_where_that_would_lose_some(tmp_path):
    frame = pd.DataFrame({"zip": ["01", "12", "3", "12"], "kind": ["1", "2", "2", "1"], "v": [1, 2, 3, 4]})
    schema = {"categorical": ("zip", "kind")}
    data = written(tmp_path, frame, **schema)
    cells = data.columns.cells(data.x)
    assert cells["zip"].tolist() == ["01", "12", "3", "12"]
    assert cells["kind"].tolist() == [1, 2, 2, 1]
    data = written(tmp_path, frame, ".parquet", **schema)  # which says that they are texts
    assert data.columns.cells(data.x)["kind"].tolist() == ["1", "2", "2", "1"]


def test_a_missing_cell_that_is_a_category_comes_back_as_such(tmp_path):
    frame = pd.DataFrame({"a": ["x", "", "y", "x"], "b": ["u", "u", "?", "v"], "c": [1, 2, 3, 4]})
    data = written(tmp_path, frame, missing="category", categorical=("a",), values={"b": ("u", "v")})
    cells = data.columns.cells(data.x)
    assert cells["a"].tolist() == ["x", "?", "y", "x"]
    assert cells["b"].tolist() == ["u", "u", "?", "v"]


def test_rows_that_are_dropped_count_for_nothing(tmp_path):
    frame = pd.DataFrame({"a": ["x", "", "w", "y", "x"], "n": [1.5, 500.0, 5.0, 3.0, None]})
    data = written(tmp_path, frame, missing="drop", categorical=("a",), ranges={"n": (0, 9)})
    assert data.columns.cells(data.x)["a"].tolist() == ["x", "w", "y"]
    assert data.columns.cells(data.x)["n"].tolist() == [1.5, 5.0, 3.0]  # 500 stood in a row that is gone


def test_a_range_that_cut_cells_off_is_refused_where_the_column_is_wanted(tmp_path):
    data = written(tmp_path, pd.DataFrame({"n": [1, 10, 3, 4], "m": [1, 2, 3, 4]}), ranges={"n": (0, 9)})
    with pytest.raises(UsageError, match=r"column 'n': .* declared range \[0, 9\] .*: widen the range"):
        data.columns.cells(data.x)
    assert data.columns.cells(data.x, ("m",))["m"].tolist() == [1, 2, 3, 4]


COLUMNS = RecordColumns(
    (
        CategoryColumn("job", ("clerk", "smith", "baker"), coded=True),
        CategoryColumn("sex", ("f", "m")),
        NumberColumn("age", (0, 120), whole=True),
        NumberColumn("kids", whole=True),
        NumberColumn("wage"),
    )
)
RECORD = [2, 0, 1, 0.25, 3, 1.75]


def test_the_cells_of_one_record():
    cells = COLUMNS.cells(np.array([RECORD], np.float32))
    assert {name: cell.tolist() for name, cell in cells.items()} == {
        "job": ["baker"],
        "sex": ["m"],
        "age": [30],
        "kids": [3],
        "wage": [1.75],
    }


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (0, 2.7, "column 'job': 2.7 is the code of no category"),
        (0, 3, "column 'job': 3 is the code of no category"),
        (0, -1, "column 'job': -1 is the code of no category"),
        (2, 0, "column 'sex': the indicators are not those of one category"),
        (1, 1, "column 'sex': the indicators are not those of one category"),
        (2, 0.999, "column 'sex': the indicators are not those of one category"),
        (3, 0.251, "column 'age': 30.12 is no whole number"),
        (4, 2.5, "column 'kids': 2.5 is no whole number"),
    ],
)
def test_a_record_that_stands_for_no_cells_is_not_asked_about(at, value, words):
    x = np.array([RECORD, RECORD], np.float32)
    x[1, at] = value
    with pytest.raises(NotApplicable) as refused:
        COLUMNS.cells(x)
    assert str(refused.value).startswith(words)
    x[1, at] = RECORD[at]
    x[1, 5] = 1e-3  # any number is a wage
    assert COLUMNS.cells(x)["wage"].tolist() == [1.75, 0.001]


def test_records_of_another_width_are_none_of_the_table():
    with pytest.raises(NotApplicable, match=r"records of shape \(7,\) are none of a table with 6 features"):
        COLUMNS.cells(np.zeros((1, 7), np.float32))


def test_the_digest_holds_the_columns(tmp_path):
    """The same codes of other categories are other records to a model that is asked with cells."""
    one = written(tmp_path, pd.DataFrame({"a": ["x", "y", "x"], "n": [1, 2, 3]}), categorical=("a",))
    other = written(tmp_path, pd.DataFrame({"a": ["v", "w", "v"], "n": [1, 2, 3]}), categorical=("a",))
    np.testing.assert_array_equal(one.x, other.x)
    assert one.sha256 != other.sha256

"""The one reader of tables: what tests of `table`, `image_folder` and `predictions` do not see of it."""

import datetime

import numpy as np
import pandas as pd
import pytest
from privassay.harness import table_columns
from privassay.harness.errors import UsageError
from privassay.harness.tablefile import MISSING_IN_CSV, read


def test_numbers_of_a_csv_are_exact(tmp_path):
    """Read by the default of pandas, 725 of these 2000 differ in the last digit."""
    numbers = np.random.default_rng(0).uniform(size=2000)
    (tmp_path / "t.csv").write_text("\n".join(["p", *(repr(number) for number in numbers.tolist())]))
    assert np.array_equal(read(tmp_path / "t.csv", ()).numbers("p"), numbers)


def test_numbers_have_a_largest_value_and_may_be_missing(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n,y\n-1e39,z\n")
    table = read(tmp_path / "t.csv", ("b",), ("a",))
    assert table.columns["a"].dtype == np.float64, "a name of an array makes no text of a column"
    np.testing.assert_array_equal(table.numbers("a"), [1, np.nan, -1e39])
    with pytest.raises(UsageError, match=r"column 'a', row 3: '-1e\+39' is no finite number, see there$"):
        table.numbers("a", 1e38, ", see there")


def test_gaps_of_a_csv_are_the_callers(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,NA\nNA,x\n3,?\n")
    plain, more = read(tmp_path / "t.csv", ("b",)), read(tmp_path / "t.csv", ("b",), gaps=MISSING_IN_CSV)
    assert plain.texts("b").tolist() == ["NA", "x", ""]
    assert more.texts("b").tolist() == ["", "x", ""]
    np.testing.assert_array_equal(more.numbers("a"), [1, np.nan, 3])
    with pytest.raises(UsageError, match="column 'a', row 2: 'NA' is no finite number"):
        plain.numbers("a")
    assert more.why_missing("b", 0).startswith(" ('NA' is a gap in CSV")
    assert [more.why_missing("b", 2), more.why_missing("a", 1), plain.why_missing("b", 0)] == ["", "", ""]


@pytest.mark.parametrize("cell", ["1_000", "\uff11\uff12", "\u0663", "1,5", "0x10", "inf", "1 2"])
def test_what_pandas_reads_as_no_number_is_none(tmp_path, cell):
    (tmp_path / "t.csv").write_text(f'a\n1\n"{cell}"\n', encoding="utf-8")
    for text in ((), ("a",)):  # read as pandas sees fit, or cell by cell
        with pytest.raises(UsageError, match=r"column 'a', row 2: .* is no finite number"):
            read(tmp_path / "t.csv", text).numbers("a")


def test_numbers_among_texts_are_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("a\n 1\n-2.5e3\n+.5\n?\n", encoding="utf-8")
    np.testing.assert_array_equal(read(tmp_path / "t.csv", ("a",)).numbers("a"), [1, -2500, 0.5, np.nan])


def test_every_type_of_parquet_has_a_text(tmp_path):
    pd.DataFrame(
        {
            "whole": pd.array([1, None], dtype="Int64"),
            "flag": [True, None],
            "kind": pd.Categorical(["a", None]),
            "day": [datetime.date(2020, 1, 2), None],
            "when": [pd.Timestamp("2020-01-02 03:04"), None],
            "text": [" ? ", "None"],
        }
    ).to_parquet(tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet", ())
    found = {name: table.texts(name).tolist() for name in table.names}
    assert found == {
        "whole": ["1", ""],
        "flag": ["True", ""],
        "kind": ["a", ""],
        "day": ["2020-01-02", ""],
        "when": ["2020-01-02 03:04:00", ""],
        "text": ["", "None"],
    }


def test_numbers_that_pandas_gave_to_rows_are_no_column(tmp_path):
    pd.DataFrame({"a": [1, 2, 3]}).iloc[[2, 0]].to_parquet(tmp_path / "t.parquet")
    pd.DataFrame({"a": [3, 1], "id": ["x", "y"]}).set_index("id").to_parquet(tmp_path / "named.parquet")
    table = read(tmp_path / "t.parquet", ())
    assert table.names == ("a",)
    assert table.numbers("a").tolist() == [3, 1]
    assert read(tmp_path / "named.parquet", ()).names == ("a", "id")


def test_arrays_that_nobody_names_are_not_read(tmp_path):
    np.savez(tmp_path / "t.npz", x=np.zeros((2, 3)), y=[1.0, 2.0], other=np.array([{}, {}]))
    table = read(tmp_path / "t.npz", ("y",), ("x", "z"))
    assert table.names == ("x", "y", "other")
    assert table.columns.keys() == {"x", "y"}
    assert table.texts("y").tolist() == ["1", "2"]
    with pytest.raises(UsageError, match=r"array 'x' has shape \(2, 3\): must have one dimension"):
        table.numbers("x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"not a table in \.npz \("),
        (b"PK\x03\x04 no archive", r"not a table in \.npz \("),
        # one array without an archive
        (b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
         + b"\0" * 8, r"not a table in \.npz \("),
    ],
)  # fmt: skip
def test_broken_archives_are_one_line(tmp_path, content, words):
    (tmp_path / "t.NPZ").write_bytes(content)
    with pytest.raises(UsageError, match=words.replace("npz", "NPZ")) as caught:
        read(tmp_path / "t.NPZ", ("y",))
    assert "\n" not in str(caught.value)


def test_columns_of_whom_and_of_membership_count_rows_from_one(tmp_path):
    (tmp_path / "t.csv").write_text("id,flag,g\na,1.0,\n,?,f\nb,NO,f\na,-1,m\n")
    table = read(tmp_path / "t.csv", ("id", "flag", "g"))
    kept = np.array([True, False, True, True])
    assert table_columns.groups(table, "g", kept).tolist() == ["?", "f", "m"]
    assert table_columns.users(table, "id", kept).tolist() == [0, 1, 0]
    assert table_columns.flags(table, "flag", kept).tolist() == [1, 0, -1]
    with pytest.raises(UsageError, match="the id 'a' repeats in rows 1 and 4"):
        table_columns.ids(table, "id", kept)
    with pytest.raises(UsageError, match="row 2: the id is missing"):
        table_columns.users(table, "id", np.ones(4, dtype=bool))

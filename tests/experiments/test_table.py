"""A user's table becomes the records that its schema declares, from each of the three formats alike."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas._libs.parsers import STR_NA_VALUES
from privassay.experiments.table import Table
from privassay.harness import catalog, preparation
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import UsageError
from privassay.harness.tablefile import MISSING_IN_CSV
from privassay.harness.types import ColumnsToFit

ROWS = """id,age,wage,job,sex,income,owner,trained
r1,30,1000.5,clerk,f,low,u1,yes
r2,50,2000,smith, m ,high,u1,1
r3,70,-3000,"clerk",f,low,u2,False
r4,90,4e3,baker,m,high,u3,0
r5,10,5000,clerk,f,low,u4,
"""
SCHEMA = {
    "target": "income",
    "features": ("age", "wage", "job", "sex"),
    "categorical": ("job",),
    "ranges": {"age": (20.0, 80.0)},
    "values": {"sex": ("m", "f", "x")},
    "sensitive": ("sex",),
    "record_id": "id",
    "user_id": "owner",
    "member": "trained",
    "positive": "low",
}


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(ROWS)
    return path


def table(path, **changes):
    return Table(path, **{**SCHEMA, **changes})


def expected_x():
    """age by its range, wage as it is, job as a code (baker, clerk, smith), sex over the declared values."""
    rows = [
        [1 / 6, 1000.5, 1, 0, 1, 0],
        [0.5, 2000, 2, 1, 0, 0],
        [5 / 6, -3000, 1, 0, 1, 0],
        [1, 4000, 0, 1, 0, 0],
        [0, 5000, 1, 0, 1, 0],
    ]
    return np.array(rows, dtype=np.float32)


def test_declared_columns_are_static_and_the_others_are_left_to_the_models(csv_file):
    data = table(csv_file).load()
    check_dataset(data, "here")
    assert data.x.dtype == np.float32
    np.testing.assert_allclose(data.x, expected_x(), rtol=1e-6)
    assert data.to_fit == ColumnsToFit(standardise=(1,), encode=(2,))
    assert data.bounds == (0.0, 1.0)
    assert data.y.tolist() == [1, 0, 1, 0, 1]
    assert (data.n_classes, data.name, data.licence, data.public) == (2, "people", "not stated", False)
    assert data.sensitive["sex"].tolist() == ["f", "m", "f", "m", "f"]
    assert data.units.tolist() == [0, 0, 1, 2, 3]
    assert data.released_member.tolist() == [1, 1, 0, 0, -1]
    assert data.released_member.dtype == np.int8


def test_a_model_prepares_what_is_left_by_its_members(csv_file):
    data = table(csv_file).load()
    prepared = preparation.fit(data.to_fit, data.x, np.array([0, 1, 4]), data.bounds)
    assert prepared.means[1] == pytest.approx((1000.5 + 2000 + 5000) / 3)
    assert prepared.categories == {2: (1, 2)}
    assert prepared.apply(data.x)[3, -2:].tolist() == [0, 0], "no member is a baker"


def test_a_schema_without_columns_to_fit_leaves_nothing_to_the_models(csv_file):
    data = table(csv_file, features=("age", "sex")).load()
    assert data.to_fit is None
    assert data.shape == (4,)


def test_all_other_columns_are_features_by_default(csv_file):
    data = table(csv_file, features=None, values=None).load()
    assert data.to_fit == ColumnsToFit(standardise=(1,), encode=(2,))
    assert data.shape == (3,), "age, wage, job: sex is a group, the rest are target, ids and flag"


def test_parquet_holds_the_same(csv_file, tmp_path):
    frame = pd.read_csv(csv_file, skipinitialspace=True)
    frame["sex"] = frame["sex"].str.strip().astype("category")
    frame["trained"] = [1.0, 1.0, 0.0, 0.0, None]  # a column with gaps is one of floats
    frame.to_parquet(tmp_path / "people.parquet")
    one, other = (
        dataclasses.replace(table(path).load(), columns=None) for path in (tmp_path / "people.parquet", csv_file)
    )
    assert one.sha256 == other.sha256


def test_types_of_parquet_become_the_text_that_a_csv_has(tmp_path):
    frame = pd.DataFrame({"y": [True, False, True, False], "id": [7, 8, 9, 10], "x": [True, False, True, True]})
    frame["when"] = pd.array([1, None, 3, 4], dtype="Int64")
    frame.to_parquet(tmp_path / "t.parquet")
    data = Table(tmp_path / "t.parquet", "y", positive="False", user_id="id", missing="drop").load()
    assert data.x.tolist() == [[1, 1], [1, 3], [1, 4]]
    assert data.y.tolist() == [0, 0, 1]


def test_npz_holds_one_array_of_features_and_columns_beside(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (6, 2, 3)).astype(np.uint8)
    np.savez(
        tmp_path / "pictures.npz",
        x=x,
        y=np.array([10, 9, 10, 9, 10, 9]),
        member=np.array([1, 0, 1, 0, -1, -1], dtype=np.int8),
        user=np.array([3, 4, 3, 4, 5, 5]),
        region=np.array(["north", "south"] * 3),
        unused=np.zeros((2, 2)),
    )
    source = Table(
        tmp_path / "pictures.npz",
        "y",
        ranges={"x": (0.0, 255.0)},
        member="member",
        user_id="user",
        sensitive=("region",),
    )
    data = source.load()
    check_dataset(data, "here")
    np.testing.assert_allclose(data.x, x / 255, rtol=1e-6)
    assert data.y.tolist() == [1, 0, 1, 0, 1, 0], "numbers are sorted as numbers"
    assert data.units.tolist() == [0, 1, 0, 1, 2, 2]
    assert data.released_member.tolist() == [1, 0, 1, 0, -1, -1]
    assert data.sensitive["region"].tolist() == ["north", "south"] * 3
    assert data.to_fit is None


def test_flat_numbers_without_a_range_are_left_to_the_models(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 3))
    np.savez(tmp_path / "t.npz", signals=x, label=np.array(["a", "b", "a", "b"]))
    data = Table(tmp_path / "t.npz", "label", features=("signals",)).load()
    np.testing.assert_allclose(data.x, x, rtol=1e-6)
    assert data.to_fit == ColumnsToFit(standardise=(0, 1, 2))


def test_declared_classes_are_numbered_in_their_order(csv_file):
    values = {"sex": ("m", "f", "x"), "income": ("none", "low", "high")}
    data = table(csv_file, positive=None, values=values).load()
    assert data.n_classes == 3
    assert data.y.tolist() == [1, 2, 1, 2, 1]


GAPS = "age,job,g,y\n1,a,f,0\n?,b,m,1\n3,?,f,0\n4,b,,1\n5,a,m,\n6,b,m,1\n7,a,f,0\n"


@pytest.fixture
def gaps(tmp_path):
    (tmp_path / "gaps.csv").write_text(GAPS)
    return Table(tmp_path / "gaps.csv", "y", categorical=("job",), sensitive=("g",), missing="drop")


def test_dropped_records_are_dropped_from_every_column(gaps):
    data = gaps.load()
    assert data.x.tolist() == [[1, 1], [4, 2], [6, 2], [7, 1]]
    assert data.y.tolist() == [0, 1, 1, 0]
    assert data.sensitive["g"].tolist() == ["f", "?", "m", "f"], "a missing group is a group, not a reason to drop"
    assert data.left_out == ("3 of 7 rows of gaps.csv are left out: a cell is missing, 1 of them that of the target")


def test_gaps_of_a_csv_are_those_that_pandas_sees(tmp_path):
    """Whatever a column holds: what is a gap for the model that gets the cells is one for the schema, and but for `?`
    nothing else is."""
    rng = np.random.default_rng(0)
    gaps = sorted(STR_NA_VALUES)
    assert set(MISSING_IN_CSV) == {*gaps, "?"}
    n = 40 * len(gaps)
    cells = {
        "number": rng.choice([*gaps, *(["1", "2.5", "-3e2"] * 9)], n),
        "text": rng.choice([*gaps, *(["none", "Na", "N.A.", "NaNs", "0"] * 6)], n),
        "user": rng.choice(["u1", "NA"], n),
        "flag": rng.choice(["1", "0", "NA", "nan", ""], n),
        "y": rng.choice(["yes", "no", "NULL"], n),
    }
    pd.DataFrame(cells).to_csv(tmp_path / "t.csv", index=False)
    seen = pd.read_csv(tmp_path / "t.csv")
    source = Table(tmp_path / "t.csv", "y", ("number", "text"), categorical=("text",), member="flag", missing="drop")
    data = source.load()
    whole = seen[seen[["number", "text", "y"]].notna().all(axis=1)]
    stays = whole.reset_index(drop=True)
    np.testing.assert_array_equal(data.x[:, 0], stays["number"].astype(np.float32))
    assert data.y.tolist() == (stays["y"] == "yes").astype(int).tolist()
    pd.testing.assert_frame_equal(data.columns.file, stays[["number", "text"]])
    assert data.released_member.tolist() == stays["flag"].fillna(-1).astype(int).tolist()
    first = whole["user"].isna().idxmax() + 1
    with pytest.raises(UsageError, match=rf"column 'user', row {first}: the id is missing \('NA' is a gap in CSV"):
        dataclasses.replace(source, user_id="user").load()


def test_texts_of_parquet_that_csv_could_not_hold_are_texts(tmp_path):
    frame = pd.DataFrame({"country": ["NA", "DE", None, "NA"], "x": [1.0, 2.0, 3.0, 4.0], "y": ["None", "a"] * 2})
    frame.to_parquet(tmp_path / "t.parquet")
    values = {"country": ("DE", "NA"), "y": ("None", "a")}
    data = Table(tmp_path / "t.parquet", "y", values=values, missing="drop").load()
    assert data.x[:, :2].tolist() == [[0, 1], [1, 0], [0, 1]]
    assert data.class_names == ("None", "a")


@pytest.mark.parametrize("values", [None, {"job": ("b", "a")}])
def test_a_missing_category_can_be_a_category(tmp_path, values):
    (tmp_path / "t.csv").write_text("job,y\na,0\n?,1\nb,0\nNA,1\n")
    data = Table(tmp_path / "t.csv", "y", categorical=("job",), values=values, missing="category").load()
    if values is None:
        assert data.x.ravel().tolist() == [1, 0, 2, 0], "codes of ?, a, b"
    else:
        assert data.x.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]


def test_quotes_commas_byte_order_mark_and_blanks(tmp_path):
    text = '\ufeff "y" , x\n"a, b", 1\n\n c ,  2\n"a, b",3\nc,4 \n'
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    data = Table(tmp_path / "t.csv", "y").load()
    assert data.x.ravel().tolist() == [1, 2, 3, 4]
    assert data.y.tolist() == [0, 1, 0, 1]


def test_numbers_in_text_columns_keep_their_writing(tmp_path):
    (tmp_path / "t.csv").write_text("zip,y,x\n01,0,1\n1,1,2\n01,0,3\n1,1,4\n")
    data = Table(tmp_path / "t.csv", "y", features=("zip",), categorical=("zip",)).load()
    assert data.x.ravel().tolist() == [0, 1, 0, 1], "01 and 1 are two categories"


def test_an_experiment_file_names_it_with_a_path_beside_it(csv_file):
    parameters = {
        "path": "people.csv",
        **{key: list(value) if isinstance(value, tuple) else value for key, value in SCHEMA.items()},
        "ranges": {"age": [20, 80.0]},
        "values": {"sex": ["m", "f", "x"]},
    }
    built = catalog.build("datasets", "table", parameters, "here", csv_file.parent)
    assert built == table(csv_file)
    assert catalog.identity(built, "table").parameters["path"] == "people.csv"


def test_the_schema_does_not_depend_on_where_the_file_lies(csv_file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    other = Path(csv_file.rename(tmp_path / "elsewhere" / "people.csv"))
    assert dataclasses.replace(table(other), name="people").load().name == "people"

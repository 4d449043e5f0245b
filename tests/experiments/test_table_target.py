"""Regression targets of tables and of diabetes: numbers on a declared grid."""

import numpy as np
import pytest
from privassay.experiments._table_target import nearest
from privassay.experiments.diabetes import Diabetes
from privassay.experiments.table import Table
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import UsageError

ROWS = "age,price\n20,1.5\n40,9.96\n60,0\n80,\n30,10\n"
SCHEMA = {"target": "price", "ranges": {"age": (20.0, 80.0), "price": (0.0, 10.0)}, "grid": 101, "missing": "drop"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(ROWS)
    return path


def test_numbers_are_rounded_to_the_grid(file):
    data = Table(file, **SCHEMA).load()
    check_dataset(data, "test")
    assert data.grid.tolist() == pytest.approx([k / 10 for k in range(101)])
    assert data.y.tolist() == [15, 100, 0, 100]
    assert (data.n_classes, data.shape, data.to_fit) == (101, (1,), None)


def test_nearest_is_what_a_naive_search_finds():
    rng = np.random.default_rng(0)
    grid = np.sort(rng.normal(size=30))
    numbers = rng.uniform(grid[0], grid[-1], 1000)
    assert np.array_equal(nearest(numbers, grid), np.abs(numbers[:, None] - grid).argmin(axis=1))


def test_npz_holds_numbers_too(tmp_path):
    x = np.linspace(0, 1, 40, dtype=np.float32).reshape(20, 2)
    np.savez(tmp_path / "t.npz", x=x, price=np.linspace(1, 9, 20))
    data = Table(tmp_path / "t.npz", target="price", ranges={"x": (0.0, 1.0), "price": (0.0, 10.0)}, grid=11).load()
    assert data.y[[0, -1]].tolist() == [1, 9]
    assert data.shape == (2,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": 5}, "grid=5: must be 11 to 1001"),
        ({"ranges": None}, "must be left out, or ranges must declare the range of the target 'price'"),
        ({"positive": "1"}, "positive='1': must be left out where grid makes the target a number"),
        ({"grid": None}, "ranges.price='the target': must be a feature; for regression set grid, e.g. 101"),
        ({"missing": "refuse"}, "row 4: the label is missing"),
        ({"ranges": {"price": (0.0, 9.0)}}, "row 2: 9.96 is outside the declared range [0, 9], as are 1 more"),
        ({"ranges": {"price": (0.0, 1e6)}}, "every number is rounded to 0: declare a narrower range or a finer grid"),
        ({"target": "name", "ranges": {"name": (0.0, 9.0)}}, "row 1: 'a' is no number; leave grid out for classes"),
    ],
)
def test_bad_schemas_are_one_line(file, changes, message):
    file.write_text("name," + ROWS.replace("\n", "\na,").removesuffix("a,"))
    with pytest.raises(UsageError) as caught:
        Table(file, **{**SCHEMA, "features": ("age",), **changes}).load()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_without_a_grid_is_told_of_it(file):
    with pytest.raises(UsageError, match=r"must be classes; for a number set grid \(tables only\)"):
        Table(file, target="price", missing="drop").load()


def test_diabetes_is_the_published_table():
    data = Diabetes().load()
    check_dataset(data, "test")
    assert data.x.shape == (442, 10)
    # first record: 59 years, sex 2, bmi 32.1, pressure 101, target 151 (Efron et al. 2004)
    assert data.x[0, :4].tolist() == pytest.approx([41 / 62, 1, 17.1 / 30, 41 / 80])
    assert data.grid[data.y[0]] == 152
    assert data.sensitive["sex"][:3].tolist() == ["2", "1", "2"]
    assert np.unique(data.sensitive["sex"], return_counts=True)[1].tolist() == [235, 207]
    clipped = ((data.x == 0) | (data.x == 1))[:, [0, 2, 3, 4, 5, 6, 7, 8, 9]].mean()
    assert clipped < 0.001, "the declared ranges hold what is measured"
    assert not data.public

"""Each model prepares its columns by its own members: nobody else's record can be seen in its inputs."""

import json
import math

import numpy as np
import pytest
from privassay.harness.errors import UsageError
from privassay.harness.preparation import LIMIT, Prepared, fit
from privassay.harness.types import ColumnsToFit

COLUMNS = ColumnsToFit(standardise=(0, 3), encode=(1,))
MEMBERS = np.arange(0, 40, 2)


@pytest.fixture
def x():
    """40 records: an amount, a code 0 to 3, a share that is used as it is, another amount."""
    rng = np.random.default_rng(0)
    columns = rng.normal(900, 40, 40), rng.integers(0, 4, 40), rng.random(40), rng.normal(-3, 0.1, 40)
    return np.column_stack(columns).astype(np.float32)


def prepared_by_hand(x, rows):
    """Column by column and record by record, as the documentation says."""
    result = []
    for record in x.tolist():
        line = []
        for column in (0, 2, 3):
            own = [float(x[row, column]) for row in rows]
            mean = sum(own) / len(own)
            deviation = math.sqrt(sum((value - mean) ** 2 for value in own) / len(own))
            moved = max(-LIMIT, min(LIMIT, (record[column] - mean) / deviation))
            line.append(record[column] if column == 2 else moved)
        line += [float(record[1] == code) for code in sorted({x[row, 1] for row in rows})]
        result.append(line)
    return result


def test_it_is_what_the_documentation_says(x):
    prepared = fit(COLUMNS, x, MEMBERS, (0.0, 1.0))
    made = prepared.apply(x)
    assert made.dtype == np.float32
    assert made.shape == (40, *prepared.shape) == (40, 7)
    np.testing.assert_allclose(made, prepared_by_hand(x, MEMBERS), rtol=1e-5, atol=1e-6)
    assert np.abs(made[MEMBERS][:, [0, 2]].mean(axis=0)).max() < 1e-5
    np.testing.assert_allclose(made[MEMBERS][:, [0, 2]].std(axis=0), 1, rtol=1e-5)


def test_raw_records_stay_as_they_were(x):
    before = x.copy()
    fit(COLUMNS, x, MEMBERS, (0.0, 1.0)).apply(x)
    np.testing.assert_array_equal(x, before)


def test_fitting_on_all_records_leaks_and_fitting_on_members_does_not(x):
    other = x.copy()
    other[7] = [5000, 9, 0.5, -3]  # number 7 is no member
    ours = [fit(COLUMNS, records, MEMBERS, (0.0, 1.0)) for records in (x, other)]
    everyone = [fit(COLUMNS, records, np.arange(40), (0.0, 1.0)) for records in (x, other)]
    assert ours[0] == ours[1]
    assert ours[0].apply(x[MEMBERS]).tobytes() == ours[1].apply(other[MEMBERS]).tobytes()
    assert everyone[0].shape != everyone[1].shape, "the number of inputs tells that someone has category 9"
    amounts = [prepared.apply(records[MEMBERS])[:, 0] for prepared, records in zip(everyone, (x, other), strict=True)]
    assert np.abs(amounts[0] - amounts[1]).max() > 0.5, "the members' own inputs tell that someone has 5000"


def test_whether_an_outlier_is_a_member_can_be_told_only_where_it_is(x):
    """An attacker who sees the constants: with our fitting they tell of members alone."""
    outlier = x.copy()
    outlier[7, 0] = 5000
    on_members = fit(COLUMNS, outlier, MEMBERS, (0.0, 1.0)).deviations[0]
    with_outlier = fit(COLUMNS, outlier, np.append(MEMBERS, 7), (0.0, 1.0)).deviations[0]
    assert on_members < 100 < with_outlier


def test_a_category_that_no_member_has_gives_zeros(x):
    prepared = fit(COLUMNS, x, MEMBERS, (0.0, 1.0))
    stranger = x[:1].copy()
    stranger[0, 1] = 77
    assert prepared.apply(stranger)[0, 3:].tolist() == [0, 0, 0, 0]


def test_bounds_hold_for_any_record(x):
    prepared = fit(COLUMNS, x, MEMBERS, (0.0, 1.0))
    assert prepared.bounds == (-LIMIT, LIMIT)
    far = np.array([[3e38, 5, 1, -3e38]], dtype=np.float32)
    assert prepared.apply(far)[0].tolist() == [LIMIT, 1, -LIMIT, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("columns", "bounds", "expected"),
    [
        (ColumnsToFit(encode=(1,)), (2.0, 3.0), (0.0, 3.0)),
        (ColumnsToFit(standardise=(0,)), (-50.0, 1.0), (-50.0, LIMIT)),
        (ColumnsToFit(), (0.25, 0.5), (0.25, 0.5)),
    ],
)
def test_bounds_come_from_what_is_public(x, columns, bounds, expected):
    assert fit(columns, x, MEMBERS, bounds).bounds == expected


@pytest.mark.parametrize("value", [0.1, 3.0, 16777217.0])
def test_equal_members_give_zero_whatever_rounding_says(value):
    x = np.full((7, 1), value, dtype=np.float32)
    prepared = fit(ColumnsToFit(standardise=(0,)), x, np.arange(7), (0.0, 1.0))
    assert prepared.deviations == {0: 1.0}
    assert np.abs(prepared.apply(x)).max() < 1e-6


def test_json_gives_it_back_exactly(x):
    prepared = fit(COLUMNS, x, MEMBERS, (0.0, 1.0))
    again = Prepared.from_json(json.loads(json.dumps(prepared.as_json())))
    assert again == prepared
    assert again.apply(x).tobytes() == prepared.apply(x).tobytes()


@pytest.mark.parametrize(
    ("columns", "shape", "rows", "message"),
    [
        (COLUMNS, (5, 4), [], "no members"),
        (COLUMNS, (5, 2, 2), [0, 1], "only flat records"),
        (COLUMNS, (5, 3), [0, 1], r"columns to fit \(0, 3, 1\): must lie in 0..2"),
        (ColumnsToFit(encode=(-1,)), (5, 3), [0, 1], "must lie in 0..2"),
    ],
)
def test_refused(columns, shape, rows, message):
    with pytest.raises(UsageError, match=message):
        fit(columns, np.zeros(shape, np.float32), np.array(rows, dtype=np.int64), (0.0, 1.0))


def test_records_of_another_width_are_refused(x):
    with pytest.raises(UsageError, match=r"shape \(3,\): this model prepares records of shape \(4,\)"):
        fit(COLUMNS, x, MEMBERS, (0.0, 1.0)).apply(x[:, :3])

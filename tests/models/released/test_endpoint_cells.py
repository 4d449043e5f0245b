"""What an endpoint is sent for the cells of a Parquet file, of every type and with gaps."""

import datetime
import json
from decimal import Decimal

import pandas as pd
import pytest
from privassay.experiments.table import Table
from privassay.harness.trust import Trust
from privassay.models.released.endpoint import Endpoint
from privassay.tests.support.released import serving

COLUMNS = {
    "whole": (pd.array([1, None, 2**53 + 1, 1], dtype="Int64"), [1, None, 2**53 + 1, 1]),
    "flag": (pd.array([True, None, False, True], dtype="boolean"), [True, None, False, True]),
    "real": (pd.array([1.5, None, 2.0, 1.5], dtype="Float64"), [1.5, None, 2.0, 1.5]),
    "mixed": ([True, None, False, True], [True, None, False, True]),
    "gappy": ([1.0, float("nan"), 2.0, 1.0], [1.0, None, 2.0, 1.0]),
    "text": (pd.array(["a", None, "?", "NA"], dtype="string"), ["a", None, "?", "NA"]),
    "kind": (pd.Categorical(["a", None, "b", "a"]), ["a", None, "b", "a"]),
    "when": (
        pd.to_datetime(["2020-01-02 03:04", None, "2021-01-01 00:00", "2021-01-01 00:00"]),
        ["2020-01-02T03:04:00", None, "2021-01-01T00:00:00", "2021-01-01T00:00:00"],
    ),
    "day": ([datetime.date(2020, 1, 2), None, None, None], ["2020-01-02", None, None, None]),
    "price": ([Decimal("1.50"), None, Decimal("2.00"), Decimal("1.50")], [1.5, None, 2.0, 1.5]),
}


@pytest.fixture
def server():
    """Answers 0.5 for everything."""
    with serving(lambda asked: json.dumps({"predictions": [[0.5, 0.5]] * len(rows_of(asked))})) as running:
        yield running


def rows_of(asked):
    return json.loads(asked)["dataframe_split"]["data"]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_gap_is_null_and_every_type_is_what_json_has_for_it(server, tmp_path, name):
    cells, expected = COLUMNS[name]
    pd.DataFrame({name: cells, "n": range(4), "y": [0, 1, 0, 1]}).to_parquet(tmp_path / "t.parquet")
    data = Table(tmp_path / "t.parquet", "y", categorical=(name,), missing="category").load()
    released = Endpoint(server.url, format="dataframe_split").open(data, Trust())
    server.seen.clear()
    released.model.predict(data.x)
    (body,) = server.seen
    sent = json.loads(body, parse_constant=pytest.fail)["dataframe_split"]
    found = [row[sent["columns"].index(name)] for row in sent["data"]]
    assert json.dumps(found) == json.dumps(expected)  # 1, 1.0 and true are three things


def test_numbers_with_gaps_are_sent_when_the_records_with_gaps_are_dropped(server, tmp_path):
    whole = pd.array([7, None, 9, 2], dtype="Int64")
    pd.DataFrame({"whole": whole, "y": [0, 1, 0, 1]}).to_parquet(tmp_path / "t.parquet")
    data = Table(tmp_path / "t.parquet", "y", missing="drop").load()
    Endpoint(server.url, format="dataframe_split").open(data, Trust()).model.predict(data.x)
    assert json.loads(server.seen[-1])["dataframe_split"]["data"] == [[7], [9], [2]]

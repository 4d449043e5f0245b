import csv
import io
import tarfile

import numpy as np
import pytest
from privassay.experiments.location30 import ARCHIVE, Location30
from privassay.harness.cache import cache_folder
from privassay.harness.errors import UsageError


@pytest.fixture(scope="module")
def published():
    path = cache_folder() / ARCHIVE.name
    if not path.is_file():
        pytest.skip(f"{path} is not there: Location-30 is not downloaded for tests")
    return path


@pytest.fixture(scope="module")
def location30(published):
    return Location30().load()


def test_the_records_are_those_that_a_csv_reader_finds_in_the_same_order(published, location30):
    with tarfile.open(published) as archive:
        text = archive.extractfile("bangkok").read().decode()
    rows = np.array(list(csv.reader(io.StringIO(text))), dtype=np.int64)
    assert rows.shape == (5010, 447)
    np.testing.assert_array_equal(location30.x, rows[:, 1:])
    np.testing.assert_array_equal(location30.y, rows[:, 0] - 1)


def test_types_bounds_and_classes(location30):
    assert location30.x.dtype == np.float32
    assert location30.x.flags.c_contiguous
    assert location30.y.dtype == np.int64
    assert np.unique(location30.x).tolist() == list(location30.bounds) == [0.0, 1.0]
    assert np.unique(location30.y).tolist() == list(range(location30.n_classes)) == list(range(30))


def test_records_about_people_are_not_shown_and_no_licence_is_invented(location30):
    assert not location30.public
    assert location30.licence == "none stated by the publisher"


def test_without_the_file_the_refusal_names_file_and_address(tmp_path, monkeypatch):
    (tmp_path / "cache").touch()  # a file where the folder should be: refused before any network is asked
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=r"cache/dataset_location\.tgz: .*https://github\.com/privacytrustlab"):
        Location30().load()

"""Fixtures that more than one test folder uses."""

import shutil

import pytest


@pytest.fixture(scope="session")
def _example_run_once(tmp_path_factory):
    from privassay.tests.support import evidence_example

    folder = tmp_path_factory.mktemp("example_run_once")
    evidence_example.build(folder)
    return folder


@pytest.fixture
def example_run(_example_run_once, tmp_path):
    """Folder of a finished run, the test's own copy: evidence.json and the artefacts it lists."""
    return shutil.copytree(_example_run_once, tmp_path / "example_run")


@pytest.fixture(scope="session")
def small_setting(tmp_path_factory):
    """Digits, six small torch models' worth of split, a store that the session shares."""
    from privassay.tests.support import small

    return small.setting(tmp_path_factory.mktemp("store"))

"""The diagnosis on this machine, and each way in which a machine can be wrong."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from privassay.harness import doctor


@pytest.fixture
def dist(tmp_path, monkeypatch):
    """Make an installed distribution out of one module's source."""

    def make(name, source, release="1.0"):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-{release}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n")

    monkeypatch.syspath_prepend(tmp_path)
    return make


def test_this_environment_is_healthy_and_every_declared_package_is_named(tmp_path):
    """In a process of its own: it imports everything, and the default store is that of the working folder."""
    program = (
        "from privassay.harness.doctor import diagnose\n"
        "for check in diagnose(): print(check.name, check.ok, check.detail, sep='|')"
    )
    environment = {**os.environ, "PRIVASSAY_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert all(len(line) == 3 for line in lines), "a detail runs over more than one line"
    assert [line for line in lines if line[1] != "True"] == []
    found = {name: detail for name, _, detail in lines}
    for name in ("torch", "mlflow", "opacus", "scikit-learn", "adversarial-robustness-toolbox"):
        assert found[name] == version(name)
    assert {"python", "tensorflow", "onnxruntime", "cuda device", "processors", "memory", "chromium"} <= set(found)
    assert found["data cache"].startswith(str(tmp_path / "cache"))
    assert list(tmp_path.iterdir()) == [], "a diagnosis leaves nothing behind"


def test_importing_the_module_is_cheap():
    heavy = "{'torch', 'tensorflow', 'art', 'opacus', 'mlflow', 'matplotlib', 'sklearn', 'scipy', 'numpy'}"
    program = f"import sys, privassay.harness.doctor; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_package_that_is_not_installed(dist):
    check = doctor._package(Requirement("no-such-package>=2"))
    assert (check.ok, check.detail) == (False, "not installed (needed: >=2)")


def test_a_package_of_a_version_that_does_not_fit(dist):
    dist("assay_too_old", "")
    check = doctor._package(Requirement("assay_too_old>=2"))
    assert (check.ok, check.detail) == (False, "1.0 does not fit >=2")


def test_a_package_that_breaks_on_import_is_one_line_with_the_cause(dist):
    dist("assay_broken", "raise OSError('while loading\\nlibassay.so: cannot open shared object file')")
    check = doctor._package(Requirement("assay_broken"))
    assert not check.ok
    assert check.detail == "1.0 cannot be imported: OSError: libassay.so: cannot open shared object file"


def test_a_package_that_warns_on_import_is_not_broken(dist):
    dist("assay_warns", "import warnings; warnings.warn('old', DeprecationWarning)")
    assert doctor._package(Requirement("assay_warns")) == doctor.Check("assay_warns", True, "1.0")


def test_an_optional_package_may_be_absent_but_not_broken(dist):
    absent = doctor._optional_package(Requirement("no-such-package==1"), "absent: for Keras")
    assert absent == doctor.Check("no-such-package", True, "absent: for Keras")
    dist("assay_half", "import module_that_is_missing")
    broken = doctor._optional_package(Requirement("assay_half==1.0"), "absent")
    assert not broken.ok
    assert "No module named 'module_that_is_missing'" in broken.detail


def test_a_project_that_is_not_installed_is_one_failed_check(monkeypatch):
    monkeypatch.setattr(doctor, "DISTRIBUTION", "no-such-package")
    (check,) = doctor._packages()
    assert (check.name, check.ok) == ("no-such-package", False)


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "there" / "not yet"))
    assert doctor._cache().ok
    assert not (tmp_path / "there").exists()
    monkeypatch.delenv("PRIVASSAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert doctor._cache().detail.startswith(f"{tmp_path / 'privassay'} is writable")


def test_a_cache_that_cannot_be_written_fails(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "file" / "cache"))
    check = doctor._cache()
    assert not check.ok
    assert "cannot be written: Not a directory" in check.detail


def test_the_default_store(tmp_path):
    path = tmp_path / "mlflow.db"
    assert doctor._mlflow_store(path).ok
    assert not path.exists()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        database.execute("INSERT INTO runs VALUES ('a')")
        database.commit()
    assert doctor._mlflow_store(path) == doctor.Check("mlflow store", True, f"sqlite:///{path}, 1 runs")


@pytest.mark.parametrize("content", [b"this is not a database, it only has its name", b""])
def test_a_store_that_is_no_mlflow_database_fails(tmp_path, content):
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    check = doctor._mlflow_store(path)
    assert not check.ok
    assert "cannot be read" in check.detail


def test_memory_respects_a_container_limit(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(doctor, "CGROUP_LIMIT", limit)
    limit.write_text(f"{2**30}\n")
    assert doctor._memory().detail == "1.0 GiB"
    limit.write_text("max\n")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert doctor._memory().detail == f"{total / 2**30:.1f} GiB"

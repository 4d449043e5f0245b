"""The repository root is the import package: what must stay true for that, and what the wheel holds."""

import graphlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
PACKAGES = [name.removeprefix("privassay.").replace(".", "/") for name in SETUPTOOLS["packages"]]
DATA_SUFFIXES = (".yaml", ".jinja", ".schema.json", "py.typed", ".npz")
LONGEST_FILE = 500


def project_files():
    """Files of the project, committed or about to be: everything that git does not ignore."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip(f"not a git checkout: {listing.stderr.strip()}")
    return [Path(line) for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def shipped_files():
    """What a wheel must hold: the modules of every package, and the data beside or below them."""
    modules = [p for p in project_files() if p.suffix == ".py" and str(p.parent) in PACKAGES]
    tops = {package.split("/")[0] for package in PACKAGES}
    data = [p for p in project_files() if p.parts[0] in tops and p.name.endswith(DATA_SUFFIXES)]
    return modules, data


def test_the_package_list_is_the_folders_that_are_packages():
    folders = sorted(str(p.parent) for p in project_files() if p.name == "__init__.py")
    assert sorted(PACKAGES) == folders


def test_neither_the_root_nor_the_tests_are_packages():
    assert not (ROOT / "__init__.py").exists()
    assert [p for p in project_files() if p.parts[0] == "tests" and p.name == "__init__.py"] == []


def test_the_link_that_checkers_read_leads_to_the_root():
    link = ROOT / ".link" / "privassay"
    assert link.is_symlink()
    assert os.readlink(link) == ".."


def test_no_module_imports_itself_in_a_circle():
    """Imports inside functions count, those for type checkers only do not."""
    roots = PYPROJECT["tool"]["importlinter"]["root_packages"]
    graph = grimp.build_graph(*roots, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert any(imports.values())
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_no_file_is_longer_than_the_limit():
    lengths = {p: len((ROOT / p).read_bytes().splitlines()) for p in project_files() if p.suffix == ".py"}
    assert lengths
    assert {str(p): n for p, n in lengths.items() if n > LONGEST_FILE} == {}


def test_every_data_file_is_declared():
    """What no pattern names works in a checkout and is missing from an installation."""
    declared = set()
    for package, patterns in SETUPTOOLS["package-data"].items():
        folder = ROOT / package.removeprefix("privassay.").replace(".", "/")
        declared |= {p.relative_to(ROOT) for pattern in patterns for p in folder.glob(pattern)}
    _, data = shipped_files()
    assert data
    assert set(data) - declared == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_documents_name_targets_and_files_that_exist(name):
    text = (ROOT / name).read_text()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) - set(targets) == set()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_lock_pins_every_package_and_names_no_source():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 100
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path):
    """Built in isolation from a copy, so it needs a package index; imported from where it is unpacked."""
    source = tmp_path / "source"
    for path in project_files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, source / path, follow_symlinks=False)
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path / "unpacked")
    modules, data = shipped_files()
    assert names == {f"privassay/{path}" for path in (*modules, *data)}

    program = (
        "from privassay.harness import catalog\n"
        "for kind in catalog.KINDS:\n"
        "    for name in catalog.BUILT_IN[kind]: catalog.resolve(kind, name, 'wheel')\n"
        "print(catalog.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "unpacked")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "unpacked/privassay/harness/catalog.py")

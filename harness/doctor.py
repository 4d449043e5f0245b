"""What the machine offers and what is missing, before a run finds out: `privassay doctor`.

Every check is one line. It fails only for what a run cannot do without; anything else is present or absent.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement

from .cache import CACHE_VARIABLE, cache_folder

DISTRIBUTION = "privassay"
MLFLOW_STORE = Path("mlflow.db")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

# Where the name to import is not the name to install.
IMPORT_NAMES = {
    "adversarial-robustness-toolbox": "art",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}

# What an optional dependency is for.
EXTRAS = {"keras": "Keras models", "onnx": "ONNX files"}


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis. `ok` is False only where a run would fail."""

    name: str
    ok: bool
    detail: str


def diagnose() -> tuple[Check, ...]:
    """Look at the interpreter, the packages, the hardware and the folders a run writes to.

    Imports every required package, so it takes some seconds.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter is not a finding
    return (
        _python(),
        *_packages(),
        _device(),
        _processors(),
        _memory(),
        _browser(),
        _cache(),
        _mlflow_store(MLFLOW_STORE),
    )


def _python() -> Check:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Check("python", sys.version_info >= (3, 11), f"{found} at {sys.executable} (needed: 3.11 or later)")


def _packages() -> Iterator[Check]:
    """Required packages first, then those of the extras, all as the installed project declares them."""
    try:
        declared = [Requirement(line) for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        yield Check(DISTRIBUTION, False, "not installed: pip install . in the project's folder")
        return
    for requirement in declared:
        if requirement.marker is None:
            yield _package(requirement)
    for extra, purpose in EXTRAS.items():
        for requirement in declared:
            if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
                yield _optional_package(requirement, f"absent: {purpose} need the extra [{extra}]")


def _package(requirement: Requirement) -> Check:
    """Installed, of a version that fits, and importable?"""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Check(requirement.name, False, f"not installed (needed: {requirement.specifier or 'any'})")
    if not requirement.specifier.contains(found, prereleases=True):
        return Check(requirement.name, False, f"{found} does not fit {requirement.specifier}")
    try:
        _import(requirement.name)
    except Exception as error:  # a broken package may raise anything
        return Check(requirement.name, False, f"{found} cannot be imported: {_one_line(error)}")
    return Check(requirement.name, True, found)


def _optional_package(requirement: Requirement, absent: str) -> Check:
    """Absent is fine, and said in the words `absent`; present but broken is not."""
    try:
        version(requirement.name)
    except PackageNotFoundError:
        return Check(requirement.name, True, absent)
    return _package(requirement)


def _import(distribution: str) -> ModuleType:
    name = IMPORT_NAMES.get(distribution.lower(), distribution.replace("-", "_"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def _device() -> Check:
    """CUDA is optional: every experiment runs on the CPU."""
    try:
        cuda = _import("torch").cuda
        found = cuda.get_device_name(0) if cuda.is_available() else "none: models are trained on the CPU"
    except Exception as error:  # torch itself was checked with the packages; here a driver may be broken
        found = f"none that works: {_one_line(error)}"
    return Check("cuda device", True, found)


def _processors() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return Check("processors", True, f"{usable} cores usable, OMP_NUM_THREADS {threads}")


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.is_file() else "max"
    usable = total if limit == "max" else min(total, int(limit))
    return Check("memory", True, f"{usable / 2**30:.1f} GiB")


def _browser() -> Check:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return Check("chromium", True, found or "absent: only the project's own browser test needs it")


def _cache() -> Check:
    folder = cache_folder()
    reason = _refusal(folder)
    found = f"{folder} {reason or 'is writable'} ({CACHE_VARIABLE} moves it)"
    return Check("data cache", reason is None, found)


def _mlflow_store(path: Path) -> Check:
    """Can the default store be opened, or made where it is missing?"""
    if not path.exists():
        reason = _refusal(path.absolute().parent)
        found = f"sqlite:///{path} {reason or 'will be made by the first run'}"
        return Check("mlflow store", reason is None, found)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        return Check("mlflow store", False, f"sqlite:///{path} cannot be read: {_one_line(error)}")
    return Check("mlflow store", True, f"sqlite:///{path}, {runs} runs")


def _refusal(folder: Path) -> str | None:
    """Why nothing can be written below `folder`, which need not exist; None if it can."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return None


def _one_line(error: BaseException) -> str:
    """The last line of a message: where libraries put the cause."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__

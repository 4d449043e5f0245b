"""Who could repeat a run, with what: code, packages, machine, seeds, data."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from .dataset_checks import duplicates_across
from .evidence import DataRecord, Duplicates, Provenance, TrustedFileRecord
from .trust import Trust
from .types import Dataset, Split

PACKAGES = (
    "adversarial-robustness-toolbox",
    "dp-accounting",
    "keras",
    "mlflow",
    "numpy",
    "opacus",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "tensorflow-privacy",
    "torch",
)

_EVERYWHERE = ("dp-accounting", "numpy", "scipy")
_TRAINING_PACKAGES = {
    "torch": (*_EVERYWHERE, "opacus", "torch"),
    "keras": (*_EVERYWHERE, "keras", "tensorflow", "tensorflow-privacy"),
    "sklearn": (*_EVERYWHERE, "scikit-learn"),
}


def collect(dataset: Dataset, split: Split, seed: int, trust: Trust) -> Provenance:
    """Describe this run."""
    twins = duplicates_across(dataset, split)
    data = DataRecord(
        name=dataset.name,
        sha256=dataset.sha256,
        licence=dataset.licence,
        public=dataset.public,
        records=len(dataset),
        shape=dataset.shape,
        classes=dataset.n_classes,
        pool=len(split.pool),
        auxiliary=len(split.auxiliary),
        split_sha256=split.sha256,
        grid=None if dataset.grid is None else (float(dataset.grid[0]), float(dataset.grid[-1])),
        duplicates=Duplicates(repeated=twins.records, across=twins.across),
        users=None if dataset.units is None else len(np.unique(dataset.units)),
        left_out=dataset.left_out,
    )
    return Provenance(
        code={"privassay": package_version(), **_git_state()},
        packages=package_versions(),
        machine={
            "system": platform.platform(),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
        },
        seeds={"root": seed},
        data=data,
        trusted=tuple(TrustedFileRecord(path=file.path, sha256=file.sha256) for file in trust.used),
    )


@cache
def package_versions() -> dict[str, str]:
    """Versions of the installed packages that results depend on."""
    return {name: found for name in PACKAGES if (found := _version(name)) is not None}


def training_packages(framework: str) -> dict[str, str]:
    """Versions of the packages that change a model of a framework; all of them where the framework is not ours."""
    used = _TRAINING_PACKAGES.get(framework, PACKAGES)
    return {name: found for name, found in package_versions().items() if name in used}


def package_version() -> str:
    """Version of the installed privassay."""
    return _version("privassay") or "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, str | bool | None]:
    """Commit of the checkout that the code runs from, and whether it was changed; None for an installed copy."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return {"git_commit": None, "git_dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed command, no user input
            ["git", "-C", str(root), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

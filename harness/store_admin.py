"""What is in a store, for `privassay store ls`, and what can go, for `privassay store prune`."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from .errors import UsageError
from .store import META, USERS, Store, abandoned, last_use

UNKNOWN = "(unknown)"
_DAY = 86_400


@dataclass(frozen=True)
class Entry:
    """One finished step: what it is for people, its size in bytes, when it was last used in seconds since 1970."""

    step: str
    key: str
    about: str
    size: int
    last_used: float

    @property
    def group(self) -> tuple[str, str]:
        """Step and candidate."""
        return self.step, self.about.partition(" model ")[0]


@dataclass(frozen=True)
class Group:
    """The entries of one step for one candidate; `last_used` is the latest, in ISO 8601 (UTC)."""

    step: str
    candidate: str
    entries: int
    bytes: int
    last_used: str


@dataclass(frozen=True)
class Freed:
    """What `prune` removed, or would remove, and what it kept."""

    entries: int
    bytes: int
    abandoned: int
    kept: int


def find_root(folder: Path) -> Path:
    """The store in `folder`: the output folder of a run, or the store itself.

    Raises:
        UsageError: there is none.
    """
    for root in (folder / "store", folder):
        try:
            if (root / USERS).is_dir() or next(_entry_folders(root), None) is not None:
                return root
        except OSError as error:
            raise UsageError(f"{folder}: cannot be read ({error.strerror})") from error
    raise UsageError(f"{folder}: no store; give the output folder of a run, or its store/")


def entries(root: Path) -> list[Entry]:
    """Every entry of a store, by step and candidate, the last used first."""
    found = []
    for folder in _entry_folders(root):
        with suppress(FileNotFoundError):  # another process removed it just now
            found.append(_entry(folder))
    return sorted(found, key=lambda entry: (*entry.group, -entry.last_used))


def groups(found: Sequence[Entry]) -> list[Group]:
    """`entries`, counted by step and candidate."""
    counted = []
    for (step, candidate), members in groupby(found, lambda entry: entry.group):
        same = list(members)
        when = datetime.fromtimestamp(same[0].last_used, UTC).isoformat(timespec="seconds")
        counted.append(Group(step, candidate, len(same), sum(entry.size for entry in same), when))
    return counted


def listing(root: Path) -> dict[str, object]:
    """`privassay store ls --json`."""
    found, scraps = entries(root), abandoned(root)
    return {
        "store": str(root),
        "groups": [asdict(group) for group in groups(found)],
        "entries": len(found),
        "bytes": sum(entry.size for entry in found),
        "abandoned": {"folders": len(scraps), "bytes": sum(map(_size, scraps))},
    }


def listing_lines(root: Path) -> Iterator[str]:
    """`privassay store ls` for people."""
    found, scraps = entries(root), abandoned(root)
    counted = groups(found)
    width = max((len(group.candidate) for group in counted), default=9)
    yield f"{'step':<8} {'candidate':<{width}} {'entries':>8} {'size':>10}  last used (UTC)"
    for group in counted:
        when = group.last_used[:16].replace("T", " ")
        yield f"{group.step:<8} {group.candidate:<{width}} {group.entries:>8} {human(group.bytes):>10}  {when}"
    yield f"{'total':<8} {'':<{width}} {len(found):>8} {human(sum(entry.size for entry in found)):>10}"
    if scraps:
        yield f"abandoned temporary folders: {len(scraps)}, {human(sum(map(_size, scraps)))}"


def plan(store: Store, days: float) -> tuple[list[Entry], list[Path]]:
    """Entries that nobody used for `days` and no process uses now, and temporary folders whose writer is gone.

    A process uses what it found or wrote since it began.
    """
    before = min(time.time() - days * _DAY, store.in_use_since())
    return [entry for entry in entries(store.root) if entry.last_used < before], abandoned(store.root)


def predict(store: Store, days: float) -> Freed:
    """What `prune` would do."""
    unused, scraps = plan(store, days)
    size = sum(entry.size for entry in unused) + sum(map(_size, scraps))
    return Freed(len(unused), size, len(scraps), len(entries(store.root)) - len(unused))


def prune(store: Store, days: float) -> Freed:
    """Remove what `plan` names, except entries that were used since it was made.

    Raises:
        InfrastructureError: the disk refused.
    """
    unused, scraps = plan(store, days)
    size = sum(map(_size, scraps))
    for folder in scraps:
        shutil.rmtree(folder, ignore_errors=True)
    gone = [entry for entry in unused if store.remove(entry.step, entry.key, entry.last_used)]
    store.sweep()
    size += sum(entry.size for entry in gone)
    return Freed(len(gone), size, len(scraps), len(entries(store.root)))


def human(size: int) -> str:
    """A number of bytes for people."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _entry_folders(root: Path) -> Iterator[Path]:
    """Only what the store itself can have made: other tools keep folders under digests too."""
    return (meta.parent for meta in root.glob(f"*/*/{META}") if re.fullmatch("[0-9a-f]{64}", meta.parent.name))


def _entry(folder: Path) -> Entry:
    used = last_use(folder)
    try:
        about = str(json.loads((folder / META).read_text())["about"])
    except (ValueError, KeyError, TypeError):
        about = ""
    return Entry(folder.parent.name, folder.name, about or UNKNOWN, _size(folder), used)


def _size(folder: Path) -> int:
    """Bytes of all files below; what goes away meanwhile counts nothing."""
    total = 0
    for home, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(home, name)).st_size
    return total

"""A content-addressed store of finished steps: `ROOT/<step>/<key>/`, written whole or not at all.

The key is SHA-256 over the step's name and version and everything that changes its result; settings that only
change speed stay out. An entry is built in a temporary folder, flushed to disk and renamed; `meta.json` is written
last and lists every file with its digest, which reading verifies. A killed run leaves at most a temporary folder
that no reader looks at, and the next run finds everything that was finished. Entries hold npz, safetensors, skops
and JSON, never pickle.

Two processes may do the same step at once: both write, the first rename wins, the results are equal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .errors import InfrastructureError, UsageError

META = "meta.json"


def key_of(step: str, version: int, inputs: Mapping[str, object]) -> str:
    """SHA-256 (hex) of a step and its inputs, which must be JSON values; the order of mapping keys is irrelevant."""
    text = json.dumps([step, version, inputs], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """Finished steps under one folder."""

    def __init__(self, root: Path) -> None:
        """Use `root`, created if need be.

        Raises:
            UsageError: the folder cannot be written.
        """
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise UsageError(f"{root}: not writable ({error.strerror})") from error

    def find(self, step: str, key: str) -> Path | None:
        """Folder of a finished step, or None. An entry whose files do not match their digests is removed."""
        folder = self.root / step / key
        try:
            files: dict[str, str] = json.loads((folder / META).read_text())["files"]
            intact = all(_digest(folder / name) == digest for name, digest in files.items())
        except (OSError, ValueError, KeyError):
            intact = False
        if intact:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        return None

    @contextmanager
    def entry(self, step: str, key: str) -> Iterator[Path]:
        """Give a temporary folder to fill; on a clean exit it becomes the entry, on an exception it is removed.

        Raises:
            InfrastructureError: the disk refused.
        """
        home = self.root / step
        try:
            home.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=home, prefix=".writing-"))
        except OSError as error:
            raise InfrastructureError(f"{home}: cannot be written ({error.strerror})") from error
        try:
            yield temporary
            _seal(temporary)
            _publish(temporary, home / key)
        except OSError as error:
            raise InfrastructureError(f"{home}: cannot be written ({error.strerror})") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _seal(folder: Path) -> None:
    """Flush every file to disk, then list them with their digests in `meta.json`."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    for name in names:
        _flush(folder / name)
    meta = folder / META
    meta.write_text(json.dumps({"files": {name: _digest(folder / name) for name in names}}, indent=1))
    _flush(meta)


def _publish(temporary: Path, final: Path) -> None:
    try:
        os.rename(temporary, final)
    except OSError:
        if not (final / META).is_file():  # anything but "another process was first"
            raise


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""A content-addressed store of finished steps: `ROOT/<step>/<key>/`, written whole or not at all.

The key is SHA-256 over the step's name and version and everything that changes its result; settings that only
change speed stay out. An entry is built in a temporary folder, flushed to disk and renamed; `meta.json` is written
last and lists every file with its digest, which reading verifies. A killed run leaves at most a temporary folder
that no reader looks at, and the next run finds everything that was finished. Entries hold npz, safetensors, skops
and JSON, never pickle.

Processes share a store. A step is done under the lock of its key, so none is done twice. Every `Store` announces
itself in `ROOT/.users/`: entries used since it did, and temporary folders that bear its name, are left alone by
`privassay store prune`. Locks end with their process, so none is ever stale (`harness/locks.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InfrastructureError, UsageError
from .events import Observer, StepFinished, StepStarted
from .locks import is_held, release, take_if_free, wait_for

META = "meta.json"
USERS = ".users"
LOCKS = ".locks"
WRITING = ".writing-"


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
            InfrastructureError: there are no locks on this file system.
        """
        self.root = root
        self._token = secrets.token_hex(8)
        try:
            root.mkdir(parents=True, exist_ok=True)
            present = wait_for(root / USERS / self._token)
        except OSError as error:
            raise UsageError(f"{root}: not writable ({error.strerror})") from error
        weakref.finalize(self, release, present)

    def find(self, step: str, key: str) -> Path | None:
        """Folder of a finished step, or None. An entry whose files do not match their digests counts as absent."""
        folder = self.root / step / key
        try:
            os.utime(folder / META)  # last used now; first of all, so that `remove` sees it
        except OSError:
            return None
        return folder if _intact(folder) else None

    @contextmanager
    def entry(self, step: str, key: str, about: str = "") -> Iterator[Path]:
        """Give a temporary folder to fill; on a clean exit it becomes the entry, on an exception it is removed.

        A damaged entry is replaced. An intact one, of a process that was first, stays: the results are equal.

        Args:
            step: the step's name.
            key: see `key_of`.
            about: what the entry is, for people: `MODEL/DEFENSE model K` and what was done with that model.

        Raises:
            InfrastructureError: the disk refused.
        """
        home = self.root / step
        with _disk(home):
            if not home.is_dir():
                home.mkdir(parents=True, exist_ok=True)
                _flush(self.root)
            with self._temporary(home) as folder:
                yield folder
                _seal(folder, about)
                self._publish(folder, home / key)

    @contextmanager
    def locked(self, step: str, key: str) -> Iterator[None]:
        """Hold the lock of a key, after waiting for the process that has it. Not to be nested for one key.

        Raises:
            InfrastructureError: the disk refused.
        """
        with _disk(self.root):
            held = wait_for(self._lock_file(step, key))
        try:
            yield
        finally:
            release(held)

    @contextmanager
    def locked_if_free(self, step: str, key: str) -> Iterator[bool]:
        """Hold the lock of a key unless another process has it; says which."""
        with _disk(self.root):
            held = take_if_free(self._lock_file(step, key))
        try:
            yield held is not None
        finally:
            if held is not None:
                release(held)

    def in_turn(self, step: str, keys: Sequence[str], name: str, observe: Observer) -> Iterator[str]:
        """Yield every key once, each while its lock is held: so do processes share the work on one store.

        First come the keys that no other process has; only when all that are left are others', it waits for one.
        What was missing before may be there now: look again. `observe` is told when `name` waits.
        """
        left = list(keys)
        while left:
            busy = []
            for key in left:
                with self.locked_if_free(step, key) as free:
                    if free:
                        yield key
                    else:
                        busy.append(key)
            if len(busy) == len(left):
                waiting = f"{name}: waiting for another process"
                observe(StepStarted(waiting, 1, 0))
                with self.locked(step, busy[0]):
                    observe(StepFinished(waiting, ""))
                    yield busy.pop(0)
            left = busy

    def remove(self, step: str, key: str, last_used: float) -> bool:
        """Remove an entry, unless it was used after `last_used` (seconds since 1970); says whether it did.

        Moved aside first: a `find` before that is seen by its time, one after it finds nothing.
        """
        folder = self.root / step / key
        with _disk(folder.parent), self._temporary(folder.parent) as aside:
            moved = aside / key
            try:
                os.rename(folder, moved)
            except FileNotFoundError:
                return False
            if last_use(moved) <= last_used:
                return True
            with suppress(OSError):  # it was written anew meanwhile
                os.rename(moved, folder)
            return False

    def in_use_since(self) -> float:
        """When the first of the processes that use the store now began (seconds since 1970); this one counts."""
        began = []
        for path in (self.root / USERS).glob("*"):
            with suppress(FileNotFoundError):  # it ended just now
                if is_held(path):
                    began.append(path.stat().st_mtime)
        return min(began, default=0.0)

    def sweep(self) -> None:
        """Remove the empty files that killed processes left where their locks were."""
        for path in [*self.root.glob(f"{USERS}/*"), *self.root.glob(f"*/{LOCKS}/*")]:
            held = take_if_free(path)
            if held is not None:
                release(held)

    def _lock_file(self, step: str, key: str) -> Path:
        return self.root / step / LOCKS / key

    @contextmanager
    def _temporary(self, home: Path) -> Iterator[Path]:
        """A folder beside the entries of a step that bears this store's name; removed at the end."""
        folder = Path(tempfile.mkdtemp(dir=home, prefix=f"{WRITING}{self._token}-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _publish(self, folder: Path, final: Path) -> None:
        try:
            os.rename(folder, final)
        except OSError:
            if not final.is_dir():
                raise
            if _intact(final):
                return
            with self._temporary(final.parent) as aside:
                os.rename(final, aside / "damaged")
                os.rename(folder, final)
        _flush(final.parent)


def last_use(entry: Path) -> float:
    """When an entry was last found or written, in seconds since 1970."""
    return (entry / META).stat().st_mtime


def abandoned(root: Path) -> list[Path]:
    """Temporary folders whose writer is gone."""
    folders = root.glob(f"*/{WRITING}*")
    return [path for path in folders if not is_held(root / USERS / path.name.removeprefix(WRITING).partition("-")[0])]


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfrastructureError(f"{folder}: cannot be written ({error.strerror})") from error


def _seal(folder: Path, about: str) -> None:
    """Flush every file to disk, then list them with their digests in `meta.json`."""
    paths = sorted(folder.rglob("*"))
    files = {str(path.relative_to(folder)): _digest(path) for path in paths if path.is_file()}
    meta = folder / META
    meta.write_text(json.dumps({"about": about, "files": files}, indent=1))
    for path in (*paths, meta, folder):
        _flush(path)


def _intact(folder: Path) -> bool:
    try:
        files: dict[str, str] = json.loads((folder / META).read_text())["files"]
        return all(_digest(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _flush(path: Path) -> None:
    """Write a file, or the names in a folder, through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

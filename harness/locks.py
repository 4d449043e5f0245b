"""Locks between processes, one for each path: the kernel's (`flock`), so they end with the process, however it ends.

Who lets go removes the file. What a killed process leaves is an empty file that locks nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .errors import InfrastructureError


@dataclass(frozen=True, eq=False)
class Held:
    """A lock that this process has."""

    path: Path
    descriptor: int


_held: dict[int, Held] = {}
"""The locks that this process has, by descriptor; a number may be given again after a fork."""


def _forget_inherited() -> None:
    """In a forked child: a lock must end with the process that took it, not with the last of its workers."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)


def wait_for(path: Path) -> Held:
    """Lock the file at `path`, which is made if need be; wait for the process that has it.

    Raises:
        OSError: the file cannot be made.
        InfrastructureError: the system or the file system has no locks.
    """
    held = _take(path, _fcntl().LOCK_EX)
    assert held is not None
    return held


def take_if_free(path: Path) -> Held | None:
    """As `wait_for`, but None at once where another process has it."""
    return _take(path, _fcntl().LOCK_EX | _fcntl().LOCK_NB)


def _take(path: Path, operation: int) -> Held | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _flock(descriptor, operation, path):
                return None
            if _is_at(descriptor, path):  # else whoever had the lock removed the file, and another counts now
                _held[descriptor] = Held(path, descriptor)
                return _held[descriptor]
        finally:
            if descriptor not in _held:
                os.close(descriptor)


def release(held: Held) -> None:
    """Let go of a lock that this process took; one that its parent took stays the parent's."""
    if _held.get(held.descriptor) is held:
        with suppress(OSError):
            held.path.unlink()
        del _held[held.descriptor]
        os.close(held.descriptor)


def is_held(path: Path) -> bool:
    """Whether some process has the lock of the file at `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _flock(descriptor, _fcntl().LOCK_SH | _fcntl().LOCK_NB, path)
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _flock(descriptor: int, operation: int, path: Path) -> bool:
    try:
        _fcntl().flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InfrastructureError(
            f"{path.parent}: this file system has no file locks ({error.strerror}); put the folder on a local disk"
        ) from error
    return True


def _fcntl() -> ModuleType:
    try:
        import fcntl
    except ImportError as error:
        raise InfrastructureError("this system has no file locks (flock), which the store needs: use Linux") from error
    return fcntl

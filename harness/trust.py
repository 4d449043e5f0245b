"""Files that can run code when they are read: opened only where the user said so, and then named in the evidence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UsageError


@dataclass(frozen=True)
class TrustedFile:
    """A file that was read although it can run code, with the digest of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Trust:
    """Whether files that can run code may be read, and which were.

    Attributes:
        given: what `--trust` says.
        used: the files, in the order in which they were asked for.
    """

    given: bool = False
    used: list[TrustedFile] = field(default_factory=list)

    def require(self, path: Path, why: str, name: str | None = None) -> None:
        """Ask before `path` is read; afterwards it counts as trusted.

        Args:
            path: an existing file.
            why: what it is, e.g. `a pickle runs code when it is read`.
            name: what to call it in errors and in the evidence, where its path says nothing, as that of a copy does;
                None: its path, and the name of the file.

        Raises:
            UsageError: trust was not given.
        """
        if not self.given:
            raise UsageError(f"{name or path}: {why}; --trust allows it, for files whose origin you know")
        found = TrustedFile(name or path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        if found not in self.used:
            self.used.append(found)

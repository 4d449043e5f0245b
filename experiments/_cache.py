"""Files that are downloaded once, checked by their hash, and kept in the cache folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..harness.cache import CACHE_VARIABLE, cache_folder
from ..harness.errors import UsageError


@dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes:
        name: canonical name below the cache folder.
        address: where its publisher keeps it.
        md5: hexadecimal MD5 of the file.
    """

    name: str
    address: str
    md5: str


def fetch(remote: Remote) -> Path:
    """Path of the file in the cache folder, downloaded if it is not there with the right hash.

    A file that is there is only read, so the cache folder may be read-only.

    Raises:
        UsageError: the file is not in the cache folder and cannot be downloaded into it.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")  # it announces every download on stderr
    path = cache_folder() / remote.name
    whole = pooch.HTTPDownloader(stream=False)  # a stream leaves the connection open when the address refuses
    try:
        pooch.retrieve(remote.address, f"md5:{remote.md5}", path.name, path.parent, downloader=whole)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: {_state(path)}, and the download from {remote.address} failed ({_reason(error)}); download it by "
            f"hand and put it there, or set {CACHE_VARIABLE} to a folder that holds {remote.name} (md5 {remote.md5})"
        ) from error
    return path


def _state(path: Path) -> str:
    return "the file there has another hash" if path.is_file() else "no such file"


def _reason(error: OSError | ValueError) -> str:
    """A few words; the errors of `requests` are OSErrors, those of a connection without number and response."""
    if isinstance(error, ValueError):
        return "what came has another hash"
    if error.strerror:
        return error.strerror
    return "no connection" if getattr(error, "response", None) is None else str(error)

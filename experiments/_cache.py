"""Files that are downloaded once, checked by their hash, and kept in the cache folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
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


@dataclass(frozen=True)
class Member:
    """A file of a zip archive whose own hash nobody published; kept gzipped, checked by its content.

    Attributes:
        name: canonical name below the cache folder, ending in .gz.
        inside: its name in the archive.
        md5: hexadecimal MD5 of each content that is accepted, unpacked.
    """

    name: str
    inside: str
    md5: tuple[str, ...]


@dataclass(frozen=True)
class ByHand:
    """A file that the user fetches, because its terms do not let a program do it for everyone.

    Attributes:
        name: canonical name below the cache folder.
        address: where its publisher keeps it.
        blob: hexadecimal id of the file as a git blob, in the publisher's repository.
        terms: what its publisher says of its use.
    """

    name: str
    address: str
    blob: str
    terms: str


def fetch(remote: Remote) -> Path:
    """Path of the file in the cache folder, downloaded if it is not there with the right hash.

    A file that is there is only read, so the cache folder may be read-only.

    Raises:
        UsageError: the file is not in the cache folder and cannot be downloaded into it.
    """
    path = cache_folder() / remote.name
    try:
        _download(remote.address, f"md5:{remote.md5}", path)
    except (OSError, ValueError) as error:
        raise UsageError(_refusal(path, remote.address, _reason(error), f"{remote.name} (md5 {remote.md5})")) from error
    return path


def fetch_members(address: str, members: Sequence[Member]) -> list[bytes]:
    """Contents of files of a zip archive, in order; the archive is downloaded if one of them is not in the cache.

    Files that are there are only read, so the cache folder may be read-only.

    Raises:
        UsageError: a file is not in the cache folder and cannot be downloaded into it.
    """
    found = [_kept(member) for member in members]
    if None in found:
        absent = members[found.index(None)]
        try:
            found = _unpacked(address, members)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            path, wanted = cache_folder() / absent.name, f"{absent.name} (md5 of the content {absent.md5[0]})"
            raise UsageError(_refusal(path, address, _reason(error), wanted)) from error
    return [content for content in found if content is not None]


def by_hand(file: ByHand) -> Path:
    """Path of a file that the user has put into the cache folder.

    Raises:
        UsageError: it is not there or is another one; the message tells the terms, the address and the place.
    """
    path = cache_folder() / file.name
    if not path.is_file() or _git_blob(path) != file.blob:
        raise UsageError(
            f"{path}: {_state(path)}; it is not downloaded for you: {file.terms}; if you may use it, download "
            f"{file.address} and put it there (git blob {file.blob})"
        )
    return path


def _download(address: str, known_hash: str | None, path: Path) -> None:
    import pooch

    pooch.get_logger().setLevel("ERROR")  # it announces every download on stderr
    whole = pooch.HTTPDownloader(stream=False)  # a stream leaves the connection open when the address refuses
    pooch.retrieve(address, known_hash, path.name, path.parent, downloader=whole)


def _kept(member: Member) -> bytes | None:
    """Content of a member in the cache folder; None where it is not there or is another one."""
    try:
        content = gzip.decompress((cache_folder() / member.name).read_bytes())
    except (OSError, EOFError, zlib.error):
        return None
    return content if _md5(content) in member.md5 else None


def _unpacked(address: str, members: Sequence[Member]) -> list[bytes | None]:
    """Download the archive, check the members and keep them."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "archive.zip"
        _download(address, None, whole)
        with zipfile.ZipFile(io.BytesIO(whole.read_bytes())) as archive:
            contents = [archive.read(member.inside) for member in members]
    for member, content in zip(members, contents, strict=True):
        if _md5(content) not in member.md5:
            raise ValueError(f"{member.inside} has another hash")
    for member, content in zip(members, contents, strict=True):
        _keep(cache_folder() / member.name, gzip.compress(content, mtime=0))
    return list(contents)


def _keep(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _git_blob(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _refusal(path: Path, address: str, reason: str, wanted: str) -> str:
    return (
        f"{path}: {_state(path)}, and the download from {address} failed ({reason}); download it by hand and put it "
        f"there, or set {CACHE_VARIABLE} to a folder that holds {wanted}"
    )


def _state(path: Path) -> str:
    return "the file there has another hash" if path.is_file() else "no such file"


def _reason(error: Exception) -> str:
    """A few words; the errors of `requests` are OSErrors, those of a connection without number and response."""
    if isinstance(error, KeyError | zipfile.BadZipFile):
        return "what came is not that archive"
    if not isinstance(error, OSError):
        return "what came has another hash"
    if error.strerror:
        return error.strerror
    return "no connection" if getattr(error, "response", None) is None else str(error)

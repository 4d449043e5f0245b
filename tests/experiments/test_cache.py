"""The download helper against a web server on this machine."""

import functools
import gzip
import hashlib
import threading
import zipfile
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
from privassay.experiments._cache import Member, Remote, fetch, fetch_members
from privassay.harness.errors import UsageError

CONTENT = b"records of nobody"
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    """Serves files and counts how often it was asked, without a word."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("PRIVASSAY_CACHE", str(folder))
    return folder


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file.gz").write_bytes(CONTENT)
    Handler.asked = 0
    with HTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "site"))) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def closed_port():
    with HTTPServer(("127.0.0.1", 0), Handler) as briefly:
        return f"http://127.0.0.1:{briefly.server_port}"


def test_a_file_is_downloaded_once_under_its_canonical_name_without_a_word(cache, server, capfd):
    remote = Remote("set/file.gz", f"{server}/file.gz", MD5)
    assert fetch(remote) == cache / "set" / "file.gz"
    assert fetch(remote).read_bytes() == CONTENT
    assert Handler.asked == 1
    assert [path.name for path in (cache / "set").iterdir()] == ["file.gz"]
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_there_needs_neither_network_nor_a_writable_folder(cache, closed_port):
    cache.mkdir()
    (cache / "file.gz").write_bytes(CONTENT)
    cache.chmod(0o555)
    before = cache.stat().st_mtime_ns
    assert fetch(Remote("file.gz", f"{closed_port}/file.gz", MD5)).read_bytes() == CONTENT
    assert cache.stat().st_mtime_ns == before, "nothing was made there, not even for a moment"


def test_a_file_with_another_hash_is_replaced(cache, server):
    cache.mkdir()
    (cache / "file.gz").write_bytes(b"half a downl")
    assert fetch(Remote("file.gz", f"{server}/file.gz", MD5)).read_bytes() == CONTENT


def refusal(remote):
    with pytest.raises(UsageError) as caught:
        fetch(remote)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_network_one_line_tells_how_to_place_the_file_by_hand(cache, closed_port):
    address = f"{closed_port}/file.gz"
    assert refusal(Remote("set/file.gz", address, MD5)) == (
        f"{cache}/set/file.gz: no such file, and the download from {address} failed (no connection); download it by "
        f"hand and put it there, or set PRIVASSAY_CACHE to a folder that holds set/file.gz (md5 {MD5})"
    )


def test_what_came_with_another_hash_is_refused_and_not_kept(cache, server):
    message = refusal(Remote("file.gz", f"{server}/file.gz", "0" * 32))
    assert "no such file, and" in message
    assert "failed (what came has another hash)" in message
    assert list(cache.iterdir()) == []


def test_a_file_with_another_hash_is_named_when_it_cannot_be_replaced(cache, server):
    cache.mkdir()
    (cache / "gone.gz").write_bytes(b"half a downl")
    message = refusal(Remote("gone.gz", f"{server}/gone.gz", MD5))
    assert "gone.gz: the file there has another hash, and the download" in message
    assert "404" in message
    assert (cache / "gone.gz").read_bytes() == b"half a downl"


def test_a_cache_that_cannot_be_made_is_named(cache, server):
    cache.write_text("a file where the folder should be")
    assert "failed (" in refusal(Remote("set/file.gz", f"{server}/file.gz", MD5))


PARTS = {"one.txt": b"records", "two.txt": b"of nobody"}
MEMBERS = tuple(Member(f"set/{name}.gz", name, (hashlib.md5(content).hexdigest(),)) for name, content in PARTS.items())


@pytest.fixture
def zipped(tmp_path, server):
    with zipfile.ZipFile(tmp_path / "site" / "parts.zip", "w") as archive:
        for name, content in PARTS.items():
            archive.writestr(name, content)
    return f"{server}/parts.zip"


def test_members_of_an_archive_are_kept_gzipped_and_checked_by_their_content(cache, zipped, capfd):
    assert fetch_members(zipped, MEMBERS) == list(PARTS.values())
    assert {path.name for path in (cache / "set").iterdir()} == {"one.txt.gz", "two.txt.gz"}
    assert gzip.decompress((cache / "set" / "one.txt.gz").read_bytes()) == b"records"
    assert fetch_members(zipped, MEMBERS) == list(PARTS.values())
    assert Handler.asked == 1
    assert capfd.readouterr() == ("", "")


def test_members_that_are_there_need_neither_network_nor_a_writable_folder(cache, closed_port):
    (cache / "set").mkdir(parents=True)
    for member, content in zip(MEMBERS, PARTS.values(), strict=True):
        (cache / member.name).write_bytes(gzip.compress(content, mtime=0))
    (cache / "set").chmod(0o555)
    assert fetch_members(f"{closed_port}/parts.zip", MEMBERS) == list(PARTS.values())


@pytest.mark.parametrize(
    "broken", [gzip.compress(b"others", mtime=0), b"no gzip", gzip.compress(b"records", mtime=0)[:-9], b""]
)
def test_a_member_that_is_another_one_is_replaced(cache, zipped, broken):
    fetch_members(zipped, MEMBERS)
    (cache / "set" / "one.txt.gz").write_bytes(broken)
    assert fetch_members(zipped, MEMBERS) == list(PARTS.values())
    assert gzip.decompress((cache / "set" / "one.txt.gz").read_bytes()) == b"records"


def test_any_of_the_accepted_contents_is_taken(cache, closed_port):
    other = Member("one.txt.gz", "one.txt", ("0" * 32, MEMBERS[0].md5[0]))
    cache.mkdir()
    (cache / "one.txt.gz").write_bytes(gzip.compress(b"records", mtime=0))
    assert fetch_members(f"{closed_port}/parts.zip", [other]) == [b"records"]


def refused_members(address, members=MEMBERS):
    with pytest.raises(UsageError) as caught:
        fetch_members(address, members)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_network_the_first_member_that_is_missing_is_named(cache, closed_port):
    address = f"{closed_port}/parts.zip"
    assert refused_members(address) == (
        f"{cache}/set/one.txt.gz: no such file, and the download from {address} failed (no connection); download it by "
        f"hand and put it there, or set PRIVASSAY_CACHE to a folder that holds set/one.txt.gz (md5 of the content "
        f"{MEMBERS[0].md5[0]})"
    )


def test_an_archive_with_other_contents_is_refused_and_not_kept(cache, zipped, server):
    assert "failed (what came has another hash)" in refused_members(zipped, [Member("one.gz", "one.txt", ("0" * 32,))])
    assert "failed (what came is not that archive)" in refused_members(
        zipped, [Member("a.gz", "a.txt", MEMBERS[0].md5)]
    )
    assert "failed (what came is not that archive)" in refused_members(f"{server}/file.gz")
    assert not cache.exists()

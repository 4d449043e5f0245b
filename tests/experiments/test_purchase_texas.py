"""Purchase-100 and Texas-100: never downloaded, checked by their git blob, parsed from the real format."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
from privassay.experiments import purchase100, texas100
from privassay.experiments._bits import bits_of
from privassay.experiments._cache import ByHand, by_hand
from privassay.harness.cache import cache_folder
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import UsageError

SOURCES = {purchase100.Purchase100: purchase100, texas100.Texas100: texas100}


def text_of(x):
    return "".join(",".join(str(bit) for bit in row) + "\n" for row in x)


def archive(path, files):
    with tarfile.open(path, "w:gz") as file:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            file.addfile(info, io.BytesIO(text.encode()))
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path))
    return tmp_path


def small(module, monkeypatch, cache, files):
    """A module that reads a small archive of the same format: 6 records with 9 features."""
    blob = archive(cache / module.ARCHIVE.name, files)
    monkeypatch.setattr(module, "ARCHIVE", ByHand(module.ARCHIVE.name, "address", blob, "terms"))
    monkeypatch.setattr(module, "FEATURES", 9)
    monkeypatch.setattr(module, "RECORDS", 6)


X = np.random.default_rng(0).integers(0, 2, (6, 9))
Y = [100, 1, 37, 2, 99, 1]


@pytest.mark.parametrize("quote", ["", '"'])
def test_purchases_have_the_label_first(cache, monkeypatch, quote):
    lines = [f"{quote}{label}{quote},{row}\n" for label, row in zip(Y, text_of(X).splitlines(), strict=True)]
    small(purchase100, monkeypatch, cache, {purchase100.MEMBER: "".join(lines)})
    data = purchase100.Purchase100().load()
    check_dataset(data, "here")
    np.testing.assert_array_equal(data.x, X)
    assert data.y.tolist() == [label - 1 for label in Y]
    assert purchase100.Purchase100(records=4).load().y.tolist() == data.y[:4].tolist()


def test_hospital_stays_have_their_labels_beside_them(cache, monkeypatch):
    labels = "".join(f"{label}\n" for label in Y)
    small(texas100, monkeypatch, cache, {texas100.LABEL_MEMBER: labels, texas100.FEATURE_MEMBER: text_of(X)})
    data = texas100.Texas100().load()
    check_dataset(data, "here")
    np.testing.assert_array_equal(data.x, X)
    assert data.y.tolist() == [label - 1 for label in Y]
    assert texas100.Texas100(records=4).load().x.tolist() == X[:4].tolist()


@pytest.mark.parametrize("line", [b"1,0,1,2", b"0,1", b"1,0,x,1", b"1,0 1 1", b""])
def test_lines_of_another_form_are_refused(line, tmp_path):
    with pytest.raises(UsageError, match="line 1 does not end in 3 digits 0 or 1"):
        bits_of([line], 3, 1, tmp_path)


def test_too_few_lines_are_refused(tmp_path):
    with pytest.raises(UsageError, match="1 lines, fewer than 2"):
        bits_of([b"1,0,1\n"], 3, 2, tmp_path)


@pytest.mark.parametrize("label", ["0", "101", "x", ""])
def test_labels_out_of_range_are_refused(cache, monkeypatch, label):
    labels = "".join(f"{one}\n" for one in [*Y[:5], label])
    small(texas100, monkeypatch, cache, {texas100.LABEL_MEMBER: labels, texas100.FEATURE_MEMBER: text_of(X)})
    with pytest.raises(UsageError, match=f"line 6: label '{label}': not in 1..100"):
        texas100.Texas100().load()


@pytest.mark.parametrize("source", SOURCES)
def test_the_refusal_tells_terms_address_and_place(cache, source):
    file = SOURCES[source].ARCHIVE
    with pytest.raises(UsageError) as caught:
        source().load()
    assert str(caught.value) == (
        f"{cache}/{file.name}: no such file; it is not downloaded for you: {file.terms}; if you may use it, download "
        f"{file.address} and put it there (git blob {file.blob})"
    )


def test_a_file_is_known_by_its_git_blob(cache):
    (cache / "f").write_bytes(b"hello\n")
    # `echo hello | git hash-object --stdin`
    good = ByHand("f", "address", "ce013625030ba8dba906f756967f9e9ca394464a", "terms")
    assert by_hand(good) == cache / "f"
    (cache / "f").write_bytes(b"hello")
    with pytest.raises(UsageError, match="f: the file there has another hash; it is not downloaded for you: terms"):
        by_hand(good)


@pytest.mark.slow  # all of Texas-100 takes 1.7 GB
@pytest.mark.parametrize(("source", "records"), [(purchase100.Purchase100, 197_324), (texas100.Texas100, 67_330)])
def test_the_published_file(source, records):
    path = cache_folder() / SOURCES[source].ARCHIVE.name
    if not path.is_file():
        pytest.skip(f"{path} is not there: its terms do not let a test fetch it")
    assert len(source().load()) == records
    few = source(records=1000).load()
    check_dataset(few, "here")
    assert not few.public

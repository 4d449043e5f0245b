"""`privassay store ls | prune`."""

import json
import os

import pytest
from privassay.harness import cli
from privassay.harness.errors import ExitCode
from privassay.harness.store import META, Store
from privassay.harness.store_admin import human

DAY = 86_400
KEYS = [f"{number:064x}" for number in range(4)]


@pytest.fixture
def out(tmp_path):
    """A run's output folder: entries that were last used 0, 10, 20 and 40 days ago, and one abandoned folder."""
    root = tmp_path / "store"
    store = Store(root)
    abouts = ["mlp/none model 0", "mlp/none model 1", "mlp/dp_sgd model 0", "mlp/none model 0: lira"]
    for key, about, days in zip(KEYS, abouts, [0, 10, 20, 40], strict=True):
        step = "attack" if "lira" in about else "train"
        with store.entry(step, key, about) as folder:
            (folder / "data").write_bytes(b"x" * 1000)
        meta = root / step / key / META
        os.utime(meta, (0, meta.stat().st_mtime - days * DAY - 1))
    (root / "train" / ".writing-dead-1").mkdir()
    (root / "train" / ".writing-dead-1" / "data").write_bytes(b"x" * 500)
    return tmp_path


def command(*arguments):
    return cli.main([str(argument) for argument in ("store", *arguments)])


def left(out):
    return {path.parent.name for path in out.glob("store/*/*/meta.json")}


@pytest.mark.parametrize("inner", ["", "store"])
def test_ls_counts_by_step_and_candidate(out, inner, capsys):
    assert command("ls", out / inner, "--json") == ExitCode.PASS
    found = json.loads(capsys.readouterr().out)
    assert found["store"] == str(out / "store")
    assert [(g["step"], g["candidate"], g["entries"]) for g in found["groups"]] == [
        ("attack", "mlp/none", 1),
        ("train", "mlp/dp_sgd", 1),
        ("train", "mlp/none", 2),
    ]
    assert found["entries"] == 4
    assert found["bytes"] == sum(g["bytes"] for g in found["groups"]) > 4000
    assert found["abandoned"] == {"folders": 1, "bytes": 500}


def test_ls_for_people(out, capsys):
    assert command("ls", out) == ExitCode.PASS
    heading, *rows, total, abandoned = capsys.readouterr().out.splitlines()
    assert heading.split()[:4] == ["step", "candidate", "entries", "size"]
    assert [row.split()[:3] for row in rows][-1] == ["train", "mlp/none", "2"]
    assert total.split()[:2] == ["total", "4"]
    assert abandoned == "abandoned temporary folders: 1, 500 B"


def test_ls_changes_nothing(out):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    command("ls", out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "gone"), [([], {3}), (["--unused-for", "15"], {2, 3}), (["--unused-for", "0"], {0, 1, 2, 3})]
)
def test_prune_removes_what_was_not_used(out, options, gone, capsys):
    assert command("prune", out, "--dry-run", "--json", *options) == ExitCode.PASS
    foreseen = json.loads(capsys.readouterr().out)
    assert left(out) == set(KEYS)
    assert (out / "store/train/.writing-dead-1").exists()

    assert command("prune", out, "--json", *options) == ExitCode.PASS
    printed = capsys.readouterr()
    done = json.loads(printed.out)
    assert left(out) == {key for number, key in enumerate(KEYS) if number not in gone}
    assert not (out / "store/train/.writing-dead-1").exists()
    assert {**done, "dry_run": True} == foreseen
    assert (done["entries"], done["abandoned"], done["kept"]) == (len(gone), 1, 4 - len(gone))
    assert done["bytes"] > 1000 * len(gone) + 500
    assert printed.err.startswith("freed ")
    assert f"{4 - len(gone)} entries stay" in printed.err


def test_without_json_nothing_is_on_stdout(out, capsys):
    command("prune", out)
    assert capsys.readouterr().out == ""


def test_a_pruned_store_is_still_one(out, capsys):
    command("prune", out, "--unused-for", "0")
    assert command("ls", out, "--json") == ExitCode.PASS
    assert json.loads(capsys.readouterr().out)["entries"] == 0


def test_damaged_descriptions_are_listed_as_unknown(out, capsys):
    (out / "store/attack" / KEYS[3] / META).write_text("[]")
    command("ls", out, "--json")
    assert json.loads(capsys.readouterr().out)["groups"][0]["candidate"] == "(unknown)"


@pytest.mark.parametrize("action", ["ls", "prune"])
def test_other_folders_are_refused_and_left_alone(tmp_path, action, capsys):
    theirs = tmp_path / "overlay" / KEYS[0] / "data"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    for folder in (tmp_path, tmp_path / "absent", theirs):
        assert command(action, folder) == ExitCode.USAGE
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"privassay: {folder}: no store")
    assert theirs.exists()


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "x"])
def test_days_that_are_none(out, days):
    with pytest.raises(SystemExit) as refused:
        command("prune", out, "--unused-for", days)
    assert refused.value.code == ExitCode.USAGE
    assert left(out) == set(KEYS)


def test_sizes_for_people():
    assert [human(size) for size in (0, 999, 1000, 12_345_678, 5 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "12.3 MB", "5.0 TB",
    ]  # fmt: skip

"""Logging to real MLflow: SQLite, and a server on loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from privassay.harness import evidence as ev
from privassay.harness.errors import InfrastructureError, UsageError
from privassay.harness.report import summary_markdown
from privassay.harness.tracking import log_run

pytestmark = pytest.mark.filterwarnings(
    # MLflow's own queries, seen with SQLAlchemy 2.1
    "ignore:The ..noload.. loader strategy is deprecated:DeprecationWarning"
)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A database with MLflow's tables, made once because that takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working folder of one's own: MLflow puts things there when it is not told otherwise."""
    path = tmp_path / "elsewhere"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def sqlite(empty_database, tmp_path):
    """Address of a database of one's own."""
    path = tmp_path / "data base" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(empty_database, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a running `mlflow server`."""
    home, port = tmp_path_factory.mktemp("server"), free_port()
    uri = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += [
        "--backend-store-uri",
        f"sqlite:///{home}/mlflow.db",
        "--artifacts-destination",
        str(home / "files"),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=home, env=os.environ | quiet, start_new_session=True
        )
    try:
        wait_until_healthy(process, uri, home / "log")
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def wait_until_healthy(process, uri, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    pytest.fail(f"mlflow server did not become healthy:\n{log.read_text()[-2000:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def folder(example_run):
    """A finished run with its report."""
    (example_run / "report.html").write_text("<p>report</p>")
    (example_run / "junit.xml").write_text("<testsuites/>")
    found = ev.read(example_run / "evidence.json")
    code = {"privassay": "0.1.0", "git_commit": "710dd3b7c1a94e6f", "git_dirty": False}
    provenance = found.provenance.model_copy(update={"code": code})
    ev.write(found.model_copy(update={"provenance": provenance}), example_run / "evidence.json")
    return example_run


def rename(folder, **experiment):
    """Change settings of the experiment, so that it is another evaluation."""
    found = ev.read(folder / "evidence.json")
    found = found.model_copy(update={"experiment": {**found.experiment, **experiment}})
    ev.write(found, folder / "evidence.json")


def children_of(client, tracked):
    wanted = f"tags.`mlflow.parentRunId` = '{tracked.parent_run_id}'"
    return {run.info.run_name: run for run in client.search_runs([tracked.experiment_id], wanted)}


def active_parents(client, tracked):
    runs = client.search_runs([tracked.experiment_id])
    return [run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags]


def logged_files(client, run_id, under=None):
    for entry in client.list_artifacts(run_id, under):
        if entry.is_dir:
            yield from logged_files(client, run_id, entry.path)
        else:
            yield entry.path


def check_files(client, tracked, folder, destination):
    """Everything that may leave is there, byte for byte, and nothing else."""
    destination.mkdir()
    artifacts = ev.read(folder / "evidence.json").artifacts
    expected = {a.path: a.sha256 for a in artifacts if not a.restricted}
    for name in ("evidence.json", "report.html", "junit.xml"):
        expected[name] = ev.file_sha256(folder / name)
    found = {
        path: ev.file_sha256(Path(client.download_artifacts(tracked.parent_run_id, path, str(destination))))
        for path in logged_files(client, tracked.parent_run_id)
    }
    assert found == expected
    assert any(a.restricted for a in artifacts)


def test_sqlite_has_one_parent_and_a_child_for_each_candidate(folder, sqlite):
    found = ev.read(folder / "evidence.json")
    tracked = log_run(folder, sqlite)
    client = MlflowClient(sqlite)
    parent = client.get_run(tracked.parent_run_id)
    assert client.get_experiment(tracked.experiment_id).name == "privassay/quickstart"
    assert parent.info.status == "FINISHED"
    assert active_parents(client, tracked) == [tracked.parent_run_id]
    assert parent.data.tags["privassay.run_id"] == found.run_id
    assert parent.data.tags["privassay.verdict"] == "FAIL"
    assert parent.data.tags["privassay.evidence_sha256"] == ev.file_sha256(folder / "evidence.json")
    assert parent.data.tags["privassay.policy_sha256"] == found.policy_sha256
    assert parent.data.tags["privassay.git_commit"] == "710dd3b7c1a94e6f"
    assert parent.data.tags["privassay.git_dirty"] == "False"
    children = children_of(client, tracked)
    assert {name: run.data.tags["privassay.verdict"] for name, run in children.items()} == {
        "mlp/none": "FAIL",
        "mlp/dp_sgd": "PASS",
        "mlp/output_perturbation": "INCONCLUSIVE",
    }
    assert {run.info.status for run in children.values()} == {"FINISHED"}


def test_metrics_are_those_of_the_evidence(folder, sqlite):
    tracked = log_run(folder, sqlite)
    children = children_of(MlflowClient(sqlite), tracked)
    for candidate in ev.read(folder / "evidence.json").candidates:
        logged = children[candidate.id].data.metrics
        for name, estimate in candidate.metrics():
            ends = (logged[name], logged[f"{name}/low"], logged[f"{name}/high"])
            assert ends == (estimate.value, estimate.low, estimate.high)
        assert ("dp/epsilon" in logged) == (candidate.claim is not None)
        assert children[candidate.id].data.tags["dp.guarantee"] == candidate.guarantee


def test_the_note_is_the_whole_summary(folder, sqlite):
    tracked = log_run(folder, sqlite)
    note = MlflowClient(sqlite).get_run(tracked.parent_run_id).data.tags["mlflow.note.content"]
    assert note == summary_markdown(ev.read(folder / "evidence.json"))
    assert 0 < len(note) <= 8000


def test_data_sets_are_inputs_that_mlflow_can_read_back(folder, sqlite):
    data = ev.read(folder / "evidence.json").provenance.data
    tracked = log_run(folder, sqlite)
    inputs = MlflowClient(sqlite).get_run(tracked.parent_run_id).inputs.dataset_inputs
    tags = [{tag.key: tag.value for tag in each.tags} for each in inputs]
    assert {tag["mlflow.data.context"] for tag in tags} == {"members_and_non_members", "auxiliary"}
    assert {tag["privassay.data_sha256"] for tag in tags} == {data.sha256}
    for each in inputs:
        assert mlflow.data.get_source(each).to_dict()["tags"]["catalogue"] == data.name


def test_files_in_sqlite_lie_beside_the_database(folder, sqlite, tmp_path, elsewhere):
    tracked = log_run(folder, sqlite)
    check_files(MlflowClient(sqlite), tracked, folder, tmp_path / "down")
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "data base" / "mlruns").is_dir()


def test_a_relative_database_is_in_the_working_folder(folder, empty_database, elsewhere):
    shutil.copy(empty_database, "mlflow.db")
    tracked = log_run(folder, "sqlite:///mlflow.db")
    assert tracked.tracking_uri == "sqlite:///mlflow.db"
    client = MlflowClient(f"sqlite:///{elsewhere}/mlflow.db")
    assert client.get_run(tracked.parent_run_id).info.status == "FINISHED"


def test_logging_twice_gives_one_parent(folder, sqlite):
    first = log_run(folder, sqlite)
    assert log_run(folder, sqlite) == first
    assert active_parents(MlflowClient(sqlite), first) == [first.parent_run_id]
    rename(folder, targets=8)
    assert log_run(folder, sqlite).parent_run_id != first.parent_run_id


def test_a_run_that_was_killed_while_logging_is_replaced(folder, sqlite):
    client = MlflowClient(sqlite)
    experiment_id = client.create_experiment("privassay/quickstart", artifact_location=folder.as_uri())
    digest = ev.file_sha256(folder / "evidence.json")
    dead = client.create_run(experiment_id, tags={"privassay.evidence_sha256": digest}).info.run_id
    child = client.create_run(experiment_id, tags={"mlflow.parentRunId": dead}).info.run_id
    tracked = log_run(folder, sqlite)
    assert active_parents(client, tracked) == [tracked.parent_run_id]
    for run_id in (dead, child):
        info = client.get_run(run_id).info
        assert (info.status, info.lifecycle_stage) == ("FAILED", "deleted")


def test_a_run_whose_upload_failed_is_failed_and_replaced_later(folder, sqlite, tmp_path):
    blocked = tmp_path / "files"
    blocked.write_text("a file where a folder is needed")
    client = MlflowClient(sqlite)
    experiment_id = client.create_experiment("privassay/quickstart", artifact_location=(blocked / "x").as_uri())
    with pytest.raises(InfrastructureError, match=r"privassay log .*example_run --tracking-uri"):
        log_run(folder, sqlite)
    [failed] = client.search_runs([experiment_id], "tags.`privassay.verdict` = 'FAIL' and attributes.status = 'FAILED'")
    blocked.unlink()
    tracked = log_run(folder, sqlite)
    assert active_parents(client, tracked) == [tracked.parent_run_id]
    assert tracked.parent_run_id != failed.info.run_id


def test_names_that_mlflow_refuses_are_logged_under_others(folder, sqlite):
    found = ev.read(folder / "evidence.json")
    first = found.candidates[0]
    odd = first.attacks[0].model_copy(update={"id": "lira @ (ε, δ).." + "y" * 300})
    candidate = first.model_copy(update={"id": "mlp,π/no'ne\"", "attacks": (odd,)})
    experiment = {"name": 'it\'s "odd" π/%20 #1', "models": {"m@p(1)": {"a,b": "ü"}}}
    ev.write(
        found.model_copy(update={"candidates": (candidate,), "experiment": experiment, "verdicts": ()}),
        folder / "evidence.json",
    )
    tracked = log_run(folder, sqlite)
    client = MlflowClient(sqlite)
    [child] = children_of(client, tracked).values()
    assert child.info.run_name == candidate.id
    assert sorted(child.data.metrics.values()) == sorted(
        end for _, e in candidate.metrics() for end in (e.value, e.low, e.high)
    )
    assert client.get_experiment(tracked.experiment_id).name == f"privassay/{experiment['name']}"
    assert "report.html" in set(logged_files(client, tracked.parent_run_id))
    assert log_run(folder, sqlite) == tracked


def test_the_users_own_mlflow_session_is_untouched_and_nothing_is_printed(folder, tmp_path, capfd):
    before = (mlflow.get_tracking_uri(), mlflow.active_run(), dict(os.environ))
    log_run(folder, f"sqlite:///{tmp_path}/fresh/mlflow.db")
    assert (mlflow.get_tracking_uri(), mlflow.active_run(), dict(os.environ)) == before
    assert capfd.readouterr() == ("", "")


def test_processes_that_meet_at_a_fresh_database_all_log(folder, tmp_path):
    uri = f"sqlite:///{tmp_path}/shared/mlflow.db"
    script = "from privassay.harness.tracking import *; import sys; log_run(Path(sys.argv[1]), sys.argv[2])"
    folders = [folder, shutil.copytree(folder, tmp_path / "other")]
    rename(folders[1], targets=8)
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(each), uri], stderr=subprocess.PIPE) for each in folders
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    experiment = MlflowClient(uri).get_experiment_by_name("privassay/quickstart")
    assert len(MlflowClient(uri).search_runs([experiment.experiment_id])) == 2 * 4


def test_a_server_gets_the_same(folder, server, tmp_path, capfd):
    tracked = log_run(folder, server)
    assert capfd.readouterr() == ("", "")
    client = MlflowClient(server)
    parent = client.get_run(tracked.parent_run_id)
    assert parent.info.status == "FINISHED"
    assert set(children_of(client, tracked)) == {"mlp/none", "mlp/dp_sgd", "mlp/output_perturbation"}
    assert len(parent.inputs.dataset_inputs) == 2
    assert parent.data.tags["mlflow.note.content"] == summary_markdown(ev.read(folder / "evidence.json"))
    check_files(client, tracked, folder, tmp_path / "down")
    assert log_run(folder, server) == tracked


def test_a_deleted_experiment_is_said_to_be_deleted(folder, server):
    rename(folder, name="deleted")
    client = MlflowClient(server)
    client.delete_experiment(client.create_experiment("privassay/deleted"))
    with pytest.raises(InfrastructureError, match="'privassay/deleted' was deleted there"):
        log_run(folder, server)


def one_line(error, folder, shown):
    """The message of an error, checked to be one line that names the address and the command for later."""
    text = str(error.value)
    assert text.startswith(f"{shown}: ")
    assert text.endswith(f"privassay log {folder} --tracking-uri {shown}")
    assert "\n" not in text
    return text


def test_a_closed_port_is_refused_in_one_line(folder, capfd):
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(InfrastructureError) as error:
        log_run(folder, uri)
    assert "Connection refused" in one_line(error, folder, uri)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_never_answers_is_given_up(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InfrastructureError) as error:
            log_run(folder, uri)
    assert "no answer in time" in one_line(error, folder, uri)


@pytest.mark.parametrize("scheme", ["http", "postgresql", "mysql+pymysql"])
def test_no_password_is_shown(folder, scheme):
    with pytest.raises(InfrastructureError) as error:
        log_run(folder, f"{scheme}://user:se%40cret@127.0.0.1:{free_port()}/db")
    assert "Connection refused" in str(error.value)
    assert "cret" not in str(error.value)


def test_a_file_that_is_no_database_stays_as_it_is(folder, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, not tables\n" * 100)
    with pytest.raises(InfrastructureError) as error:
        log_run(folder, f"sqlite:///{path}")
    assert "file is not a database" in one_line(error, folder, f"sqlite:///{path}")
    assert path.read_text() == "these are notes, not tables\n" * 100


def test_a_database_below_a_file_is_refused(folder):
    uri = f"sqlite:///{folder}/report.html/mlflow.db"
    with pytest.raises(InfrastructureError) as error:
        log_run(folder, uri)
    assert f"{folder}/report.html" in one_line(error, folder, uri)


def test_an_unknown_scheme_is_named(folder):
    with pytest.raises(InfrastructureError) as error:
        log_run(folder, "htp://nowhere")
    assert "unsupported URI 'htp://nowhere'" in one_line(error, folder, "htp://nowhere")


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:///tmp/mlruns", "", "sqlite://", "sqlite:///:memory:"])
def test_an_address_that_keeps_nothing_is_refused_with_a_way_out(folder, uri):
    with pytest.raises(UsageError, match=r"use a server .* sqlite:///mlflow\.db"):
        log_run(folder, uri)
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_without_evidence_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"evidence\.json: cannot be read"):
        log_run(tmp_path, "sqlite:///mlflow.db")
    assert list(Path.cwd().iterdir()) == []

"""Users and tokens, as the client sends them."""

import subprocess

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException
from server import BINARY


@pytest.fixture
def guarded(start, tmp_path, monkeypatch):
    """A server with access control; ann is its administrator, rob reads and ed edits."""
    data = tmp_path / "guarded"
    for name, role in (("ann", "admin"), ("rob", "reader"), ("ed", "editor")):
        subprocess.run(
            [BINARY, "user", "add", name, "--role", role, "--state-dir", str(data)],
            input=f"secret of {name}", text=True, check=True, capture_output=True,
        )
    server = start("--auth", name="guarded")
    mlflow.set_tracking_uri(server.url)
    mlflow.set_registry_uri(server.url)

    def become(name=None, password=None, token=None):
        for key, value in (("USERNAME", name), ("PASSWORD", password or name and f"secret of {name}"), ("TOKEN", token)):
            if value:
                monkeypatch.setenv(f"MLFLOW_TRACKING_{key}", value)
            else:
                monkeypatch.delenv(f"MLFLOW_TRACKING_{key}", raising=False)
        return mlflow.MlflowClient(server.url, server.url)

    become.server = server
    yield become
    server.stop()


def status_of(caught) -> int:
    return caught.value.get_http_status_code()


def test_nobody_comes_in_without_a_name(guarded):
    client = guarded()
    for use in (lambda: client.search_experiments(), lambda: client.create_experiment("x"), lambda: client.search_registered_models()):
        with pytest.raises(MlflowException) as caught:
            use()
        assert status_of(caught) == 401
    url = guarded.server.url
    assert requests.get(f"{url}/health", timeout=30).status_code == 200
    answer = requests.put(f"{url}/api/2.0/mlflow-artifacts/artifacts/a.txt", data=b"x", timeout=30)
    assert answer.status_code == 401 and "basic" in answer.headers["WWW-Authenticate"].lower()


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong"), ("nobody", "x"), ("ann", "secret of rob")])
def test_a_wrong_password(guarded, name, password):
    with pytest.raises(MlflowException) as caught:
        guarded(name, password).search_experiments()
    assert status_of(caught) == 401


def test_an_administrator_may_do_anything(guarded, tmp_path):
    client = guarded("ann")
    run = client.create_run(client.create_experiment("of ann"))
    client.log_text(run.info.run_id, "x", "a.txt")
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/a.txt") == "x"
    client.create_registered_model("of ann")


def test_a_reader_reads(guarded):
    run = guarded("ann").create_run("0").info.run_id
    client = guarded("rob")
    assert client.get_run(run).info.run_id == run
    for use in (
        lambda: client.log_metric(run, "m", 1),
        lambda: client.delete_run(run),
        lambda: client.create_experiment("of rob"),
        lambda: client.create_registered_model("of rob"),
        lambda: client.log_text(run, "x", "a.txt"),
    ):
        with pytest.raises(Exception, match="(?i)permission|forbidden|403|may not") as caught:
            use()
        assert caught


def test_an_editor_writes(guarded):
    client = guarded("ed")
    run = client.create_run(client.create_experiment("of ed")).info.run_id
    client.log_metric(run, "m", 1)
    assert client.get_run(run).data.metrics == {"m": 1.0}


def test_a_token_comes_in(guarded):
    made = subprocess.run(
        [BINARY, "token", "create", "ed", "--note", "ci", "--state-dir", str(guarded.server.data_dir)], text=True, check=True, capture_output=True
    )
    client = guarded(token=made.stdout.strip().splitlines()[-1].split()[-1])
    run = client.create_run("0").info.run_id
    client.set_tag(run, "by", "token")
    assert client.get_run(run).data.tags["by"] == "token"
    with pytest.raises(MlflowException) as caught:
        guarded(token="plinth_wrong").search_experiments()
    assert status_of(caught) == 401

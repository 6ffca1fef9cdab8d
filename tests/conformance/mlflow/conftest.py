"""A fresh server for each test, and MLflow's client pointed at it.

`cargo xtask test` says where the binary is (PLINTH_BIN). PLINTH_CONFORMANCE_URL names a running server to be
tested in its place: with MLflow's own server there, the cases themselves are put to the test.
"""

import contextlib
import os

import pytest

# Before mlflow is imported: nothing is reported to anybody, and a failed request is tried again only briefly.
os.environ.update(
    DO_NOT_TRACK="true",
    MLFLOW_DISABLE_TELEMETRY="true",
    MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
    MLFLOW_HTTP_REQUEST_TIMEOUT="30",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="false",
    MPLBACKEND="agg",
    GIT_PYTHON_REFRESH="quiet",
)

import mlflow  # noqa: E402
import requests  # noqa: E402
from cases import unique  # noqa: E402
from server import BINARY, Server  # noqa: E402

OTHER = os.environ.get("PLINTH_CONFORMANCE_URL")


def pytest_configure(config):
    if not OTHER and not os.access(BINARY, os.X_OK):
        raise pytest.UsageError(f"PLINTH_BIN is not a program: `{BINARY}`; run this by `cargo xtask test`")


@pytest.fixture
def start(tmp_path):
    """Starts servers that end with the test: `start("--auth")`."""
    with contextlib.ExitStack() as stack:

        def one(*arguments, name="data"):
            server = Server(tmp_path / name, *arguments)
            stack.callback(lambda: server.process.poll() is None and server.kill())
            return server

        yield one


@pytest.fixture
def url(request, monkeypatch, tmp_path):
    """The address of a fresh server, at which MLflow's fluent functions point too."""
    if OTHER:
        server, address = None, OTHER
    else:
        server = request.getfixturevalue("start")()
        address = server.url
    monkeypatch.chdir(tmp_path)
    forget()
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    yield address
    while mlflow.active_run():
        mlflow.end_run()
    forget()
    if server:
        server.stop()


def forget():
    """Clears what MLflow keeps for a process and what it starts: the experiment, the caches of the tracing exporter."""
    for name in ("TRACKING_URI", "REGISTRY_URI", "EXPERIMENT_NAME", "EXPERIMENT_ID", "RUN_ID"):
        os.environ.pop(f"MLFLOW_{name}", None)
    mlflow.tracking.fluent._active_experiment_id = None
    mlflow.tracing.reset()


@pytest.fixture
def client(url):
    return mlflow.MlflowClient(url)


@pytest.fixture
def experiment(client):
    return client.create_experiment(unique("experiment"))


@pytest.fixture
def run(client, experiment):
    return client.create_run(experiment).info.run_id


@pytest.fixture
def send(url):
    """Sends a request past the client: send("POST", "runs/create", {...}) gives the status and the JSON answer."""

    def one(method, path, body=None, api="api/2.0/mlflow", **options):
        kind = "params" if method == "GET" else "json"
        answer = requests.request(method, f"{url}/{api}/{path}", **{kind: body}, timeout=30, **options)
        return answer.status_code, answer.json()

    return one

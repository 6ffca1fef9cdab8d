"""One server for all cases, and tritonclient pointed at it over HTTP and over gRPC."""

import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request

import pytest
import tritonclient.grpc
import tritonclient.http
from models import all_models, matrix

BINARY = os.environ.get("PLINTH_BIN", "")
READY_SECONDS = 60
STOP_SECONDS = 20


def pytest_configure(config):
    if not os.access(BINARY, os.X_OK):
        raise pytest.UsageError(f"PLINTH_BIN is not a program: `{BINARY}`; run this by `cargo xtask test`")


class Server:
    """`plinth serve` over a folder in which models were registered."""

    def __init__(self, folder: pathlib.Path, *arguments: str):
        command = [BINARY, "serve", "--port", "0", "--grpc-port", "0", "--no-capture", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder)
        self.said: list[str] = []
        found: queue.Queue = queue.Queue()
        threading.Thread(target=self._listen, args=(found,), daemon=True).start()
        addresses = found.get(timeout=READY_SECONDS)
        if addresses is None:
            raise RuntimeError(f"plinth serve ended at once: {''.join(self.said)}")
        self.http, self.grpc = addresses

    def _listen(self, found: queue.Queue) -> None:
        for line in self.process.stderr:
            self.said.append(line)
            said = re.search(r"listening on http://(\S+?:\d+) .*, gRPC on (\S+:\d+)", line)
            if said:
                found.put(said.groups())
        found.put(None)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("plinth serve did not end on SIGTERM") from None
        assert status == 0, "".join(self.said)


def register(folder: pathlib.Path, name: str, model: bytes, *arguments: str) -> None:
    file = folder / f"{name}.onnx"
    file.write_bytes(model)
    command = [BINARY, "model", "register", name, "--onnx", str(file), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    names = []
    for name, model in all_models().items():
        register(folder, name, model)
        names.append(f"models:/{name}/1")
    columns = ["--column", "a=float64", "--column", "b=float64", "--column", "c=int64", "--column", "d=float64?"]
    register(folder, "columns", matrix(), *columns)
    register(folder, "asleep", matrix())
    register(folder, "asleep", matrix(), "--alias", "champion")
    register(folder, "asleep", matrix())
    one = Server(folder, *names, "models:/columns/1")
    yield one
    one.stop()


@pytest.fixture(scope="session")
def http(server):
    client = tritonclient.http.InferenceServerClient(server.http, concurrency=4)
    yield client
    client.close()


@pytest.fixture(scope="session", params=["own port", "shared port"])
def grpc(request, server):
    client = tritonclient.grpc.InferenceServerClient(server.grpc if request.param == "own port" else server.http)
    yield client
    client.close()


@pytest.fixture
def send(server):
    """Sends what the client would not: send("POST", "v2/…", body, headers) gives status, headers and body."""

    def one(method, path, body=None, headers=None):
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        request = urllib.request.Request(f"http://{server.http}/{path}", data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    return one

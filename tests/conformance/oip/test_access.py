"""Who may ask, and who may change what is served, over both protocols."""

import json
import subprocess

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from conftest import BINARY, Server, register
from models import matrix
from test_grpc import status
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    register(folder, "matrix", matrix())
    register(folder, "asleep", matrix())
    tokens = {}
    for role in ("reader", "editor"):
        (folder / "password").write_text("a long enough password\n")
        for command in (["user", "add", role, "--role", role, "--password-file", "password"], ["token", "create", role]):
            done = subprocess.run([BINARY, "--json", *command], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        tokens[role] = {"authorization": f"Bearer {json.loads(done.stdout)['token']}"}
    server = Server(folder, "models:/matrix/1", "--require-auth")
    yield server, tokens
    server.stop()


def x(module):
    given = module.InferInput("x", [1, 4], "FP32")
    given.set_data_from_numpy(np.ones((1, 4), dtype=np.float32))
    return [given]


def test_over_grpc(guarded):
    server, tokens = guarded
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        assert client.is_server_live() and client.is_server_ready(), "who looks after it has no token"
        wrong = {"authorization": "Bearer plinth_wrong"}
        for headers in (None, wrong):
            assert status(lambda: client.infer("matrix", x(tritonclient.grpc), headers=headers)) == "UNAUTHENTICATED"
            assert status(lambda: client.get_model_metadata("matrix", headers=headers)) == "UNAUTHENTICATED"
            assert status(lambda: client.load_model("asleep", headers=headers)) == "UNAUTHENTICATED"
        told = client.infer("matrix", x(tritonclient.grpc), headers=tokens["reader"])
        assert told.as_numpy("scores").shape == (1, 3)
        for call in (client.load_model, client.unload_model):
            assert status(lambda call=call: call("asleep", headers=tokens["reader"])) == "PERMISSION_DENIED"
        changed = {"log_verbose_level": 1}
        assert status(lambda: client.update_log_settings(changed, headers=tokens["reader"])) == "PERMISSION_DENIED"
        client.load_model("asleep", headers=tokens["editor"])
        assert client.is_model_ready("asleep", headers=tokens["reader"])
        client.unload_model("asleep", headers=tokens["editor"])


def test_over_http(guarded):
    server, tokens = guarded

    def refused(call):
        with pytest.raises(InferenceServerException) as caught:
            call()
        return caught.value.status()

    with tritonclient.http.InferenceServerClient(server.http) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert refused(lambda: client.infer("matrix", x(tritonclient.http))) == "401"
        assert refused(lambda: client.get_model_config("matrix")) == "401"
        told = client.infer("matrix", x(tritonclient.http), headers=tokens["reader"])
        assert told.as_numpy("scores").shape == (1, 3)
        assert client.get_model_repository_index(headers=tokens["reader"])
        assert refused(lambda: client.load_model("asleep", headers=tokens["reader"])) == "403"
        changed = {"trace_rate": "1"}
        assert refused(lambda: client.update_trace_settings(settings=changed, headers=tokens["reader"])) == "403"
        client.load_model("asleep", headers=tokens["editor"])
        assert client.is_model_ready("asleep", headers=tokens["reader"])
        client.unload_model("asleep", headers=tokens["editor"])

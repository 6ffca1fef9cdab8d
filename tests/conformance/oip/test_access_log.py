"""The access log tells of calls over gRPC what it tells of requests over HTTP."""

import json

import numpy as np
import pytest
import tritonclient.grpc
from conftest import Server, register
from models import matrix
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException


def test_calls_are_told_of_with_who_answered(tmp_path):
    register(tmp_path, "matrix", matrix())
    server = Server(tmp_path, "models:/matrix/1", "--access-log", "access.jsonl")
    given = InferInput("x", [1, 4], "FP32")
    given.set_data_from_numpy(np.ones((1, 4), dtype=np.float32))
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.infer("matrix", [given], request_id="mine")
        with pytest.raises(InferenceServerException):
            client.infer("matrix", [given], model_version="7")
        with pytest.raises(InferenceServerException):
            client.infer("nothing", [given])
    server.stop()
    told = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]
    assert [line["path"] for line in told] == ["/inference.GRPCInferenceService/ModelInfer"] * 3
    good, *wrong = told
    who = ("request_id", "model", "version", "grpc_status", "status")
    assert [good[name] for name in who] == ["mine", "matrix", "1", "0", 200]
    assert good["deployment"] and good["peer"] == "127.0.0.1"
    for line in wrong:
        assert line["grpc_status"] == "5" and "model" not in line and line["request_id"], line

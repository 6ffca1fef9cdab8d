"""An ONNX model that the stock client logged and registered, served by `plinth serve` over the same data."""

import contextlib
import json
import queue
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
from mlflow.models import infer_signature
from onnx import TensorProto, helper, numpy_helper

from server import BINARY, READY_SECONDS, STOP_SECONDS

WEIGHTS = np.array([[0.5], [-2.0], [3.0]], dtype=np.float32)


def linear(inputs):
    """0.5 a - 2 b + 3 c, of one matrix or of three inputs of one column each."""
    slot = helper.make_tensor_value_info
    weights = numpy_helper.from_array(WEIGHTS, "w")
    if len(inputs) == 1:
        takes = [slot(inputs[0], TensorProto.FLOAT, ["N", 3])]
        nodes = [helper.make_node("MatMul", [inputs[0], "w"], ["y"])]
    else:
        takes = [slot(name, TensorProto.FLOAT, ["N", 1]) for name in inputs]
        nodes = [helper.make_node("Concat", inputs, ["x"], axis=1), helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "linear", takes, [slot("y", TensorProto.FLOAT, ["N", 1])], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


class Scoring:
    """`plinth serve` over a data directory."""

    def __init__(self, data_dir, *arguments):
        command = [BINARY, "serve", "--state-dir", str(data_dir), "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=data_dir.parent
        )
        said, found = [], queue.Queue()

        def listen():
            for line in self.process.stderr:
                said.append(line)
                address = re.search(r"listening on (http://\S+?:\d+)", line)
                if address:
                    found.put(address.group(1))
            found.put(None)

        threading.Thread(target=listen, daemon=True).start()
        self.url = found.get(timeout=READY_SECONDS)
        assert self.url, "".join(said)

    def ask(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
            return json.load(answer)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_SECONDS) == 0


@pytest.fixture
def serve():
    """Starts scoring servers, which end with the test."""
    with contextlib.ExitStack() as stack:

        def one(*arguments):
            scoring = Scoring(*arguments)
            stack.callback(lambda: scoring.process.poll() is None and scoring.process.kill())
            return scoring

        yield one


def test_the_server_serves_what_the_client_logged_as_onnx(start, serve, monkeypatch, tmp_path):
    rows = pd.DataFrame({"a": [1.0, 2.0], "b": [0.5, 1.5], "c": [2.0, -1.0]})
    wanted = (rows.to_numpy(dtype=np.float32) @ WEIGHTS).ravel().tolist()
    registered = []
    monkeypatch.chdir(tmp_path)
    tracking = start()
    mlflow.set_tracking_uri(tracking.url)
    mlflow.set_registry_uri(tracking.url)
    mlflow.set_experiment("onnx")
    signature = infer_signature(rows, np.zeros((2, 1), dtype=np.float32))
    for name, inputs, signed in [
        ("columns", ["x"], signature),  # a matrix, whose signature names columns
        ("matrix", ["x"], None),
        ("several", ["a", "b", "c"], None),
    ]:
        with mlflow.start_run():
            # What it would take to load it elsewhere is nothing that is looked at here.
            mlflow.onnx.log_model(
                linear(inputs), name="model", registered_model_name=name, signature=signed, pip_requirements=["onnx"]
            )
        registered.append(f"models:/{name}/1")
    mlflow.MlflowClient().set_registered_model_alias("columns", "champion", "1")
    # Both at once: a scoring server beside the tracking server, over the same directory.
    scoring = serve(tracking.data_dir, "models:/columns@champion", *registered[1:])
    ask = scoring.ask

    split = {"dataframe_split": {"columns": list(rows), "data": rows.to_numpy().tolist()}}
    told = ask("/endpoints/columns/invocations", split)["predictions"]
    assert [next(iter(row.values())) if isinstance(row, dict) else row for row in told] == pytest.approx(wanted)
    matrix = rows.to_numpy().tolist()
    assert np.ravel(ask("/endpoints/matrix/invocations", {"inputs": matrix})["predictions"]) == pytest.approx(wanted)

    def tensor(name, values):
        values = np.asarray(values, dtype=np.float32)
        return {"name": name, "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}

    told = ask("/v2/models/matrix/infer", {"inputs": [tensor("x", matrix)]})
    assert told["outputs"][0]["data"] == pytest.approx(wanted)
    # A model known by its columns is asked by the matrix that it was made for, too, and what is wrong with it is told.
    assert ask("/v2/models/columns/infer", {"inputs": [tensor("x", matrix)]})["outputs"][0]["data"] == pytest.approx(wanted)
    for given, part in [
        ({"shape": [1, 3], "data": [1, None, 2]}, "element 1: null is not FP32"),
        ({"shape": [1, 2], "data": [1, None]}, "unknown column `x`"),
    ]:
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask("/v2/models/columns/infer", {"inputs": [{"name": "x", "datatype": "FP32", **given}]})
        assert refused.value.code == 400 and part in refused.value.read().decode()
    one_each = [tensor(name, rows[[name]]) for name in rows]
    assert ask("/v2/models/several/infer", {"inputs": one_each})["outputs"][0]["data"] == pytest.approx(wanted)

    # A new version of the model is taken over from the client's own change of the alias.
    with mlflow.start_run():
        mlflow.onnx.log_model(
            linear(["x"]), name="model", registered_model_name="columns", signature=signature, pip_requirements=["onnx"]
        )
    mlflow.MlflowClient().set_registered_model_alias("columns", "champion", "2")
    columns = [{"name": name, "datatype": "FP64", "shape": [2], "data": rows[name].tolist()} for name in rows]
    until = time.monotonic() + READY_SECONDS
    while ask("/v2/models/columns/infer", {"inputs": columns})["model_version"] != "2":
        assert time.monotonic() < until, "the alias is not followed"
    scoring.stop()
    tracking.stop()

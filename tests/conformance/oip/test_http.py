"""Every call of tritonclient.http, and bodies that it would not send."""

import gzip
import http.client
import json
import struct
import threading
import zlib

import numpy as np
import pytest
from models import TYPES
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException


def values(datatype):
    if datatype == "BYTES":
        return np.array([["é", ""], ["long" * 100, "\n"]], dtype=np.object_)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    return np.array([[0, 1], [100, 7]]).astype(TYPES[datatype][1])


def tensor(name, array, datatype, binary=True):
    given = InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def as_text(array):
    return [[v.decode() if isinstance(v, bytes) else v for v in row] for row in array]


def matrix_body(**change):
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    body["inputs"][0].update(change)
    return {key: [{k: v for k, v in body[key][0].items() if v is not None}] for key in body}


def test_the_server_says_what_it_is(http):
    assert http.is_server_live() and http.is_server_ready()
    told = http.get_server_metadata()
    assert told["name"] == "plinth"
    assert {"binary_tensor_data", "statistics", "model_repository", "model_configuration"} <= set(told["extensions"])


def test_models_say_what_they_are(http):
    assert http.is_model_ready("matrix") and http.is_model_ready("matrix", "1")
    assert not http.is_model_ready("nothing") and not http.is_model_ready("matrix", "2")
    told = http.get_model_metadata("matrix", "1")
    assert (told["name"], told["versions"], told["platform"]) == ("matrix", ["1"], "onnxruntime_onnx")
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert told["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]
    assert http.get_model_metadata("image")["inputs"][0]["shape"] == [-1, 3, 32, 32]
    assert [one["datatype"] for one in http.get_model_metadata("several")["inputs"]] == ["FP32", "INT64", "BYTES"]
    assert http.get_model_metadata("columns")["inputs"][2] == {"name": "c", "datatype": "INT64", "shape": [-1]}


def test_configurations(http):
    told = http.get_model_config("matrix")
    assert told["max_batch_size"] > 0
    assert told["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert told["output"] == [{"name": "scores", "data_type": "TYPE_FP32", "dims": [3]}]
    assert http.get_model_config("mixing")["max_batch_size"] == 0
    assert http.get_model_config("same-bytes", "1")["input"][0]["data_type"] == "TYPE_STRING"


WAYS = [(datatype, i, o) for datatype in TYPES for i in (True, False) for o in (True, False)]


# JSON has no 16-bit floats; what is said to that is the next case.
@pytest.mark.parametrize("datatype, binary_in, binary_out", [way for way in WAYS if way[0] != "FP16" or all(way[1:])])
def test_every_type_comes_back(http, datatype, binary_in, binary_out):
    given = values(datatype)
    wanted = [InferRequestedOutput("y", binary_data=binary_out)]
    told = http.infer(f"same-{datatype.lower()}", [tensor("x", given, datatype, binary_in)], outputs=wanted)
    found = told.as_numpy("y")
    assert told.get_output("y")["datatype"] == datatype
    assert ("binary_data_size" in told.get_output("y").get("parameters", {})) == binary_out
    assert as_text(found.tolist()) == given.tolist() if datatype == "BYTES" else np.array_equal(found, given)


def test_sixteen_bit_floats_are_not_for_json(send):
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP16", "data": [1, 2]}]}
    status, _, text = send("POST", "v2/models/same-fp16/infer", body)
    assert status == 400 and b"binary" in text
    head = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP16", "parameters": {"binary_data_size": 4}}]})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    status, _, text = send("POST", "v2/models/same-fp16/infer", head.encode() + bytes(4), headers)
    assert status == 400 and b"binary" in text


def test_all_outputs_are_binary_where_none_is_named(http):
    told = http.infer("matrix", [tensor("x", np.eye(4, dtype=np.float32), "FP32")])
    assert told.get_output("scores")["parameters"]["binary_data_size"] == 48
    assert np.array_equal(told.as_numpy("scores"), np.arange(12, dtype=np.float32).reshape(4, 3))


def test_several_inputs_in_any_order_and_some_outputs(http):
    inputs = [
        tensor("name", np.array([["a"], ["b"]], dtype=np.object_), "BYTES"),
        tensor("count", np.array([[1], [2]], dtype=np.int64), "INT64", binary=False),
        tensor("price", np.array([[0.5], [1.5]], dtype=np.float32), "FP32"),
    ]
    told = http.infer("several", inputs, outputs=[InferRequestedOutput("total")], request_id="q-1")
    assert told.get_response()["id"] == "q-1"
    assert (told.get_response()["model_name"], told.get_response()["model_version"]) == ("several", "1")
    assert told.as_numpy("total").tolist() == [[1.5], [3.5]]
    assert told.as_numpy("label") is None
    assert as_text(http.infer("several", inputs).as_numpy("label")) == [["a"], ["b"]]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bodies_may_be_packed(http, algorithm):
    pixels = np.arange(8 * 3 * 32 * 32, dtype=np.float32).reshape(8, 3, 32, 32)
    packed = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    told = http.infer("image", [tensor("pixels", pixels, "FP32")], **packed)
    assert np.allclose(told.as_numpy("means").reshape(8, 3), pixels.mean(axis=(2, 3)), rtol=1e-4)
    given = np.array([["row" * 200, str(n)] for n in range(50)], dtype=np.object_)
    told = http.infer("same-bytes", [tensor("x", given, "BYTES")], **packed)
    assert as_text(told.as_numpy("y")) == given.tolist()


def test_answers_are_packed_when_asked(send):
    body = {"inputs": [{"name": "x", "shape": [500, 2], "datatype": "INT32", "data": [7] * 1000}]}
    status, headers, packed = send("POST", "v2/models/same-int32/infer", body, {"Accept-Encoding": "gzip"})
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert json.loads(gzip.decompress(packed))["outputs"][0]["data"] == [7] * 1000
    status, headers, _ = send("POST", "v2/models/same-int32/infer", body)
    assert (status, headers["Content-Encoding"]) == (200, None)
    path = "v2/models/same-int32/infer"
    assert send("POST", path, b"not gzip", {"Content-Encoding": "gzip"})[0] == 400
    assert send("POST", path, b"x", {"Content-Encoding": "br"})[0] == 415
    bomb = zlib.compress(bytes(1 << 28))
    assert send("POST", path, bomb, {"Content-Encoding": "deflate"})[0] == 413


def test_calls_side_by_side(http):
    asked = [
        http.async_infer("matrix", [tensor("x", np.full((1 + n % 3, 4), n, dtype=np.float32), "FP32")]) for n in range(40)
    ]
    for n, one in enumerate(asked):
        scores = one.get_result().as_numpy("scores")
        assert scores.shape == (1 + n % 3, 3)
        assert np.allclose(scores[0], n * np.arange(12).reshape(4, 3).sum(axis=0))


def test_rows_that_look_at_each_other_are_never_run_together(server):
    import tritonclient.http

    def one():
        with tritonclient.http.InferenceServerClient(server.http) as client:
            for _ in range(30):
                told = client.infer("mixing", [tensor("x", np.zeros((2, 2), dtype=np.float32), "FP32")])
                wrong.extend([] if np.allclose(told.as_numpy("y"), 0.5) else [told.as_numpy("y")])

    wrong = []
    threads = [threading.Thread(target=one) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert wrong == []


def test_classes(http):
    wanted = [InferRequestedOutput("scores", binary_data=False, class_count=2)]
    told = http.infer("matrix", [tensor("x", np.eye(4, dtype=np.float32)[1:3], "FP32")], outputs=wanted)
    assert told.get_output("scores")["datatype"] == "BYTES"
    assert told.as_numpy("scores").tolist() == [["5.000000:2", "4.000000:1"], ["8.000000:2", "7.000000:1"]]


def test_a_model_over_columns_by_column_and_by_matrix(http):
    a, b, c, d = ([1.0, 0.0], [0.0, 1.0], [0, 0], [0.0, 0.0])
    inputs = [tensor(n, np.array(v, dtype=np.float64), "FP64") for n, v in (("a", a), ("b", b), ("d", d))]
    inputs.append(tensor("c", np.array(c, dtype=np.int64), "INT64"))
    by_column = http.infer("columns", inputs)
    by_matrix = http.infer("columns", [tensor("x", np.array([[1, 0, 0, 0], [0, 1, 0, 0]], dtype=np.float32), "FP32")])
    names = [one["name"] for one in http.get_model_metadata("columns")["outputs"]]
    for name, scores in zip(names, ([0, 3], [1, 4], [2, 5]), strict=True):
        assert by_column.as_numpy(name).tolist() == scores
        assert by_matrix.as_numpy(name).tolist() == scores


def test_parameters_and_a_time_that_is_over(http):
    given = [tensor("x", np.zeros((1, 4), dtype=np.float32), "FP32")]
    http.infer("matrix", given, priority=3, timeout=30_000_000, parameters={"mine": "x"}, sequence_id=7)
    with pytest.raises(InferenceServerException, match="timeout") as caught:
        http.infer("matrix", given, timeout=1)
    assert caught.value.status() == "504"


def test_statistics(http):
    before = http.get_inference_statistics("looking")["model_stats"][0]
    given = tensor("place", np.array([0, 1, 2], dtype=np.int64), "INT64")
    http.infer("looking", [given])
    with pytest.raises(InferenceServerException):
        http.infer("looking", [tensor("place", np.array([9], dtype=np.int64), "INT64")])
    after = http.get_inference_statistics("looking", "1")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 1
    assert after["inference_stats"]["fail"]["count"] == before["inference_stats"]["fail"]["count"] + 1
    assert after["last_inference"] > 0 and after["inference_stats"]["success"]["ns"] > 0
    assert len(http.get_inference_statistics()["model_stats"]) > 10
    with pytest.raises(InferenceServerException):
        http.get_inference_statistics("nothing")


def test_the_repository(http):
    index = {(one["name"], one["state"]): one for one in http.get_model_repository_index()}
    assert ("matrix", "READY") in index
    assert index["asleep", "UNAVAILABLE"]["reason"]
    http.load_model("asleep")
    assert http.is_model_ready("asleep", "2") and not http.is_model_ready("asleep", "3"), "the champion"
    given = [tensor("x", np.zeros((1, 4), dtype=np.float32), "FP32")]
    assert http.infer("asleep", given).get_response()["model_version"] == "2"
    http.unload_model("asleep", unload_dependents=True)
    assert not http.is_model_ready("asleep")
    with pytest.raises(InferenceServerException) as caught:
        http.infer("asleep", given)
    assert caught.value.status() == "404"
    http.unload_model("looking")
    assert [o["reason"] for o in http.get_model_repository_index() if o["name"] == "looking"] == ["unloaded"]
    http.load_model("looking")
    assert http.is_model_ready("looking")
    for wrong in (lambda: http.load_model("nothing"), lambda: http.unload_model("nothing")):
        with pytest.raises(InferenceServerException) as caught:
            wrong()
        assert caught.value.status() == "404"


def test_trace_settings(http):
    assert http.get_trace_settings()["trace_level"] == ["OFF"]
    told = http.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"], "trace_rate": "5"})
    assert (told["trace_level"], told["trace_rate"]) == (["TIMESTAMPS"], "5")
    own = http.update_trace_settings("matrix", {"trace_rate": "9"})
    assert (own["trace_rate"], own["trace_level"]) == ("9", ["TIMESTAMPS"])
    assert http.get_trace_settings()["trace_rate"] == "5"
    told = http.update_trace_settings(settings={"trace_level": None, "trace_rate": None})
    assert (told["trace_level"], told["trace_rate"]) == (["OFF"], "1000")
    for wrong in ({"trace_level": ["LOUD"]}, {"trace_rate": "-1"}, {"trace_count": "x"}, {"nothing": "1"}):
        with pytest.raises(InferenceServerException) as caught:
            http.update_trace_settings(settings=wrong)
        assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException):
        http.get_trace_settings("nothing")


def test_log_settings_change_what_is_logged(http, server):
    before = http.get_log_settings()
    told = http.update_log_settings({"log_verbose_level": 1, "log_format": "ISO8601"})
    assert (told["log_verbose_level"], told["log_format"]) == (1, "ISO8601")
    with pytest.raises(InferenceServerException):
        http.infer("matrix", [tensor("wrong-input", np.zeros((1, 4), dtype=np.float32), "FP32")])
    http.update_log_settings({name: before[name] for name in before if name != "log_file"})
    http.unload_model("same-bool")
    http.load_model("same-bool")
    assert any("refused" in line for line in server.said)
    for wrong in ({"log_info": 3}, {"log_verbose_level": -1}, {"nothing": True}, {"log_file": "/tmp/x"}):
        with pytest.raises(InferenceServerException) as caught:
            http.update_log_settings(wrong)
        assert caught.value.status() == "400"


def test_shared_memory_is_unsupported(http):
    for call in (
        http.get_system_shared_memory_status,
        lambda: http.register_system_shared_memory("r", "/r", 8),
        lambda: http.unregister_system_shared_memory("r"),
        http.unregister_system_shared_memory,
        http.get_cuda_shared_memory_status,
        lambda: http.register_cuda_shared_memory("r", b"h", 0, 8),
        http.unregister_cuda_shared_memory,
    ):
        with pytest.raises(InferenceServerException, match="unsupported") as caught:
            call()
        assert caught.value.status() == "400"
    given = InferInput("x", [1, 4], "FP32")
    given.set_shared_memory("r", 16)
    with pytest.raises(InferenceServerException, match="unsupported"):
        http.infer("matrix", [given])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"inputs": {}}',
        {"inputs": []},
        matrix_body(name="wrong"),
        matrix_body(name=None),
        matrix_body(shape=None),
        matrix_body(datatype=None),
        matrix_body(data=None),
        matrix_body(datatype="FP64"),
        matrix_body(datatype="FLOAT"),
        matrix_body(shape=[4]),
        matrix_body(shape=[1, 1, 4]),
        matrix_body(shape=[1, 3]),
        matrix_body(shape=[2, 4]),
        matrix_body(shape=[-1, 4]),
        matrix_body(shape=[1 << 62, 4]),
        matrix_body(shape=[0, 4], data=[]),
        matrix_body(data=[1, 2, 3]),
        matrix_body(data=[1, 2, 3, 4, 5]),
        matrix_body(data=["a", "b", "c", "d"]),
        matrix_body(data=[1, 2, None, 4]),
        matrix_body(data=[1, 2, 1e300, 4]),
        matrix_body(data={"a": 1}),
        matrix_body(parameters={"binary_data_size": 16}),
        {"inputs": matrix_body()["inputs"] * 2},
        {**matrix_body(), "outputs": [{"name": "nothing"}]},
        {**matrix_body(), "outputs": [{"name": "scores"}] * 2},
        {**matrix_body(), "outputs": 3},
        {**matrix_body(), "parameters": {"timeout": "soon"}},
        {**matrix_body(), "id": {}},
    ],
)
def test_wrong_bodies_are_400_and_say_why(send, body):
    status, _, text = send("POST", "v2/models/matrix/infer", body)
    assert status == 400, text
    assert json.loads(text)["error"]


@pytest.mark.parametrize("length", ["", "x", "-1", "999999", "10"])
def test_wrong_header_lengths(send, length):
    headers = {"Inference-Header-Content-Length": length}
    status, _, text = send("POST", "v2/models/matrix/infer", matrix_body(), headers)
    assert status == 400 and json.loads(text)["error"]


@pytest.mark.parametrize("size, sent", [(16, 15), (16, 17), (12, 12), (20, 20), ("x", 16), (-16, 16)])
def test_wrong_sizes_of_binary_tensors(send, size, sent):
    head = json.dumps(matrix_body(data=None, parameters={"binary_data_size": size})).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    status, _, text = send("POST", "v2/models/matrix/infer", head + bytes(sent), headers)
    assert status == 400 and json.loads(text)["error"]


def test_texts_that_lie_about_their_length(send):
    for raw in (struct.pack("<I", 100) + b"short", b"\0\0", struct.pack("<I", 1) + b"\xff" + struct.pack("<I", 0)):
        head = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}]}
        head = json.dumps(head).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        status, _, text = send("POST", "v2/models/same-bytes/infer", head + raw, headers)
        assert status == 400, text


def test_a_body_of_nothing_but_values(send):
    raw = np.eye(4, dtype=np.float32)[:2].tobytes()
    status, headers, body = send("POST", "v2/models/matrix/infer", raw, {"Inference-Header-Content-Length": "0"})
    assert status == 200, body
    head = json.loads(body[: int(headers["Inference-Header-Content-Length"])])
    assert head["outputs"][0]["shape"] == [2, 3]
    assert send("POST", "v2/models/matrix/infer", raw[:-1], {"Inference-Header-Content-Length": "0"})[0] == 400


@pytest.mark.parametrize(
    "method, path, wanted",
    [
        ("GET", "v2/models/nothing", 404),
        ("GET", "v2/models/matrix/versions/9", 404),
        ("GET", "v2/models/matrix/versions/x", 404),
        ("GET", "v2/models/matrix/nothing", 404),
        ("GET", "v2/models/nothing/config", 404),
        ("GET", "v2/models/nothing/stats", 404),
        ("GET", "v2/nothing", 404),
        ("POST", "v2/models/nothing/infer", 404),
        ("POST", "v2/models/matrix/versions/9/infer", 404),
        ("GET", "v2/models/matrix/infer", 405),
        ("POST", "v2/models/matrix", 405),
        ("DELETE", "v2/models/matrix", 405),
        ("POST", "v2/repository/models/nothing/load", 404),
        ("POST", "v2/repository/models/nothing/unload", 404),
    ],
)
def test_what_is_not_there(send, method, path, wanted):
    body = matrix_body() if path.endswith("infer") and method == "POST" else (b"" if method == "POST" else None)
    status, _, text = send(method, path, body)
    assert status == wanted, text
    assert json.loads(text)["error"]


def test_empty_bodies_do_where_nothing_need_be_said(send):
    assert send("POST", "v2/repository/index", b"")[0] == 200
    assert send("POST", "v2/repository/index", {"ready": True})[0] == 200
    assert send("POST", "v2/repository/models/matrix/load", b"")[0] == 200
    assert send("POST", "v2/logging", b"")[0] == 200
    assert send("POST", "v2/trace/setting", b"")[0] == 200
    assert send("POST", "v2/logging", b"nonsense")[0] == 400


def test_values_on_which_the_model_fails_are_the_callers_fault(http):
    with pytest.raises(InferenceServerException) as caught:
        http.infer("looking", [tensor("place", np.array([4], dtype=np.int64), "INT64")])
    assert caught.value.status() == "400"


def test_giant_bodies_are_turned_away_before_they_come(server):
    connection = http.client.HTTPConnection(server.http, timeout=30)
    connection.putrequest("POST", "/v2/models/matrix/infer")
    connection.putheader("Content-Length", str(65 << 20))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413 and json.loads(answer.read())["error"]
    connection.close()


def test_mlflows_protocol_speaks_tensors_too(send):
    def predictions(model, body):
        headers = {"Content-Type": "application/json"}
        status, _, text = send("POST", f"endpoints/{model}/invocations", body, headers)
        assert status == 200, text
        return json.loads(text)["predictions"]

    rows = [[1, 0, 0, 0], [0, 1, 0, 0]]
    scores = [[0, 1, 2], [3, 4, 5]]
    assert predictions("matrix", {"inputs": rows}) == scores
    assert predictions("matrix", {"inputs": {"x": rows}}) == scores
    assert predictions("matrix", {"instances": rows}) == scores
    split = {"columns": ["a", "b", "c", "d"], "data": rows}
    assert predictions("matrix", {"dataframe_split": split}) == scores
    assert predictions("matrix", {"dataframe_records": [dict(zip("abcd", row, strict=True)) for row in rows]}) == scores
    turned = [dict(zip("abcd", rows[0], strict=True)), dict(zip("dcba", rows[1][::-1], strict=True))]
    assert predictions("matrix", {"dataframe_records": turned}) == scores, "columns go by their names"
    record = {"price": 0.5, "count": 2, "name": "a"}
    assert predictions("several", {"instances": [record]}) == {"total": [[2.5]], "label": [["a"]]}
    for wrong in ({"inputs": [[1, 2]]}, {"inputs": [[1, 2, 3, "x"]]}, {"inputs": [[1, 2, 3, 4], [1]]}, {}, {"inputs": 3}, {"dataframe_records": [turned[0], {"a": 1, "b": 2, "c": 3, "e": 4}]}):
        headers = {"Content-Type": "application/json"}
        assert send("POST", "endpoints/matrix/invocations", wrong, headers)[0] == 400, wrong

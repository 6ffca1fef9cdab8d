"""Every call of tritonclient.grpc, on a port of its own and on the one that HTTP has, and messages that it would not send."""

import queue

import grpc as raw
import numpy as np
import pytest
from models import TYPES
from test_http import as_text, values
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException


def tensor(name, array, datatype):
    given = InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def x(rows=1):
    return tensor("x", np.eye(4, dtype=np.float32)[:rows], "FP32")


def status(call):
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status().removeprefix("StatusCode.")


def test_what_the_server_says(grpc):
    assert grpc.is_server_live() and grpc.is_server_ready()
    assert grpc.is_model_ready("matrix") and grpc.is_model_ready("matrix", "1")
    assert not grpc.is_model_ready("nothing") and not grpc.is_model_ready("matrix", "7")
    assert grpc.get_server_metadata().name == "plinth"
    told = grpc.get_model_metadata("matrix", as_json=True)
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]
    config = grpc.get_model_config("matrix").config
    assert (config.name, config.input[0].data_type, list(config.input[0].dims)) == ("matrix", 11, [4])
    assert config.max_batch_size > 0


@pytest.mark.parametrize("datatype", TYPES)
def test_every_type_comes_back(grpc, datatype):
    given = values(datatype)
    told = grpc.infer(f"same-{datatype.lower()}", [tensor("x", given, datatype)], request_id="q")
    found = told.as_numpy("y")
    assert told.get_response().id == "q"
    assert as_text(found.tolist()) == given.tolist() if datatype == "BYTES" else np.array_equal(found, given)


@pytest.mark.parametrize("datatype", [datatype for datatype in TYPES if datatype != "FP16"])
def test_values_in_fields_of_their_own(server, datatype):
    given = values(datatype)
    request = service_pb2.ModelInferRequest(model_name=f"same-{datatype.lower()}")
    one = request.inputs.add(name="x", datatype=datatype, shape=[2, 2])
    fields = {
        "BOOL": "bool_contents", "INT64": "int64_contents", "UINT64": "uint64_contents", "FP32": "fp32_contents",
        "FP64": "fp64_contents", "BYTES": "bytes_contents",
    }
    field = fields.get(datatype, "uint_contents" if datatype.startswith("U") else "int_contents")
    flat = [value.encode() if datatype == "BYTES" else value.item() for value in given.flatten()]
    getattr(one.contents, field).extend(flat)
    with raw.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        told = stub.ModelInfer(request)
        assert told.outputs[0].datatype == datatype and list(told.outputs[0].shape) == [2, 2]
        one.contents.fp32_contents.append(1)
        if datatype == "FP32":
            one.contents.fp64_contents.append(1)
        with pytest.raises(raw.RpcError) as caught:
            stub.ModelInfer(request)
        assert caught.value.code() == raw.StatusCode.INVALID_ARGUMENT


def test_some_outputs_and_classes(grpc):
    told = grpc.infer("matrix", [x(2)], outputs=[InferRequestedOutput("scores", class_count=1)])
    assert [value.decode() for value in told.as_numpy("scores").flatten()] == ["2.000000:2", "5.000000:2"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_messages_may_be_packed(grpc, algorithm):
    assert grpc.infer("matrix", [x(4)], compression_algorithm=algorithm).as_numpy("scores").shape == (4, 3)


def test_a_stream_answers_in_order_and_goes_on_after_an_error(grpc):
    answers = queue.Queue()
    grpc.start_stream(lambda result, error: answers.put((result, error)))
    for n in range(20):
        given = tensor("x", np.full((1, 4), n, dtype=np.float32), "FP32")
        grpc.async_stream_infer("nothing" if n == 7 else "matrix", [given], request_id=str(n))
    told = [answers.get(timeout=30) for _ in range(20)]
    grpc.stop_stream()
    for n, (result, error) in enumerate(told):
        if n == 7:
            assert result is None and "nothing" in error.message()
        else:
            assert error is None and result.get_response().id == str(n)
            assert np.allclose(result.as_numpy("scores"), n * np.arange(12).reshape(4, 3).sum(axis=0))


def test_calls_side_by_side(grpc):
    answers = queue.Queue()
    for n in range(40):
        given = tensor("x", np.full((1, 4), n, dtype=np.float32), "FP32")
        grpc.async_infer("matrix", [given], callback=lambda result, error: answers.put((result, error)), request_id=str(n))
    for _ in range(40):
        result, error = answers.get(timeout=30)
        assert error is None
        n = int(result.get_response().id)
        assert np.allclose(result.as_numpy("scores"), n * np.arange(12).reshape(4, 3).sum(axis=0))


def test_statistics_and_the_repository(grpc):
    before = grpc.get_inference_statistics("matrix").model_stats[0].inference_stats.success.count
    grpc.infer("matrix", [x()])
    assert grpc.get_inference_statistics("matrix").model_stats[0].inference_stats.success.count == before + 1
    assert len(grpc.get_inference_statistics().model_stats) > 10
    states = {one.name: one.state for one in grpc.get_model_repository_index().models}
    assert (states["matrix"], states["asleep"]) == ("READY", "UNAVAILABLE")
    grpc.load_model("asleep")
    assert grpc.is_model_ready("asleep")
    grpc.unload_model("asleep")
    assert not grpc.is_model_ready("asleep")
    assert status(lambda: grpc.load_model("nothing")) == "NOT_FOUND"
    assert status(lambda: grpc.unload_model("nothing")) == "NOT_FOUND"


def test_settings(grpc):
    told = grpc.update_trace_settings(settings={"trace_rate": "5", "trace_level": ["TIMESTAMPS", "TENSORS"]})
    assert list(told.settings["trace_rate"].value) == ["5"]
    assert list(told.settings["trace_level"].value) == ["TIMESTAMPS", "TENSORS"]
    told = grpc.update_trace_settings(settings={"trace_rate": None, "trace_level": None})
    assert list(grpc.get_trace_settings().settings["trace_rate"].value) == ["1000"]
    assert status(lambda: grpc.update_trace_settings(settings={"trace_rate": "x"})) == "INVALID_ARGUMENT"
    told = grpc.update_log_settings({"log_format": "ISO8601"})
    assert told.settings["log_format"].string_param == "ISO8601"
    assert grpc.update_log_settings({"log_format": "default"}).settings["log_format"].string_param == "default"
    assert grpc.get_log_settings().settings["log_error"].bool_param
    assert status(lambda: grpc.update_log_settings({"nothing": True})) == "INVALID_ARGUMENT"


def test_shared_memory_is_unsupported(grpc):
    for call in (
        grpc.get_system_shared_memory_status,
        lambda: grpc.register_system_shared_memory("r", "/r", 8),
        grpc.unregister_system_shared_memory,
        grpc.get_cuda_shared_memory_status,
        grpc.unregister_cuda_shared_memory,
    ):
        assert status(call) == "UNIMPLEMENTED"
    given = InferInput("x", [1, 4], "FP32")
    given.set_shared_memory("r", 16)
    assert status(lambda: grpc.infer("matrix", [given])) == "INVALID_ARGUMENT"


def test_a_time_that_is_over(grpc):
    assert status(lambda: grpc.infer("matrix", [x()], timeout=1)) == "DEADLINE_EXCEEDED"
    # The client counts in milliseconds, in which this does not even arrive.
    large = [tensor("x", np.zeros((1 << 21, 2), dtype=np.float32), "FP32")]
    assert status(lambda: grpc.infer("same-fp32", large, client_timeout=1e-3)) == "DEADLINE_EXCEEDED"
    assert grpc.infer("matrix", [x()], timeout=30_000_000, client_timeout=30, priority=1).as_numpy("scores").shape == (1, 3)


def test_what_is_wrong_is_the_callers_fault(grpc):
    zeros = np.zeros((1, 4), dtype=np.float32)
    wrong = {
        "name": lambda: [tensor("wrong", zeros, "FP32")],
        "type": lambda: [tensor("x", zeros.astype(np.float64), "FP64")],
        "rank": lambda: [tensor("x", zeros[0], "FP32")],
        "size": lambda: [tensor("x", zeros[:, :3], "FP32")],
        "none": lambda: [],
        "twice": lambda: [x(), x()],
    }
    for what, inputs in wrong.items():
        assert status(lambda inputs=inputs: grpc.infer("matrix", inputs())) == "INVALID_ARGUMENT", what
    output = [InferRequestedOutput("nothing")]
    assert status(lambda: grpc.infer("matrix", [x()], outputs=output)) == "INVALID_ARGUMENT"
    assert status(lambda: grpc.infer("nothing", [x()])) == "NOT_FOUND"
    assert status(lambda: grpc.infer("matrix", [x()], model_version="9")) == "NOT_FOUND"
    assert status(lambda: grpc.get_model_metadata("nothing")) == "NOT_FOUND"
    assert status(lambda: grpc.get_model_config("matrix", "9")) == "NOT_FOUND"
    assert status(lambda: grpc.get_inference_statistics("nothing")) == "NOT_FOUND"
    place = tensor("place", np.array([99], dtype=np.int64), "INT64")
    assert status(lambda: grpc.infer("looking", [place])) == "INVALID_ARGUMENT"


def test_messages_that_are_none(server):
    call = "/inference.GRPCInferenceService/"
    request = service_pb2.ModelInferRequest(model_name="matrix")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    short, many = service_pb2.ModelInferRequest(), service_pb2.ModelInferRequest()
    short.CopyFrom(request)
    short.raw_input_contents.append(bytes(15))
    many.CopyFrom(request)
    many.raw_input_contents.extend([bytes(16), bytes(16)])
    with raw.insecure_channel(server.grpc, [("grpc.max_send_message_length", -1)]) as channel:

        def code(method, message):
            with pytest.raises(raw.RpcError) as caught:
                channel.unary_unary(call + method)(message, timeout=60)
            return caught.value.code()

        wrong = raw.StatusCode.INVALID_ARGUMENT
        assert code("ModelInfer", b"\xff\xff\xff") == wrong
        assert code("ModelInfer", b"\x0a\xff\xff\xff\xff\x0f") == wrong
        for message in (request, short, many):
            assert code("ModelInfer", message.SerializeToString()) == wrong
        assert code("ModelInfer", b"") == raw.StatusCode.NOT_FOUND, "it names no model"
        assert code("Nothing", b"") == raw.StatusCode.UNIMPLEMENTED
        assert code("ModelInfer", bytes(70 << 20)) == raw.StatusCode.RESOURCE_EXHAUSTED
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert health(b"", timeout=10) == b"\x08\x01"


def test_http_speaks_on_the_port_for_grpc_too(server):
    import tritonclient.http

    with tritonclient.http.InferenceServerClient(server.grpc) as client:
        assert client.is_server_live()
    with InferenceServerClient(server.http) as client:
        assert client.is_server_live()

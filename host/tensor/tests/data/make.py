"""Writes the small models that the tests load. Needs `onnx`: python make.py"""

import json
import pathlib

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

HERE = pathlib.Path(__file__).parent


def save(name, nodes, inputs, outputs, initializers=(), notes=None):
    graph = h.make_graph(nodes, name, inputs, outputs, [numpy_helper.from_array(v, k) for k, v in initializers])
    opsets = [h.make_opsetid("", 17), h.make_opsetid("ai.onnx.ml", 3)]
    model = h.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="plinth-tests")
    h.set_model_props(model, notes or {})
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def f32(name, *shape):
    return h.make_tensor_value_info(name, T.FLOAT, shape)


# prediction = 2 a - b + 0.5, with names of its own.
save(
    "linear",
    [h.make_node("Gemm", ["features", "w", "b"], ["prediction"])],
    [f32("features", None, 2)],
    [f32("prediction", None, 1)],
    [("w", np.array([[2.0], [-1.0]], np.float32)), ("b", np.array([0.5], np.float32))],
    {"plinth.task": "regression", "plinth.features": json.dumps(["a", "b"]), "plinth.missing": "refused"},
)

# Two classes by text, as scikit-learn exports them with zipmap=False; nothing is named.
save(
    "classes",
    [
        h.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "probabilities"],
            domain="ai.onnx.ml",
            coefficients=[1.0, 0.0, -1.0, 0.0],
            intercepts=[0.0, 0.0],
            classlabels_strings=["no", "yes"],
            post_transform="SOFTMAX",
        )
    ],
    [f32("x", None, 2)],
    [h.make_tensor_value_info("label", T.STRING, [None]), f32("probabilities", None, 2)],
)

# The same with scikit-learn's default, a sequence of maps.
save(
    "zipmap",
    [
        h.make_node("Identity", ["x"], ["p"]),
        h.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]),
    ],
    [f32("x", None, 2)],
    [h.make_value_info("maps", h.make_sequence_type_proto(h.make_map_type_proto(T.STRING, h.make_tensor_type_proto(T.FLOAT, []))))],
)

# Every element type we know, passed through.
kinds = {"f32": T.FLOAT, "f64": T.DOUBLE, "i32": T.INT32, "i64": T.INT64, "bool": T.BOOL, "text": T.STRING}
save(
    "types",
    [h.make_node("Identity", [k], [k + "_out"]) for k in kinds],
    [h.make_tensor_value_info(k, t, [None]) for k, t in kinds.items()],
    [h.make_tensor_value_info(k + "_out", t, [None]) for k, t in kinds.items()],
)

"""Small ONNX models, each for something that a protocol can get wrong."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

OPSET = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]


def _model(name, nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(constants))
    model = helper.make_model(graph, opset_imports=OPSET, ir_version=9)
    checker.check_model(model)
    return model.SerializeToString()


def _slot(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


# What the protocol calls each type, what ONNX calls it, and what numpy does.
TYPES = {
    "BOOL": (TensorProto.BOOL, np.bool_),
    "UINT8": (TensorProto.UINT8, np.uint8),
    "UINT16": (TensorProto.UINT16, np.uint16),
    "UINT32": (TensorProto.UINT32, np.uint32),
    "UINT64": (TensorProto.UINT64, np.uint64),
    "INT8": (TensorProto.INT8, np.int8),
    "INT16": (TensorProto.INT16, np.int16),
    "INT32": (TensorProto.INT32, np.int32),
    "INT64": (TensorProto.INT64, np.int64),
    "FP16": (TensorProto.FLOAT16, np.float16),
    "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64),
    "BYTES": (TensorProto.STRING, np.object_),
}


def same(datatype):
    """Gives back what it gets: [-1, 2] of one type."""
    kind = TYPES[datatype][0]
    node = helper.make_node("Identity", ["x"], ["y"])
    return _model("same", [node], [_slot("x", kind, ["N", 2])], [_slot("y", kind, ["N", 2])])


def matrix():
    """A linear model of four features: scores of three classes."""
    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["scores"])
    outputs = [_slot("scores", TensorProto.FLOAT, ["N", 3])]
    return _model("matrix", [node], [_slot("x", TensorProto.FLOAT, ["N", 4])], outputs, [weights])


def forest(trees=100, depth=7):
    """Full trees over four features that all ask the same: hundreds of small pieces of memory for each."""
    inner, all_nodes = 2**depth - 1, 2 ** (depth + 1) - 1
    ids = np.tile(np.arange(all_nodes), trees)
    owners = np.repeat(np.arange(trees), all_nodes)
    leaf = ids >= inner
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=owners.tolist(), nodes_nodeids=ids.tolist(), nodes_featureids=(ids % 4).tolist(),
        nodes_values=(ids / all_nodes).tolist(), nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_truenodeids=np.where(leaf, 0, 2 * ids + 1).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, 2 * ids + 2).tolist(),
        target_treeids=owners[leaf].tolist(), target_nodeids=ids[leaf].tolist(),
        target_ids=[0] * int(leaf.sum()), target_weights=(ids[leaf] / all_nodes).tolist(),
    )
    inputs, outputs = [_slot("x", TensorProto.FLOAT, ["N", 4])], [_slot("y", TensorProto.FLOAT, ["N", 1])]
    return _model("forest", [node], inputs, outputs)


def several():
    """Two inputs of two types and two outputs."""
    nodes = [
        helper.make_node("Cast", ["count"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["price", "wide"], ["total"]),
        helper.make_node("Identity", ["name"], ["label"]),
    ]
    inputs = [
        _slot("price", TensorProto.FLOAT, ["N", 1]),
        _slot("count", TensorProto.INT64, ["N", 1]),
        _slot("name", TensorProto.STRING, ["N", 1]),
    ]
    outputs = [_slot("total", TensorProto.FLOAT, ["N", 1]), _slot("label", TensorProto.STRING, ["N", 1])]
    return _model("several", nodes, inputs, outputs)


def image():
    """Means of the channels of pictures."""
    node = helper.make_node("GlobalAveragePool", ["pixels"], ["means"])
    outputs = [_slot("means", TensorProto.FLOAT, ["N", 3, 1, 1])]
    return _model("image", [node], [_slot("pixels", TensorProto.FLOAT, ["N", 3, 32, 32])], outputs)


def mixing():
    """Softmax down the rows: what one row gets depends on the others, so runs must not be shared."""
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    return _model("mixing", [node], [_slot("x", TensorProto.FLOAT, ["N", 2])], [_slot("y", TensorProto.FLOAT, ["N", 2])])


def looking():
    """Takes places in a table of four: others are a fault of the values, not of the types."""
    table = numpy_helper.from_array(np.array([10, 20, 30, 40], dtype=np.float32), "table")
    node = helper.make_node("Gather", ["table", "place"], ["found"])
    inputs, outputs = [_slot("place", TensorProto.INT64, ["N"])], [_slot("found", TensorProto.FLOAT, ["N"])]
    return _model("looking", [node], inputs, outputs, [table])


def all_models():
    models = {f"same-{datatype.lower()}": same(datatype) for datatype in TYPES}
    for make in (matrix, several, image, mixing, looking):
        models[make.__name__] = make()
    return models

"""Makes the models of these tests with scikit-learn and skl2onnx, and what the `shap` package says of them.

    pip install shap==0.51.0 scikit-learn==1.9.1 skl2onnx==1.20.0 numpy==2.4.6
    python make.py

Rows are rounded to 32 bits, because ONNX compares in 32 bits; leaves are 32-bit in ONNX and 64-bit in scikit-learn, so
values agree to about 1e-6. skl2onnx writes ones as `nodes_hitrates`; for the models named `*_covers` the trees' true
counts are put there.
"""

import json
import pathlib

import numpy as np
import onnx
import shap
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)

here = pathlib.Path(__file__).parent
golden = {}


def listed(values):
    return np.asarray(values, dtype=np.float64).tolist()


def with_covers(model, estimators):
    covers = {}
    for number, estimator in enumerate(estimators):
        for node, count in enumerate(estimator.tree_.weighted_n_node_samples):
            covers[(number, node)] = float(count)
    for node in model.graph.node:
        named = {attribute.name: attribute for attribute in node.attribute}
        if "nodes_treeids" not in named:
            continue
        keys = zip(named["nodes_treeids"].ints, named["nodes_nodeids"].ints)
        rates = [covers[key] for key in keys]
        del named["nodes_hitrates"].floats[:]
        named["nodes_hitrates"].floats.extend(rates)
    return model


def spread(values, outputs):
    """shap gives [rows, features] for one output, [rows, features, outputs] for several."""
    values = np.asarray(values)
    return values.reshape(values.shape[0], values.shape[1], outputs)


def put(name, estimator, data, outputs, covers=None, options=None):
    data = data.astype(np.float32)
    rows, reference = data[::29][:4], data[5::37][:12]
    onnx_model = to_onnx(estimator, data[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
    onnx.save(onnx_model, here / f"{name}.onnx")
    if covers is not None:
        onnx.save(with_covers(onnx_model, covers), here / f"{name}_covers.onnx")
        (here / f"{name}.onnx").unlink()
    against = shap.TreeExplainer(estimator, data=reference, feature_perturbation="interventional")
    entry = {
        "rows": listed(rows),
        "reference": listed(reference),
        "interventional": {
            "base": listed(np.atleast_1d(against.expected_value)),
            "values": listed(spread(against.shap_values(rows), outputs)),
        },
    }
    if covers is not None:
        along = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
        entry["path_dependent"] = {
            "base": listed(np.atleast_1d(along.expected_value)),
            "values": listed(spread(along.shap_values(rows), outputs)),
        }
    golden[name] = entry


iris = load_iris()
diabetes = load_diabetes()

forest = RandomForestClassifier(n_estimators=6, max_depth=5, random_state=1).fit(iris.data, iris.target)
put("forest", forest, iris.data, 3, forest.estimators_, {id(forest): {"zipmap": False}})

boosted = GradientBoostingRegressor(n_estimators=12, max_depth=4, random_state=2).fit(diabetes.data, diabetes.target)
put("boosted", boosted, diabetes.data, 1, [tree for [tree] in boosted.estimators_])

two = GradientBoostingClassifier(n_estimators=10, max_depth=3, random_state=3).fit(iris.data, iris.target == 1)
put("odds", two, iris.data, 1, None, {id(two): {"zipmap": False}})

deep = ExtraTreesRegressor(n_estimators=3, max_leaf_nodes=60, random_state=4).fit(diabetes.data, diabetes.target)
put("deep", deep, diabetes.data, 1, deep.estimators_)

# Any function: the test computes the same one.
reference = np.round(np.random.default_rng(5).normal(size=(9, 7)), 3)
rows = np.round(np.random.default_rng(6).normal(size=(3, 7)), 3)


def function(x):
    return np.tanh(x[:, 0] * x[:, 1] + x[:, 2]) + x[:, 3] ** 2 * x[:, 4] - np.maximum(x[:, 5], x[:, 6])


kernel = shap.KernelExplainer(function, reference)
golden["function"] = {
    "rows": listed(rows),
    "reference": listed(reference),
    "kernel": {
        "base": [float(kernel.expected_value)],
        "values": listed(kernel.shap_values(rows, nsamples=2**7, l1_reg=False)[:, :, None]),
    },
}

with open(here / "golden.json", "w") as file:
    json.dump({"made_by": f"make.py with shap {shap.__version__}", **golden}, file)
    file.write("\n")

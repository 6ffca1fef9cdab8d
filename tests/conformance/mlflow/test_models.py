"""Models: the classic quick start, autologging, and loading by every kind of address."""

import json

import mlflow
import numpy
import pandas
import pytest
import yaml
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from cases import fails, unique

X, Y = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def no_guessing(request, monkeypatch):
    """MLflow loads each saved model in a new process to see what it imports: once is enough."""
    if request.node.name != "test_the_quick_start":
        monkeypatch.setattr(mlflow.models, "infer_pip_requirements", lambda *_, fallback=None, **__: fallback)


@pytest.fixture(scope="module")
def fitted():
    return LogisticRegression(max_iter=400).fit(X, Y)


@pytest.fixture
def logged(url, fitted):
    """The quick start: an experiment, a run with figures, a registered model."""
    name = unique("iris")
    mlflow.set_experiment(unique("quick start"))
    with mlflow.start_run() as run:
        mlflow.log_params({"max_iter": 400})
        mlflow.log_metric("accuracy", fitted.score(X, Y))
        mlflow.set_tag("info", "basic")
        info = mlflow.sklearn.log_model(
            fitted, name="model", signature=infer_signature(X, fitted.predict(X)), input_example=X[:2], registered_model_name=name
        )
    return name, run.info, info


def same(model, fitted):
    return (numpy.asarray(model.predict(X[:20])) == fitted.predict(X[:20])).all()


def test_the_quick_start(logged, client, fitted):
    name, run, info = logged
    found = client.get_run(run.run_id)
    assert found.data.params == {"max_iter": "400"} and found.data.metrics["accuracy"] > 0.9
    assert [o.model_id for o in found.outputs.model_outputs] == [info.model_id]
    version = client.get_model_version(name, "1")
    assert (version.status, version.run_id) == ("READY", run.run_id)
    assert info.registered_model_version == 1 or str(info.registered_model_version) == "1"
    model = client.get_logged_model(info.model_id)
    assert (model.name, model.status.name, model.source_run_id) == ("model", "READY", run.run_id)
    assert [m.key for m in model.metrics] == ["accuracy"] and model.params == {"max_iter": "400"}
    versions = json.loads(model.tags["mlflow.modelVersions"])
    # Clients note it twice, once as a number.
    assert {(version["name"], str(version["version"])) for version in versions} == {(name, "1")}
    assert same(mlflow.pyfunc.load_model(f"models:/{name}/1"), fitted)


@pytest.mark.parametrize("kind", ["version", "latest", "alias", "stage", "model id", "run", "model uri", "artifact uri"])
def test_loaded_by_every_address(logged, client, fitted, kind):
    name, run, info = logged
    client.set_registered_model_alias(name, "champion", "1")
    client.transition_model_version_stage(name, "1", "Production")
    address = {
        "version": f"models:/{name}/1",
        "latest": f"models:/{name}/latest",
        "alias": f"models:/{name}@champion",
        "stage": f"models:/{name}/Production",
        "model id": f"models:/{info.model_id}",
        "run": f"runs:/{run.run_id}/model",
        "model uri": info.model_uri,
        "artifact uri": client.get_logged_model(info.model_id).artifact_location,
    }[kind]
    assert same(mlflow.pyfunc.load_model(address), fitted)
    assert same(mlflow.sklearn.load_model(address), fitted)


def test_what_a_model_says_of_itself(logged):
    name, run, info = logged
    read = mlflow.models.get_model_info(f"models:/{name}/1")
    assert read.run_id == run.run_id and read.model_id == info.model_id and read.signature == info.signature
    text = mlflow.artifacts.load_text(f"models:/{name}/1/MLmodel")
    assert set(yaml.safe_load(text)["flavors"]) == {"python_function", "sklearn"}
    assert "scikit-learn" in mlflow.artifacts.load_text(f"models:/{name}/1/requirements.txt")
    assert mlflow.pyfunc.get_model_dependencies(f"models:/{name}/1")


def test_files_of_a_version(logged, client, tmp_path):
    name, _, info = logged
    paths = {f.path for f in mlflow.artifacts.list_artifacts(f"models:/{name}/1")}
    assert "MLmodel" in paths and paths == {f.path for f in client.list_logged_model_artifacts(info.model_id)}
    folder = mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path))
    assert (tmp_path / "MLmodel").is_file() and folder


def test_unknown_addresses(url, client):
    for address in ("models:/nobody/1", "models:/nobody@best", "models:/nobody/Production", f"models:/m-{'0' * 32}"):
        with fails(None, ""):
            mlflow.pyfunc.load_model(address)


def test_a_new_version_moves_the_alias(logged, client, fitted):
    name, _, _ = logged
    with mlflow.start_run():
        mlflow.sklearn.log_model(fitted, name="model", registered_model_name=name)
    client.set_registered_model_alias(name, "champion", "2")
    assert mlflow.pyfunc.load_model(f"models:/{name}@champion").metadata.run_id == client.get_model_version(name, "2").run_id
    assert [v.version for v in client.search_model_versions(f"name = '{name}'")] == ["2", "1"]


def test_registered_afterwards(url, client, fitted):
    name = unique("afterwards")
    mlflow.set_experiment(unique("afterwards"))
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(fitted, name="model")
    assert mlflow.register_model(f"runs:/{run.info.run_id}/model", name).version == "1"
    assert mlflow.register_model(info.model_uri, name).version == "2"
    assert {v.run_id for v in client.search_model_versions(f"name = '{name}'")} == {run.info.run_id}
    assert same(mlflow.pyfunc.load_model(f"models:/{name}/2"), fitted)


def test_copied_and_loaded(logged, client, fitted):
    name, _, _ = logged
    other = unique("prod")
    copied = client.copy_model_version(f"models:/{name}/1", other)
    assert copied.version == "1" and same(mlflow.pyfunc.load_model(f"models:/{other}/1"), fitted)


def test_several_models_in_a_run(url, client, fitted):
    mlflow.set_experiment(unique("several"))
    with mlflow.start_run() as run:
        infos = [mlflow.sklearn.log_model(fitted, name=f"m{at}", step=at) for at in range(3)]
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    assert {(o.model_id, o.step) for o in outputs} == {(i.model_id, at) for at, i in enumerate(infos)}
    assert same(mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/m1"), fitted)


def test_a_model_of_python_code(url):
    class Twice(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [2 * value for value in model_input]

    mlflow.set_experiment(unique("python"))
    info = mlflow.pyfunc.log_model(name="twice", python_model=Twice(), pip_requirements=[])
    assert mlflow.pyfunc.load_model(info.model_uri).predict([1, 2]) == [2, 4]


def test_autolog(url, client):
    mlflow.set_experiment(unique("autolog"))
    mlflow.sklearn.autolog(log_input_examples=True)
    try:
        with mlflow.start_run() as run:
            model = LogisticRegression(max_iter=300).fit(pandas.DataFrame(X, columns=list("abcd")), Y)
            model.score(pandas.DataFrame(X, columns=list("abcd")), Y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["max_iter"] == "300" and found.data.params["solver"] == "lbfgs"
    assert {"training_accuracy_score", "training_f1_score", "training_log_loss"} <= set(found.data.metrics)
    assert found.data.tags["estimator_name"] == "LogisticRegression"
    assert found.inputs.dataset_inputs and found.outputs.model_outputs
    assert "estimator.html" in {f.path for f in client.list_artifacts(run.info.run_id)}
    assert mlflow.pyfunc.load_model(f"models:/{found.outputs.model_outputs[0].model_id}")


def test_autolog_of_a_search(url, client):
    from sklearn.model_selection import GridSearchCV

    mlflow.set_experiment(unique("grid"))
    mlflow.sklearn.autolog(max_tuning_runs=2, log_models=False)
    try:
        with mlflow.start_run() as run:
            GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(X, Y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    children = mlflow.search_runs(filter_string=f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    assert len(children) == 2 and set(children["params.C"]) <= {"0.1", "1.0", "10.0"}
    assert "best_cv_score" in client.get_run(run.info.run_id).data.metrics


def test_evaluated(url, fitted):
    mlflow.set_experiment(unique("evaluate"))
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(fitted, name="model")
        data = pandas.DataFrame(X).assign(target=Y)
        data.columns = [str(c) for c in data.columns]
        mlflow.models.evaluate(
            info.model_uri, data, targets="target", model_type="classifier", evaluators="default", evaluator_config={"log_model_explainability": False}
        )
    assert mlflow.get_run(run.info.run_id).data.metrics["accuracy_score"] > 0.9

"""Runs: life cycle, tags, parameters, batches, parents, inputs."""

import json
import time

import mlflow
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from cases import fails, unique

TAGS = {"mlflow.user": "ann", "mlflow.source.type": "LOCAL", "mlflow.source.name": "train.py", "mine": "yes"}


def test_everything_given_at_the_start_is_kept(client, experiment):
    made = client.create_run(experiment, start_time=456, tags=TAGS, run_name="first try")
    for run in (made, client.get_run(made.info.run_id), client.search_runs([experiment])[0]):
        assert run.info.experiment_id == experiment
        assert (run.info.user_id, run.info.start_time, run.info.run_name) == ("ann", 456, "first try")
        assert (run.info.status, run.info.end_time, run.info.lifecycle_stage) == ("RUNNING", None, "active")
        assert {**TAGS, "mlflow.runName": "first try"}.items() <= run.data.tags.items()
        assert run.info.artifact_uri.endswith(f"/{experiment}/{run.info.run_id}/artifacts")


def test_what_is_not_given_is_filled_in(client, experiment):
    run = client.create_run(experiment)
    assert run.info.run_name and run.data.tags["mlflow.runName"] == run.info.run_name
    assert len(run.info.run_id) == 32 and run.info.user_id == "unknown"


def test_a_name_in_a_tag_is_the_name(client, experiment):
    run = client.create_run(experiment, tags={"mlflow.runName": "tagged"})
    assert run.info.run_name == "tagged"
    with fails("INVALID_PARAMETER_VALUE", "mlflow.runName"):
        client.create_run(experiment, run_name="a", tags={"mlflow.runName": "b"})


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED", "SCHEDULED", "RUNNING"])
def test_statuses(client, run, status):
    client.set_terminated(run, status, end_time=5_000)
    info = client.get_run(run).info
    assert (info.status, info.end_time) == (status, 5_000)


def test_a_run_ends_now_unless_told_otherwise(client, run):
    before = int(time.time() * 1000) - 1
    client.set_terminated(run)
    info = client.get_run(run).info
    assert info.status == "FINISHED" and before <= info.end_time <= time.time() * 1000 + 1


def test_a_new_name_leaves_the_status(client, run):
    client.set_terminated(run, "FINISHED")
    client.update_run(run, name="new name")
    found = client.get_run(run)
    assert (found.info.run_name, found.info.status) == ("new name", "FINISHED")
    assert found.data.tags["mlflow.runName"] == "new name"
    client.update_run(run, status="FAILED")
    assert client.get_run(run).info.status == "FAILED"
    client.set_tag(run, "mlflow.runName", "by tag")
    assert client.get_run(run).info.run_name == "by tag"


def test_deleted_and_restored(client, experiment, run):
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    assert client.search_runs([experiment]) == []
    assert [r.info.run_id for r in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)] == [run]
    for change in (
        lambda: client.log_metric(run, "m", 1),
        lambda: client.log_param(run, "p", 1),
        lambda: client.set_tag(run, "t", 1),
        lambda: client.delete_tag(run, "t"),
        lambda: client.log_batch(run, metrics=[Metric("m", 1, 1, 1)]),
        lambda: client.set_terminated(run),
    ):
        with fails("INVALID_PARAMETER_VALUE", "must be in the 'active' state"):
            change()
    client.restore_run(run)
    assert client.get_run(run).info.lifecycle_stage == "active"
    client.log_metric(run, "m", 1)


def test_unknown_runs(client):
    gone = "0" * 32
    for use in (
        lambda: client.get_run(gone),
        lambda: client.log_metric(gone, "m", 1),
        lambda: client.log_param(gone, "p", 1),
        lambda: client.set_tag(gone, "t", 1),
        lambda: client.delete_tag(gone, "t"),
        lambda: client.log_batch(gone, tags=[RunTag("t", "1")]),
        lambda: client.set_terminated(gone),
        lambda: client.delete_run(gone),
        lambda: client.restore_run(gone),
        lambda: client.list_artifacts(gone),
    ):
        with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
            use()


def test_a_parameter_is_written_once(client, run):
    client.log_param(run, "rate", 0.1)
    client.log_param(run, "rate", 0.1)
    with fails("INVALID_PARAMETER_VALUE", "Changing param values is not allowed"):
        client.log_param(run, "rate", 0.2)
    assert client.get_run(run).data.params == {"rate": "0.1"}


@pytest.mark.parametrize("value", ["", "ü ☃", "a\nb", "v" * 6000, "None", "{}"])
def test_values_of_parameters(client, run, value):
    client.log_param(run, "p", value)
    assert client.get_run(run).data.params == {"p": value}


@pytest.mark.parametrize("key", ["plain", "with space", "a/b", "a.b-c_d", "a:b", "k" * 250])
def test_keys(client, run, key):
    client.log_param(run, key, "1")
    client.log_metric(run, key, 1)
    client.set_tag(run, key, "1")
    data = client.get_run(run).data
    assert (data.params[key], data.metrics[key], data.tags[key]) == ("1", 1.0, "1")


@pytest.mark.parametrize("key", ["", ".", "..", "/a", "a/", "a//b", "a/../b", "a;b", "a%b", "k" * 251])
@pytest.mark.parametrize("kind", ["metric", "param", "tag"])
def test_keys_that_are_none(send, run, key, kind):
    bodies = {
        "metric": ("runs/log-metric", {"value": 1, "timestamp": 1}),
        "param": ("runs/log-parameter", {"value": "1"}),
        "tag": ("runs/set-tag", {"value": "1"}),
    }
    path, body = bodies[kind]
    status, answer = send("POST", path, {"run_id": run, "key": key, **body})
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer


def test_tags_are_replaced_and_deleted(client, run):
    client.set_tag(run, "stage", "one")
    client.set_tag(run, "stage", "two")
    client.set_tag(run, "empty", "")
    assert {"stage": "two", "empty": ""}.items() <= client.get_run(run).data.tags.items()
    client.delete_tag(run, "stage")
    assert "stage" not in client.get_run(run).data.tags
    with fails("RESOURCE_DOES_NOT_EXIST", "No tag with name: stage"):
        client.delete_tag(run, "stage")


def test_a_batch_brings_all(client, run):
    client.log_batch(
        run,
        metrics=[Metric("loss", 0.5, 10, 1), Metric("loss", 0.25, 11, 2), Metric("acc", 1, 11, 2)],
        params=[Param("p", "1"), Param("empty", "")],
        tags=[RunTag("t", "v"), RunTag("none", "")],
    )
    data = client.get_run(run).data
    assert data.metrics == {"loss": 0.25, "acc": 1.0}
    assert data.params == {"p": "1", "empty": ""}
    assert {"t": "v", "none": ""}.items() <= data.tags.items()


def test_an_empty_batch_is_a_batch(client, run):
    client.log_batch(run)
    assert client.get_run(run).data.metrics == {}


@pytest.mark.parametrize(
    ("kind", "count", "least"),
    [("metrics", 1001, "1000"), ("params", 101, "100"), ("tags", 101, "100")],
)
def test_too_many_of_a_kind(send, run, kind, count, least):
    entries = {
        "metrics": lambda i: {"key": f"m{i}", "value": 1, "timestamp": 1, "step": 0},
        "params": lambda i: {"key": f"p{i}", "value": "1"},
        "tags": lambda i: {"key": f"t{i}", "value": "1"},
    }
    body = {"run_id": run, kind: [entries[kind](i) for i in range(count)]}
    status, answer = send("POST", "runs/log-batch", body)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert least in answer["message"] and str(count) in answer["message"], answer


def test_too_many_in_all(send, run):
    metrics = [{"key": f"m{i}", "value": 1, "timestamp": 1, "step": 0} for i in range(950)]
    params = [{"key": f"p{i}", "value": "1"} for i in range(90)]
    status, answer = send("POST", "runs/log-batch", {"run_id": run, "metrics": metrics, "params": params})
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer


def test_a_bad_batch_leaves_nothing(client, run):
    client.log_param(run, "p", "1")
    with pytest.raises(MlflowException):
        client.log_batch(run, metrics=[Metric("m", 1, 1, 1)], params=[Param("q", "1"), Param("p", "2")], tags=[RunTag("t", "1")])
    data = client.get_run(run).data
    assert data.params == {"p": "1"} and data.metrics == {} and "t" not in data.tags


def test_a_parameter_twice_in_a_batch(client, run):
    for second in ("1", "2"):
        with fails("INVALID_PARAMETER_VALUE", "Duplicate parameter keys have been submitted: ['p']"):
            client.log_batch(run, params=[Param("p", "1"), Param("p", second)])
    assert client.get_run(run).data.params == {}


def test_nested_runs(url):
    mlflow.set_experiment(unique("nested"))
    with mlflow.start_run(run_name="parent") as parent:
        with mlflow.start_run(run_name="child", nested=True) as child:
            with mlflow.start_run(run_name="grandchild", nested=True) as grandchild:
                mlflow.log_metric("m", 1)
    client = mlflow.MlflowClient()
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert client.get_parent_run(grandchild.info.run_id).info.run_id == child.info.run_id
    assert client.get_parent_run(parent.info.run_id) is None
    found = mlflow.search_runs(filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'", output_format="list")
    assert [r.info.run_id for r in found] == [child.info.run_id]


def test_a_run_is_taken_up_again(url):
    mlflow.set_experiment(unique("again"))
    with mlflow.start_run(description="what it is", tags={"a": "b"}) as first:
        mlflow.log_metric("m", 1, step=1)
    assert mlflow.get_run(first.info.run_id).info.status == "FINISHED"
    with mlflow.start_run(run_id=first.info.run_id) as second:
        mlflow.log_metric("m", 2, step=2)
        assert mlflow.get_run(second.info.run_id).info.status == "RUNNING"
    found = mlflow.get_run(first.info.run_id)
    assert found.info.status == "FINISHED" and found.data.metrics == {"m": 2.0}
    assert found.data.tags["mlflow.note.content"] == "what it is" and found.data.tags["a"] == "b"
    assert mlflow.last_active_run().info.run_id == first.info.run_id


def test_a_run_that_raises_failed(url):
    mlflow.set_experiment(unique("raises"))
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        1 / 0
    assert mlflow.get_run(run.info.run_id).info.status == "FAILED"


def test_the_fluent_functions(url):
    mlflow.set_experiment(unique("fluent"))
    with mlflow.start_run() as run:
        mlflow.log_param("one", 1)
        mlflow.log_params({"two": 2, "three": [3]})
        mlflow.log_metrics({"a": 1, "b": 2.5}, step=3)
        mlflow.set_tags({"x": "y", "z": 1})
        mlflow.delete_tag("x")
        assert mlflow.get_artifact_uri("a/b").endswith("/artifacts/a/b")
    data = mlflow.get_run(run.info.run_id).data
    assert data.params == {"one": "1", "two": "2", "three": "[3]"}
    assert data.metrics == {"a": 1.0, "b": 2.5} and data.tags["z"] == "1" and "x" not in data.tags


def test_logged_without_waiting(url):
    mlflow.set_experiment(unique("async"))
    with mlflow.start_run() as run:
        later = [mlflow.log_metric("m", i, step=i, synchronous=False) for i in range(50)]
        later += [mlflow.log_param("p", 1, synchronous=False), mlflow.set_tag("t", 2, synchronous=False)]
        later += [mlflow.log_metrics({"n": 1, "o": 2}, synchronous=False)]
        for one in later:
            one.wait()
    client = mlflow.MlflowClient()
    found = client.get_run(run.info.run_id).data
    assert found.metrics == {"m": 49.0, "n": 1.0, "o": 2.0} and found.params == {"p": "1"} and found.tags["t"] == "2"
    assert len(client.get_metric_history(run.info.run_id, "m")) == 50


def test_system_metrics(url):
    mlflow.set_experiment(unique("system"))
    mlflow.set_system_metrics_sampling_interval(0.05)
    mlflow.set_system_metrics_samples_before_logging(1)
    with mlflow.start_run(log_system_metrics=True) as run:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not mlflow.get_run(run.info.run_id).data.metrics:
            time.sleep(0.02)
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    assert "system/cpu_utilization_percentage" in metrics, metrics


def dataset(name, digest="d1", **more):
    return Dataset(name=name, digest=digest, source_type="local", source='{"uri": "a.csv"}', **more)


def test_inputs(client, run):
    one = DatasetInput(dataset("one", schema='{"a": 1}', profile='{"rows": 2}'), [InputTag("mlflow.data.context", "train")])
    client.log_inputs(run, [one, DatasetInput(dataset("two"), [])])
    client.log_inputs(run, [one])
    found = {i.dataset.name: i for i in client.get_run(run).inputs.dataset_inputs}
    assert set(found) == {"one", "two"}
    assert (found["one"].dataset.digest, found["one"].dataset.schema, found["one"].dataset.profile) == ("d1", '{"a": 1}', '{"rows": 2}')
    assert [(t.key, t.value) for t in found["one"].tags] == [("mlflow.data.context", "train")]


def test_a_pandas_dataset(url):
    import pandas

    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]})
    mlflow.set_experiment(unique("pandas"))
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_pandas(frame, source="a.csv", name="frame", targets="b"), "training", {"k": "v"})
    [found] = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert found.dataset.name == "frame" and len(found.dataset.digest) == 8
    assert json.loads(found.dataset.profile)["num_rows"] == 2
    assert {t.key: t.value for t in found.tags} == {"k": "v", "mlflow.data.context": "training"}
    assert mlflow.search_runs(filter_string="dataset.name = 'frame'")["run_id"].tolist() == [run.info.run_id]


def test_datasets_of_experiments(client, experiment, run, send):
    client.log_inputs(run, [DatasetInput(dataset("one"), [InputTag("mlflow.data.context", "train")]), DatasetInput(dataset("two"), [])])
    status, answer = send("POST", "experiments/search-datasets", {"experiment_ids": [experiment]}, api="ajax-api/2.0/mlflow")
    assert status == 200
    found = {d["name"]: d for d in answer["dataset_summaries"]}
    assert found["one"] == {"experiment_id": experiment, "name": "one", "digest": "d1", "context": "train"}
    assert set(found) == {"one", "two"}


def test_old_names_of_the_run_id(client, send, run):
    assert send("POST", "runs/set-tag", {"run_uuid": run, "key": "k", "value": "v"})[0] == 200
    assert send("GET", "runs/get", {"run_uuid": run})[1]["run"]["info"]["run_id"] == run
    assert client.get_run(run).data.tags["k"] == "v"


def test_the_models_of_a_run_in_its_tag(send, client, run):
    model = {"artifact_path": "m", "flavors": {"f": {}}, "utc_time_created": "2026-01-01 00:00:00", "run_id": run}
    for path in ("m", "n"):
        assert send("POST", "runs/log-model", {"run_id": run, "model_json": json.dumps({**model, "artifact_path": path})})[0] == 200
    history = json.loads(client.get_run(run).data.tags["mlflow.log-model.history"])
    assert [entry["artifact_path"] for entry in history] == ["m", "n"]
    status, answer = send("POST", "runs/log-model", {"run_id": run, "model_json": "no json"})
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE") and "Malformed model info" in answer["message"]
    status, answer = send("POST", "runs/log-model", {"run_id": run, "model_json": "{}"})
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")

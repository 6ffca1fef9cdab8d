"""Logged models: made, finished, tagged, searched, deleted."""

import mlflow
import pytest
from mlflow.entities import LoggedModelInput, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException

from cases import fails, unique


def test_everything_given_is_kept(client, experiment, run):
    made = client.create_logged_model(experiment, name="mine", source_run_id=run, tags={"a": "b"}, params={"p": "1"}, model_type="LLM")
    for model in (made, client.get_logged_model(made.model_id)):
        assert model.model_id.startswith("m-") and (model.name, model.experiment_id, model.source_run_id) == ("mine", experiment, run)
        assert (model.model_type, model.tags, model.params) == ("LLM", {"a": "b"}, {"p": "1"})
        assert model.status == LoggedModelStatus.PENDING
        assert model.artifact_location.endswith(f"/{experiment}/models/{model.model_id}/artifacts")
        assert 0 < model.creation_timestamp <= model.last_updated_timestamp


def test_a_name_is_made_up(client, experiment):
    assert client.create_logged_model(experiment).name


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_names_that_are_none(client, experiment, name):
    with fails("INVALID_PARAMETER_VALUE", "nvalid"):
        client.create_logged_model(experiment, name=name)


def test_an_unknown_experiment(client):
    with fails("RESOURCE_DOES_NOT_EXIST", "987654321"):
        client.create_logged_model("987654321")


@pytest.mark.parametrize("status", [LoggedModelStatus.READY, LoggedModelStatus.FAILED])
def test_finished(client, experiment, status):
    model = client.create_logged_model(experiment)
    assert client.finalize_logged_model(model.model_id, status).status == status
    assert client.get_logged_model(model.model_id).status == status


def test_tags(client, experiment):
    model = client.create_logged_model(experiment).model_id
    client.set_logged_model_tags(model, {"a": "1", "b": "2"})
    client.set_logged_model_tags(model, {"a": "3"})
    assert client.get_logged_model(model).tags == {"a": "3", "b": "2"}
    client.delete_logged_model_tag(model, "a")
    assert client.get_logged_model(model).tags == {"b": "2"}
    with fails("RESOURCE_DOES_NOT_EXIST", "No tag with key 'a'"):
        client.delete_logged_model_tag(model, "a")


def test_parameters(client, experiment):
    model = client.create_logged_model(experiment).model_id
    client.log_model_params(model, {"a": "1", "b": "x" * 500})
    assert client.get_logged_model(model).params == {"a": "1", "b": "x" * 500}


def test_deleted(client, experiment):
    model = client.create_logged_model(experiment).model_id
    client.delete_logged_model(model)
    with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
        client.get_logged_model(model)
    assert client.search_logged_models([experiment]) == []


def test_unknown_models(client):
    for use in (
        lambda: client.get_logged_model("m-0"),
        lambda: client.log_model_params("m-0", {"a": "b"}),
        lambda: client.delete_logged_model("m-0"),
    ):
        with pytest.raises(MlflowException, match="not found|may have been deleted"):
            use()


def test_inputs_and_outputs_of_runs(client, experiment, run):
    one, two = (client.create_logged_model(experiment).model_id for _ in range(2))
    client.log_outputs(run, [LoggedModelOutput(one, 1), LoggedModelOutput(two, 2)])
    client.log_inputs(run, models=[LoggedModelInput(one)])
    found = client.get_run(run)
    assert {(o.model_id, o.step) for o in found.outputs.model_outputs} == {(one, 1), (two, 2)}
    assert [i.model_id for i in found.inputs.model_inputs] == [one]


@pytest.fixture
def three(client, experiment):
    """Models a, b and c with parameters, tags and metrics of their own, made one after the other."""
    made = {}
    for at, name in enumerate("abc"):
        model = client.create_logged_model(experiment, name=name, tags={"t": name}, params={"p": str(at)}, model_type="x" if at else "y")
        made[name] = model.model_id
        run = client.create_run(experiment).info.run_id
        client.log_metric(run, "acc", at / 2, model_id=model.model_id, dataset_name=f"d{at}", dataset_digest=str(at))
        client.log_metric(run, "plain", -at, model_id=model.model_id)
        if at:
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return made


@pytest.mark.parametrize(
    ("filter", "datasets", "expected"),
    [
        (None, None, "abc"),
        ("name = 'a'", None, "a"),
        ("attributes.name != 'a'", None, "bc"),
        ("name LIKE '_'", None, "abc"),
        ("name ILIKE 'A'", None, "a"),
        ("tags.t = 'b'", None, "b"),
        ("params.p = '2'", None, "c"),
        ("model_type = 'x'", None, "bc"),
        ("creation_timestamp > 0", None, "abc"),
        ("metrics.acc >= 0.5", None, "bc"),
        ("metrics.plain < 0 AND tags.t != 'b'", None, "c"),
        ("name IN ('a', 'c')", None, "ac"),
        (None, [{"dataset_name": "d1"}], "b"),
        (None, [{"dataset_name": "d2", "dataset_digest": "2"}, {"dataset_name": "d0"}], "ac"),
        ("metrics.acc > 0.1", [{"dataset_name": "d1", "dataset_digest": "1"}], "b"),
        ("metrics.acc > 0.9", [{"dataset_name": "d1"}], ""),
    ],
)
def test_filters(client, experiment, three, filter, datasets, expected):
    names = {model: name for name, model in three.items()}
    found = client.search_logged_models([experiment], filter, datasets=datasets)
    assert sorted(names[m.model_id] for m in found) == list(expected)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, "cba"),
        ([{"field_name": "name"}], "abc"),
        ([{"field_name": "name", "ascending": False}], "cba"),
        ([{"field_name": "creation_timestamp", "ascending": True}], "abc"),
        ([{"field_name": "metrics.acc", "ascending": False}], "cba"),
        ([{"field_name": "metrics.plain"}], "cba"),
        ([{"field_name": "metrics.acc", "dataset_name": "d1", "dataset_digest": "1"}, {"field_name": "name"}], "bac"),
    ],
)
def test_orders(client, experiment, three, order, expected):
    names = {model: name for name, model in three.items()}
    assert "".join(names[m.model_id] for m in client.search_logged_models([experiment], order_by=order)) == expected


def test_pages(client, experiment, three):
    first = client.search_logged_models([experiment], max_results=2)
    second = client.search_logged_models([experiment], max_results=2, page_token=first.token)
    assert [m.name for m in [*first, *second]] == ["c", "b", "a"] and not second.token


@pytest.mark.parametrize("bad", ["name", "nothing = 'x'", "name > 'a'", "name = 'a' OR name = 'b'"])
def test_filters_that_are_none(client, experiment, bad):
    with pytest.raises(MlflowException) as caught:
        client.search_logged_models([experiment], bad)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_fluent_functions(url):
    experiment = mlflow.set_experiment(unique("fluent")).experiment_id
    made = mlflow.initialize_logged_model(name="one", params={"a": "1"}, tags={"b": "2"})
    mlflow.finalize_logged_model(made.model_id, "READY")
    mlflow.set_logged_model_tags(made.model_id, {"c": "3"})
    external = mlflow.create_external_model(name="outside", model_type="api")
    frame = mlflow.search_logged_models(experiment_ids=[experiment])
    assert set(frame["name"]) == {"one", "outside"}
    assert mlflow.get_logged_model(made.model_id).tags.items() >= {"b": "2", "c": "3"}.items()
    assert mlflow.get_logged_model(external.model_id).status == LoggedModelStatus.READY
    with mlflow.start_run():
        mlflow.log_metric("m", 1, model_id=made.model_id)
    assert mlflow.last_logged_model().model_id in {made.model_id, external.model_id}


def test_files_of_a_model(client, url, experiment, tmp_path):
    import requests

    model = client.create_logged_model(experiment).model_id
    (tmp_path / "f.txt").write_text("text")
    client.log_model_artifact(model, str(tmp_path / "f.txt"))
    assert [f.path for f in client.list_logged_model_artifacts(model)] == ["f.txt"]
    root = f"{url}/ajax-api/2.0/mlflow/logged-models/{model}/artifacts"
    assert [f["path"] for f in requests.get(f"{root}/directories", timeout=30).json()["files"]] == ["f.txt"]
    assert requests.get(f"{root}/files", params={"artifact_file_path": "f.txt"}, timeout=30).text == "text"
    assert requests.get(f"{root}/files", params={"artifact_file_path": "../x"}, timeout=30).status_code == 400

"""Data sets for evaluation: made, filled, searched, tied to experiments."""

import mlflow
import pytest
from mlflow.genai.datasets import create_dataset, get_dataset

from cases import fails, unique


@pytest.fixture
def made(client, experiment):
    return client.create_dataset(unique("set"), experiment, {"env": "test"})


def test_everything_given_is_kept(client, experiment, made):
    found = client.get_dataset(made.dataset_id)
    assert (found.name, found.experiment_ids, found.dataset_id) == (made.name, [experiment], made.dataset_id)
    assert found.tags["env"] == "test" and found.created_time > 0


def test_tags(client, made):
    client.set_dataset_tags(made.dataset_id, {"env": "prod", "new": "1"})
    client.delete_dataset_tag(made.dataset_id, "new")
    tags = client.get_dataset(made.dataset_id).tags
    assert tags["env"] == "prod" and "new" not in tags


def test_deleted(client, made):
    client.delete_dataset(made.dataset_id)
    with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
        client.get_dataset(made.dataset_id)


def test_experiments(client, experiment, made):
    others = [client.create_experiment(unique("other")) for _ in range(3)]
    assert set(client.add_dataset_to_experiments(made.dataset_id, others).experiment_ids) == {experiment, *others}
    assert set(client.add_dataset_to_experiments(made.dataset_id, others[:1]).experiment_ids) == {experiment, *others}
    assert set(client.remove_dataset_from_experiments(made.dataset_id, others[:2]).experiment_ids) == {experiment, others[2]}
    assert set(client.remove_dataset_from_experiments(made.dataset_id, others[:1]).experiment_ids) == {experiment, others[2]}
    for use in (client.add_dataset_to_experiments, client.remove_dataset_from_experiments):
        with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
            use("d-" + "0" * 32, [experiment])


def test_searched(client, experiment):
    other = client.create_experiment(unique("other"))
    stem = unique("s")
    for part, places, team in (("a", [experiment], "ml"), ("b", [experiment, other], "data"), ("c", [other], "ml")):
        client.create_dataset(f"{stem}{part}", places, {"team": team})

    def names(**query):
        return [d.name.removeprefix(stem) for d in client.search_datasets(**query) if d.name.startswith(stem)]

    assert sorted(names()) == ["a", "b", "c"]
    assert sorted(names(experiment_ids=[experiment])) == ["a", "b"]
    assert sorted(names(filter_string="tags.team = 'ml'")) == ["a", "c"]
    assert names(filter_string=f"name LIKE '{stem}%'", order_by=["name DESC"]) == ["c", "b", "a"]


def test_records(url, experiment):
    made = create_dataset(name=unique("records"), experiment_id=[experiment])
    rows = [{"inputs": {"q": str(at)}, "expectations": {"a": at}, "tags": {"n": str(at)}} for at in range(5)]
    made.merge_records(rows)
    made.merge_records([{"inputs": {"q": "0"}, "expectations": {"a": 100}}, {"inputs": {"q": "new"}}])
    frame = get_dataset(dataset_id=made.dataset_id).to_df()
    assert len(frame) == 6
    values = {inputs["q"]: expectations for inputs, expectations in zip(frame["inputs"], frame["expectations"])}
    assert values["0"] == {"a": 100} and values["4"] == {"a": 4}


def test_counts_of_records(made, send):
    import json

    def put(records):
        return send("POST", f"datasets/{made.dataset_id}/records", {"records": json.dumps(records)}, api="api/3.0/mlflow")

    status, answer = put([{"inputs": {"q": "1"}}, {"inputs": {"q": "2"}}])
    assert (status, answer.get("inserted_count", 0), answer.get("updated_count", 0)) == (200, 2, 0)
    status, answer = put([{"inputs": {"q": "2"}, "expectations": {"a": 1}}, {"inputs": {"q": "3"}}])
    assert (status, answer.get("inserted_count", 0), answer.get("updated_count", 0)) == (200, 1, 1)


def test_records_of_traces(url, client):
    mlflow.set_experiment(unique("from traces"))
    with mlflow.start_span("s") as span:
        span.set_inputs({"q": "why"})
        span.set_outputs("because")
    made = create_dataset(name=unique("traced"), experiment_id=[client.get_trace(span.trace_id).info.experiment_id])
    made.merge_records([client.get_trace(span.trace_id)])
    assert made.to_df()["inputs"].tolist() == [{"q": "why"}]

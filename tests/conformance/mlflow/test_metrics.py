"""Metrics: values, the latest one, histories plain, in bulk and sampled."""

import math

import pytest
from mlflow.entities import Metric

BULK = "metrics/get-history-bulk"
INTERVAL = "metrics/get-history-bulk-interval"
AJAX = "ajax-api/2.0/mlflow"


@pytest.mark.parametrize("value", [0, -0.0, 1, -1.5, 1e-300, 1e300, 123.456, 2**53, 5e-324, 0.1 + 0.2])
def test_values(client, run, value):
    client.log_metric(run, "m", value, timestamp=1, step=1)
    assert client.get_run(run).data.metrics["m"] == value
    assert client.get_metric_history(run, "m")[0].value == value


def test_values_that_are_no_numbers(client, run):
    client.log_metric(run, "nan", math.nan)
    client.log_metric(run, "inf", math.inf)
    client.log_metric(run, "-inf", -math.inf)
    metrics = client.get_run(run).data.metrics
    assert math.isnan(metrics["nan"])
    assert metrics["inf"] >= 1.7976931348623157e308 and metrics["-inf"] <= -1.7976931348623157e308


@pytest.mark.parametrize(
    ("points", "latest"),
    [
        ([(1, 10, 1), (2, 10, 2)], 2),
        ([(2, 10, 2), (1, 11, 1)], 2),
        ([(1, 10, 1), (2, 11, 1)], 2),
        ([(2, 11, 1), (1, 10, 1)], 2),
        ([(1, 10, 1), (2, 10, 1)], 2),
        ([(2, 10, 1), (1, 10, 1)], 2),
        ([(1, 10, -5), (2, 10, -7)], 1),
    ],
)
@pytest.mark.parametrize("how", ["one by one", "batch"])
def test_the_latest_is_of_the_last_step_then_time_then_the_greatest(client, run, points, latest, how):
    if how == "batch":
        client.log_batch(run, metrics=[Metric("m", *p) for p in points])
    else:
        for value, timestamp, step in points:
            client.log_metric(run, "m", value, timestamp, step)
    assert client.get_run(run).data.metrics == {"m": latest}
    assert client.search_runs([client.get_run(run).info.experiment_id])[0].data.metrics == {"m": latest}


def test_a_history_holds_every_point(client, run):
    client.log_metric(run, "m", 123.5, timestamp=789, step=2)
    client.log_metric(run, "m", 1, timestamp=790)
    client.log_metric(run, "m", 1, timestamp=790)
    points = [(p.key, p.value, p.timestamp, p.step) for p in client.get_metric_history(run, "m")]
    assert sorted(points) == [("m", 1.0, 790, 0), ("m", 123.5, 789, 2)]
    assert client.get_metric_history(run, "never logged") == []
    assert client.get_metric_history("0" * 32, "m") == []


def test_pages_of_a_history(client, run, send):
    client.log_batch(run, metrics=[Metric("m", i, i, i) for i in range(1000)])
    assert [p.value for p in client.get_metric_history(run, "m")] == list(range(1000))
    seen, token = [], None
    while True:
        body = {"run_id": run, "metric_key": "m", "max_results": 300, **({"page_token": token} if token else {})}
        status, answer = send("GET", "metrics/get-history", body)
        assert status == 200 and len(answer["metrics"]) <= 300
        seen += [m["value"] for m in answer["metrics"]]
        token = answer.get("next_page_token")
        if not token:
            break
    assert seen == list(range(1000))


@pytest.fixture
def two(client, experiment):
    """Two runs of ten and of twenty steps."""
    runs = [client.create_run(experiment).info.run_id for _ in range(2)]
    for run, count in zip(runs, (10, 20)):
        client.log_batch(run, metrics=[Metric("m", 10 + i, 1, i) for i in range(count)])
    return runs


def test_bulk(send, two):
    status, answer = send("GET", BULK, {"run_id": two, "metric_key": "m"}, api=AJAX)
    assert status == 200 and len(answer["metrics"]) == 30
    assert answer["metrics"][0].keys() == {"key", "value", "timestamp", "step", "run_id"}
    for run, count in zip(two, (10, 20)):
        assert [m["step"] for m in answer["metrics"] if m["run_id"] == run] == list(range(count))
    assert [m["run_id"] for m in answer["metrics"]] == sorted(m["run_id"] for m in answer["metrics"])
    assert len(send("GET", BULK, {"run_id": two, "metric_key": "m", "max_results": 4}, api=AJAX)[1]["metrics"]) == 4


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ({"metric_key": "m"}, "GetMetricHistoryBulk request must specify at least one run_id"),
        ({"run_id": ["r"]}, "GetMetricHistoryBulk request must specify a metric_key"),
        ({"run_id": [f"r{i}" for i in range(1000)], "metric_key": "m"}, "cannot specify more than"),
    ],
)
def test_bulk_requests_that_are_none(send, query, part):
    status, answer = send("GET", BULK, query, api=AJAX)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE") and part in answer["message"]


@pytest.mark.parametrize(
    ("which", "query", "expected"),
    [
        ([0], {"max_results": 5}, [[0, 2, 4, 6, 9]]),
        ([0], {"max_results": 100}, [list(range(10))]),
        ([0], {"start_step": 0, "end_step": 4, "max_results": 5}, [[0, 1, 2, 3, 4]]),
        ([1], {"start_step": 3, "end_step": 12, "max_results": 2}, [[3, 12]]),
        ([0, 1], {"max_results": 5}, [[0, 2, 4, 6, 9], [0, 4, 8, 12, 19]]),
    ],
)
def test_intervals(send, two, which, query, expected):
    runs = [two[i] for i in which]
    status, answer = send("GET", INTERVAL, {"run_ids": runs, "metric_key": "m", **query}, api=AJAX)
    assert status == 200
    for run, steps in zip(runs, expected):
        assert [m["step"] for m in answer["metrics"] if m["run_id"] == run] == steps


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ({"metric_key": "k"}, "run_ids"),
        ({"run_ids": [f"r{i}" for i in range(101)], "metric_key": "k"}, "at most 100 run_ids"),
        ({"run_ids": ["1"], "metric_key": "k", "max_results": 0}, "max_results must be between 1 and 2500"),
        ({"run_ids": ["1"], "metric_key": ""}, "metric_key"),
        ({"run_ids": ["1"], "metric_key": "k", "start_step": 1, "end_step": 0}, "end_step must be greater than start_step"),
        ({"run_ids": ["1"], "metric_key": "k", "start_step": 1}, "both must be specified"),
    ],
)
def test_intervals_that_are_none(send, query, part):
    status, answer = send("GET", INTERVAL, query, api=AJAX)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert part in answer["message"], answer


def test_a_metric_of_a_model_and_a_data_set(client, experiment, run):
    model = client.create_logged_model(experiment, source_run_id=run)
    client.log_metric(run, "acc", 0.9, step=1, model_id=model.model_id, dataset_name="d", dataset_digest="1")
    [metric] = client.get_logged_model(model.model_id).metrics
    assert (metric.key, metric.value, metric.dataset_name, metric.dataset_digest) == ("acc", 0.9, "d", "1")
    [point] = client.get_metric_history(run, "acc")
    assert point.value == 0.9
    assert client.get_run(run).data.metrics == {"acc": 0.9}

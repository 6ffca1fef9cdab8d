"""The search of runs: filters, orders, pages, views."""

import time

import mlflow
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from cases import fails, unique


@pytest.fixture
def four(client, experiment):
    """Runs a, b, c and d with metrics, parameters, tags and data sets of their own; d is deleted."""
    made = {}
    for at, name in enumerate("abcd"):
        run = client.create_run(experiment, start_time=1_000 + at, run_name=f"run {name}").info.run_id
        client.log_batch(
            run,
            metrics=[Metric("loss", at / 2, 1, 0), Metric("top 5", at, 1, 0)] + ([Metric("only b", 1, 1, 0)] if name == "b" else []),
            params=[Param("opt", "Adam" if at % 2 else "adam"), Param("layer/units", str(at * 10))],
            tags=[RunTag("who", name), RunTag("team.name", "Red" if at < 2 else "blue")],
        )
        client.log_inputs(run, [DatasetInput(Dataset(f"set {name}", f"d{at}", "local", "{}"), [InputTag("mlflow.data.context", "train" if at else "test")])])
        made[name] = run
    client.set_terminated(made["a"], "FINISHED", end_time=9_000)
    client.set_terminated(made["b"], "FAILED", end_time=8_000)
    client.delete_run(made["d"])
    return made


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("", "abc"),
        ("metrics.loss = 0.5", "b"),
        ("metrics.loss != 0.5", "ac"),
        ("metrics.loss > 0", "bc"),
        ("metrics.loss >= 0.5", "bc"),
        ("metrics.loss < 1", "ab"),
        ("metrics.loss <= 1", "abc"),
        ("metric.loss < -1", ""),
        ("metrics.`top 5` >= 1", "bc"),
        ('metrics."top 5" >= 1', "bc"),
        ("metrics.`only b` > 0", "b"),
        ("metrics.nothing > 0", ""),
        ("params.opt = 'adam'", "ac"),
        ("params.opt = \"Adam\"", "b"),
        ("params.opt != 'adam'", "b"),
        ("params.opt LIKE 'A%'", "b"),
        ("params.opt ILIKE 'A%'", "abc"),
        ("param.`layer/units` = '10'", "b"),
        ("parameters.opt = 'Adam'", "b"),
        ("tags.who = 'a'", "a"),
        ("tags.who != 'a'", "bc"),
        ("tag.team.name = 'Red'", "ab"),
        ("tags.`team.name` ILIKE 'r%'", "ab"),
        ("tags.who = 'a' AND params.opt = 'adam'", "a"),
        ("tags.who = 'a' and metrics.loss > 0", ""),
        ("attributes.status = 'FINISHED'", "a"),
        ("attribute.status != 'RUNNING'", "ab"),
        ("status = 'FAILED'", "b"),
        ("attributes.run_name = 'run b'", "b"),
        ("attributes.`run name` LIKE '%c'", "c"),
        ("run_name ILIKE 'RUN %'", "abc"),
        ("attributes.start_time > 1000", "bc"),
        ("start_time <= 1000", "a"),
        ("attributes.end_time >= 8500", "a"),
        ("attributes.artifact_uri LIKE '%artifacts'", "abc"),
        ("datasets.name = 'set b'", "b"),
        ("dataset.digest LIKE 'd%'", "abc"),
        ("datasets.digest IN ('d0', 'd2')", "ac"),
        ("datasets.context = 'test'", "a"),
        ("datasets.name = 'set a' AND datasets.context = 'train'", ""),
        ("tags.`mlflow.runName` = 'run c'", "c"),
        ("tags.nothing IS NULL", "abc"),
        ("params.opt IS NOT NULL", "abc"),
        ("params.nothing IS NOT NULL", ""),
    ],
)
def test_filters(client, experiment, four, filter, expected):
    names = {run: name for name, run in four.items()}
    found = client.search_runs([experiment], filter)
    assert sorted(names[r.info.run_id] for r in found) == list(expected)


def test_filters_by_id(client, experiment, four):
    a, b = four["a"], four["b"]
    assert [r.info.run_id for r in client.search_runs([experiment], f"attributes.run_id = '{a}'")] == [a]
    assert {r.info.run_id for r in client.search_runs([experiment], f"run_id IN ('{a}', '{b}')")} == {a, b}
    assert a not in {r.info.run_id for r in client.search_runs([experiment], f"run_id NOT IN ('{a}')")}
    assert {r.info.run_id for r in client.search_runs([experiment], f"attributes.run_id != '{a}'")} == {b, four["c"]}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, "cba"),
        (["metrics.loss"], "abc"),
        (["metrics.loss DESC"], "cba"),
        (["metrics.`top 5` ASC"], "abc"),
        (["metrics.`only b` DESC", "metrics.loss DESC"], "bca"),
        (["params.opt DESC", "tags.who DESC"], "cab"),
        (["tags.who asc"], "abc"),
        (["attributes.start_time ASC"], "abc"),
        (["start_time DESC"], "cba"),
        (["attributes.end_time DESC"], "abc"),
        (["attribute.status", "tags.who"], "bac"),
        (["attributes.run_name DESC"], "cba"),
        (["params.nothing", "tags.who DESC"], "cba"),
    ],
)
def test_orders(client, experiment, four, order, expected):
    names = {run: name for name, run in four.items()}
    assert "".join(names[r.info.run_id] for r in client.search_runs([experiment], order_by=order)) == expected


def test_equal_runs_come_by_id(client, experiment):
    made = sorted(client.create_run(experiment, start_time=1).info.run_id for _ in range(10))
    first = client.search_runs([experiment], max_results=4)
    assert [r.info.run_id for r in first] == made[:4]
    second = client.search_runs([experiment], max_results=4, page_token=first.token)
    assert [r.info.run_id for r in second] == made[4:8]
    third = client.search_runs([experiment], max_results=4, page_token=second.token)
    assert [r.info.run_id for r in third] == made[8:] and not third.token


def test_a_full_last_page_is_the_last(client, experiment):
    for _ in range(4):
        client.create_run(experiment)
    page = client.search_runs([experiment], max_results=2)
    page = client.search_runs([experiment], max_results=2, page_token=page.token)
    assert len(page) == 2
    rest = client.search_runs([experiment], max_results=2, page_token=page.token) if page.token else []
    assert rest == []


def test_views(client, experiment, four):
    def found(view):
        return {r.info.run_id for r in client.search_runs([experiment], run_view_type=view)}

    assert found(ViewType.ACTIVE_ONLY) == {four[n] for n in "abc"}
    assert found(ViewType.DELETED_ONLY) == {four["d"]}
    assert found(ViewType.ALL) == set(four.values())


def test_many_experiments_and_none(client, experiment, four):
    other = client.create_experiment(unique("other"))
    run = client.create_run(other).info.run_id
    found = {r.info.run_id for r in client.search_runs([experiment, other])}
    assert found == {run, *(four[n] for n in "abc")}
    assert client.search_runs([]) == []
    assert client.search_runs(["987654321"]) == []


@pytest.mark.parametrize(
    "bad",
    [
        "metrics.loss",
        "metrics.loss = 'high'",
        "metrics.loss LIKE '5'",
        "params.opt = adam",
        "params.opt > 'a'",
        "tags.who = 1",
        "loss > 1",
        "attributes.nothing = 'x'",
        "status > 'RUNNING'",
        "start_time = 'x'",
        "tags.a = 'b' OR tags.a = 'c'",
        "datasets.nothing = 'x'",
        "params.opt IN ('a')",
        "run_id IN ()",
        "'a' = tags.who",
    ],
)
def test_filters_that_are_none(client, experiment, bad):
    with pytest.raises(MlflowException) as caught:
        client.search_runs([experiment], bad)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE", caught.value.message


@pytest.mark.parametrize("bad", ["nothing", "metrics.loss DOWN", "attributes.nothing", "metrics.loss ASC DESC"])
def test_orders_that_are_none(client, experiment, bad):
    with pytest.raises(MlflowException) as caught:
        client.search_runs([experiment], order_by=[bad])
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_page_sizes_and_tokens_that_are_none(client, experiment):
    with fails("INVALID_PARAMETER_VALUE", "Invalid value 123456789 for parameter 'max_results' supplied"):
        client.search_runs([experiment], max_results=123456789)
    with fails("INVALID_PARAMETER_VALUE", "page token"):
        client.search_runs([experiment], page_token="no token")


def test_as_a_data_frame(url):
    experiment = mlflow.set_experiment(unique("frame")).experiment_id
    for at in range(3):
        with mlflow.start_run(run_name=f"r{at}"):
            mlflow.log_metric("m", at)
            mlflow.log_param("p", at)
            if at:
                mlflow.set_tag("t", at)
    frame = mlflow.search_runs(order_by=["metrics.m ASC"])
    assert frame["metrics.m"].tolist() == [0.0, 1.0, 2.0] and frame["params.p"].tolist() == ["0", "1", "2"]
    assert frame["tags.t"].tolist()[1:] == ["1", "2"] and frame["tags.t"].isna().tolist()[0]
    assert set(frame["status"]) == {"FINISHED"} and set(frame["experiment_id"]) == {experiment}
    assert frame["start_time"].dt.tz is not None
    assert len(mlflow.search_runs(max_results=2)) == 2
    assert len(mlflow.search_runs(experiment_names=[mlflow.get_experiment(experiment).name])) == 3
    assert mlflow.search_runs(filter_string="metrics.m > 9").empty
    assert len(mlflow.search_runs(search_all_experiments=True, filter_string="params.p = '1'")) >= 1


def test_more_than_a_page_as_a_list(client, experiment):
    for at in range(25):
        client.create_run(experiment, start_time=at)
    pages = []
    token = None
    while token is not None or not pages:
        page = client.search_runs([experiment], max_results=10, page_token=token)
        pages.append(len(page))
        token = page.token
    assert pages == [10, 10, 5]


def test_pages_survive_inserts(client, experiment):
    made = [client.create_run(experiment, start_time=1 + at).info.run_id for at in range(6)]
    first = client.search_runs([experiment], max_results=3, order_by=["start_time ASC"])
    client.create_run(experiment, start_time=100)
    second = client.search_runs([experiment], max_results=3, order_by=["start_time ASC"], page_token=first.token)
    assert [r.info.run_id for r in [*first, *second]] == made


def test_times_of_now(client, experiment):
    now = int(time.time() * 1000)
    run = client.create_run(experiment).info
    assert now - 1 <= run.start_time <= int(time.time() * 1000) + 1
    assert [r.info.run_id for r in client.search_runs([experiment], f"attributes.start_time >= {now - 1}")] == [run.run_id]

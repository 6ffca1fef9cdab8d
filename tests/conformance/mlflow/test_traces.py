"""Traces: logged by spans, read, searched, tagged, judged, linked, deleted."""

import json
import time

import mlflow
import pytest
import requests
from mlflow.entities import AssessmentSource, SpanType, TraceInfo, TraceLocation
from mlflow.entities.trace_state import TraceState
from mlflow.entities.trace_status import TraceStatus
from mlflow.exceptions import MlflowException

from cases import fails, unique


@pytest.fixture
def place(url):
    """The experiment that spans go to."""
    return mlflow.set_experiment(unique("traces")).experiment_id


def trace(client, place, name, status="OK", tags=None, **attributes):
    root = client.start_trace(name, experiment_id=place, tags=tags, inputs={"q": name})
    root.set_attributes(attributes)
    client.end_trace(root.trace_id, status=TraceStatus(status), outputs={"a": name.upper()})
    return root.trace_id


def test_a_tree_of_spans(place, client):
    with mlflow.start_span("root", span_type=SpanType.CHAIN) as root:
        root.set_inputs({"question": "ü"})
        with mlflow.start_span("child", span_type=SpanType.LLM) as child:
            child.set_attributes({"fruit": "apple", "number": 1, "list": [1, "a"]})
            child.add_event(mlflow.entities.SpanEvent("event", attributes={"x": 1}))
        root.set_outputs({"answer": 42})
    found = client.get_trace(root.trace_id)
    assert found.info.trace_id == root.trace_id and found.info.experiment_id == place
    assert found.info.state == TraceState.OK and found.info.request_time > 0 and found.info.execution_duration is not None
    spans = {span.name: span for span in found.data.spans}
    assert spans["child"].parent_id == spans["root"].span_id and spans["root"].parent_id is None
    assert (spans["root"].span_type, spans["child"].span_type) == ("CHAIN", "LLM")
    assert (spans["root"].inputs, spans["root"].outputs) == ({"question": "ü"}, {"answer": 42})
    assert spans["child"].attributes["fruit"] == "apple" and spans["child"].attributes["list"] == [1, "a"]
    assert [event.name for event in spans["child"].events] == ["event"]
    assert json.loads(found.info.request_preview) == {"question": "ü"} and json.loads(found.info.response_preview) == {"answer": 42}
    assert found.info.tags["mlflow.traceName"] == "root"


def test_a_decorated_function_that_raises(place, client):
    @mlflow.trace(name="broken", attributes={"a": 1})
    def broken(x):
        raise ValueError(f"not {x}")

    with pytest.raises(ValueError, match="not 3"):
        broken(3)
    found = client.get_trace(mlflow.get_last_active_trace_id())
    assert found.info.state == TraceState.ERROR
    [span] = found.data.spans
    assert span.status.status_code.name == "ERROR" and "not 3" in span.status.description
    assert span.events[0].name == "exception"


def test_tags_and_metadata_given_while_it_runs(place, client):
    with mlflow.start_span("root") as root:
        mlflow.update_current_trace(tags={"t": "1"}, metadata={"mlflow.trace.session": "s1", "m": "2"})
    info = client.get_trace(root.trace_id).info
    assert info.tags["t"] == "1" and info.trace_metadata["m"] == "2" and info.trace_metadata["mlflow.trace.session"] == "s1"
    assert [t.info.trace_id for t in client.search_traces(locations=[place], filter_string="metadata.m = '2'")] == [root.trace_id]


def test_logged_without_waiting(place, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "true")
    mlflow.tracing.reset()
    ids = []
    for at in range(20):
        with mlflow.start_span(f"s{at}") as span:
            ids.append(span.trace_id)
    mlflow.flush_trace_async_logging()
    assert {t.info.trace_id for t in client.search_traces(locations=[place])} == set(ids)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    mlflow.tracing.reset()


def test_traces_of_a_run(place, client):
    with mlflow.start_run() as run:
        with mlflow.start_span("inside") as inside:
            pass
    with mlflow.start_span("outside") as outside:
        pass
    with mlflow.start_span("linked") as linked:
        pass
    client.link_traces_to_run([linked.trace_id], run.info.run_id)
    found = client.search_traces(locations=[place], filter_string=f"attributes.run_id = '{run.info.run_id}'")
    assert {t.info.trace_id for t in found} == {inside.trace_id, linked.trace_id}
    assert {t.info.trace_id for t in client.search_traces(locations=[place], run_id=run.info.run_id)} == {inside.trace_id, linked.trace_id}
    assert client.get_trace(inside.trace_id).info.trace_metadata["mlflow.sourceRun"] == run.info.run_id
    assert outside.trace_id not in {t.info.trace_id for t in found}


@pytest.fixture
def three(client, place):
    """Traces a and b that went well, and c that failed, each with tags and words of its own."""
    made = {}
    for name, status in (("a", "OK"), ("b", "OK"), ("c", "ERROR")):
        made[name] = trace(client, place, f"trace {name}", status, {"env": "prod" if name == "a" else "dev"}, word=f"value {name}")
        time.sleep(0.002)
    return made


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, "cba"),
        ("", "cba"),
        ("status = 'OK'", "ba"),
        ("attributes.status = 'ERROR'", "c"),
        ("trace.status != 'OK'", "c"),
        ("status IN ('OK', 'ERROR')", "cba"),
        ("name = 'trace a'", "a"),
        ("trace.name LIKE 'trace %'", "cba"),
        ("attributes.name ILIKE 'TRACE B'", "b"),
        ("tags.env = 'prod'", "a"),
        ("tag.env != 'prod'", "cb"),
        ("tags.`mlflow.traceName` = 'trace c'", "c"),
        ("timestamp > 0", "cba"),
        ("timestamp_ms < 1", ""),
        ("execution_time_ms >= 0", "cba"),
        ("tags.env = 'dev' AND status = 'OK'", "b"),
        ("span.name = 'trace a'", "a"),
        ("span.name LIKE 'trace%'", "cba"),
        ("span.attributes.word ILIKE '%value b%'", "b"),
        ("span.status = 'ERROR'", "c"),
        ("trace.text LIKE '%value%'", "cba"),
        ("trace.text LIKE '%value c%'", "c"),
    ],
)
def test_filters(client, place, three, filter, expected):
    names = {id: name for name, id in three.items()}
    found = client.search_traces(locations=[place], filter_string=filter)
    assert "".join(names[t.info.trace_id] for t in found) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["timestamp ASC"], "abc"),
        (["timestamp_ms DESC"], "cba"),
        (["status ASC", "timestamp ASC"], "cab"),
        (["name DESC"], "cba"),
        (["tags.env DESC", "timestamp ASC"], "abc"),
    ],
)
def test_orders(client, place, three, order, expected):
    names = {id: name for name, id in three.items()}
    assert "".join(names[t.info.trace_id] for t in client.search_traces(locations=[place], order_by=order)) == expected


def test_pages(client, place, three):
    first = client.search_traces(locations=[place], max_results=2)
    assert [t.info.trace_id for t in first] == [three["c"], three["b"]] and first.token
    second = client.search_traces(locations=[place], max_results=2, page_token=first.token)
    assert [t.info.trace_id for t in second] == [three["a"]] and not second.token


@pytest.mark.parametrize("bad", ["status", "nothing = 'x'", "status = 'OK' OR status = 'ERROR'", "timestamp = 'x'", "tags.env > 'a'"])
def test_filters_that_are_none(client, place, bad):
    with pytest.raises(MlflowException) as caught:
        client.search_traces(locations=[place], filter_string=bad)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_as_a_data_frame(place, client, three):
    frame = mlflow.search_traces(locations=[place], return_type="pandas", order_by=["timestamp ASC"])
    assert frame["trace_id"].tolist() == [three[n] for n in "abc"]
    assert len(mlflow.search_traces(locations=[place], return_type="list", include_spans=False)) == 3


def test_tags(client, place):
    id = trace(client, place, "tagged", tags={"a": "1", "b": "2"})
    client.set_trace_tag(id, "a", "3")
    client.delete_trace_tag(id, "b")
    tags = client.get_trace(id).info.tags
    assert tags["a"] == "3" and "b" not in tags
    with fails("RESOURCE_DOES_NOT_EXIST", "No trace tag with key 'b'"):
        client.delete_trace_tag(id, "b")
    mlflow.set_trace_tag(id, "c", "4")
    mlflow.delete_trace_tag(id, "c")


def test_deleted(client, place):
    ids = [trace(client, place, f"t{at}") for at in range(4)]
    assert client.delete_traces(place, trace_ids=[ids[0], "tr-unknown"]) == 1
    assert client.delete_traces(place, max_timestamp_millis=int(1e15), max_traces=1) == 1
    assert len(client.search_traces(locations=[place])) == 2
    assert client.delete_traces(place, max_timestamp_millis=1) == 0
    assert client.delete_traces(place, max_timestamp_millis=int(1e15)) == 2
    assert client.search_traces(locations=[place]) == []
    with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
        client._tracing_client.get_trace_info(ids[0])
    with fails("INVALID_PARAMETER_VALUE", ""):
        client.delete_traces(place)


def test_an_unknown_trace(client, place):
    for use in (
        lambda: client.get_trace("tr-0"),
        lambda: client.set_trace_tag("tr-0", "a", "b"),
        lambda: mlflow.log_feedback(trace_id="tr-0", name="n", value=1),
    ):
        with pytest.raises(MlflowException):
            use()
    assert mlflow.get_trace("tr-0", silent=True) is None


HUMAN = AssessmentSource("HUMAN", "ann")


@pytest.mark.parametrize("value", [True, 3, 0.5, "words", ["a", "b"], {"a": 1.5}, None])
def test_feedback(client, place, value):
    id = trace(client, place, "judged")
    error = RuntimeError("no value") if value is None else None
    made = mlflow.log_feedback(trace_id=id, name="quality", value=value, source=HUMAN, rationale="because", metadata={"k": "v"}, error=error)
    found = mlflow.get_assessment(id, made.assessment_id)
    assert (found.name, found.feedback.value, found.rationale, found.metadata["k"]) == ("quality", value, "because", "v")
    assert found.source.source_type == "HUMAN" and found.source.source_id == "ann"
    assert (found.feedback.error is None) == (value is not None)
    assert [a.assessment_id for a in client.get_trace(id).info.assessments] == [made.assessment_id]
    mlflow.delete_assessment(id, made.assessment_id)
    with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
        mlflow.get_assessment(id, made.assessment_id)


@pytest.mark.parametrize("value", ["Paris", 4, {"a": [1]}, ["x"]])
def test_expectations(client, place, value):
    id = trace(client, place, "expected")
    made = mlflow.log_expectation(trace_id=id, name="truth", value=value, source=HUMAN)
    assert mlflow.get_assessment(id, made.assessment_id).expectation.value == value
    changed = mlflow.update_assessment(id, made.assessment_id, mlflow.entities.Expectation(name="truth", value="other"))
    assert changed.expectation.value == "other"


def test_overridden_feedback(client, place):
    id = trace(client, place, "overridden")
    first = mlflow.log_feedback(trace_id=id, name="quality", value=1, source=HUMAN)
    second = mlflow.override_feedback(trace_id=id, assessment_id=first.assessment_id, value=2, source=HUMAN)
    assert mlflow.get_assessment(id, first.assessment_id).valid is False
    found = mlflow.get_assessment(id, second.assessment_id)
    assert (found.valid, found.overrides, found.feedback.value) == (True, first.assessment_id, 2)
    mlflow.delete_assessment(id, second.assessment_id)
    assert mlflow.get_assessment(id, first.assessment_id).valid is True


def test_searched_by_feedback(client, place, three):
    mlflow.log_feedback(trace_id=three["a"], name="quality", value="high", source=HUMAN)
    mlflow.log_expectation(trace_id=three["b"], name="truth", value="x", source=HUMAN)
    assert [t.info.trace_id for t in client.search_traces(locations=[place], filter_string="feedback.quality = 'high'")] == [three["a"]]
    assert [t.info.trace_id for t in client.search_traces(locations=[place], filter_string="expectation.truth = 'x'")] == [three["b"]]


def test_logged_as_a_whole(client, place):
    id = f"tr-{time.time_ns():032x}"
    info = TraceInfo(id, TraceLocation.from_experiment_id(place), 1_000, TraceState.OK, execution_duration=2_000, tags={"a": "1"}, trace_metadata={"m": "2"})
    client._tracing_client.start_trace(info)
    found = client._tracing_client.get_trace_info(id)
    assert (found.request_time, found.execution_duration, found.state) == (1_000, 2_000, TraceState.OK)
    assert found.tags["a"] == "1" and found.trace_metadata["m"] == "2"


def test_the_oldest_interface(client, place):
    store = client._tracking_client.store
    made = store.deprecated_start_trace_v2(place, 1_000, {"m": "1"}, {"t": "1"})
    assert made.status == TraceStatus.IN_PROGRESS
    ended = store.deprecated_end_trace_v2(made.request_id, 3_000, TraceStatus.OK, {"m": "2", "n": "3"}, {"t": "2"})
    assert (ended.timestamp_ms, ended.execution_time_ms, ended.status) == (1_000, 2_000, TraceStatus.OK)
    assert ended.request_metadata["m"] == "2" and ended.request_metadata["n"] == "3" and ended.tags["t"] == "2"


def test_what_the_web_interface_reads(client, place, url):
    with mlflow.start_span("shown") as span:
        span.set_attributes({"fruit": "apple"})
    answer = requests.get(f"{url}/ajax-api/3.0/mlflow/traces/get", params={"trace_id": span.trace_id, "allow_partial": True}, timeout=30)
    assert answer.status_code == 200
    shown = answer.json()["trace"]
    assert shown["trace_info"]["trace_id"] == span.trace_id
    assert {"key": "fruit", "value": {"string_value": "apple"}} in shown["spans"][0]["attributes"]
    answer = requests.get(f"{url}/ajax-api/2.0/mlflow/get-trace-artifact", params={"request_id": span.trace_id}, timeout=30)
    assert answer.headers["Content-Disposition"] == "attachment; filename=traces.json"
    assert mlflow.entities.TraceData.from_dict(answer.json()).spans[0].to_dict() == span.to_dict()


def test_correlation(client, place):
    for at in range(6):
        trace(client, place, f"p{at}", tags={"env": "prod", "kind": "TOOL"})
    for at in range(4):
        trace(client, place, f"d{at}", tags={"env": "dev", "kind": "LLM" if at else "TOOL"})
    found = client._tracing_client.calculate_trace_filter_correlation([place], "tags.env = 'prod'", "tags.kind = 'TOOL'")
    assert (found.total_count, found.filter1_count, found.filter2_count, found.joint_count) == (10, 6, 7, 6)
    assert 0.6 < found.npmi < 0.8


def test_spans_of_another_exporter(place, url, client):
    import opentelemetry.sdk.trace as sdk
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces", headers={"x-mlflow-experiment-id": place})))
    with provider.get_tracer("other").start_as_current_span("outer") as outer:
        outer.set_attribute("k", "v")
        with provider.get_tracer("other").start_as_current_span("inner"):
            pass
    provider.shutdown()
    [found] = client.search_traces(locations=[place])
    assert {span.name for span in found.data.spans} == {"outer", "inner"}

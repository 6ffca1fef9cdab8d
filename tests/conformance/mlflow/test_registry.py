"""The model registry: models, versions, stages, aliases, tags, searches, copies."""

import time

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from cases import fails, unique

SOURCE = "runs:/run_id/model"


@pytest.fixture
def model(client):
    name = unique("model")
    client.create_registered_model(name)
    return name


def version(client, name, run_id="run_id", **more):
    return client.create_model_version(name, SOURCE, run_id, **more)


def test_a_made_model_is_found(client):
    name, before = unique("made"), int(time.time() * 1000) - 1
    made = client.create_registered_model(name, {"a": "b", "number": 12345}, "what it is")
    for found in (made, client.get_registered_model(name), client.search_registered_models(f"name = '{name}'")[0]):
        assert (found.name, found.description) == (name, "what it is")
        assert found.tags == {"a": "b", "number": "12345"}
        assert found.latest_versions == [] and found.aliases == {}
        assert before <= found.creation_timestamp <= found.last_updated_timestamp <= time.time() * 1000 + 1


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "/", ":"])
def test_names_that_are_none(client, name):
    with pytest.raises(MlflowException) as caught:
        client.create_registered_model(name)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("name", ["with space", "ünï", "a.b-c_d", "a'b", "100%", "a?b#c"])
def test_odd_names(client, name):
    name = unique(name)
    client.create_registered_model(name)
    assert client.get_registered_model(name).name == name
    assert version(client, name).version == "1"
    client.set_registered_model_alias(name, "best", "1")
    assert client.get_model_version_by_alias(name, "best").version == "1"


def test_a_name_is_given_once(client, model):
    with fails("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={model}) already exists"):
        client.create_registered_model(model)


def test_described_and_renamed(client, model):
    before = client.get_registered_model(model)
    assert not before.description
    client.update_registered_model(model, "new words")
    name = unique("renamed")
    version(client, model)
    client.set_registered_model_alias(model, "best", "1")
    client.rename_registered_model(model, name)
    renamed = client.get_registered_model(name)
    assert (renamed.name, renamed.description) == (name, "new words")
    assert renamed.last_updated_timestamp >= before.last_updated_timestamp
    assert client.get_model_version(name, "1").name == name
    assert client.get_model_version_by_alias(name, "best").name == name
    with fails("RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={model} not found"):
        client.get_registered_model(model)
    client.create_registered_model(model)
    with fails("RESOURCE_ALREADY_EXISTS", "already exists"):
        client.rename_registered_model(model, name)


def test_deleted_with_all_it_has(client, model):
    version(client, model)
    client.delete_registered_model(model)
    for use in (
        lambda: client.get_registered_model(model),
        lambda: client.rename_registered_model(model, unique("x")),
        lambda: client.update_registered_model(model, "x"),
        lambda: client.delete_registered_model(model),
        lambda: version(client, model),
        lambda: client.set_registered_model_tag(model, "k", "v"),
        lambda: client.set_registered_model_alias(model, "a", "1"),
        lambda: client.get_latest_versions(model),
    ):
        with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
            use()
    with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
        client.get_model_version(model, "1")
    assert client.search_registered_models(f"name = '{model}'") == []
    client.create_registered_model(model)
    assert version(client, model).version == "1"


def test_tags_of_models(client, model):
    client.set_registered_model_tag(model, "k", "v")
    client.set_registered_model_tag(model, "k", "w")
    client.set_registered_model_tag(model, "empty", "")
    client.set_registered_model_tag(model, "number", 5)
    assert client.get_registered_model(model).tags == {"k": "w", "empty": "", "number": "5"}
    client.delete_registered_model_tag(model, "k")
    client.delete_registered_model_tag(model, "never set")
    assert client.get_registered_model(model).tags == {"empty": "", "number": "5"}


def test_versions_count_up_and_are_never_given_again(client, model):
    made = [version(client, model, tags={"a": 1}, description="d", run_link="http://x") for _ in range(3)]
    assert [v.version for v in made] == ["1", "2", "3"]
    found = client.get_model_version(model, "1")
    assert (found.name, found.source, found.run_id, found.status) == (model, SOURCE, "run_id", "READY")
    assert (found.tags, found.description, found.run_link, found.current_stage) == ({"a": "1"}, "d", "http://x", "None")
    assert client.get_model_version_download_uri(model, "1") == SOURCE
    client.delete_model_version(model, "3")
    assert version(client, model).version == "4"
    assert [v.version for v in client.get_registered_model(model).latest_versions] == ["4"]


def test_a_deleted_version(client, model):
    version(client, model)
    client.set_registered_model_alias(model, "best", "1")
    client.delete_model_version(model, "1")
    for use in (
        lambda: client.get_model_version(model, "1"),
        lambda: client.delete_model_version(model, "1"),
        lambda: client.update_model_version(model, "1", "x"),
        lambda: client.transition_model_version_stage(model, "1", "Staging"),
        lambda: client.set_model_version_tag(model, "1", "k", "v"),
        lambda: client.get_model_version_download_uri(model, "1"),
        lambda: client.set_registered_model_alias(model, "a", "1"),
    ):
        with fails("RESOURCE_DOES_NOT_EXIST", "not found"):
            use()
    assert client.get_registered_model(model).aliases == {}
    assert client.search_model_versions(f"name = '{model}'") == []


@pytest.mark.parametrize("number", ["one", "1.5", "-", "1 "])
def test_numbers_that_are_none(client, model, number):
    with pytest.raises(MlflowException) as caught:
        client.get_model_version(model, number)
    assert caught.value.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    with fails("INVALID_PARAMETER_VALUE", "Parameter 'version' must be an integer, got 'something'."):
        client.get_model_version(model, "something")


def test_descriptions_and_tags_of_versions(client, model):
    version(client, model)
    updated = client.update_model_version(model, "1", "better words")
    assert updated.description == "better words"
    client.set_model_version_tag(model, "1", "k", "v")
    client.set_model_version_tag(model, "1", "number", 5)
    client.set_model_version_tag(model, "1", "empty", "")
    client.delete_model_version_tag(model, "1", "k")
    assert client.get_model_version(model, "1").tags == {"number": "5", "empty": ""}


@pytest.mark.parametrize("stage", ["Staging", "Production", "Archived", "None", "staging", "PRODUCTION"])
def test_stages(client, model, stage):
    version(client, model)
    moved = client.transition_model_version_stage(model, "1", stage)
    assert moved.current_stage == stage.capitalize()
    assert client.get_model_version(model, "1").current_stage == stage.capitalize()
    assert [v.version for v in client.get_latest_versions(model, [stage.capitalize()])] == ["1"]


def test_a_stage_that_is_none(client, model):
    version(client, model)
    with fails("INVALID_PARAMETER_VALUE", "Invalid Model Version stage"):
        client.transition_model_version_stage(model, "1", "Nowhere")
    assert client.get_model_version_stages(model, "1") == ["None", "Staging", "Production", "Archived"]


def test_what_was_in_production_is_archived(client, model):
    for _ in range(3):
        version(client, model)
    client.transition_model_version_stage(model, "1", "Production")
    client.transition_model_version_stage(model, "2", "Production")
    client.transition_model_version_stage(model, "3", "Production", archive_existing_versions=True)
    assert [client.get_model_version(model, v).current_stage for v in "123"] == ["Archived", "Archived", "Production"]


def test_the_latest_of_each_stage(client, model):
    for number, stage in enumerate(["Archived", "Production", "Archived", "Production", "Staging", "Staging", None], 1):
        version(client, model)
        if stage:
            client.transition_model_version_stage(model, str(number), stage)

    def latest(stages):
        return {v.current_stage: v.version for v in client.get_latest_versions(model, stages)}

    assert latest(["None"]) == {"None": "7"} and latest(["Staging"]) == {"Staging": "6"}
    assert latest(["None", "Production"]) == {"None": "7", "Production": "4"}
    everything = {"Production": "4", "Staging": "6", "Archived": "3", "None": "7"}
    assert latest(None) == everything and latest([]) == everything
    with fails("INVALID_PARAMETER_VALUE", "Invalid Model Version stage"):
        latest(["Nowhere"])


def test_aliases(client, model):
    version(client, model)
    version(client, model)
    client.set_registered_model_alias(model, "best", "1")
    client.set_registered_model_alias(model, "old", "1")
    assert client.get_registered_model(model).aliases == {"best": "1", "old": "1"}
    assert sorted(client.get_model_version(model, "1").aliases) == ["best", "old"]
    assert client.get_model_version_by_alias(model, "best") == client.get_model_version(model, "1")
    client.set_registered_model_alias(model, "best", "2")
    assert client.get_model_version_by_alias(model, "best").version == "2"
    client.delete_registered_model_alias(model, "best")
    client.delete_registered_model_alias(model, "never-set")
    assert client.get_registered_model(model).aliases == {"old": "1"}
    with fails("INVALID_PARAMETER_VALUE", "Registered model alias best not found."):
        client.get_model_version_by_alias(model, "best")


@pytest.mark.parametrize("alias", ["", "latest", "v1", "V22", "a b", "a/b", "a" * 256])
def test_aliases_that_are_none(client, model, alias):
    version(client, model)
    with pytest.raises(MlflowException) as caught:
        client.set_registered_model_alias(model, alias, "1")
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_model_changes_with_its_versions(client, model):
    times = [client.get_registered_model(model).last_updated_timestamp]
    for change in (
        lambda: version(client, model),
        lambda: client.transition_model_version_stage(model, "1", "Staging"),
        lambda: client.delete_model_version(model, "1"),
    ):
        time.sleep(0.002)
        change()
        times.append(client.get_registered_model(model).last_updated_timestamp)
    assert times == sorted(set(times)), times


def test_copies(client, model):
    version(client, model, description="dummy", tags={"hello": "world"})
    client.set_registered_model_alias(model, "best", "1")
    other = unique("copy")
    copied = client.copy_model_version(f"models:/{model}@best", other)
    assert (copied.name, copied.version) == (other, "1")
    found = client.get_model_version(other, "1")
    assert (found.source, found.description, found.run_id, found.tags) == (f"models:/{model}/1", "dummy", "run_id", {"hello": "world"})
    assert client.get_model_version_download_uri(other, "1") == SOURCE
    again = client.copy_model_version(f"models:/{other}/1", model)
    assert again.version == "2" and client.get_model_version_download_uri(model, "2") == SOURCE
    with fails(None, "not found"):
        client.copy_model_version(f"models:/{model}/99", other)


@pytest.fixture
def many(client):
    """29 models and a second version of the first ten."""
    stem = unique("many")
    names = [f"{stem}RM{at:03}" for at in range(29)]
    for name in names:
        client.create_registered_model(name, {"even": str(int(name[-1]) % 2 == 0)})
    for name in names + names[:10]:
        client.create_model_version(name, SOURCE, "run_id", {"third": str(int(name[-3:]) % 3 == 0)})
    return stem, names


def pages(search, **options):
    seen, token = [], None
    while token or not seen:
        page = search(page_token=token, **options)
        seen.append(page)
        token = page.token
    return seen


@pytest.mark.parametrize("size", [1, 8, 100])
@pytest.mark.parametrize(
    ("filter", "keep"),
    [
        ("name LIKE '{0}%'", lambda n: True),
        ("name LIKE '{0}%7'", lambda n: n[-1] == 7 or n.endswith("7")),
        ("name ILIKE '{0}rm%00%'", lambda n: n[-3:].startswith("00")),
        ("name LIKE '{0}rm%00%'", lambda n: False),
        ("name = '{0}RM023'", lambda n: n.endswith("023")),
        ("name = 'nobody'", lambda n: False),
        ("name LIKE '{0}%' AND tags.even = 'True'", lambda n: int(n[-1]) % 2 == 0),
    ],
)
def test_searches_of_models(client, many, size, filter, keep):
    stem, names = many
    found = pages(client.search_registered_models, filter_string=filter.format(stem), max_results=size)
    assert [m.name for page in found for m in page] == [n for n in names if keep(n)]
    assert all(len(page) == size for page in found[:-1])


@pytest.mark.parametrize(
    ("order", "key", "reverse"),
    [
        (["name DESC"], lambda m: m.name, True),
        (["name ASC"], lambda m: m.name, False),
        (["timestamp ASC", "name ASC"], lambda m: (m.last_updated_timestamp, m.name), False),
        (["last_updated_timestamp DESC"], lambda m: (-m.last_updated_timestamp, m.name), False),
    ],
)
def test_orders_of_models(client, many, order, key, reverse):
    stem, _ = many
    found = [m for page in pages(client.search_registered_models, filter_string=f"name LIKE '{stem}%'", order_by=order, max_results=10) for m in page]
    assert [m.name for m in found] == [m.name for m in sorted(found, key=key, reverse=reverse)] and len(found) == 29


@pytest.mark.parametrize("size", [1, 8, 100])
@pytest.mark.parametrize(
    ("filter", "count"),
    [
        ("name LIKE '{0}%'", 39),
        ("name LIKE '{0}%2'", 4),
        ("name ILIKE '{0}rm%00%'", 20),
        ("name = '{0}RM003'", 2),
        ("name LIKE '{0}%' AND tags.third = 'True'", 14),
        ("name LIKE '{0}%' AND tag.`third` != 'True'", 25),
        ("name = '{0}RM003' AND version_number = 2", 1),
        ("name LIKE '{0}%' AND version_number > 1", 10),
        ("name LIKE '{0}%' AND run_id = 'run_id'", 39),
        ("name LIKE '{0}%' AND run_id IN ('run_id', 'x')", 39),
        ("name LIKE '{0}%' AND source_path = 'runs:/run_id/model'", 39),
        ("name LIKE '{0}%' AND source_path LIKE 'runs:%'", 39),
        ("name LIKE '{0}%' AND run_id = 'x'", 0),
    ],
)
def test_searches_of_versions(client, many, size, filter, count):
    stem, _ = many
    found = [v for page in pages(client.search_model_versions, filter_string=filter.format(stem), max_results=size) for v in page]
    assert len(found) == len({(v.name, v.version) for v in found}) == count
    expected = sorted(found, key=lambda v: (-v.last_updated_timestamp, v.name, -int(v.version)))
    assert [(v.name, v.version) for v in found] == [(v.name, v.version) for v in expected]


@pytest.mark.parametrize(
    ("order", "key"),
    [
        (["name DESC"], lambda v: tuple(-ord(c) for c in v.name)),
        (["version_number DESC", "name ASC"], lambda v: (-int(v.version), v.name)),
        (["creation_timestamp ASC", "name ASC"], lambda v: (v.creation_timestamp, v.name)),
    ],
)
def test_orders_of_versions(client, many, order, key):
    stem, _ = many
    found = client.search_model_versions(f"name LIKE '{stem}%'", order_by=order)
    assert [key(v) for v in found] == sorted(key(v) for v in found) and len(found) == 39


@pytest.mark.parametrize("bad", ["nothing = 'x'", "name", "name > 'a'", "name = 'a' OR name = 'b'", "version_number = 'x'", "name = a"])
def test_filters_that_are_none(client, bad):
    for search in (client.search_registered_models, client.search_model_versions):
        with pytest.raises(MlflowException) as caught:
            search(bad)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_page_sizes_that_are_none(client):
    for search, most in ((client.search_registered_models, 1001), (client.search_model_versions, 200_001)):
        with fails("INVALID_PARAMETER_VALUE", "max_results"):
            search(max_results=most)


@pytest.mark.parametrize(
    "source",
    [
        "/etc",
        "file:///etc/passwd",
        "mlflow-artifacts://host:9000/models/../../../",
        "http://host:9000/models/../../../",
        "https://host/api/2.0/mlflow-artifacts/artifacts/../../../",
        "s3a://my_bucket/api/2.0/mlflow-artifacts/artifacts/../../../",
        "ftp://host:8888/api/2.0/mlflow-artifacts/artifacts/../../../",
        "mlflow-artifacts://host:9000/models/..%2f..%2fartifacts",
        "mlflow-artifacts://host:9000/models/artifact%00",
    ],
)
def test_sources_that_are_refused(client, model, run, source, send):
    status, answer = send("POST", "model-versions/create", {"name": model, "source": source, "run_id": run})
    assert status == 400 and answer["error_code"] == "INVALID_PARAMETER_VALUE", answer
    if source.startswith(("/", "file:")):
        assert "To use a local path as a model version" in answer["message"]


@pytest.mark.parametrize(
    "source",
    [
        "{own}",
        "{own}/",
        "{own}/model",
        "{own}/foo///bar",
        "{own}/..../",
        "s3://bucket/a/b",
        "runs:/{run}/model",
    ],
)
def test_sources_that_are_taken(client, model, run, source, send):
    source = source.format(own=client.get_run(run).info.artifact_uri, run=run)
    status, answer = send("POST", "model-versions/create", {"name": model, "source": source, "run_id": run})
    assert status == 200 and answer["model_version"]["source"] == source, answer


def test_the_files_of_a_version(client, model, run, url):
    import requests

    client.log_text(run, "abc", "model/a.txt")
    client.create_model_version(model, f"runs:/{run}/model", run)
    client.create_model_version(model, f"{client.get_run(run).info.artifact_uri}/model", run)
    answer = requests.get(f"{url}/model-versions/get-artifact", params={"name": model, "version": "2", "path": "a.txt"}, timeout=30)
    assert (answer.status_code, answer.text) == (200, "abc")
    answer = requests.get(f"{url}/model-versions/get-artifact", params={"name": model, "version": "2", "path": "../a.txt"}, timeout=30)
    assert answer.status_code == 400 and answer.json()["message"] == "Invalid path"


def test_registered_by_uri(url, client, run):
    name = unique("by uri")
    made = mlflow.register_model("s3://bucket/model", name, tags={"a": "b"})
    assert (made.name, made.version) == (name, "1") and client.get_model_version(name, "1").tags == {"a": "b"}
    assert mlflow.register_model("s3://bucket/model", name).version == "2"
    assert [m.name for m in mlflow.search_registered_models(filter_string=f"name = '{name}'")] == [name]
    assert len(mlflow.search_model_versions(filter_string=f"name = '{name}'")) == 2


def test_fluent_aliases_and_tags(url, client, model):
    version(client, model)
    mlflow.set_model_version_tag(model, "1", "k", "v")
    client.set_registered_model_alias(model, "best", "1")
    assert client.get_model_version_by_alias(model, "best").tags == {"k": "v"}

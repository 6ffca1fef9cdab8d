"""Experiments: made, found, changed, deleted, restored, searched."""

import mlflow
import pytest
from mlflow.entities import ExperimentTag, ViewType
from mlflow.exceptions import MlflowException

from cases import fails, unique


def test_the_default_experiment_is_there(client):
    default = client.get_experiment("0")
    assert (default.name, default.lifecycle_stage) == ("Default", "active")
    assert client.get_experiment_by_name("Default").experiment_id == "0"


def test_a_made_experiment_is_found_by_id_and_by_name(client):
    name = unique("made")
    made = client.create_experiment(name, tags={"team": "fraud", "note": "first\nsecond"})
    for found in (client.get_experiment(made), client.get_experiment_by_name(name)):
        assert (found.experiment_id, found.name, found.lifecycle_stage) == (made, name, "active")
        assert {k: found.tags[k] for k in ("team", "note")} == {"team": "fraud", "note": "first\nsecond"}
        assert found.creation_time > 0 and found.last_update_time >= found.creation_time
        assert found.artifact_location.endswith(f"/{made}")


def test_a_location_of_its_own_is_kept(client):
    made = client.create_experiment(unique("place"), artifact_location="mlflow-artifacts:/elsewhere/deep")
    assert client.get_experiment(made).artifact_location == "mlflow-artifacts:/elsewhere/deep"
    run = client.create_run(made)
    assert run.info.artifact_uri == f"mlflow-artifacts:/elsewhere/deep/{run.info.run_id}/artifacts"


def test_a_name_is_given_once(client):
    name = unique("once")
    client.create_experiment(name)
    with fails("RESOURCE_ALREADY_EXISTS", "already exists"):
        client.create_experiment(name)


def test_the_name_of_a_deleted_experiment_is_not_free(client):
    name = unique("kept")
    client.delete_experiment(client.create_experiment(name))
    with fails("RESOURCE_ALREADY_EXISTS", "already exists"):
        client.create_experiment(name)
    with fails(None, "Cannot set a deleted experiment"):
        mlflow.set_experiment(name)


@pytest.mark.parametrize("name", ["with spaces", "with/slash", "ünï ☃", "a'b\"c`d", "%41", "semi;colon", "n" * 256])
def test_odd_names_are_names(client, name):
    name = unique(name)
    assert client.get_experiment_by_name(name) is None
    assert client.get_experiment(client.create_experiment(name)).name == name
    assert client.get_experiment_by_name(name).name == name


@pytest.mark.parametrize("name", ["", "n" * 501])
def test_names_that_are_none(client, name):
    with pytest.raises(MlflowException):
        client.create_experiment(name)


def test_unknown_experiments(client):
    assert client.get_experiment_by_name("nobody made it") is None
    with fails("RESOURCE_DOES_NOT_EXIST", "No Experiment with id=987654321 exists"):
        client.get_experiment("987654321")
    with fails("RESOURCE_DOES_NOT_EXIST", "987654321"):
        client.delete_experiment("987654321")
    with fails("RESOURCE_DOES_NOT_EXIST", "987654321"):
        client.rename_experiment("987654321", "new")
    with fails("RESOURCE_DOES_NOT_EXIST", "987654321"):
        client.set_experiment_tag("987654321", "k", "v")
    with fails("RESOURCE_DOES_NOT_EXIST", "987654321"):
        client.create_run("987654321")


def test_deleted_and_restored(client, experiment):
    run = client.create_run(experiment).info.run_id
    client.delete_experiment(experiment)
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    with fails(None, "must be in the 'active' state"):
        client.create_run(experiment)
    client.restore_experiment(experiment)
    assert client.get_experiment(experiment).lifecycle_stage == "active"
    assert client.get_run(run).info.lifecycle_stage == "active"
    client.create_run(experiment)


def test_renamed(client, experiment):
    before = client.get_experiment(experiment)
    name = unique("renamed")
    client.rename_experiment(experiment, name)
    after = client.get_experiment(experiment)
    assert after.name == name and client.get_experiment_by_name(before.name) is None
    assert after.last_update_time >= before.last_update_time
    other = unique("other")
    client.create_experiment(other)
    with pytest.raises(MlflowException):
        client.rename_experiment(experiment, other)


def test_tags_are_set_replaced_and_deleted(client, experiment):
    other = client.create_experiment(unique("other"))
    client.set_experiment_tag(experiment, "data", "imagenet")
    client.set_experiment_tag(experiment, "data", "birds")
    client.set_experiment_tag(experiment, "empty", "")
    client.set_experiment_tag(experiment, "number", 7)
    tags = client.get_experiment(experiment).tags
    assert (tags["data"], tags["empty"], tags["number"]) == ("birds", "", "7")
    assert "data" not in client.get_experiment(other).tags
    client.delete_experiment_tag(experiment, "data")
    assert "data" not in client.get_experiment(experiment).tags
    with fails("RESOURCE_DOES_NOT_EXIST", "No tag with name: data"):
        client.delete_experiment_tag(experiment, "data")


@pytest.mark.parametrize("key", ["", "a/../b", "/absolute", "k" * 251, "semi;colon"])
def test_tag_keys_that_are_none(client, experiment, key):
    with pytest.raises(MlflowException) as caught:
        client.set_experiment_tag(experiment, key, "v")
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_set_experiment_makes_or_takes(url):
    name = unique("set")
    made = mlflow.set_experiment(name)
    assert mlflow.set_experiment(name).experiment_id == made.experiment_id
    assert mlflow.set_experiment(experiment_id=made.experiment_id).name == name
    with mlflow.start_run() as run:
        assert run.info.experiment_id == made.experiment_id


def test_the_fluent_functions(url):
    made = mlflow.create_experiment(unique("fluent"), tags={"a": "b"})
    mlflow.set_experiment(experiment_id=made)
    mlflow.set_experiment_tags({"c": "d", "e": "f"})
    assert {"a": "b", "c": "d", "e": "f"}.items() <= mlflow.get_experiment(made).tags.items()
    assert mlflow.search_experiments(filter_string="tags.c = 'd'")
    mlflow.delete_experiment(made)
    assert mlflow.get_experiment(made).lifecycle_stage == "deleted"


@pytest.fixture
def five(client):
    """Five experiments whose names begin alike, made one after the other; the fifth is deleted."""
    stem = unique("five")
    names = [f"{stem}-{part}" for part in ("a", "B", "ab", "Abc", "gone")]
    tags = [{"kind": "x"}, {"kind": "X"}, {"kind": "y", "more": "1"}, None, {"kind": "x"}]
    made = [client.create_experiment(name, tags=t) for name, t in zip(names, tags)]
    client.delete_experiment(made[4])
    return stem, {name.removeprefix(stem + "-"): id for name, id in zip(names, made)}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("name = '{}-a'", {"a"}),
        ("attribute.name = '{}-a'", {"a"}),
        ("name != '{0}-a' AND name LIKE '{0}-%'", {"B", "ab", "Abc"}),
        ("name LIKE '{}-a%'", {"a", "ab"}),
        ("name ILIKE '{}-A%'", {"a", "ab", "Abc"}),
        ("name LIKE '{}-%' AND tags.kind = 'x'", {"a"}),
        ("name LIKE '{}-%' AND tag.kind ILIKE 'X'", {"a", "B"}),
        ("name LIKE '{}-%' AND tags.kind != 'x'", {"B", "ab"}),
        ("name LIKE '{}-%' AND tags.`more` = '1'", {"ab"}),
        ("name LIKE '{}-%' AND creation_time > 0", {"a", "B", "ab", "Abc"}),
        ("name LIKE '{}-%' AND last_update_time < 1", set()),
    ],
)
def test_filters(client, five, filter, expected):
    stem, _ = five
    found = client.search_experiments(filter_string=filter.format(stem))
    assert {e.name.removeprefix(stem + "-") for e in found} == expected


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (ViewType.ACTIVE_ONLY, {"a", "B", "ab", "Abc"}),
        (ViewType.DELETED_ONLY, {"gone"}),
        (ViewType.ALL, {"a", "B", "ab", "Abc", "gone"}),
    ],
)
def test_views(client, five, view, expected):
    stem, _ = five
    found = client.search_experiments(view_type=view, filter_string=f"name LIKE '{stem}-%'")
    assert {e.name.removeprefix(stem + "-") for e in found} == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["name"], ["Abc", "B", "a", "ab"]),
        (["name DESC"], ["ab", "a", "B", "Abc"]),
        (["experiment_id ASC"], ["a", "B", "ab", "Abc"]),
        (["creation_time DESC", "experiment_id DESC"], ["Abc", "ab", "B", "a"]),
    ],
)
def test_orders(client, five, order, expected):
    stem, _ = five
    found = client.search_experiments(order_by=order, filter_string=f"name LIKE '{stem}-%'")
    assert [e.name.removeprefix(stem + "-") for e in found] == expected


def test_pages(client, five):
    stem, _ = five
    seen, token, pages = [], None, 0
    while token is not None or pages == 0:
        page = client.search_experiments(
            max_results=3, page_token=token, order_by=["name"], filter_string=f"name LIKE '{stem}-%'"
        )
        seen += [e.name.removeprefix(stem + "-") for e in page]
        token, pages = page.token, pages + 1
    assert (seen, pages) == (["Abc", "B", "a", "ab"], 2)


@pytest.mark.parametrize("bad", ["name", "name = ", "nobody = 'x'", "name > 'a'", "tags.a = b", "name = 'a' OR name = 'b'"])
def test_filters_that_are_none(client, bad):
    with pytest.raises(MlflowException) as caught:
        client.search_experiments(filter_string=bad)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("count", [0, -1, 50001])
def test_page_sizes_that_are_none(client, count):
    with fails("INVALID_PARAMETER_VALUE", "max_results"):
        client.search_experiments(max_results=count)


def test_a_page_token_that_is_none(client):
    with fails("INVALID_PARAMETER_VALUE", "page token"):
        client.search_experiments(page_token="not a token")


def test_tags_given_as_entities(client):
    made = client._tracking_client.store.create_experiment(unique("entity"), None, [ExperimentTag("a", "b")])
    assert client.get_experiment(made).tags["a"] == "b"

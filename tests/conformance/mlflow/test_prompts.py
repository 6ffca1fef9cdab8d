"""Prompts, as the client keeps them in the registry."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from cases import unique


@pytest.fixture
def name(url):
    return unique("prompt").replace(" ", "-")


def test_versions(client, name):
    one = client.register_prompt(name, "Hello {{name}}", commit_message="first", tags={"a": "1"})
    two = client.register_prompt(name, "Hi {{name}}, {{mood}}?", commit_message="second")
    assert (one.version, two.version) == (1, 2)
    found = client.get_prompt_version(name, "1")
    assert (found.template, found.commit_message, found.tags) == ("Hello {{name}}", "first", {"a": "1"})
    assert found.format(name="Ann") == "Hello Ann"
    assert mlflow.genai.load_prompt(f"prompts:/{name}/2").variables == {"name", "mood"}
    assert client.load_prompt(name).version == 2


def test_chat_prompts(client, name):
    messages = [{"role": "system", "content": "Be {{style}}."}, {"role": "user", "content": "{{q}}"}]
    client.register_prompt(name, messages)
    found = client.load_prompt(f"prompts:/{name}/1")
    assert found.format(style="brief", q="Why?")[0] == {"role": "system", "content": "Be brief."}


def test_aliases(client, name):
    client.register_prompt(name, "one")
    client.register_prompt(name, "two")
    client.set_prompt_alias(name, "production", 1)
    assert client.get_prompt_version_by_alias(name, "production").template == "one"
    assert client.load_prompt(f"prompts:/{name}@production").template == "one"
    client.set_prompt_alias(name, "production", 2)
    assert client.load_prompt(f"prompts:/{name}@production").template == "two"
    client.delete_prompt_alias(name, "production")
    with pytest.raises(MlflowException):
        client.get_prompt_version_by_alias(name, "production")


def test_tags(client, name):
    client.register_prompt(name, "one")
    client.set_prompt_tag(name, "team", "red")
    client.set_prompt_version_tag(name, 1, "kind", "x")
    assert client.get_prompt(name).tags["team"] == "red" and client.get_prompt_version(name, 1).tags == {"kind": "x"}
    client.delete_prompt_tag(name, "team")
    client.delete_prompt_version_tag(name, 1, "kind")
    assert "team" not in client.get_prompt(name).tags and client.get_prompt_version(name, 1).tags == {}


def test_searched(client, name):
    for part in ("a", "b"):
        client.register_prompt(f"{name}-{part}", part, tags={"part": part})
    client.create_registered_model(f"{name}-model")
    assert {p.name for p in client.search_prompts(f"name LIKE '{name}%'")} == {f"{name}-a", f"{name}-b"}
    assert {p.name for p in client.search_prompts(f"name = '{name}-a'")} == {f"{name}-a"}
    assert {m.name for m in client.search_registered_models(f"name LIKE '{name}%'")} == {f"{name}-model"}


def test_deleted(client, name):
    client.create_prompt(name)
    client.create_prompt_version(name, "one")
    client.delete_prompt_version(name, "1")
    client.delete_prompt(name)
    assert client.get_prompt(name) is None


def test_a_prompt_is_no_model(client, name):
    client.register_prompt(name, "one")
    with pytest.raises(MlflowException):
        client.create_registered_model(name)
    model = unique("model").replace(" ", "-")
    client.create_registered_model(model)
    with pytest.raises(MlflowException):
        client.register_prompt(model, "x")


def test_prompts_of_runs_and_models(client, name, experiment, run):
    made = client.register_prompt(name, "one")
    client.link_prompt_version_to_run(run, made)
    model = client.create_logged_model(experiment)
    client.link_prompt_version_to_model(name, "1", model.model_id)
    assert name in client.get_logged_model(model.model_id).tags["mlflow.linkedPrompts"]


def test_missing_prompts(client, name):
    assert client.get_prompt(name) is None
    assert client.load_prompt(name, allow_missing=True) is None
    with pytest.raises(MlflowException):
        client.load_prompt(f"prompts:/{name}/7")

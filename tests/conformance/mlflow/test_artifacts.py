"""Artifacts: logged, listed, downloaded, deleted, in every form that the client has."""

import io
import json
import os
import pathlib

import mlflow
import pytest
import requests
from mlflow.artifacts import download_artifacts

from cases import unique

PROXY = "api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture
def active(url):
    """A run that the fluent functions log to."""
    mlflow.set_experiment(unique("artifacts"))
    with mlflow.start_run() as run:
        yield run.info


def tree(root) -> dict[str, bytes]:
    root = pathlib.Path(root)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def listed(client, run, path=None) -> dict[str, tuple]:
    return {f.path: (f.is_dir, f.file_size) for f in client.list_artifacts(run, path)}


def test_files_and_folders(client, run, tmp_path):
    source = tmp_path / "source"
    (source / "sub" / "deep").mkdir(parents=True)
    (source / "a.txt").write_text("aaa")
    (source / "sub" / "b.bin").write_bytes(bytes(range(256)))
    (source / "sub" / "deep" / "empty").touch()
    client.log_artifact(run, source / "a.txt")
    client.log_artifact(run, source / "a.txt", "one/two")
    client.log_artifacts(run, source, "all")
    assert listed(client, run) == {"a.txt": (False, 3), "all": (True, None), "one": (True, None)}
    assert listed(client, run, "all") == {"all/a.txt": (False, 3), "all/sub": (True, None)}
    assert set(listed(client, run, "all/sub/deep")) == {"all/sub/deep/empty"}
    assert listed(client, run, "nowhere") == {}
    assert listed(client, run, "a.txt") == {}
    fetched = tree(download_artifacts(run_id=run, artifact_path=""))
    assert fetched["all/sub/b.bin"] == bytes(range(256)) and fetched["one/two/a.txt"] == b"aaa" and len(fetched) == 5
    assert tree(client.download_artifacts(run, "all/sub")) == {"b.bin": bytes(range(256)), "deep/empty": b""}
    assert pathlib.Path(client.download_artifacts(run, "a.txt")).read_text() == "aaa"
    target = tmp_path / "target"
    target.mkdir()
    download_artifacts(artifact_uri=f"runs:/{run}/all", dst_path=target)
    assert len(tree(target)) == 3
    assert [f.path for f in mlflow.artifacts.list_artifacts(run_id=run, artifact_path="one")] == ["one/two"]


def test_a_file_is_replaced(client, run):
    client.log_text(run, "first", "f.txt")
    client.log_text(run, "second, longer", "f.txt")
    assert mlflow.artifacts.load_text(f"runs:/{run}/f.txt") == "second, longer"
    assert listed(client, run) == {"f.txt": (False, 14)}


@pytest.mark.parametrize("name", ["with space.txt", "ünï☃.txt", "a+b.txt", "a&b=c.txt", ".hidden", "a'b.txt"])
def test_odd_names(client, run, name):
    client.log_text(run, "text", f"d/{name}")
    assert listed(client, run, "d") == {f"d/{name}": (False, 4)}
    assert pathlib.Path(client.download_artifacts(run, f"d/{name}")).read_text() == "text"


def test_texts_and_dictionaries(active):
    mlflow.log_text("üñ", "t.txt")
    mlflow.log_dict({"a": [1, 2]}, "d.json")
    mlflow.log_dict({"a": {"b": None}}, "d.yaml")
    uri = f"runs:/{active.run_id}"
    assert mlflow.artifacts.load_text(f"{uri}/t.txt") == "üñ"
    assert mlflow.artifacts.load_dict(f"{uri}/d.json") == {"a": [1, 2]}
    assert "b: null" in mlflow.artifacts.load_text(f"{uri}/d.yaml")


def test_figures(active, client):
    import matplotlib.figure

    figure = matplotlib.figure.Figure()
    figure.subplots().plot([1, 2, 3])
    mlflow.log_figure(figure, "plots/line.png")
    path = client.download_artifacts(active.run_id, "plots/line.png")
    assert pathlib.Path(path).read_bytes().startswith(b"\x89PNG")


def test_images(active, client, send, url):
    import numpy
    from PIL import Image

    pixels = numpy.arange(30 * 20 * 3, dtype=numpy.uint8).reshape(30, 20, 3)
    mlflow.log_image(pixels, "one.png")
    assert (numpy.asarray(mlflow.artifacts.load_image(f"runs:/{active.run_id}/one.png")) == pixels).all()
    mlflow.log_image(Image.fromarray(pixels), key="dog", step=2, timestamp=100, synchronous=True)
    found = [f.path for f in client.list_artifacts(active.run_id, "images")]
    assert any(path.endswith(".png") and "step" in path for path in found), found
    for path in found:
        answer = requests.get(f"{url}/get-artifact", params={"run_id": active.run_id, "path": path}, timeout=30)
        assert answer.status_code == 200 and "dog" in answer.headers["Content-Disposition"]
        Image.open(io.BytesIO(answer.content)).verify()


def test_tables(active):
    import pandas

    mlflow.log_table({"q": ["a", "b"], "n": [1, 2]}, "t.json")
    mlflow.log_table(pandas.DataFrame({"q": ["c"], "n": [3]}), "t.json")
    frame = mlflow.load_table("t.json", run_ids=[active.run_id], extra_columns=["run_id"])
    assert frame["q"].tolist() == ["a", "b", "c"] and set(frame["run_id"]) == {active.run_id}
    tag = json.loads(mlflow.get_run(active.run_id).data.tags["mlflow.loggedArtifacts"])
    assert {"path": "t.json", "type": "table"} in tag


def test_streams(active, client):
    client.log_stream(active.run_id, io.BytesIO(b"bytes"), "s.bin")
    assert pathlib.Path(client.download_artifacts(active.run_id, "s.bin")).read_bytes() == b"bytes"


def test_a_large_file(client, run, tmp_path):
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(1 << 20) * 24)
    client.log_artifact(run, big)
    assert pathlib.Path(client.download_artifacts(run, "big.bin")).read_bytes() == big.read_bytes()


def test_a_large_file_in_parts(client, run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(5 << 20))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 << 20))
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(1 << 20) * 13)
    client.log_artifact(run, str(big), "parts")
    assert listed(client, run, "parts") == {"parts/big.bin": (False, 13 << 20)}
    assert pathlib.Path(client.download_artifacts(run, "parts/big.bin")).read_bytes() == big.read_bytes()


def test_what_is_not_there(client, run):
    with pytest.raises(Exception, match=r"(?i)no such|not found|404|does not exist|failed to download"):
        client.download_artifacts(run, "nowhere/nothing.txt")


def test_the_proxy_itself(url):
    root = f"{url}/{PROXY}/{unique('proxy').replace(' ', '-')}"
    assert requests.put(f"{root}/a.txt", data=b"0", timeout=30).status_code == 200
    assert requests.put(f"{root}/dir/b.txt", data=b"12", timeout=30).status_code == 200
    answer = requests.get(f"{root}/dir/b.txt", timeout=30)
    assert answer.content == b"12" and answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "attachment; filename=b.txt"
    folder = root.split("/artifacts/")[1]
    listing = requests.get(f"{url}/{PROXY}", params={"path": folder}, timeout=30).json()
    assert listing == {"files": [{"path": "a.txt", "is_dir": False, "file_size": 1}, {"path": "dir", "is_dir": True}]}
    assert requests.delete(f"{root}/dir", timeout=30).status_code == 200
    listing = requests.get(f"{url}/{PROXY}", params={"path": folder}, timeout=30).json()
    assert [f["path"] for f in listing["files"]] == ["a.txt"]
    assert requests.delete(f"{root}/a.txt", timeout=30).status_code == 200
    assert requests.get(f"{root}/a.txt", timeout=30).status_code >= 400


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text/plain"),
        ("b.pkl", "application/octet-stream"),
        ("c.png", "image/png"),
        ("d.pdf", "application/pdf"),
        ("MLmodel", "text/plain"),
        ("mlproject", "text/plain"),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_content_types(url, client, run, name, kind, accept):
    root = f"{url}/{PROXY}/{unique('kinds').replace(' ', '-')}"
    requests.put(f"{root}/{name}", data=b"x", timeout=30).raise_for_status()
    client.log_text(run, "x", name)
    for answer in (
        requests.get(f"{root}/{name}", headers={"Accept": accept}, timeout=30),
        requests.get(f"{url}/get-artifact", params={"run_id": run, "path": name}, headers={"Accept": accept}, timeout=30),
    ):
        assert answer.headers["Content-Type"].split(";")[0] == kind
        assert answer.headers["Content-Disposition"] == f"attachment; filename={name}"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_lists_of_the_api(client, run, send):
    client.log_text(run, "a", "a.txt")
    client.log_text(run, "b", "dir/b.txt")
    status, answer = send("GET", "artifacts/list", {"run_id": run})
    assert status == 200 and answer["root_uri"] == client.get_run(run).info.artifact_uri
    assert answer["files"] == [{"path": "a.txt", "is_dir": False, "file_size": 1}, {"path": "dir", "is_dir": True}]
    assert send("GET", "artifacts/list", {"run_id": run, "path": "dir"})[1]["files"] == [
        {"path": "dir/b.txt", "is_dir": False, "file_size": 1}
    ]


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "..", "%2e%2e/x"])
def test_paths_out_of_the_run(url, run, path):
    for address in ("api/2.0/mlflow/artifacts/list", "get-artifact"):
        answer = requests.get(f"{url}/{address}", params={"run_id": run, "path": path}, timeout=30)
        assert answer.status_code == 400, (address, answer.text)
        assert (answer.json()["error_code"], answer.json()["message"]) == ("INVALID_PARAMETER_VALUE", "Invalid path")


def test_uploads_of_the_web_interface(url, run):
    address = f"{url}/ajax-api/2.0/mlflow/upload-artifact"

    def refused(part, query, data=None):
        answer = requests.post(address, params=query, data=data, timeout=30)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert part in answer.json()["message"]

    refused("Request must specify run_uuid.", {})
    refused("Request must specify path.", {"run_uuid": run})
    refused("Request must specify path.", {"run_uuid": run, "path": ""})
    refused("Invalid path", {"run_uuid": run, "path": "../a.txt"}, "x")
    refused("Request must specify data.", {"run_uuid": run, "path": "a.txt"})
    assert requests.post(address, params={"run_uuid": run, "path": "a.txt"}, data="hello", timeout=30).status_code == 200
    assert requests.get(f"{url}/get-artifact", params={"run_uuid": run, "path": "a.txt"}, timeout=30).text == "hello"


def test_the_same_content_twice_is_kept_once(start, tmp_path):
    server = start(name="once")
    mlflow.set_tracking_uri(server.url)
    client = mlflow.MlflowClient(server.url, server.url)
    big = tmp_path / "same.bin"
    big.write_bytes(os.urandom(4 << 20))
    for _ in range(3):
        client.log_artifact(client.create_run("0").info.run_id, big)
    kept = sum(p.stat().st_size for p in server.data_dir.rglob("*") if p.is_file())
    assert kept < 8 << 20, kept
    server.stop()


def test_a_run_of_another_experiment_is_no_way_in(client, run):
    with pytest.raises(requests.HTTPError, match="Invalid path"):
        client.list_artifacts(run, "../../..")

"""Artifacts in a bucket that speaks S3: through the server, by URLs it signs, and put there by the client itself.

The bucket's server is `plinth-test-objects`, which `cargo xtask test` builds beside the product.
"""

import os
import pathlib
import subprocess

import mlflow
import pytest
import requests
from mlflow.artifacts import download_artifacts

from cases import unique
from conftest import OTHER, forget

pytestmark = pytest.mark.skipif(bool(OTHER), reason="the cases start servers of their own")


@pytest.fixture
def bucket(monkeypatch):
    """A bucket's folder; its server ends with the test, and its clients' variables are set."""
    program = pathlib.Path(os.environ["PLINTH_BIN"]).with_name("plinth-test-objects")
    process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    told = dict(line.strip().split("=", 1) for line in iter(process.stdout.readline, "\n"))
    folder = pathlib.Path(told.pop("BUCKET"))
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    # MLflow's own way to say where the bucket is.
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", told["AWS_ENDPOINT_URL"])
    yield folder
    process.stdin.close()
    process.wait(20)


@pytest.fixture
def far(bucket, start, monkeypatch, tmp_path):
    """Starts a server over the bucket and points MLflow at it."""

    def one(*arguments):
        server = start("--artifact-store", "s3://artifacts/plinth", *arguments, name=unique("far").replace(" ", "-"))
        monkeypatch.chdir(tmp_path)
        forget()
        mlflow.set_tracking_uri(server.url)
        mlflow.set_registry_uri(server.url)
        return server, mlflow.MlflowClient(server.url, server.url)

    return one


def blobs(bucket) -> int:
    return sum(1 for path in (bucket / "plinth" / "blobs").rglob("*") if path.is_file())


def tree(root) -> dict[str, bytes]:
    root = pathlib.Path(root)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_files_and_folders(far, bucket, tmp_path):
    server, client = far()
    run = client.create_run("0").info.run_id
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("aaa")
    (source / "sub" / "b.bin").write_bytes(os.urandom(20 << 20))
    client.log_artifact(run, source / "a.txt")
    client.log_artifacts(run, source, "all")
    assert blobs(bucket) == 2, "what is logged twice is kept once"
    assert {f.path: f.is_dir for f in client.list_artifacts(run, "all")} == {"all/a.txt": False, "all/sub": True}
    assert tree(client.download_artifacts(run, "all")) == tree(source)
    assert mlflow.artifacts.load_text(f"runs:/{run}/a.txt") == "aaa"
    server.stop()


def test_a_model_is_logged_registered_and_loaded(far, bucket):
    from sklearn.linear_model import LinearRegression

    server, client = far()
    model = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(model, name="model", registered_model_name="far")
    assert blobs(bucket) > 2
    assert mlflow.pyfunc.load_model(logged.model_uri).predict([[3.0]])[0] == pytest.approx(3.0)
    assert mlflow.sklearn.load_model("models:/far/1").coef_[0] == pytest.approx(1.0)
    server.stop()


def test_parts_and_downloads_around_the_server(far, bucket, tmp_path, monkeypatch):
    server, client = far("--direct-downloads")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(5 << 20))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 << 20))
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(4 << 20))
    run = client.create_run("0").info.run_id
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(13 << 20))
    client.log_artifact(run, str(big), "parts")
    info = requests.get(f"{server.url}/api/2.0/mlflow/server-info", timeout=30).json()
    assert info["multipart_downloads_enabled"] is True
    proxied = f"{server.url}/api/2.0/mlflow-artifacts"
    signed = requests.get(f"{proxied}/presigned/0/{run}/artifacts/parts/big.bin", timeout=30).json()
    assert signed["file_size"] == 13 << 20 and signed["url"].startswith(os.environ["AWS_ENDPOINT_URL"])
    assert pathlib.Path(client.download_artifacts(run, "parts/big.bin")).read_bytes() == big.read_bytes()
    server.stop()


def test_a_client_that_asks_for_urls_of_a_folder_gets_its_files_all_the_same(start, monkeypatch, tmp_path):
    server = start(name="near")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    mlflow.set_tracking_uri(server.url)
    client = mlflow.MlflowClient(server.url, server.url)
    run = client.create_run("0").info.run_id
    client.log_text(run, "text", "t.txt")
    assert pathlib.Path(client.download_artifacts(run, "t.txt")).read_text() == "text"
    server.stop()


def test_what_is_deleted_is_collected(far, bucket):
    server, client = far()
    run = client.create_run("0").info.run_id
    client.log_text(run, "to be deleted", "d.txt")
    kept = client.create_run("0").info.run_id
    client.log_text(kept, "kept", "k.txt")
    client.delete_run(run)
    command = [os.environ["PLINTH_BIN"], "gc", "--data-dir", str(server.data_dir), "--older-than", "0s", "--grace", "0s"]
    server.stop()
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert blobs(bucket) == 1


def test_a_client_that_writes_into_the_bucket_itself(far, bucket, tmp_path):
    server, client = far("--artifact-allow", "s3://artifacts/direct")
    experiment = client.create_experiment(unique("direct"), artifact_location="s3://artifacts/direct/e")
    run = client.create_run(experiment)
    assert run.info.artifact_uri == f"s3://artifacts/direct/e/{run.info.run_id}/artifacts"
    (tmp_path / "f.txt").write_text("by boto3")
    client.log_artifact(run.info.run_id, str(tmp_path / "f.txt"), "folder")
    assert blobs(bucket) == 0 and list((bucket / "direct").rglob("f.txt"))
    assert [f.path for f in client.list_artifacts(run.info.run_id, "folder")] == ["folder/f.txt"]
    assert pathlib.Path(download_artifacts(run_id=run.info.run_id, artifact_path="folder/f.txt")).read_text() == "by boto3"
    # The server shows it to the web interface.
    query = {"run_id": run.info.run_id, "path": "folder"}
    listing = requests.get(f"{server.url}/api/2.0/mlflow/artifacts/list", params=query, timeout=30).json()
    assert listing["files"] == [{"path": "folder/f.txt", "is_dir": False, "file_size": 8}]
    query["path"] = "folder/f.txt"
    assert requests.get(f"{server.url}/get-artifact", params=query, timeout=30).text == "by boto3"
    ask = {"run_id": run.info.run_id, "path": "folder/f.txt"}
    signed = requests.post(f"{server.url}/api/2.0/mlflow/artifacts/presigned-download-url", json=ask, timeout=30).json()
    assert requests.get(signed["presigned_url"], headers=signed.get("headers"), timeout=30).text == "by boto3"
    other = client.create_experiment(unique("other"), artifact_location="s3://another/e")
    query["run_id"] = client.create_run(other).info.run_id
    refused = requests.get(f"{server.url}/get-artifact", params=query, timeout=30)
    assert refused.status_code == 400 and "--artifact-allow" in refused.json()["message"]
    server.stop()

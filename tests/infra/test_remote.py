"""DVC's remote on a real S3-compatible server: push, lose the cache, pull, the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from tests.serving.real_server import free_port
from tests.wait import wait_for

KEYS = {"AWS_ACCESS_KEY_ID": "tideline", "AWS_SECRET_ACCESS_KEY": "for-a-test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """Address of a server that keeps objects in memory, with the bucket `tideline`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (tmp_path / "s3.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **KEYS})
    try:
        wait_for(lambda: process.poll() is not None or is_up(url), 60)
        assert process.poll() is None, (tmp_path / "s3.log").read_text()
        connect(url).create_bucket(Bucket="tideline")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/data.json", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def connect(url: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=url, region_name=KEYS["AWS_DEFAULT_REGION"], aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def hash_files(folder: Path) -> dict[str, str]:
    files = (place for place in folder.rglob("*") if place.is_file())
    return {str(place.relative_to(folder)): hashlib.sha256(place.read_bytes()).hexdigest() for place in files}


@pytest.mark.slow
def test_push_lose_everything_pull(endpoint: str, tmp_path: Path) -> None:
    """The commands of docs/operations.md."""
    project = tmp_path / "project"
    raw = project / "data" / "housing" / "raw"
    raw.mkdir(parents=True)
    (raw / "data.parquet").write_bytes(os.urandom(3 * 2**20))
    (raw / "manifest.json").write_text('{"source": "folder"}')
    kept = hash_files(raw)

    def dvc(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | variables
        command = [sys.executable, "-m", "dvc", *words]
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)

    def run(*words: str) -> str:
        done = dvc(*words, **KEYS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("init", "--no-scm", "--quiet")
    run("remote", "add", "--local", "--default", "tideline-s3", "s3://tideline/dvc")
    run("remote", "modify", "--local", "tideline-s3", "endpointurl", endpoint)
    run("add", "data/housing/raw")
    assert "3 files pushed" in run("push")
    stored = connect(endpoint).list_objects_v2(Bucket="tideline", Prefix="dvc/files/md5/")["Contents"]
    assert len(stored) == 3 and max(item["Size"] for item in stored) == 3 * 2**20

    shutil.rmtree(raw)
    shutil.rmtree(project / ".dvc" / "cache")
    refused = dvc("pull", AWS_EC2_METADATA_DISABLED="true", HOME=str(tmp_path))
    assert refused.returncode != 0 and "credentials" in refused.stderr.lower()
    assert not raw.exists()
    run("pull")
    assert hash_files(raw) == kept
    assert not any(key in place.read_text() for key in KEYS.values() if key != "us-east-1" and key != "tideline"
                   for place in (project / ".dvc").glob("config*"))  # fmt: skip

"""Dockerfiles and compose.yaml, as far as they can be checked without an engine: names, ports, settings, secrets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.settings import Settings
from tests.serving.real_server import ROOT
from tideline import catalog

INFRA = ROOT / "infra"
DOCKERFILES = sorted(INFRA.glob("*.Dockerfile"))
SETTINGS = {f.metadata["variable"] for f in fields(Settings)}
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def read_instructions(place: Path) -> list[tuple[str, str]]:
    """(instruction, rest) of a Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", place.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path into the build; the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if not line or line.startswith("#"):
            continue
        parts = path.split("/")
        heads = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        if any(fnmatch(head, pattern) and head.count("/") == pattern.count("/") for head in heads):
            sent = line.startswith("!")
    return sent


@pytest.mark.parametrize("place", DOCKERFILES, ids=lambda place: place.name)
def test_a_dockerfile_copies_what_exists_and_is_sent_and_runs_as_nobody_special(place: Path) -> None:
    instructions = read_instructions(place)
    stages = [rest for word, rest in instructions if word == "FROM"]
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm( AS \w+)?", stage) for stage in stages), stages
    for word, rest in instructions:
        assert word != "ADD"
        if word == "COPY" and not rest.startswith("--from="):
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert is_sent(source), f".dockerignore keeps {source} out"
    assert [rest for word, rest in instructions if word == "USER"] == ["10001:10001"]
    assert any(word == "HEALTHCHECK" for word, _ in instructions)
    assert not re.search(r"(?i)(password|secret|token|access_key)\S*=", place.read_text())


def test_the_build_is_not_sent_data_registry_or_secrets() -> None:
    for path in ("registry/housing/champion.json", "data", "store/keys.json", ".git/config", "infra/.env", ".venv",
                 ".dvc/config.local", ".dvc/cache", ".tideline", "tests", "models"):  # fmt: skip
        assert not is_sent(path), path


def test_settings_that_images_and_compose_name_are_read_by_the_server() -> None:
    dockerfile = (INFRA / "serving.Dockerfile").read_text()
    named = set(re.findall(r"\bTIDELINE_[A-Z_]+(?==)", dockerfile)) | set(SERVICES["serving"]["environment"])
    assert {"TIDELINE_HOME", "TIDELINE_TASK", "TIDELINE_STORE_URL"} <= named
    assert named <= SETTINGS
    default = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
    chosen = {k: default.sub(r"\1", v) for k, v in SERVICES["serving"]["environment"].items() if "STORE" not in k}
    settings = Settings.from_environment(chosen)
    assert settings.task == "housing" and settings.journal and not settings.open


def test_everything_in_compose_is_published_on_this_machine_alone_and_watched() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), (name, port)
        assert service["image"].partition(":")[2] or service["image"].startswith("tideline-"), name
        assert name == "remote" or "healthcheck" in service, name
        for other, wanted in service.get("depends_on", {}).items():
            needed = SERVICES[other]
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in needed
            if wanted["condition"] == "service_completed_successfully":
                assert needed["restart"] == "no"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (INFRA / source).exists(), (name, volume)


def test_a_missing_secret_is_an_error_and_none_is_written_down() -> None:
    text = (INFRA / "compose.yaml").read_text()
    used = re.findall(r"\$\{(TIDELINE_[A-Z0-9_]*(?:PASSWORD|SECRET|KEY))([^}]*)\}", text)
    assert {name for name, _ in used} == {
        "TIDELINE_DB_PASSWORD", "TIDELINE_S3_KEY", "TIDELINE_S3_SECRET", "TIDELINE_GRAFANA_PASSWORD",
    }  # fmt: skip
    assert all(rest.startswith(":?") and len(rest) > 10 for _, rest in used)
    assert "/infra/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_flows_know_where_alerts_go() -> None:
    variables = {spec.variable for spec in map(catalog.get_channel, catalog.names("channels")) if spec.variable}
    assert len(variables) >= 2
    for variable in variables:
        assert SERVICES["deployments"]["environment"][variable] == f"${{{variable}:-}}"


def test_ports_agree() -> None:
    dockerfile = (INFRA / "serving.Dockerfile").read_text()
    assert "EXPOSE 3000" in dockerfile and "TIDELINE_SERVING_PORT=3000" in dockerfile
    assert SERVICES["serving"]["ports"][0].endswith(":3000")
    scraped = yaml.safe_load((INFRA / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert scraped[0]["static_configs"][0]["targets"] == ["serving:3000"]
    datasource = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert datasource["datasources"][0]["url"] == "http://prometheus:9090"


def test_the_entrypoint_lays_out_a_project_that_dvc_works_in_without_git(tmp_path: Path) -> None:
    """The Dockerfile's own copies, and its entrypoint, as the image has them."""
    code, project = tmp_path / "code", tmp_path / "project"
    code.mkdir()
    project.mkdir()
    for word, rest in read_instructions(INFRA / "training.Dockerfile"):
        if word == "COPY" and "/opt/tideline" in rest and not rest.startswith("--from="):
            *sources, target = rest.replace("/opt/tideline", str(code)).split()
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-R", *sources, target], cwd=ROOT, check=True)
    (code / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    (code / ".image").write_text("one")
    environment = {**os.environ, "TIDELINE_PROJECT": str(project), "TIDELINE_CODE": str(code)}

    def start(*command: str) -> str:
        done = subprocess.run(
            ["sh", INFRA / "training-entrypoint.sh", *command], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(project) in start(sys.executable, "-c", "import os; print(os.getcwd())")
    listed = start(sys.executable, "-m", "dvc", "stage", "list", "--name-only")
    assert "evaluate@housing" in listed.split()
    (project / "params.yaml").write_text("# mine\n")
    (project / "src" / "stray.py").write_text("")
    (code / ".image").write_text("two")
    start("true")
    assert (project / "params.yaml").read_text() == "# mine\n"
    assert not (project / "src" / "stray.py").exists()
    assert (project / ".tideline" / "image").read_text() == "two"


@pytest.mark.parametrize(("change", "passes"), [({}, True), ({"healthchek": {}}, False)], ids=["as it is", "misspelt"])
def test_composes_own_schema_knows_every_field(tmp_path: Path, change: dict[str, Any], passes: bool) -> None:
    server, *others = SERVICES
    services = {server: {**SERVICES[server], **change}, **{name: SERVICES[name] for name in others}}
    place = tmp_path / "compose.yaml"
    place.write_text(yaml.safe_dump({**COMPOSE, "services": services}))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(place)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) is passes, done.stdout + done.stderr
    assert passes or "healthchek" in done.stdout

"""The images and compose files, as far as they can be judged without a Docker engine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from docker import check
from docker.dry_run import Image, use
from tests.conftest import new_database, skip

CPU = (check.FOLDER / "cpu.Dockerfile").read_text("utf-8")
File = dict[str, Any]


def compose() -> File:
    loaded: File = yaml.safe_load(check.COMPOSE.read_text("utf-8"))
    return loaded


@pytest.fixture
def linters() -> None:
    for name in ("hadolint", "compose-lint"):
        if not shutil.which(check.linter(name)):
            skip(f"{name} is not installed; make setup installs it")


@pytest.mark.usefixtures("linters")
def test_the_images_and_compose_files_have_no_faults() -> None:
    assert check.faults() == []


@pytest.mark.usefixtures("linters")
def test_the_linters_see_what_they_are_for(tmp_path: Path) -> None:
    careless = tmp_path / "Dockerfile"
    careless.write_text("FROM python:latest\nRUN cd /tmp && apt-get install gcc\n")
    assert any("DL3007" in finding for finding in check.hadolint([careless]))
    file = compose()
    file["services"]["server"]["privileged"] = True
    assert any("server: CL-0002" in finding for finding in check.compose_lint(file))


@pytest.mark.parametrize(
    ("line", "changed", "fault"),
    [
        ("FROM python:3.11.15-slim-bookworm\n", "FROM python:3-slim\n", "no exact version"),
        ("USER ${UID}:${UID}\n", "", "runs as root"),
        ("/healthz", "/", "does not ask /healthz"),
        ('ENTRYPOINT ["lookalike"]', "ENTRYPOINT lookalike", "ENTRYPOINT is lookalike"),
        ("VOLUME /data\n", "", "VOLUME is None"),
        ("LOOKALIKE_STORE=/data", "LOOKALIKE_STORE=/tmp", "LOOKALIKE_STORE is not /data"),
        ("ARG VERSION=", "ARG VERSION=9", "is not the project's version"),
        ("image.licenses=", "image.vendor=", "label licenses is missing"),
        ("COPY migrations migrations\n", "", "package migrations is not copied"),
        ("COPY search search", "COPY tests tests", "COPY tests: .dockerignore leaves it out"),
    ],
)
def test_a_careless_change_of_the_dockerfile_is_noticed(line: str, changed: str, fault: str) -> None:
    assert line in CPU
    assert any(fault in found for found in check.dockerfile_faults(CPU.replace(line, changed)))


def test_the_two_images_may_differ_only_in_what_they_install() -> None:
    assert check.difference(CPU, CPU.replace("postgres]", "gpu,postgres]")) == []
    assert check.difference(CPU, CPU.replace("STOPSIGNAL SIGINT", "STOPSIGNAL SIGKILL")) == [
        "only one image has STOPSIGNAL SIGINT",
        "only one image has STOPSIGNAL SIGKILL",
    ]


def publish_everywhere(file: File) -> None:
    file["services"]["server"]["ports"] = ["8080:8080"]


def write_the_password_down(file: File) -> None:
    file["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"] = "lookalike"


def give_the_password_a_default(file: File) -> None:
    file["services"]["server"]["environment"]["PGPASSWORD"] = "${POSTGRES_PASSWORD:-lookalike}"


def forget_a_volume(file: File) -> None:
    del file["volumes"]["store"]


def forget_a_network(file: File) -> None:
    del file["networks"]["catalogue"]


def forget_a_health_check(file: File) -> None:
    del file["services"]["postgres"]["healthcheck"]


def take_the_latest_image(file: File) -> None:
    file["services"]["postgres"]["image"] = "postgres:latest"


def rename_a_service(file: File) -> None:
    file["services"]["database"] = file["services"].pop("postgres")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (publish_everywhere, "server: port 8080:8080 is open to other machines"),
        (write_the_password_down, "postgres: POSTGRES_PASSWORD is given"),
        (give_the_password_a_default, "server: PGPASSWORD is given"),
        (forget_a_volume, "indexer: volumes: store is not defined"),
        (forget_a_network, "postgres: networks: catalogue is not defined"),
        (forget_a_health_check, "init: waits for the health of postgres, which has no check"),
        (take_the_latest_image, "postgres: image postgres:latest has no version"),
        (rename_a_service, "server: depends on postgres, which is not there"),
    ],
)
def test_a_careless_change_of_the_compose_file_is_noticed(change: Callable[[File], None], fault: str) -> None:
    file = compose()
    change(file)
    assert fault in check.compose_faults(file)


def test_the_server_sees_the_photographs_where_the_indexer_does_and_cannot_change_them() -> None:
    services = compose()["services"]
    mounts = [mount for name in ("server", "indexer") for mount in services[name]["volumes"] if "/photos" in str(mount)]
    assert mounts == [mounts[0], mounts[0]]
    assert mounts[0]["target"] == "/photos"
    assert mounts[0]["read_only"] is True


def test_the_gpu_file_changes_the_image_and_keeps_the_rest() -> None:
    base = compose()
    laid_over = check.merged(base, yaml.safe_load(check.GPU.read_text("utf-8")))
    server = laid_over["services"]["server"]
    assert server["build"] == {**base["services"]["server"]["build"], "dockerfile": "docker/gpu.Dockerfile"}
    assert server["command"] == base["services"]["server"]["command"]
    assert server["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert base == compose()


@pytest.mark.slow
def test_starting_twice_makes_the_store_once_and_keeps_the_password_out_of_it(postgresql: str, tmp_path: Path) -> None:
    """Runs the command of the service `init` on a real PostgreSQL."""
    command = compose()["services"]["init"]["command"][0]
    url = "postgresql://${POSTGRES_USER:-lookalike}@postgres:5432/${POSTGRES_DB:-lookalike}"
    assert url in command
    command = command.replace(url, new_database(postgresql)).replace("/data", str(tmp_path))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "LOOKALIKE_STORE": str(tmp_path),
        "PGPASSWORD": "a secret",
    }
    for told in ("store ready", "the catalogue is up to date"):
        ran = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        assert told in ran.stdout
    assert "a secret" not in (tmp_path / "store.toml").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_steps_of_the_cpu_image_make_a_lookalike_that_works(tmp_path: Path) -> None:
    """Installs as a build does, so it needs the package index; see docker/dry_run.py for what is left out."""
    image = Image(tmp_path, print)
    image.build(CPU)
    use(image, print)

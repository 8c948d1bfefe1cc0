"""Checks of the images and compose files that need no Docker engine.

    python docker/check.py    prints what is wrong, and exits with 1 when something is

The linters are hadolint and compose-lint, from the `dev` extra; the rules here are what those cannot know. dry_run.py,
beside this file, goes further and carries the build out.
"""

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

FOLDER = Path(__file__).resolve().parent
TOP = FOLDER.parent
DOCKERFILES = ("cpu.Dockerfile", "gpu.Dockerfile")
COMPOSE, GPU = FOLDER / "compose.yaml", FOLDER / "compose.gpu.yaml"
LABELS = ("title", "description", "licenses", "version", "revision", "base.name")
# The two images may differ in what they install and in variables, in nothing else.
SHARED_STEPS = ("FROM", "WORKDIR", "COPY", "LABEL", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK")
# CL-0019 asks for digests: versions here are exact tags, which people can read. CL-0026 asks for a limit of cores too:
# indexing is meant to use them all.
WAIVED = ("CL-0019", "CL-0026")


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a Dockerfile, its lines joined."""

    name: str
    text: str

    def words(self) -> list[str]:
        """Return the instruction's words as a shell or, in the JSON form, as Docker splits them."""
        return [str(word) for word in json.loads(self.text)] if self.text.startswith("[") else shlex.split(self.text)


def steps(dockerfile: str) -> list[Step]:
    """Return the instructions of a Dockerfile, without comments."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Step(*line.strip().split(maxsplit=1)) for line in joined.splitlines()]


def stages(found: list[Step]) -> list[list[Step]]:
    """Return the instructions of each stage, FROM first."""
    starts = [index for index, step in enumerate(found) if step.name == "FROM"]
    return [found[start:end] for start, end in zip(starts, [*starts[1:], len(found)], strict=True)]


# --- Dockerfiles --------------------------------------------------------------------------------


def dockerfile_faults(text: str) -> list[str]:
    """Return what this project's rules find in a Dockerfile."""
    found = steps(text)
    last = stages(found)[-1]
    one = {step.name: step.text for step in last}
    wanted = {"ENTRYPOINT": '["lookalike"]', "VOLUME": "/data", "STOPSIGNAL": "SIGINT"}
    faults = [f"{name} is {one.get(name)}, not {value}" for name, value in wanted.items() if one.get(name) != value]
    faults += [f"the base {step.text} has no exact version" for step in found if step.name == "FROM" and loose(step)]
    faults += [f"the label {name} is missing" for name in LABELS if f"image.{name}=" not in one.get("LABEL", "")]
    if one.get("USER", "root").split(":")[0] in ("root", "0"):
        faults.append("it runs as root")
    if "/healthz" not in one.get("HEALTHCHECK", "") or re.search(r"\b(curl|wget)\b", one["HEALTHCHECK"]):
        faults.append("HEALTHCHECK does not ask /healthz with Python")
    if not any(step.name == "ENV" and "LOOKALIKE_STORE=/data" in step.text for step in last):
        faults.append("LOOKALIKE_STORE is not /data")
    return faults + version_faults(last) + context_faults(found)


def loose(step: Step) -> bool:
    """Return whether a FROM names a base without a version of three numbers."""
    return re.match(r"\S+:\d+\.\d+\.\d+-\S+( AS \w+)?$", step.text) is None


def version_faults(stage: list[Step]) -> list[str]:
    """Compare the image's version with the project's."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    named = [step.text for step in stage if step.name == "ARG" and step.text.startswith("VERSION=")]
    return [] if named == [f"VERSION={project}"] else [f"{named} is not the project's version, {project}"]


def context_faults(found: list[Step]) -> list[str]:
    """Return what COPY names that is missing or left out by .dockerignore, and packages that no COPY brings."""
    copied = [word for step in found if step.name == "COPY" and "--from" not in step.text for word in step.words()[:-1]]
    faults = [f"COPY {name}: no such file" for name in copied if not (TOP / name).exists()]
    faults += [f"COPY {name}: .dockerignore leaves it out" for name in copied if ignored(name)]
    packaged = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]["find"]
    packages = [name for name in packaged["include"] if "." not in name]
    return faults + [f"the package {name} is not copied" for name in packages if name not in copied]


def ignored(name: str) -> bool:
    """Return whether .dockerignore leaves a path at the top of the repository out: the last pattern that fits says."""
    out = False
    for line in (TOP / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and fnmatch.fnmatch(name, pattern.lstrip("!").removeprefix("**/")):
            out = not pattern.startswith("!")
    return out


def difference(left: str, right: str) -> list[str]:
    """Return the steps that two Dockerfiles should share and do not."""
    first, second = ([f"{step.name} {step.text}" for step in steps(text)] for text in (left, right))
    only = [step for step in first if step not in second] + [step for step in second if step not in first]
    return [f"only one image has {step}" for step in only if step.split()[0] in SHARED_STEPS]


def hadolint(paths: list[Path]) -> list[str]:
    """Return hadolint's findings."""
    return linted([str(linter("hadolint")), "--no-color", *map(str, paths)]).splitlines()


# --- compose files ------------------------------------------------------------------------------


def compose_faults(file: Mapping[str, Any]) -> list[str]:
    """Return what is wrong in a compose file: names that lead nowhere, health nobody asks, open ports, passwords."""
    faults = []
    for name, service in file["services"].items():
        found = reference_faults(file, service) + health_faults(file, service) + password_faults(service)
        if not re.search(r":(?!latest$)[\w.-]+$", service.get("image", "")):
            found.append(f"image {service.get('image')} has no version")
        found += [f"port {port} is open to other machines" for port in service.get("ports", ()) if not local(port)]
        faults += [f"{name}: {fault}" for fault in found]
    return faults


def reference_faults(file: Mapping[str, Any], service: Mapping[str, Any]) -> list[str]:
    """Return the volumes, networks, secrets and Dockerfiles a service names that are not there."""
    faults = []
    used = {"volumes": volumes(service), "networks": service.get("networks", ()), "secrets": service.get("secrets", ())}
    for kind, names in used.items():
        faults += [f"{kind}: {name} is not defined" for name in names if name not in (file.get(kind) or {})]
    build = service.get("build")
    if build and not (FOLDER / build["context"] / build["dockerfile"]).is_file():
        faults.append(f"there is no {build['dockerfile']}")
    return faults


def volumes(service: Mapping[str, Any]) -> list[str]:
    """Return the named volumes of a service; bind mounts are none."""
    mounts = service.get("volumes", ())
    short = [mount.split(":")[0] for mount in mounts if isinstance(mount, str)]
    return [name for name in short if not name.startswith((".", "/", "~", "$"))]


def health_faults(file: Mapping[str, Any], service: Mapping[str, Any]) -> list[str]:
    """Return dependencies that cannot be met, and a service that stays up without a health check."""
    faults = []
    for name, wanted in service.get("depends_on", {}).items():
        other = file["services"].get(name)
        if other is None:
            faults.append(f"depends on {name}, which is not there")
        elif wanted["condition"] == "service_healthy" and not healthy(other):
            faults.append(f"waits for the health of {name}, which has no check")
    if service.get("restart", "no") != "no" and not healthy(service):
        faults.append("it stays up without a health check")
    return faults


def healthy(service: Mapping[str, Any]) -> bool:
    """Return whether a service has a health check of its own or of its image."""
    if "healthcheck" in service:
        return not service["healthcheck"].get("disable", False)
    dockerfile = service.get("build", {}).get("dockerfile")
    return dockerfile is not None and "HEALTHCHECK" in (TOP / dockerfile).read_text("utf-8")


def password_faults(service: Mapping[str, Any]) -> list[str]:
    """Return the passwords that are written down, or that have a default."""
    given = {name: value for name, value in service.get("environment", {}).items() if name.endswith("PASSWORD")}
    return [f"{name} is given" for name, value in given.items() if not re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)]


def local(port: str) -> bool:
    """Return whether a published port is this machine's loopback only."""
    return port.startswith("127.0.0.1:")


def merged(base: Any, override: Any) -> Any:
    """Lay one compose file over another, as `docker compose --file A --file B` does."""
    if isinstance(base, dict) and isinstance(override, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in override.items()}}
    return base + override if isinstance(base, list) and isinstance(override, list) else override


def compose_lint(file: Mapping[str, Any]) -> list[str]:
    """Return compose-lint's findings in a compose file, but for those waived here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compose.yaml"
        path.write_text(yaml.safe_dump(file), "utf-8")
        (Path(folder) / ".env").write_text("POSTGRES_PASSWORD=checked\nPHOTOS=/photographs\n", "utf-8")
        report = json.loads(linted([str(linter("compose-lint")), "check", "--format", "json", str(path)]))
    found = [one for one in report["findings"] if one["rule_id"] not in WAIVED]
    return [f"{one['service']}: {one['rule_id']} {one['message']}" for one in found]


def linter(name: str) -> Path:
    """Return the program of this environment, or of the PATH through its plain name."""
    own = Path(sys.executable).parent / name
    return own if own.exists() else Path(name)


def linted(command: list[str]) -> str:
    """Return what a linter prints; it exits with 1 when it finds something."""
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if run.returncode not in (0, 1):
        sys.exit(f"{command[0]}: {run.stderr}")
    return run.stdout


def faults() -> list[str]:
    """Return everything that is wrong in this folder."""
    texts = {name: (FOLDER / name).read_text("utf-8") for name in DOCKERFILES}
    found = hadolint([FOLDER / name for name in DOCKERFILES]) + difference(*texts.values())
    for name, text in texts.items():
        found += [f"{name}: {fault}" for fault in dockerfile_faults(text)]
    base = yaml.safe_load(COMPOSE.read_text("utf-8"))
    for name, file in ((COMPOSE.name, base), (GPU.name, merged(base, yaml.safe_load(GPU.read_text("utf-8"))))):
        found += [f"{name}: {fault}" for fault in compose_faults(file) + compose_lint(file)]
    return found


if __name__ == "__main__":
    sys.exit("\n".join(faults()) or 0)

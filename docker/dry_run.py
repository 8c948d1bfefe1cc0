"""The CPU image without Docker: carries the Dockerfile's steps out in a folder, and uses what they made.

    python -m docker.dry_run

The image's absolute paths lie below the folder, and a fresh virtual environment stands for the base image's Python.
Left out is what only a container has: users, capabilities, the read-only root. It installs what a build installs.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

from docker.check import FOLDER, TOP, Step, stages, steps

IMAGE_PATHS = re.compile(r"(?<![\w/:.}])/(build|wheels|opt/lookalike|data|cache)\b")
# How a machine reaches its package index is its own business; TORCH_INDEX is a build argument.
KEPT_VARIABLES = re.compile(r"PIP_\w+|SSL_\w+|\w+_proxy|HOME|TORCH_INDEX", re.IGNORECASE)
ONLY_IN_A_CONTAINER = ("groupadd", "apt-get")
BUILD_S, COMMAND_S, START_S, STOP_S = 1500, 120, 60, 30
LIST_PACKAGES = "from importlib.metadata import distributions as d; print(*(f'{p.name}=={p.version}' for p in d()))"
DRAW = "import sys; from PIL import Image; Image.effect_noise((64, 48), 90).convert('RGB').save(sys.argv[1])"


class DryRunFailed(Exception):
    """A step or a command did not do what it should; the message says which, and what it printed."""


class Image:
    """What a Dockerfile makes, in a folder."""

    def __init__(self, folder: Path, say: Callable[[str], object]) -> None:
        """folder: an empty one. say: is told each step."""
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.settings: dict[str, Step] = {}
        self._say = say
        self._place = folder
        venv.create(folder / "base", with_pip=True)

    def build(self, dockerfile: str) -> None:
        """Carry out all stages, one after the other.

        Raises:
            DryRunFailed: a command of the Dockerfile failed.
        """
        for stage in stages(steps(dockerfile)):
            self.environment = {"PATH": f"{self.folder}/base/bin:{os.defpath}"}
            for step in stage:
                self._carry_out(step)
        self.environment["HOME"] = self.mapped("/cache")

    def mapped(self, text: str) -> str:
        """Return a text with the image's absolute paths below the folder."""
        return IMAGE_PATHS.sub(lambda found: f"{self.folder}{found[0]}", text)

    def _carry_out(self, step: Step) -> None:
        actions = {"ARG": self._arg, "ENV": self._env, "WORKDIR": self._workdir, "COPY": self._copy, "RUN": self._run}
        self.settings[step.name] = step
        if step.name in actions:
            self._say(f"{step.name} {step.text[:100]}")
            actions[step.name](step)

    def _arg(self, step: Step) -> None:
        name, _, default = step.text.partition("=")
        self.environment[name] = os.environ.get(name, default) if name == "TORCH_INDEX" else default

    def _env(self, step: Step) -> None:
        for word in step.words():
            name, _, value = word.partition("=")
            self.environment[name] = Template(self.mapped(value)).safe_substitute(self.environment)

    def _workdir(self, step: Step) -> None:
        self._place = Path(self.mapped(step.text))
        self._place.mkdir(parents=True, exist_ok=True)

    def _copy(self, step: Step) -> None:
        if step.text.startswith("--from"):
            return  # both stages share the folder
        *sources, target = step.words()
        for source in (TOP / name for name in sources):
            if source.is_dir():
                shutil.copytree(source, self._place / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self._place / target)

    def _run(self, step: Step) -> None:
        if any(word in step.text for word in ONLY_IN_A_CONTAINER):
            return
        kept = {name: value for name, value in os.environ.items() if KEPT_VARIABLES.fullmatch(name)}
        self.run(["/bin/sh", "-c", self.mapped(step.text)], extra=kept, limit_s=BUILD_S)

    def run(self, command: list[str], *, extra: dict[str, str] | None = None, limit_s: float = COMMAND_S) -> str:
        """Run a command as a container would, and return what it prints.

        Raises:
            DryRunFailed: its exit code is not 0.
        """
        environment = {**(extra or {}), **self.environment}
        ran = subprocess.run(
            command, cwd=self._place, env=environment, capture_output=True, text=True, check=False, timeout=limit_s
        )
        if ran.returncode:
            raise DryRunFailed(f"{' '.join(command)} exited with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def lookalike(self, *arguments: str) -> str:
        """Run the image's program; with no arguments those of CMD."""
        return self.run([*self.settings["ENTRYPOINT"].words(), *(arguments or self.settings["CMD"].words())])

    def healthy(self) -> bool:
        """Return what HEALTHCHECK finds."""
        probe = Step("CMD", self.settings["HEALTHCHECK"].text.partition("CMD ")[2])
        return subprocess.run(probe.words(), env=self.environment, capture_output=True, check=False).returncode == 0

    @contextmanager
    def serving(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the server on a free port of this machine; it is stopped at the end at the latest."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.environment["LOOKALIKE_PORT"] = str(free.getsockname()[1])
        command = [*self.settings["ENTRYPOINT"].words(), "serve", "--host", "127.0.0.1", "--auth", "none"]
        with subprocess.Popen(command, env=self.environment) as server:
            try:
                yield server
            finally:
                server.kill()


def use(image: Image, say: Callable[[str], object]) -> None:
    """Do with a built image what people do with it.

    Raises:
        DryRunFailed: something of it failed.
    """
    say(check_packages(image))
    must("Usage" in image.lookalike(), "the image's own command does not print the help")
    say(image.lookalike("init").strip())
    picture = image.folder / "photos" / "noise.png"
    picture.parent.mkdir()
    image.run(["python", "-c", DRAW, str(picture)])
    say(image.lookalike("index", str(picture.parent)).strip())
    matches = json.loads(image.lookalike("search", str(picture), "--json"))["matches"]
    must([match["path"] for match in matches] == [str(picture)], f"the search found {matches}")
    say(check_server(image))


def check_packages(image: Image) -> str:
    """Compare what is installed with constraints.txt, so that a build tomorrow installs the same."""
    installed = image.run(["python", "-c", LIST_PACKAGES]).split()
    allowed = {normal(line) for line in (TOP / "constraints.txt").read_text("utf-8").splitlines()}
    loose = [one for one in map(normal, installed) if one not in allowed and not one.startswith("lookalike==")]
    must(not loose, f"constraints.txt does not pin {', '.join(loose)}")
    return f"{len(installed)} packages, all pinned"


def normal(requirement: str) -> str:
    """Return `name==version` in the spelling of package indexes, without a local part such as +cpu."""
    name, _, version = requirement.partition("==")
    return f"{re.sub('[-_.]+', '-', name).lower()}=={version.partition('+')[0]}"


def check_server(image: Image) -> str:
    """Start the server, ask for its health as Docker does, and stop it with the image's signal."""
    with image.serving() as server:
        started = time.monotonic()
        while not image.healthy():
            must(server.poll() is None and time.monotonic() < started + START_S, "the server did not become healthy")
            time.sleep(0.2)
        seconds = time.monotonic() - started
        server.send_signal(signal.Signals[image.settings["STOPSIGNAL"].text])
        code = server.wait(STOP_S)
    must(not image.healthy(), "the health check passes without a server")
    must(code in (0, 130, -signal.SIGINT), f"the stopped server exited with {code}")
    return f"healthy after {seconds:.1f} s, stopped with exit code {code}"


def must(holds: bool, message: str) -> None:
    """Raise DryRunFailed with this message unless it holds."""
    if not holds:
        raise DryRunFailed(message)


def main() -> None:
    """Build the CPU image in a temporary folder and use it."""

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        image = Image(Path(folder), say)
        try:
            image.build((FOLDER / "cpu.Dockerfile").read_text("utf-8"))
            use(image, say)
        except DryRunFailed as error:
            sys.exit(f"dry run: {error}")


if __name__ == "__main__":
    main()

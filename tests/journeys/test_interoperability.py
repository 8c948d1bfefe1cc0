"""What other programs meet: the curl commands of the README, and models that a generator makes of OpenAPI."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from tests.conftest import painted, skip
from tests.served import Served, served_album

README = Path(__file__).parent.parent.parent / "README.md"
USUAL = "http://127.0.0.1:8080/"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_album(tmp_path_factory.mktemp("served")) as album:
        yield album


def _curl_commands() -> list[str]:
    (block,) = re.findall(r"### HTTP\n\n```sh\n(.*?)```", README.read_text(), re.S)
    return re.sub(r"\\\n", " ", block).strip().split("\n")


def test_every_curl_command_of_the_readme_works_as_it_stands_there(served: Served, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        skip("curl is not installed")
    painted(0, (200, 150)).save(tmp_path / "query.jpg", quality=95)
    for number, name in enumerate(("new", "better"), 91):
        painted(number, (200, 150)).save(tmp_path / f"{name}.jpg")
    answers: dict[str, str] = {}
    for command in _curl_commands():
        assert USUAL in command
        script = f'curl() {{ command curl --fail-with-body -sS "$@"; }}\n{command.replace(USUAL, served.url)}'
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        answers[command.partition("#")[2].strip() or command.split("/")[-1]] = done.stdout
    assert json.loads(answers["what is there"])["items"][0]["images"] == 6
    assert json.loads(answers["by a picture"])["matches"][0]["score"] > 0.99
    assert json.loads(answers["by an image that is there"])["matches"][0]["relation"] == "identical"
    assert json.loads(answers["by a part of a picture"])["matches"]
    assert json.loads(answers["new, an exact or a near copy?"])["status"] == "near"
    (taken,) = json.loads(answers["take a picture in, if it is new"])["items"]
    assert (taken["outcome"], taken["image"]["metadata"], taken["check"]["status"]) == ("added", {"price": 30}, "new")
    replaced = json.loads(answers["or in the place of another"])
    assert (replaced["outcome"], replaced["image"]["id"]) == ("replaced", taken["image"]["id"])
    (copy,) = json.loads(answers["a copy is not"])["items"]
    assert (copy["outcome"], copy["check"]["status"]) == ("rejected", "near")
    assert json.loads(answers["1"])["metadata"] == {"rating": 5}
    with Image.open(tmp_path / "thumbnail.jpg") as thumbnail:
        assert thumbnail.format == "JPEG"
    assert json.loads(answers["a job"])["kind"] == "dedup"
    assert '"state":"done"' in answers["follow it to its end"]
    assert json.loads(answers["what it found"])["copies_total"] == 1


@pytest.fixture(scope="module")
def generated(served: Served, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module that a generator makes of what the server says of itself."""
    place = tmp_path_factory.mktemp("generated") / "models.py"
    document = place.with_name("openapi.json")
    with urllib.request.urlopen(f"{served.url}openapi.json") as answer:
        document.write_bytes(answer.read())
    command: list[str | Path] = [sys.executable, "-m", "datamodel_code_generator", "--input", document]
    command += ["--input-file-type", "openapi"]
    options: list[str | Path] = [*("--output-model-type", "pydantic_v2.BaseModel", "--formatters", "builtin")]
    options += ["--openapi-scopes", "schemas", "paths", "parameters", "--use-annotated", "--output", place]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), "nothing is passed over with a warning"
    found = importlib.util.spec_from_file_location("generated_models", place)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["generated_models"] = module  # where its classes look for each other
    found.loader.exec_module(module)
    return module


def _asked(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def test_models_that_a_generator_makes_of_openapi_read_the_answers_of_the_server(
    served: Served, generated: ModuleType
) -> None:
    base = f"{served.url}v1/collections"
    (collection,) = generated.PageCollection.model_validate_json(_asked(base)).items
    assert collection.name == "default"
    images = generated.PageImage.model_validate_json(_asked(f"{base}/default/images?limit=3")).items
    assert [image.width for image in images] == [200, 200, 200]
    facets = generated.Facets.model_validate_json(_asked(f"{base}/default/facets"))
    assert facets.images == collection.images >= 6


def test_bodies_that_are_made_of_generated_models_are_understood(served: Served, generated: ModuleType) -> None:
    base = f"{served.url}v1/collections/default"
    body = generated.SearchBody(id="1", k=3, where="width >= 100")
    answer = generated.SearchAnswer.model_validate_json(
        _asked(f"{base}/search", body.model_dump_json(exclude_none=True).encode())
    )
    assert (len(answer.matches), answer.matches[0].relation.value) == (3, "identical")
    check = generated.CheckBody(id="1")
    told = generated.CheckAnswer.model_validate_json(
        _asked(f"{base}/check", check.model_dump_json(exclude_none=True).encode())
    )
    assert told.evidence is not None
    with pytest.raises(urllib.error.HTTPError) as refused:
        _asked(f"{base}/images/99999")
    assert generated.Problem.model_validate_json(refused.value.read()).status == 404

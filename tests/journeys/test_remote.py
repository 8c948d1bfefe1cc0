"""The command line against a real server, which wants a key: the same answers as on the server's machine."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.cli import app, main
from api.client import Client, RunningJob
from api.remote.connecting import COMMANDS as COMMANDS_OF_SERVERS
from tests.conftest import painted
from tests.served import KEY, Served, served_album

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_album(tmp_path_factory.mktemp("served"), with_key=True) as album:
        yield album


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command: its exit code, and what it printed on stdout and stderr."""
    monkeypatch.setenv("LOOKALIKE_API_KEY", KEY)

    def run(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--progress", "none", *(str(word) for word in words)])
        captured = capsys.readouterr()
        return int(str(ended.value.code)), captured.out, captured.err

    return run


@pytest.fixture
def both(run: Run, served: Served) -> Callable[..., tuple[tuple[int, str, str], tuple[int, str, str]]]:
    """Runs a command on the store and through the server."""

    def both(*words: str | Path) -> tuple[tuple[int, str, str], tuple[int, str, str]]:
        return run("--store", served.store, *words), run("--remote", served.url, *words)

    return both


def without_times(text: str) -> dict[str, Any]:
    shape: dict[str, Any] = json.loads(text)
    for one in (shape, *shape.get("items", [])):
        one.pop("took_ms", None)
    return shape


SEARCHES: list[list[str]] = [
    ["1.png", "-k", "3"],
    ["1.png", "3.png", "-k", "2", "--min-score", "-1"],
    ["1.png", "--accurate", "--box", "0,0,150,150"],
    ["--id", "2", "--where", "width >= 100"],
    ["--like", "1", "--like", "2", "--unlike", "5"],
]


@pytest.mark.parametrize("words", SEARCHES, ids=" ".join)
def test_a_search_prints_what_it_prints_there(words: list[str], both: Callable[..., Any], served: Served) -> None:
    named = [str(served.photos / word) if word.endswith(".png") else word for word in words]
    here, there = both("search", *named)
    assert there == here
    here, there = both("--json", "search", *named)
    assert (there[0], without_times(there[1]), there[2]) == (0, without_times(here[1]), here[2])


def test_a_search_by_key_finds_it(run: Run, served: Served) -> None:
    shape = json.loads(run("--remote", served.url, "--json", "search", "--id", "1", "-k", "1")[1])
    key = shape["matches"][0]["key"]
    again = json.loads(run("--remote", served.url, "--json", "search", "--key", key, "-k", "1")[1])
    assert again["query"] == {"id": "1", "key": key}


def test_a_check_prints_what_it_prints_there(both: Callable[..., Any], served: Served, tmp_path: Path) -> None:
    new, broken = tmp_path / "new.png", tmp_path / "broken.png"
    painted(77, (120, 90)).save(new)
    broken.write_bytes(b"no picture")
    for words in ([served.photos / "copy.png"], [new], [new, served.photos / "1.png", broken, tmp_path / "gone.png"]):
        here, there = both("check", *words)
        assert there == here
        here, there = both("--json", "check", *words)
        assert (there[0], without_times(there[1])) == (here[0], without_times(here[1]))
    here, there = both("--json", "check", broken)
    assert (there[0], json.loads(there[1])["error"]["kind"]) == (here[0], "BadImage")


def test_status_and_failures_have_the_same_shape(both: Callable[..., Any], served: Served) -> None:
    here, there = both("--json", "status")
    shape, told = json.loads(here[1]), json.loads(there[1])
    assert (told["collections"], told["store"]) == (shape["collections"], served.url)
    assert both("--json", "failures")[1] == both("--json", "failures")[0]
    assert both("failures")[1] == (0, "no failures\n", "")
    assert "6 files seen, 6 images, 6 searchable" in both("status")[1][1]


def test_what_is_said_through_a_server_is_said(both: Callable[..., Any], run: Run, served: Served) -> None:
    remote = ("--remote", served.url)
    assert run(*remote, "verdicts", "say", "1", "2", "different") == (0, "1 verdict written down: different\n", "")
    assert json.loads(run(*remote, "--json", "verdicts", "merge", "3", "4")[1])["items"][0]["verdict"] == "duplicate"
    here, there = both("--json", "verdicts", "list")
    assert (there == here, len(json.loads(there[1])["items"])) == (True, 2)
    assert both("verdicts", "list")[1] == both("verdicts", "list")[0]
    for words in (["import", "x.csv"], ["export", "x.csv"], ["split", "1", "2"]):
        code, _, told = run(*remote, "verdicts", *words)
        assert (code, "run it without --remote" in told) == (2, True)


def test_duplicates_are_looked_for_by_a_job_that_is_waited_for(run: Run, served: Served) -> None:
    remote = ("--remote", served.url)
    code, out, _ = run(*remote, "--json", "dedup", "--threshold", "0.9999", "--keep", "path")
    here = json.loads(run("--store", served.store, "--json", "dedup", "--threshold", "0.9999", "--keep", "path")[1])
    there = json.loads(out)
    assert (code, set(there)) == (0, set(here))
    same = ("groups_total", "bytes_reclaimable", "images", "threshold", "threshold_source", "truncated", "between")
    assert {name: there[name] for name in same} == {name: here[name] for name in same}
    assert there["groups"] == here["groups"]
    code, out, _ = run(*remote, "dedup", "--threshold", "0.9999")
    assert (code, f"{here['groups_total']} group" in out, "is on the server" in out) == (0, True, True)
    assert f"next: lookalike --remote {served.url} apply" in out
    code, _, told = run(*remote, "dedup", "--within", "/nowhere")
    assert (code, "below which no image" in told) == (2, True)
    assert run(*remote, "dedup", "-o", "x")[0] == 2


@pytest.fixture(scope="module")
def plan(served: Served) -> str:
    """A plan for the album's one copy, made on the server's machine."""
    with Client(served.url, key=KEY) as client:
        for said in client.verdicts():  # by whichever test came before
            client.forget(said.first, said.second)
        with pytest.raises(SystemExit):
            main(["--store", str(served.store), "--progress", "none", "--json", "dedup", "--threshold", "0.9999"])
        return next(client.plans()).id


def test_a_plan_is_applied_and_undone_there_and_people_are_asked_before(run: Run, served: Served, plan: str) -> None:
    remote, copies = ("--remote", served.url), [served.photos / name for name in ("0.png", "copy.png")]
    act = ("apply", plan, "--max-fraction", "1")
    code, _, told = run(*remote, *act)
    assert (code, "this would move 1 copy of 1 group" in told, "add --yes" in told) == (4, True, True)
    assert all(copy.exists() for copy in copies), "nobody was there to say yes"
    code, _, told = run(*remote, "apply", plan, "--max-fraction", "0.01")
    assert (code, "add --yes" in told, "max-fraction" in told) == (4, False, True), "what is too much is not asked"
    code, out, _ = run(*remote, *act, "--yes")
    assert (code, f"undo with: lookalike --remote {served.url} undo {plan}" in out) == (0, True)
    assert sorted(copy.exists() for copy in copies) == [False, True]
    here, there = (
        json.loads(run(*where, "--json", "purge", plan, "--older-than", "0d", "--dry-run")[1])
        for where in (remote, ("--store", str(served.store)))
    )
    assert there == here
    assert (here["plans"], here["files"]) == ([plan], 1)
    code, out, _ = run(*remote, "--json", "undo", plan)
    shape = json.loads(out)
    assert (code, shape["plan"], shape["files"], shape["recalled"], shape["skipped"]) == (0, plan, 1, 1, [])
    assert all(copy.exists() for copy in copies)


def test_a_plan_is_named_by_its_id_and_lists_are_written_on_its_machine(run: Run, served: Served, plan: str) -> None:
    remote = ("--remote", served.url)
    code, _, told = run(*remote, "undo", served.store / "plans" / plan)
    assert (code, "is no id of a plan" in told) == (2, True)
    assert run(*remote, "undo", "20200101-00000000")[0] == 2
    code, _, told = run(*remote, "apply", plan, "--action", "list", "-o", "lists")
    assert (code, "--out cannot be used with --remote" in told) == (2, True)


def test_jobs_are_listed_followed_and_left_alone_by_ctrl_c(
    both: Callable[..., Any], run: Run, served: Served, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = ("--remote", served.url)
    code, out, _ = run(*remote, "apply", plan, "--action", "list")
    assert (code, "1 copy would go; no file was touched" in out, ".png would go, image" in out) == (0, True, True)
    here, there = both("--json", "jobs", "list", "--state", "done")
    assert there == here
    newest = json.loads(there[1])["items"][0]
    done = newest["id"]
    assert (newest["kind"], newest["request"]) == ("apply", {"action": "list", "plan": plan})
    here, there = both("jobs", "list")
    assert there == here
    here, there = both("jobs", "follow", done)
    assert there == here
    assert there[1].startswith(f"job {done}: apply, done\n")
    here, there = both("--json", "jobs", "cancel", done)
    assert (there, json.loads(there[1])["state"]) == (here, "done")
    for words in (["follow", "999"], ["cancel", "999"], ["list", "--state", "odd"]):
        here, there = both("jobs", *words)
        assert (there[0], here[0]) == (2, 2), words

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunningJob, "wait", interrupted)
    code, _, told = run(*remote, "jobs", "follow", done)
    call = f"lookalike --remote {served.url} jobs"
    assert (code, told.count("\n")) == (130, 1)
    assert f"job {done} goes on at the server: `{call} follow {done}` waits for it, `{call} cancel {done}`" in told


def test_images_are_removed_there_by_id_key_and_condition(
    both: Callable[..., Any], run: Run, served: Served, tmp_path: Path
) -> None:
    remote, folder = ("--remote", served.url), tmp_path / "to go"
    folder.mkdir()
    for number in (81, 82):
        painted(number, (160, 120)).save(folder / f"{number}.png")
    assert run(*remote, "index", folder)[0] == 0
    here, there = both("--json", "remove", "--id", "1", "--dry-run")
    assert there == here
    where = ("--where", 'key like "%/to%20go/%"')
    here, there = both("--json", "remove", *where, "--dry-run")
    assert (there, json.loads(there[1])["matched"]) == (here, 2)
    assert run(*remote, "remove", *where)[1] == "removed 2 images from default; their files stay\n"
    assert run(*remote, "remove", "--key", "file:///nowhere")[0] == 2
    code, _, told = run(*remote, "remove", "--path", folder)
    assert (code, "--where 'path like" in told) == (2, True)


def test_pictures_are_sent_once_and_found(run: Run, served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    painted(41, (160, 120)).save(folder / "new.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "notes.txt").write_text("no picture")
    remote = ("--remote", served.url)
    code, out, told = run(*remote, "--json", "index", folder)
    shape = json.loads(out)
    assert (code, shape["seen"], shape["indexed"], shape["failed"], shape["ignored"]) == (3, 2, 1, 1, 1)
    assert "broken.png" in told
    assert json.loads(run(*remote, "--json", "search", folder / "new.png", "-k", "1")[1])["matches"][0]["relation"] == (
        "identical"
    )
    code, out, told = run(*remote, "index", folder)
    assert ("broken.png: " in told, "the lines above name the files" in out) == (True, True)
    assert "broken.png" not in run(*remote, "failures")[1], "what was refused is known to its sender alone"
    code, out, _ = run(*remote, "index", folder / "new.png")
    assert (code, "default: 0 indexed, 1 unchanged" in out) == (0, True)
    code, out, _ = run(*remote, "--collection", "begun", "index", folder / "new.png")
    assert (code, "begun: 1 indexed" in out) == (0, True), "a collection that was not there"
    painted(42, (160, 120)).save(folder / "new.png")
    assert "default: 1 indexed" in run(*remote, "index", folder / "new.png")[1]
    code, _, told = run(*remote, "index", folder, "--backbone", "resnet18")
    assert (code, "--backbone cannot be used with --remote" in told) == (2, True)


def test_what_a_server_refuses_is_reported_as_it_would_be_there(both: Callable[..., Any], served: Served) -> None:
    here, there = both("search", "--id", "1", "--where", "colour = 3")
    assert there == here
    here, there = both("--json", "search", "--id", "999")
    assert (there[0], json.loads(there[1])["error"]["kind"]) == (here[0], json.loads(here[1])["error"]["kind"])
    here, there = both("--collection", "nowhere", "search", "--id", "1")
    assert (there[0], here[0]) == (2, 2)


def test_without_a_key_or_a_server_it_is_said_what_to_do(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOOKALIKE_API_KEY")
    code, _, told = run("--remote", served.url, "status")
    assert (code, "key" in told) == (2, True)
    code, _, told = run("--remote", "http://127.0.0.1:1", "status")
    assert (code, "is `lookalike serve` running there?" in told) == (5, True)
    code, _, told = run("--remote", "somewhere", "status")
    assert (code, "is no address of a server" in told) == (2, True)


def test_what_needs_a_store_says_so_at_once(run: Run) -> None:
    names = sorted(app.registered_commands, key=lambda one: str(one.name or one.callback.__name__))  # type: ignore[union-attr]
    refused = 0
    for name in (str(one.name or one.callback.__name__).replace("_", "-") for one in names):  # type: ignore[union-attr]
        if name not in COMMANDS_OF_SERVERS:
            code, _, told = run("--remote", "http://127.0.0.1:1", name)
            assert (code, "works on a store, not through a server" in told) == (2, True), name
            refused += 1
    assert refused > 20

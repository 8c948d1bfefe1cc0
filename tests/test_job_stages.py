"""What the command line shows of a job that it waits for, and what Ctrl-C does."""

import pytest

from api.cli import main
from api.remote.waiting import stages
from api.shapes.jobs import Job
from search.storing.server_jobs import ServerJobs
from search.storing.store import Store
from tests.test_client_jobs import shape


def job_at(stage: str, done: int, total: int | None) -> Job:
    progress = {"stage": stage, "done": done, "total": total, "left_s": None}
    return Job.model_validate(shape("running", progress=progress))


def test_each_stage_of_a_job_is_shown_by_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.work_progress.LINE_EVERY_S", 0)
    with stages("plain") as tell:
        tell(Job.model_validate(shape("queued")))
        tell(Job.model_validate(shape("queued")))
        for stage, done, total in (
            ("looked at", 1, 9),
            ("looked at", 9, 9),
            ("kept", 0, None),
            ("checked", 1024, 2048),
        ):
            tell(job_at(stage, done, total))
        tell(Job.model_validate(shape("done")))
    assert capsys.readouterr().err.splitlines() == [
        "job 7 waits for its turn",
        "1 of 9 images looked at",
        "9 of 9 images looked at",
        "1.0 KiB of 2.0 KiB checked",
    ]


def test_nothing_is_shown_to_who_wants_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with stages("none") as tell:
        tell(Job.model_validate(shape("queued")))
        tell(job_at("looked at", 1, 9))
    assert capsys.readouterr().err == ""


def test_ctrl_c_at_a_job_of_a_store_leaves_it_alone(
    local_store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = ServerJobs(local_store.database)
    waiting = jobs.create("dedup", "default", {})

    def pressed(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("api.commands.jobs.time.sleep", pressed)
    with pytest.raises(SystemExit) as ended:
        main(["--store", str(local_store.root), "jobs", "follow", str(waiting.id)])
    told = capsys.readouterr().err
    assert (ended.value.code, f"job {waiting.id} goes on" in told) == (130, True)
    assert f"lookalike --store {local_store.root} jobs cancel {waiting.id}" in told
    assert jobs.get(waiting.id).state == "queued"
    with pytest.raises(SystemExit) as ended:
        main(["--store", str(local_store.root), "jobs", "cancel", str(waiting.id)])
    assert (ended.value.code, jobs.get(waiting.id).state) == (0, "cancelled")

"""Jobs of servers as rows: who takes them, who goes on with them, who may write what became of them."""

import pytest

from search.errors import JobNotFound
from search.storing.server_jobs import Owner, ServerJobs
from search.storing.store import Store

HERE, BESIDE = Owner("here", "1-a", 60.0), Owner("here", "2-b", 60.0)
ELSEWHERE = Owner("elsewhere", "1-c", 60.0)
HASTY = Owner("elsewhere", "9-z", -1.0)  # its leases have ended when they begin


def test_a_job_is_taken_once_and_the_oldest_first(store: Store) -> None:
    jobs = ServerJobs(store.database)
    first, second = (jobs.create("dedup", "default", {"threshold": 0.9}) for _ in range(2))
    assert (first.state, first.request, first.version) == ("queued", {"threshold": 0.9}, 1)
    assert jobs.take(["apply"], HERE) is None
    taken = jobs.take(["dedup"], HERE)
    assert taken is not None
    assert (taken.id, taken.state, taken.attempts, taken.version > first.version) == (first.id, "running", 1, True)
    also = jobs.take(["dedup"], ELSEWHERE)
    assert also is not None
    assert also.id == second.id
    assert [jobs.take(["dedup"], one) for one in (HERE, ELSEWHERE)] == [None, None]


def test_a_job_whose_server_died_is_taken_by_the_next_of_its_machine_and_by_others_when_its_lease_ends(
    store: Store,
) -> None:
    jobs = ServerJobs(store.database)
    job = jobs.create("dedup", "default", {})
    for owner, taken in ((HERE, True), (ELSEWHERE, False), (BESIDE, True), (HASTY, False)):
        assert (jobs.take(["dedup"], owner) is not None) is taken, owner
    other = jobs.create("dedup", "default", {})
    assert jobs.take(["dedup"], HASTY) is not None
    again = jobs.take(["dedup"], ELSEWHERE)
    assert again is not None
    assert (again.id, again.attempts) == (other.id, 2)
    assert jobs.get(job.id).state == "running"


def test_a_server_that_lost_a_job_writes_nothing_more_of_it(store: Store) -> None:
    jobs = ServerJobs(store.database)
    job = jobs.create("dedup", "default", {})
    jobs.take(["dedup"], HERE)
    assert jobs.beat(job.id, HERE, {"stage": "a", "done": 1, "total": 2, "left_s": None})
    jobs.take(["dedup"], BESIDE)
    assert jobs.asked_to_end(job.id, HERE)
    assert not jobs.asked_to_end(job.id, BESIDE)
    assert not jobs.beat(job.id, HERE, {"stage": "b", "done": 2, "total": 2, "left_s": 0.0})
    assert not jobs.finish(job.id, HERE, "done", result={"by": "the old one"})
    assert jobs.finish(job.id, BESIDE, "done", result={"by": "the new one"})
    ended = jobs.get(job.id)
    assert (ended.state, ended.result, ended.ended) == ("done", {"by": "the new one"}, True)
    assert ended.progress is None, "how far it was once is no news of what is done"


def test_a_released_job_waits_again_and_that_is_no_attempt(store: Store) -> None:
    jobs = ServerJobs(store.database)
    job = jobs.create("dedup", "default", {})
    jobs.take(["dedup"], HERE)
    jobs.release(job.id, HERE)
    assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == ("queued", 0)
    assert jobs.take(["dedup"], ELSEWHERE) is not None


def test_cancelling_ends_what_waits_asks_what_runs_and_leaves_what_has_ended(store: Store) -> None:
    jobs = ServerJobs(store.database)
    waiting = jobs.create("dedup", "default", {})
    assert (jobs.cancel(waiting.id).state, jobs.take(["dedup"], HERE)) == ("cancelled", None)
    running = jobs.create("dedup", "default", {})
    taken = jobs.take(["dedup"], HERE)
    assert taken is not None
    asked = jobs.cancel(running.id)
    assert (asked.state, asked.cancelled, asked.version) == ("running", True, taken.version + 1)
    assert jobs.asked_to_end(running.id, HERE)
    assert jobs.cancel(running.id).version == asked.version
    jobs.finish(running.id, HERE, "done", result={})
    assert jobs.cancel(running.id).state == "done"
    with pytest.raises(JobNotFound, match="no job 999"):
        jobs.cancel(999)


def test_jobs_are_listed_newest_first_by_state_and_collection_and_forgotten_in_time(store: Store) -> None:
    jobs = ServerJobs(store.database)
    ids = [jobs.create("dedup", name, {}).id for name in ("a", "b", "a", "a")]
    jobs.cancel(ids[0])
    assert [job.id for job in jobs.page(limit=3)] == ids[:0:-1]
    assert [job.id for job in jobs.page(limit=3, before=ids[1])] == [ids[0]]
    assert [job.id for job in jobs.page(collection="a", states=["queued"], limit=9)] == [ids[3], ids[2]]
    assert (jobs.waiting(), jobs.version(ids[0]), jobs.version(999)) == (3, 2, None)
    assert (jobs.forget_old(3_600.0), jobs.forget_old(-3_600.0)) == (0, 1)
    assert [job.id for job in jobs.page(limit=9)] == ids[:0:-1]

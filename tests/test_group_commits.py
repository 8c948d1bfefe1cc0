"""Pictures that come one by one are committed together, each of them once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from indexer.jobs.group_commits import GroupCommits, Part
from search.errors import KeyReused, StillAtWork, StoreUnavailable
from search.finding.snapshot import SnapshotReader
from search.records import Collection, ContentFacts
from search.storing import kept_answers
from search.storing.image_rows import NewImage
from search.storing.kept_answers import KeptAnswer, KeptAnswers
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone


@pytest.fixture
def target(store: Store) -> Collection:
    return store.open_collection("default", FakeBackbone().space)


def part(number: int, key: str | None = None) -> Part:
    """A picture whose embedding is an axis of its own."""
    sha256 = number.to_bytes(32)
    facts = ContentFacts(sha256, 10, "png", 8, 8, bytes(16), bytes(32), 50.0)
    embedding = np.zeros(FAKE_DIMS, np.float32)
    embedding[number] = 1.0
    return Part(NewImage(key or f"key {number}", f"file:///{number}.png", 10, 1, facts), sha256, embedding)


def test_those_who_wait_meanwhile_are_committed_together_and_found(store: Store, target: Collection) -> None:
    sizes: list[int] = []
    commits = GroupCommits(store, target, sizes.append)
    with commits._committing, ThreadPoolExecutor(8) as threads:  # a commit is under way
        running = [threads.submit(commits.commit, part(number)) for number in range(8)]
        while len(commits._waiting) < 8:
            threading.Event().wait(0.01)
        commits._committing.release()
        assert [one.result() for one in running] == ["added"] * 8
        commits._committing.acquire()
    assert sizes == [8]
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    ranked = snapshot.search(np.eye(FAKE_DIMS, dtype=np.float32)[[5]], 1)
    (image,) = store.catalogue.images_by_id(target.id, ranked.ids.tolist()).values()
    assert image.key == "key 5"


def test_a_key_and_a_content_that_must_be_new_are_asked_for_once_more(store: Store, target: Collection) -> None:
    commits = GroupCommits(store, target, lambda _: None)
    assert commits.commit(part(1)) == "added"
    assert commits.commit(part(2, "key 1")) == "key_taken"
    again = part(1, "another key")
    again.new_content = True
    assert commits.commit(again) == "copy"
    over = part(2, "key 1")
    over.new_key = False
    assert (commits.commit(over), over.before) == ("replaced", ("file:///1.png", (1).to_bytes(32)))
    (image,) = store.catalogue.images(target.id)
    assert (image.key, image.sha256) == ("key 1", (2).to_bytes(32))
    first, second = part(3, "same"), part(4, "same")
    commits._waiting.append(first)
    assert (commits.commit(second), first.outcome) == ("key_taken", "added")


def test_of_pictures_put_under_one_key_together_the_first_alone_is_new(store: Store, target: Collection) -> None:
    commits = GroupCommits(store, target, lambda _: None)
    first, second, third = (part(number, "same") for number in (1, 2, 3))
    for one in (first, second, third):
        one.new_key = False
    commits._waiting += [first, second]
    assert (commits.commit(third), first.outcome, second.outcome) == ("replaced", "added", "replaced")
    uris = [one.before and one.before.uri for one in (first, second, third)]
    assert uris == [None, "file:///1.png", "file:///2.png"], "each knows what it has replaced, whose file may go"
    (image,) = store.catalogue.images(target.id)
    assert image.sha256 == (3).to_bytes(32)


def test_when_a_commit_fails_everybody_in_it_hears_why(
    store: Store, target: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = GroupCommits(store, target, lambda _: None)

    def full(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(commits._committer, "commit", full)
    other = part(1)
    commits._waiting.append(other)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        commits.commit(part(2))
    assert isinstance(other.error, StoreUnavailable)
    monkeypatch.undo()
    assert (commits.commit(part(2)), store.catalogue.count_images(target.id)) == ("added", 1)


def test_an_answer_is_kept_by_its_name_and_what_failed_or_was_left_can_be_done_again(
    store: Store, target: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, digest = KeptAnswers(store.database), bytes(32)
    assert answers.begin(target, "a", digest) is None
    with pytest.raises(StillAtWork) as soon:
        answers.begin(target, "a", digest)
    with monkeypatch.context() as later:
        later.setattr("search.storing.kept_answers.time.time", lambda now=time.time(): now + 10)  # noqa: B008
        with pytest.raises(StillAtWork) as long:
            answers.begin(target, "a", digest)
    assert 1 <= soon.value.retry_after_s < 10 <= long.value.retry_after_s <= 30, "as long again as it has taken"
    assert answers.begin(replace(target, id=target.id + 1), "a", digest) is None
    answers.answered(target, "a", KeptAnswer(201, "{}"))
    answers.failed(target, "a")
    assert answers.begin(target, "a", digest) == KeptAnswer(201, "{}")
    with pytest.raises(KeyReused):
        answers.begin(target, "a", b"1" * 32)
    assert answers.begin(target, "b", digest) is None
    answers.failed(target, "b")
    assert answers.begin(target, "b", digest) is None
    monkeypatch.setattr(kept_answers, "AT_WORK_S", -1.0)
    assert answers.begin(target, "b", b"2" * 32) is None, "its server died long ago"
    monkeypatch.setattr(kept_answers, "KEPT_S", -1.0)
    assert answers.begin(target, "a", b"2" * 32) is None, "forgotten"

"""Tells receivers that jobs have ended: at least once each, again and again until they hear it or time is up.

What is due stands in the catalogue (search/storing/due_webhooks.py), so it outlasts servers. One process on a machine
tells at a time, which a lock on a file holds; those of other machines are kept off by leases.
"""

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from yarl import URL

from api.http.pinned import Resolve, resolve_by_system
from api.jobs.machine_lock import held
from api.webhooks.calling import CallFailed, call
from api.webhooks.event import body_of, id_of
from api.webhooks.outcomes import Outcome, after_answer, after_failure
from api.webhooks.rules import WebhookRefused, WebhookRules
from api.webhooks.signature import signed
from search.database.database import Database
from search.errors import LookalikeError
from search.storing.due_webhooks import DueWebhook, DueWebhooks
from search.storing.server_jobs import Owner, ServerJob

log = logging.getLogger(__name__)

POLL_S: Final = 1.0  # other processes and servers write what is due
LEASE_S: Final = 60.0  # longer than any call
AT_ONCE: Final = 8
AT_ONCE_EACH: Final = 2  # of one host and port, so that a slow one keeps nobody else waiting for long


class Deliveries:
    """Tells receivers while it is open.

    told: how many attempts of this process ended in which state. waiting: how many receivers of the whole store are
    still to be told, as of a moment ago: who asks for figures must not wait for the catalogue.
    """

    def __init__(
        self,
        root: Path,
        database: Database,
        rules: WebhookRules,
        keys: Sequence[bytes],
        resolve: Resolve = resolve_by_system,
    ) -> None:
        """root: the store's folder. keys: the secrets that sign."""
        self._lock = root / ".webhooks.lock"
        self._due = DueWebhooks(database)
        self._rules = rules
        self._keys = tuple(keys)
        self._resolve = resolve
        self._owner = Owner(socket.gethostname(), f"{os.getpid()}-{secrets.token_hex(8)}", LEASE_S)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="webhooks")
        self.told: Counter[str] = Counter()
        self.waiting = 0

    def __enter__(self) -> "Deliveries":
        self._serving = self._loop.create_task(self._serve())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; what is being told is given back, so that the next server tells it."""
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._serving)
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        while True:
            try:
                worked = await self._round()
            except (LookalikeError, OSError) as error:
                log.warning("webhooks wait: %s", error)
                worked = False
            if not worked:
                await asyncio.sleep(POLL_S)

    async def _round(self) -> bool:
        """Tell some of those that are due; return False where nothing could be done."""
        self.waiting = await asyncio.to_thread(self._due.waiting)
        with held(self._lock) as mine:
            due = await asyncio.to_thread(self._due.due, self._owner) if mine else []
            return any(await asyncio.gather(*(self._tell(one) for one in fair(due))))

    async def _tell(self, due: DueWebhook) -> bool:
        """Tell one; return False where another server was faster, or the catalogue does not answer."""
        try:
            job = await asyncio.to_thread(self._due.take, due.job_id, self._owner)
            if job is None:
                return False
            try:
                outcome = await self._attempt(job, due.address)
            except asyncio.CancelledError:
                self._due.release(job.id, self._owner)
                raise
            self.told[outcome.state] += 1
            await asyncio.to_thread(self._due.settle, job.id, self._owner, outcome.as_json(), outcome.again_s)
        except LookalikeError as error:
            log.warning("the webhook of job %d waits: %s", due.job_id, error)
            return False
        return True

    async def _attempt(self, job: ServerJob, address: str) -> Outcome:
        body = body_of(job)
        headers = signed(self._keys, id_of(job), int(time.time()), body)
        try:
            called = await call(self._rules.receiver(address), headers, body, self._resolve)
        except (CallFailed, WebhookRefused) as error:
            outcome = after_failure(str(error), job.webhook_attempts)
        else:
            outcome = after_answer(called, job.webhook_attempts)
        level = logging.WARNING if outcome.state == "failed" else logging.INFO
        # Not the address: some hold what only their receiver should know.
        log.log(level, "webhook of job %d, attempt %d: %s", job.id, job.webhook_attempts, outcome.why or "delivered")
        return outcome


def fair(due: Iterable[DueWebhook]) -> list[DueWebhook]:
    """Return whom to tell next, side by side: the longest waiting, but few of each host and port."""
    chosen: list[DueWebhook] = []
    each: Counter[str] = Counter()
    for one in due:
        origin = str(URL(one.address).origin())
        if each[origin] < AT_ONCE_EACH and len(chosen) < AT_ONCE:
            each[origin] += 1
            chosen.append(one)
    return chosen

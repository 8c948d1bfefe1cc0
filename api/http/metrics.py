"""Figures for monitoring, in the text format of Prometheus."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from prometheus_client.registry import Collector

from api.http.all_lines import Lines
from api.http.worker_figures import WorkerFigures
from api.webhooks.deliveries import Deliveries
from api.workspace import Workspace
from search.finding.recall_watch import RecallWatch

CONTENT_TYPE = CONTENT_TYPE_PLAIN_1_0_0


class Metrics(Collector):
    """What this process has seen, and its fellow workers. among: them, None where it is the only one."""

    def __init__(
        self,
        workspace: Workspace,
        lines: Lines,
        among: WorkerFigures | None = None,
        deliveries: Deliveries | None = None,
    ) -> None:
        self._among = among
        self._own = CollectorRegistry()
        self._own.register(_Recall(workspace.recall_watch))
        self._own.register(_Queues(lines))
        self._own.register(_Embedding(workspace))
        if deliveries is not None:
            self._own.register(_Webhooks(deliveries))
        self._all = CollectorRegistry()
        self._all.register(self)

    def own(self) -> Iterable[Metric]:
        """Return the figures of this process."""
        return self._own.collect()

    def collect(self) -> Iterable[Metric]:
        """Return all figures. It may wait for other workers."""
        return self.own() if self._among is None else self._among.of_all(self.own)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are not looked at before somebody asks for figures."""
        return ()

    def text(self) -> bytes:
        """Return all figures as text. It may wait for other workers."""
        return generate_latest(self._all)


class _Recall(Collector):
    def __init__(self, watch: RecallWatch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Yield the recall that live searches had, by collection."""
        recall = GaugeMetricFamily(
            "lookalike_search_recall_at_10",
            "Share of the 10 nearest images that live searches found, over the newest that were checked exactly.",
            labels=["collection"],
        )
        checks = GaugeMetricFamily(
            "lookalike_search_recall_checks", "Live searches that were checked exactly.", labels=["collection"]
        )
        for observed in self._watch.observed():
            recall.add_metric([observed.collection], observed.recall)
            checks.add_metric([observed.collection], observed.checks)
        yield recall
        yield checks


class _Queues(Collector):
    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def collect(self) -> Iterator[Metric]:
        """Yield who is answered, who waits, and who could not."""
        inside = GaugeMetricFamily(
            "lookalike_requests", "Requests in a line, by whether they wait.", labels=["line", "state"]
        )
        done = CounterMetricFamily("lookalike_requests_done", "Requests that left a line.", labels=["line"])
        refused = CounterMetricFamily(
            "lookalike_requests_refused", "Requests that found a line full.", labels=["line", "status"]
        )
        abandoned = CounterMetricFamily(
            "lookalike_requests_abandoned", "Requests whose client hung up before the answer.", labels=["line"]
        )
        for line in self._lines.all():
            inside.add_metric([line.name, "waiting"], line.waiting)
            inside.add_metric([line.name, "running"], line.inside - line.waiting)
            done.add_metric([line.name], line.done)
            abandoned.add_metric([line.name], line.abandoned)
            for status in (429, 503):
                refused.add_metric([line.name, str(status)], line.refused[status])
        yield from (inside, done, refused, abandoned)


class _Embedding(Collector):
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def collect(self) -> Iterator[Metric]:
        """Yield how many pictures of searches were embedded, and in how many batches."""
        batches, pictures = self._workspace.embedded()
        yield CounterMetricFamily("lookalike_embedding_batches", "Batches of query pictures embedded.", batches)
        yield CounterMetricFamily("lookalike_embedding_pictures", "Query pictures embedded.", pictures)


class _Webhooks(Collector):
    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    def collect(self) -> Iterator[Metric]:
        """Yield how often receivers were called, with what success, and how many are still to be told."""
        called = CounterMetricFamily(
            "lookalike_webhook_attempts", "Attempts to tell a receiver that a job has ended.", labels=["outcome"]
        )
        for state, outcome in (("delivered", "delivered"), ("due", "tried_again"), ("failed", "given_up")):
            called.add_metric([outcome], self._deliveries.told[state])
        yield called
        about = "Receivers of the whole store who are still to be told."
        yield GaugeMetricFamily("lookalike_webhooks_due", about, self._deliveries.waiting)

"""Figures for monitoring, in the text format of Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from prometheus_client.registry import Collector

from search.finding.recall_watch import RecallWatch

CONTENT_TYPE = CONTENT_TYPE_PLAIN_1_0_0


class Metrics:
    """What this process has seen; another worker process has figures of its own."""

    def __init__(self, watch: RecallWatch) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Recall(watch))

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self._registry)


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

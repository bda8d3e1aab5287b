"""What Prometheus is told: the numbers of `status` and `budget`, under stable names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class MetricsMissing(Exception):
    """The extra `metrics` is not installed."""


def exposition(status: Mapping[str, Any], budget: Mapping[str, Any]) -> bytes:
    """The text Prometheus reads.

    Raises:
        MetricsMissing: prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise MetricsMissing from None

    class _Collector:
        def collect(self) -> Iterator[Metric]:
            yield from _metrics(status, budget)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return bytes(generate_latest(registry))


def _metrics(status: Mapping[str, Any], budget: Mapping[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    def gauge(name: str, help_: str, value: float) -> Metric:
        return GaugeMetricFamily(f"ciris_mesh_{name}", help_, value=value)

    yield gauge("up_seconds", "Seconds since the node started.", status["uptime_s"])
    yield gauge("healthy", "1 when there is nothing to look at.", float(not status["health"]))
    yield gauge("deferred_records", "Records that wait for others.", status["deferred"])
    yield gauge("resident_bytes", "Memory of the process.", status["rss_bytes"])
    records = GaugeMetricFamily("ciris_mesh_records", "Records held.", labels=["kind", "shelf"])
    for kind in status["kinds"]:
        for shelf in ("federation", "bridged", "local"):
            records.add_metric([kind["kind"], shelf], kind[shelf])
    yield records
    yield from _peers(status)
    drops = CounterMetricFamily("ciris_mesh_drops", "What was turned away.", labels=["reason"])
    for reason, count in sorted(status["drops"].items()):
        drops.add_metric([reason], count)
    yield drops
    outcomes = CounterMetricFamily(
        "ciris_mesh_admissions", "Answers of admit.", labels=["path", "outcome", "reason"]
    )
    for row in status["outcomes"]:
        outcomes.add_metric([row["path"], row["outcome"], row["reason"]], row["count"])
    yield outcomes
    yield from _air(budget)


def _peers(status: Mapping[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    fresh = GaugeMetricFamily("ciris_mesh_peer_fresh", "1 when fresh.", labels=["peer"])
    heard = GaugeMetricFamily(
        "ciris_mesh_peer_heard_seconds", "Since a word of the peer.", labels=["peer"]
    )
    missing = GaugeMetricFamily(
        "ciris_mesh_peer_missing_records", "Known to be missing here.", labels=["peer"]
    )
    for peer in status["peers"]:
        fresh.add_metric([peer["key_id"]], float(peer["fresh"]))
        if peer["last_heard_s"] is not None:
            heard.add_metric([peer["key_id"]], peer["last_heard_s"])
        if peer["missing"] is not None:
            missing.add_metric([peer["key_id"]], peer["missing"])
    yield from (fresh, heard, missing)


def _air(budget: Mapping[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    used = GaugeMetricFamily("ciris_mesh_air_used_seconds", "Of this hour.", labels=["radio"])
    limit = GaugeMetricFamily("ciris_mesh_air_limit_seconds", "Of an hour.", labels=["radio"])
    owed = GaugeMetricFamily("ciris_mesh_air_owed_records", "Wait for air.", labels=["radio"])
    for radio in budget["interfaces"]:
        name = radio["name"]
        owed.add_metric([name], radio["owed_records"])
        if radio["used_s"] is not None:
            used.add_metric([name], radio["used_s"])
        if radio["limit_s"] is not None:
            limit.add_metric([name], radio["limit_s"])
    yield from (used, limit, owed)

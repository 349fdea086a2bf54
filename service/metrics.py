"""The service's Prometheus metrics; the values of every label are limited by our own code."""

import os

from prometheus_client import REGISTRY as OWN_PROCESS
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

# With several workers, prometheus-client keeps its values in files in the directory that this variable names. It must
# be set before this module is imported.
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

REQUESTS = Counter("wavepress_requests", "Requests answered", ["method", "route", "status"])
UPLOADS = Counter(
    "wavepress_uploads", "Uploads by outcome: created, replayed or the refusal's code", ["outcome", "transport"]
)
RECEIVED_BYTES = Counter("wavepress_received_bytes", "Bytes of request bodies")
SENT_BYTES = Counter(
    "wavepress_sent_bytes", "Bytes of response bodies; of one that broke off, only what went out in pieces counts"
)
AUDIO_SECONDS = Counter("wavepress_audio_seconds", "Seconds of sound kept")
REALTIME_FACTOR = Histogram(
    "wavepress_encode_realtime_factor",
    "Seconds of sound per second from an upload's first byte to its last",
    buckets=(0.5, 1, 2, 5, 10, 20, 50, 100, 200),
)
LAST_BYTE_TO_RECORD = Histogram(
    "wavepress_last_byte_to_record_seconds",
    "From an upload's last byte to its record",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ACCOUNT_EVENTS = Counter("wavepress_account_events", "What happened to accounts", ["event"])
FAILED_AUTHENTICATIONS = Counter("wavepress_failed_authentications", "Wrong tokens, from any address")
SUSPICIOUS_ADDRESSES = Counter(
    "wavepress_suspicious_addresses", "Times that an address sent more wrong tokens than one address may"
)
DOWNLOADS = Counter(
    "wavepress_downloads",
    "Requests for a record's MP3 by the answer's status; 499: the client closed the connection",
    ["status"],
)
SLOTS_USED = Gauge("wavepress_encoder_slots_used", "Uploads that are encoded", multiprocess_mode="livesum")
SLOTS_LIMIT = Gauge("wavepress_encoder_slots_limit", "Most uploads encoded at a time", multiprocess_mode="max")
SLOTS_WAITING = Gauge(
    "wavepress_encoder_slots_waiting", "Uploads that wait for an encoder slot", multiprocess_mode="livesum"
)
LISTENERS = Gauge("wavepress_listeners", "Downloads of uploads under way", multiprocess_mode="livesum")
UPLOADS_SUSPENDED = Gauge(
    "wavepress_uploads_suspended",
    "Uploads that have an encoder and no slot, because their client may come back",
    multiprocess_mode="livesum",
)
QUEUE_FULL_SINCE = Gauge(
    "wavepress_queue_full_since_timestamp_seconds",
    "Unix time at which the queue became full, so that uploads are refused; 0 if it is not full",
    multiprocess_mode="max",
)
ENCODER_FAILURES = Counter("wavepress_encoder_failures", "Encodes that failed, by reason", ["reason"])
QUERY_SECONDS = Histogram(
    "wavepress_database_query_seconds",
    "Time of a statement, including the wait for a connection",
    ["query"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
QUERY_FAILURES = Counter("wavepress_database_failures", "Statements that the database did not answer", ["query"])
CONNECTIONS_USED = Gauge("wavepress_database_connections_used", "Statements that run", multiprocess_mode="livesum")
CONNECTIONS_LIMIT = Gauge("wavepress_database_connections_limit", "Size of the pool", multiprocess_mode="livesum")
CONNECTIONS = Gauge("wavepress_connections", "Connections of clients", multiprocess_mode="livesum")
CONNECTIONS_CLOSED = Counter(
    "wavepress_connections_closed", "Connections that were closed because there were too many, those in no use first"
)
BUILD_INFO = Gauge("wavepress_build_info", "1, labelled with what runs", ["version"], multiprocess_mode="max")


def registry() -> CollectorRegistry:
    """Return what a scrape reads: the values of all workers if there are several, else this process's."""
    if MULTIPROCESS_VARIABLE not in os.environ:
        return OWN_PROCESS
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together


def exposition() -> bytes:
    """Return the metrics in Prometheus' text format."""
    return generate_latest(registry())

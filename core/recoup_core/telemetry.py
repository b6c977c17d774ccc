"""What a process tells about itself: log lines that carry a correlation id and no secret, and metrics.

Everything is made by a function, nothing at import. Our own lines and those of libraries take the same way out.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final, TextIO
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from recoup_core.domain.cardnumbers import REFERENCES, hide_card_numbers
from recoup_core.secret import Secret, hide_url_passwords

REDACTED: Final = "[redacted]"
MAX_DEPTH: Final = 8
"""Values nested deeper are logged as their type only."""

_SECRET_KEYS: Final = ("authorization", "apikey", "token", "secret", "password", "passwd", "cookie", "privatekey")
"""A key that holds one of these words, case and separators aside, keeps its value to itself."""

_SECRET_TEXTS: Final = re.compile(
    r"\b(?:sk|rk)_(?:live|test)_\w+"  # Stripe's API keys
    r"|\bwhsec_[\w+/=-]+"  # Stripe's and Standard Webhooks' signing secrets
    r"|(?<=\bBearer )[\w.~+/=-]+"
    r"|(?<=\bBasic )[\w+/=-]{8,}"
)

CALL_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
"""Buckets of a gateway call: its limit is 30 s (`CHARGE_TIMEOUT_S`)."""
REQUEST_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
LAG_SECONDS: Final = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)

_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)


@contextmanager
def bind_correlation(correlation_id: str | None) -> Iterator[None]:
    """Give everything logged inside, in this task and those it starts, the same correlation id."""
    token = _correlation_id.set(correlation_id)
    try:
        yield
    finally:
        _correlation_id.reset(token)


def current_correlation() -> str | None:
    """Return the correlation id that holds here."""
    return _correlation_id.get()


def configure_logging(level: str = "info", form: str = "json", stream: TextIO | None = None) -> None:
    """Send our lines and the libraries' to `stream` (default: standard error), as JSON lines or for a console.

    May be called again; the last call holds.
    """
    renderer = structlog.processors.JSONRenderer(default=str) if form == "json" else structlog.dev.ConsoleRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_correlation,
        structlog.stdlib.ExtraAdder(),
    ]
    last: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.StackInfoRenderer(),
        redact_event,
        renderer,
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for chatty in ("pika", "httpx", "httpcore", "stripe"):  # they tell each request, and bodies with tokens
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared[:-1],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a logger kept by a module must follow a later configuration
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger for a module: `log.info("attempt declined", attempt=..., rule=...)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _add_correlation(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    correlation_id = _correlation_id.get()
    if correlation_id is not None:
        event.setdefault("correlation_id", correlation_id)
    return event


def redact_event(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Take secrets and card numbers out of one log line, whatever it holds and however deep."""
    return {key: _redact_field(key, value, 0) for key, value in event.items()}


def redact(value: Any, depth: int = 0) -> Any:
    """Return the value fit for a log: no secret, no card number, no password in a URL."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bool | float | UUID) or value is None:
        return value
    if isinstance(value, int):
        return value if redact_text(str(value)) == str(value) else redact_text(str(value))
    if depth >= MAX_DEPTH:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        items = ((redact_text(str(key)), inner) for key, inner in value.items())
        return {key: _redact_field(key, inner, depth + 1) for key, inner in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(inner, depth + 1) for inner in value]
    return REDACTED if isinstance(value, Secret) else redact_text(_shown(value))


def _redact_field(key: str, value: Any, depth: int) -> Any:
    if _names_secret(key):
        return REDACTED
    if key in REFERENCES and isinstance(value, str):
        return redact_text(value, reference=True)
    return redact(value, depth)


def redact_text(text: str, *, reference: bool = False) -> str:
    """Return the text without card numbers, well-known kinds of keys, and passwords in URLs; `reference` as in
    `cardnumbers`: a gateway's own name of something."""
    return hide_card_numbers(_SECRET_TEXTS.sub(REDACTED, hide_url_passwords(text)), reference=reference)


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a broken `__str__` must not cost the log line
        return f"<{type(value).__name__}>"


def _names_secret(key: str) -> bool:
    plain = re.sub(r"[^a-z]", "", key.lower())
    return any(word in plain for word in _SECRET_KEYS)


class Metrics:
    """Everything that is counted, on one registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.jobs_claimed = Counter("recoup_jobs_claimed", "Jobs leased to be published", registry=registry)
        self.jobs_released = Counter(
            "recoup_jobs_released", "Claimed jobs given back because the broker did not take them", registry=registry
        )
        self.jobs_run = Counter("recoup_jobs_run", "Jobs worked on", ["kind", "outcome"], registry=registry)
        self.job_lag_seconds = Histogram(
            "recoup_job_lag_seconds", "From due to worked on", ["kind"], buckets=LAG_SECONDS, registry=registry
        )
        self.scheduler_failures = Counter(
            "recoup_scheduler_failures", "Rounds and sweeps that failed", ["part"], registry=registry
        )
        self.broker_up = Gauge("recoup_broker_up", "1 while the broker takes messages", registry=registry)
        self.queue_depth = Gauge("recoup_queue_depth", "Messages waiting at the broker", registry=registry)
        self.gateway_call_seconds = Histogram(
            "recoup_gateway_call_seconds",
            "Gateway calls",
            ["gateway", "call", "outcome"],
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self.message_seconds = Histogram(
            "recoup_message_seconds",
            "Messages handed over to notifiers",
            ["notifier", "channel", "outcome"],
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self.plugin_faults = Counter(
            "recoup_plugin_faults",
            "Calls of foreign plugins that failed, hung, or found them busy",
            ["plugin", "gateway", "call", "fault"],
            registry=registry,
        )
        self.events = Counter("recoup_events", "Things that happened, by kind", ["kind"], registry=registry)
        self.refund_outcomes = Counter(
            "recoup_refund_outcomes", "Answers about refunds", ["gateway", "outcome", "category"], registry=registry
        )
        self.refund_parts_in_flight = Gauge(
            "recoup_refund_parts_in_flight", "Parts of refunds whose money may be moving", registry=registry
        )
        self.refund_oldest_unknown_seconds = Gauge(
            "recoup_refund_oldest_unknown_seconds",
            "Age of the oldest refund that nobody knows about",
            registry=registry,
        )
        self.captures_over_refunded = Gauge(
            "recoup_captures_over_refunded", "Charges that refunds and disputes exceed", registry=registry
        )
        self.follow_lag_seconds = Gauge(
            "recoup_follow_lag_seconds",
            "Age of the newest event that a follower has taken; 0 once it has all",
            ["reader"],
            registry=registry,
        )
        self.events_parked = Counter(
            "recoup_events_parked", "Events that a follower could not take and left out", ["reader"], registry=registry
        )
        self.streams = Gauge("recoup_streams", "Live streams of events that are open", registry=registry)
        self.streams_cut = Counter("recoup_streams_cut", "Live streams that were ended", ["because"], registry=registry)
        self.engine_fallbacks = Gauge(
            "recoup_engine_fallbacks", "Decisions the closures made because the engine could not", registry=registry
        )
        self.http_requests = Counter(
            "recoup_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.http_request_seconds = Histogram(
            "recoup_http_request_seconds",
            "Time to answer",
            ["method", "route"],
            buckets=REQUEST_SECONDS,
            registry=registry,
        )
        self.db_pool = Gauge("recoup_db_pool_connections", "Database connections", ["state"], registry=registry)

    def gateway_call(self, gateway: str, call: str, outcome: str, seconds: float) -> None:
        """Count a call to a gateway that ended, and how long it took."""
        self.gateway_call_seconds.labels(gateway, call, outcome).observe(seconds)

    def job_run(self, kind: str, outcome: str) -> None:
        """Count a job that ended: `done`, `failed`, or `stale` (others hold it by now)."""
        self.jobs_run.labels(kind, outcome).inc()

    def job_started(self, kind: str, late_s: float) -> None:
        """Count how long after its time a job was taken up."""
        self.job_lag_seconds.labels(kind).observe(max(0.0, late_s))

    def happened(self, kind: str) -> None:
        """Count an event that was committed."""
        self.events.labels(kind).inc()

    def refund_outcome(self, gateway: str, outcome: str, category: str) -> None:
        """Count an answer about a refund's part; `category` says why it failed, and is empty where it did not."""
        self.refund_outcomes.labels(gateway, outcome, category).inc()

    def followed(self, reader: str, lag_s: float) -> None:
        """Show how old the event is that a follower stands at."""
        self.follow_lag_seconds.labels(reader).set(lag_s)

    def event_parked(self, reader: str) -> None:
        """Count an event that a follower left out."""
        self.events_parked.labels(reader).inc()

    def message_sent(self, notifier: str, channel: str, outcome: str, seconds: float) -> None:
        """Count a message that was handed over, and how long that took."""
        self.message_seconds.labels(notifier, channel, outcome).observe(seconds)

    def refunds_standing(self, in_flight: int, oldest_unknown_s: float, over: int) -> None:
        """Show how all refunds stand, as the last sweep saw them."""
        self.refund_parts_in_flight.set(in_flight)
        self.refund_oldest_unknown_seconds.set(oldest_unknown_s)
        self.captures_over_refunded.set(over)


@cache
def metrics() -> Metrics:
    """Return this process's metrics, made at the first call."""
    return Metrics()

"""Log lines: one way out for ours and the libraries', with a correlation id and without secrets."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.cardnumbers import holds_card_number, luhn_valid
from recoup_core.secret import Secret, SecretUrl
from recoup_core.telemetry import (
    Metrics,
    bind_correlation,
    configure_logging,
    current_correlation,
    get_logger,
    metrics,
    redact,
)

CARD = "4111111111111111"
"""The scheme's well-known test number; passes the Luhn check."""


class Lines:
    """What was logged."""

    def __init__(self, form: str = "json", level: str = "info") -> None:
        self.stream = io.StringIO()
        configure_logging(level, form, self.stream)

    def text(self) -> str:
        return self.stream.getvalue()

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def last(self) -> dict[str, Any]:
        return self.all()[-1]


@pytest.fixture
def logged() -> Iterator[Callable[..., Lines]]:
    """Configure logging into a text; what other tests rely on is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Lines
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_line_is_one_json_object(logged: Callable[..., Lines]) -> None:
    """Machines read them: time, level, logger, event and what belongs to it."""
    lines = logged()

    get_logger("a.room").info("attempt declined", attempt=3)

    line = lines.last()
    assert (line["event"], line["attempt"], line["level"], line["logger"]) == ("attempt declined", 3, "info", "a.room")
    assert line["timestamp"].endswith("Z")


def test_libraries_take_the_same_way(logged: Callable[..., Lines]) -> None:
    """A library's line has the same form, the same id and the same care."""
    lines = logged()

    with bind_correlation("c-1"):
        logging.getLogger("lib").warning("card %s", CARD, extra={"password": "hush"})

    assert lines.last() == {
        "event": "card [card number removed]",
        "level": "warning",
        "logger": "lib",
        "timestamp": lines.last()["timestamp"],
        "correlation_id": "c-1",
        "password": "[redacted]",
    }


def test_the_level_holds(logged: Callable[..., Lines]) -> None:
    """Below it nothing is written, by us or by libraries."""
    lines = logged(level="warning")

    get_logger("ours").info("quiet")
    logging.getLogger("lib").info("quiet")

    assert lines.text() == ""


def test_connections_are_not_told_one_by_one(logged: Callable[..., Lines]) -> None:
    """pika and httpx write a line for each connection and request at "info"."""
    lines = logged()

    logging.getLogger("pika.adapters.blocking_connection").info("Created channel=1")
    logging.getLogger("httpx").info("HTTP Request: GET ...")

    assert lines.text() == ""


def test_no_library_writes_down_what_it_sends(logged: Callable[..., Lines]) -> None:
    """Stripe's own SDK tells whole bodies at "debug": the customer's tokens, and addresses of the customer's pages."""
    lines = logged(level="debug")

    logging.getLogger("stripe").debug("message='Post details' post_data=payment_method=pm_1")

    assert lines.text() == ""


def test_the_console_form_is_for_people(logged: Callable[..., Lines]) -> None:
    """Same content, same care."""
    lines = logged("console")

    get_logger("a").info("hello", card=CARD)

    assert "hello" in lines.text()
    assert CARD not in lines.text()


def test_tracebacks_are_redacted_too(logged: Callable[..., Lines]) -> None:
    """A driver's error likes to repeat the URL it was given."""
    lines = logged()

    url = "postgresql://user:{}@host/db".format("hu" + "sh")  # not in the source line that the traceback quotes
    try:
        raise ValueError(f"can't connect to {url} for {CARD}")
    except ValueError:
        get_logger("a").exception("failed")

    line = lines.last()
    assert "ValueError: can't connect to postgresql://user:***@host/db" in line["exception"]
    assert "hush" not in lines.text()
    assert CARD not in lines.text()


async def test_a_correlation_id_stays_with_its_task() -> None:
    """Two requests at the same time don't take each other's id."""

    async def one(name: str) -> tuple[str | None, str | None]:
        with bind_correlation(name):
            await asyncio.sleep(0.01)
            inner = await asyncio.create_task(seen())
            return current_correlation(), inner

    async def seen() -> str | None:
        return current_correlation()

    both = await asyncio.gather(one("a"), one("b"))

    assert both == [("a", "a"), ("b", "b")]
    assert current_correlation() is None


@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "Authorization",
        "api_key",
        "apiKey",
        "X-Api-Key",
        "token",
        "client_secret",
        "db_password",
        "cookie",
    ],
)
def test_a_secrets_key_is_enough(key: str) -> None:
    """Whatever its value looks like and however deep it lies."""
    assert redact({"a": [{key: "hush"}]}) == {"a": [{key: "[redacted]"}]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("sk_live_abc123", "[redacted]"),
        ("key rk_test_abc is bad", "key [redacted] is bad"),
        ("whsec_MfKQ9r8+/=", "[redacted]"),
        ("Bearer eyJ.abc-_", "Bearer [redacted]"),
        ("4111 1111 1111 1111", "[card number removed]"),
        ("4111-1111-1111-1111.", "[card number removed]."),
        (int(CARD), "[card number removed]"),
        (4111111111111112, 4111111111111112),
        (Secret("hush"), "[redacted]"),
        (SecretUrl("amqp://u:hush@h"), "[redacted]"),
        ((1, None, True, "x"), [1, None, True, "x"]),
        ({"k": {CARD: 1}}, {"k": {"[card number removed]": 1}}),
    ],
)
def test_secrets_are_known_by_their_looks(value: object, shown: object) -> None:
    """Where no key gives them away."""
    assert redact(value) == shown


def test_ids_are_kept() -> None:
    """One random UUID in 500 would pass for a card number; logs without ids are useless."""
    ids = [str(uuid4()) for _ in range(5000)]

    assert redact(ids) == ids


def test_what_cannot_be_shown_costs_no_line(logged: Callable[..., Lines]) -> None:
    """A defect in an object's text must not hide what happened."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    lines = logged()
    deep: dict[str, Any] = {"card": CARD}
    for _ in range(20):
        deep = {"inner": deep}

    get_logger("a").info("odd", broken=Broken(), deep=deep)

    assert lines.last()["broken"] == "<Broken>"
    assert CARD not in lines.text()


@given(st.text(alphabet=" -0123456789a", max_size=40))
def test_no_card_number_survives(text: str) -> None:
    """Whatever surrounds it."""
    assert not holds_card_number(str(redact(text)))


@given(st.integers(min_value=10**11, max_value=10**18 - 1))
def test_every_whole_card_number_is_taken_out(body: int) -> None:
    """Any number of 13 to 19 digits with a fitting check digit."""
    number = next(f"{body}{digit}" for digit in range(10) if luhn_valid(f"{body}{digit}"))

    assert redact(f"x{number}y") == "x[card number removed]y"


def test_metrics_are_made_once() -> None:
    """One registry a process; a test may have its own."""
    assert metrics() is metrics()
    assert Metrics().registry is not metrics().registry


def test_what_flows_tell_is_counted() -> None:
    """The names and labels that dashboards and alerts rely on."""
    own = Metrics()

    own.gateway_call("stripe", "charge", "declined", 0.3)
    own.job_run("collect", "done")

    read = own.registry.get_sample_value
    labels = {"gateway": "stripe", "call": "charge", "outcome": "declined"}
    assert read("recoup_gateway_call_seconds_count", labels) == 1
    assert read("recoup_gateway_call_seconds_bucket", {**labels, "le": "0.25"}) == 0
    assert read("recoup_gateway_call_seconds_bucket", {**labels, "le": "0.5"}) == 1
    assert read("recoup_jobs_run_total", {"kind": "collect", "outcome": "done"}) == 1

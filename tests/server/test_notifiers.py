"""Notifiers over HTTP: how they are, and what their providers tell."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from recoup_core.settings import Settings
from recoup_core.settings_people import NotifierEntry
from recoup_core.storage.engine import Database
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service
from recoup_plugins import NotifierSettings
from recoup_plugins.notifiers.outbox import make_outbox
from recoup_plugins.notifiers.signatures import read_secret, signed
from recoup_plugins.notifiers.smtp import make_smtp
from recoup_server.app import PREFIX

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY = json.dumps({"events": [{"kind": "bounced", "address": "nobody@example.com"}]}).encode()


@pytest.fixture
def make_service(
    entries: Any, book: Any, gateways: Any, measures: Metrics, clock: Any, merchants: Any, tmp_path: Path
) -> Callable[[str], Service]:
    """A service with a house's relay that nobody listens at, and an outbox of the other merchant's."""
    feedback = {"format": "generic", "secret": SECRET}
    relay = {"host": "127.0.0.1", "port": 9, "security": "none", "from_address": "a@b.example", "feedback": feedback}
    notifiers = {
        "mail": make_smtp(NotifierSettings(name="mail", plugin="smtp", options=relay)),
        "other": make_outbox(NotifierSettings(name="other", plugin="outbox", options={"path": str(tmp_path)})),
    }
    configured = (
        NotifierEntry(name="mail", plugin="smtp"),
        NotifierEntry(name="other", plugin="outbox", merchant=merchants[1]),
    )

    def make(url: str) -> Service:
        settings = Settings(environment="development", gateways=entries, notifiers=configured)
        return Service(settings, Database(url, pool_max=5), gateways, book, measures, clock, notifiers)

    return make


async def test_notifiers_tell_how_they_are(api: Any) -> None:
    """Those that serve the merchant; a relay that is away is failing, and says no more than that."""
    (mail,) = (await api.get("/notifiers")).json()["items"]

    assert (mail["name"], mail["channels"], mail["health"], mail["feedback"]) == ("mail", ["email"], "failing", True)
    assert "127.0.0.1" not in str(mail)


async def test_signed_feedback_is_taken_any_number_of_times(client: AsyncClient) -> None:
    """Without an API key."""
    headers = signed([read_secret(SECRET)], "evt_1", datetime.now(UTC), BODY)

    answers = [await client.post(f"{PREFIX}/notifier-feedback/mail", content=BODY, headers=headers) for _ in range(2)]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"told": 1})] * 2


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("mail", 400, "feedback_refused"), ("other", 404, "no_such_notifier"), ("none", 404, "no_such_notifier")],
)
async def test_a_stranger_s_feedback_is_refused(client: AsyncClient, name: str, status: int, code: str) -> None:
    """Nobody takes customers off the list but the provider."""
    answer = await client.post(f"{PREFIX}/notifier-feedback/{name}", content=BODY)

    assert (answer.status_code, answer.json()["code"]) == (status, code)

"""kill -9 of a worker with mails in its hands, beside a real mail server: none is lost, none is shown twice.

A mail server may be handed a mail twice where nobody knows what became of the first time; it carries the same
Message-ID and the same words then, and mailboxes show it once (core/adr/0015).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from typing import Any, Final

import msgspec
import pytest
from aiosmtpd.controller import Controller
from tests.chaos.conftest import Chaos, MakeChaos, failure_report
from tests.counterparts.launch import free_port
from tests.stories.client import eventually

from recoup_core.flows.customers.telling import ReportedContact
from recoup_core.flows.recover import open_case

pytestmark = [pytest.mark.chaos, pytest.mark.rabbitmq]

DEBTS: Final = 6
WITHIN_S: Final = 60.0
POLICY: Final = """\
kind: dunning
name: mails
applies_to: {method: card}
rules:
  - name: all
    steps:
      - {message: payment_failed, by: email}
      - {message: reminder, by: email, after: 1d}
      - {on: exhausted, message: final_notice, by: email}
      - {on: exhausted, after: 1d, pause_subscription: true}
      - {on: exhausted, after: 2d, cancel_subscription: true}
examples:
  - {given: {}, expect: all}
"""
UNBOUNDED: Final = 'contact = {per_week = 100, min_gap_h = 0, quiet_from = "00:00", quiet_to = "00:00"}\n'
ALL_DONE: Final = "SELECT count(*) FROM timeline_step WHERE state IN ('planned', 'running')"
UNSENT: Final = "SELECT count(*) FROM message WHERE state IN ('queued', 'sending')"
WORDS: Final = re.compile(rb"(?m)^(Date|Received|X-Peer|X-MailFrom|X-RcptTo):.*\r?\n")


class MailServer:
    """Takes mail over SMTP; told to, it holds its answer back until whoever waits for it is dead."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, bytes]] = []
        """Reader, Message-ID, the mail: as often as it was handed over."""
        self.holding = False
        self.port = free_port()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # aiosmtpd's name
        """Keep the mail, and answer unless told to hold."""
        mail = message_from_bytes(envelope.content, policy=default)
        self.taken.append((envelope.rcpt_tos[0], str(mail["Message-ID"]), WORDS.sub(b"", envelope.content)))
        while self.holding:  # noqa: ASYNC110 # set by the test's own thread
            await asyncio.sleep(0.05)
        return "250 OK"


@pytest.fixture
def mail_server() -> Any:
    """A mail server on loopback, on a thread of its own."""
    server = MailServer()
    controller = Controller(server, hostname="127.0.0.1", port=server.port)
    controller.start()
    yield server
    server.holding = False
    controller.stop()


@pytest.fixture
async def mailing(
    database_url: str, amqp_url: str, make_chaos: MakeChaos, mail_server: MailServer
) -> AsyncIterator[Chaos]:
    """An installation that writes to its customers."""
    chaos = make_chaos(database_url, amqp_url)
    config = chaos.house.folder / "recoup.toml"
    notifier = (
        '[[notifiers]]\nname = "mail"\nplugin = "smtp"\n[notifiers.options]\nhost = "127.0.0.1"\n'
        f'port = {mail_server.port}\nsecurity = "none"\nfrom_address = "billing@acme.example"\n'
    )
    config.write_text(UNBOUNDED + config.read_text() + notifier)
    (chaos.house.folder / "policies" / "mails.yaml").write_text(POLICY)
    yield chaos
    chaos.house.reap()
    await asyncio.to_thread(chaos.house.delete_queues)


async def owe(chaos: Chaos) -> None:
    """Report debts that are never paid, of customers with an address."""
    service = await chaos.house.service().open()
    failed_at = datetime.now(UTC) - timedelta(minutes=5)
    try:
        for number in range(DEBTS):
            report = failure_report(f"inv-{number}", "tok_stolen_card", "stolen_card", failed_at)
            contact = ReportedContact(addresses={"email": f"reader-{number}@customers.example"})
            await open_case(service.context, msgspec.structs.replace(report, contact=contact), "key:chaos", None)
    finally:
        await service.close()


async def until_all_is_said(chaos: Chaos) -> None:
    """Let time fly until every step is done and every mail has left."""

    async def said() -> bool:
        await chaos.house.hurry()
        await chaos.house.end_leases()
        return not await chaos.house.value(ALL_DONE) and not await chaos.house.value(UNSENT)

    await eventually(said, "everything to be said", WITHIN_S)


@pytest.mark.parametrize("holding", [True, False], ids=["while the server answers", "wherever it is"])
async def test_a_worker_killed_with_mails_in_its_hands_loses_none_and_repeats_none(
    mailing: Chaos, mail_server: MailServer, holding: bool
) -> None:
    """Three messages a debt, one pause, one end: exactly those, whoever dies when."""
    await owe(mailing)
    mail_server.holding = holding
    worker, _ = mailing.house.start("worker", "scheduler")
    await eventually(lambda: _some(mail_server), "the first mail to arrive")
    worker.kill()
    mail_server.holding = False
    second, *_ = mailing.house.start("worker")
    await asyncio.sleep(0.5)
    second.kill()
    mailing.house.start("worker")
    await until_all_is_said(mailing)

    mailbox = {(reader, message_id): words for reader, message_id, words in mail_server.taken}
    assert len(mailbox) == 3 * DEBTS
    assert all(mailbox[reader, message_id] == words for reader, message_id, words in mail_server.taken)
    by_state = "SELECT state, template, count(*) AS n FROM message GROUP BY 1, 2 ORDER BY 2"
    assert [tuple(row) for row in await mailing.house.fetch(by_state)] == [
        ("sent", "final_notice", DEBTS),
        ("sent", "payment_failed", DEBTS),
        ("sent", "reminder", DEBTS),
    ]
    asked = (
        "SELECT kind, count(*) AS n FROM event WHERE kind LIKE 'subscription.%requested' AND data ->> 'asked' = '1'"
        " GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(row) for row in await mailing.house.fetch(asked)] == [
        ("subscription.cancel_requested", DEBTS),
        ("subscription.pause_requested", DEBTS),
    ]


async def _some(server: MailServer) -> bool:
    return bool(server.taken)

"""What a policy wants said is said once, within the contact budget, and what became of it is known."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.core.flows.conftest import Shop

from recoup_core.flows.customers.blocking import unsubscribe
from recoup_core.flows.customers.changing import CustomerChange, change_customer, erase, release
from recoup_core.flows.customers.telling import ReportedContact
from recoup_core.flows.messages.feedback import apply_feedback
from recoup_core.flows.messages.sending import SEND_WITHIN
from recoup_core.flows.operate import cancel
from recoup_core.flows.recover import open_case
from recoup_core.ports import Accepted, NotAccepted, NotifierCapabilities, NotNow, OutgoingMessage
from recoup_core.ports.notifier import Feedback, FeedbackKind
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.settings_people import ContactSettings, NotifierEntry
from recoup_core.storage.customers import read_customer
from recoup_core.storage.engine import Database
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions

RETRIES = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - {name: wait, when: {attempt: {lte: 1}}, retry: {after: [20d]}}
  - {name: give up, stop: exhausted}
examples:
  - {given: {}, expect: wait}
  - {given: {attempt: 2}, expect: give up}
"""

CAMPAIGN = """
kind: dunning
name: cards
applies_to: {method: card}
rules:
  - name: campaign
    steps:
      - {message: payment_failed, by: [email]}
      - {message: reminder, by: [email, sms], after: 3d}
examples:
  - {given: {}, expect: campaign}
"""

START = datetime(2026, 3, 23, 10, tzinfo=UTC)
ANNA = ReportedContact(name="Anna", locale="de", addresses={"email": "anna@example.com", "sms": "+4915123456789"})
Answer = Accepted | NotAccepted | NotNow | Exception


class Postbox:
    """A notifier that keeps what it is handed, and answers as it is told."""

    name = "post"

    def __init__(self, *, deduplicates: bool = False) -> None:
        self.capabilities = NotifierCapabilities(
            channels=frozenset({"email", "sms"}), deduplicates=deduplicates, html=True, feedback=True
        )
        self.handed: list[OutgoingMessage] = []
        self.answers: Callable[[OutgoingMessage], Answer] = lambda message: Accepted(provider_ref=f"p-{message.id}")

    async def send(self, message: OutgoingMessage) -> Accepted | NotAccepted | NotNow:
        self.handed.append(message)
        answer = self.answers(message)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def health(self) -> None:
        """It is always there."""

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(message.channel, message.data["template"]) for message in self.handed]


@pytest.fixture
def post() -> Postbox:
    return Postbox()


@pytest.fixture
async def shop(database_url: str, clock: Any, post: Postbox, request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """A merchant who writes by e-mail and text message; a parameter is the contact budget."""
    clock.set(START)
    gateway = SandboxGateway("sandbox", SandboxOptions(clock=clock, webhook_secrets=("whsec_test",)))
    settings = Settings(
        gateways=(GatewayEntry(name="sandbox", plugin="sandbox"),),
        notifiers=(NotifierEntry(name="post", plugin="post"),),
        contact=getattr(request, "param", ContactSettings()),
    )
    policies = [parse_policy(text, source="x.yaml") for text in (RETRIES, CAMPAIGN)]
    book = PolicyBook(compile_policy(policy) for policy in policies)
    service = Service(settings, Database(database_url), {"sandbox": gateway}, book, Metrics(), clock, {"post": post})
    await service.open()
    yield Shop(service, gateway, clock)
    await service.close()


async def failed(shop: Shop, contact: ReportedContact = ANNA, **customer: Any) -> Any:
    """Report a failed payment of Anna's in Berlin."""
    about = {"ref": "anna", "country": "DE", "timezone": "Europe/Berlin", **customer}
    report = msgspec.structs.replace(
        shop.report("tok_generic_decline", code="generic_decline", customer=about), contact=contact
    )
    return await open_case(shop.context, report, "key:shop", "corr-1")


async def states(shop: Shop) -> list[tuple[str, str, str]]:
    rows = await shop.rows("SELECT template, channel, state FROM message ORDER BY created_at, channel")
    return [tuple(row) for row in rows]


async def tasks(shop: Shop) -> list[str]:
    return [row[0] for row in await shop.rows("SELECT kind FROM human_task WHERE resolved_at IS NULL ORDER BY id")]


async def pass_time(shop: Shop, span: timedelta) -> None:
    """Let time pass from job to job."""
    end = shop.clock.now() + span
    while (due := await shop.next_due()) is not None and due <= end:
        shop.clock.set(max(due, shop.clock.now()))
        await shop.run_due()
    shop.clock.set(end)


async def test_each_step_is_said_once_in_the_customers_language(shop: Shop, post: Postbox) -> None:
    """Every channel of a step gets one message, to the reported address, with the links that belong to it."""
    await failed(shop)

    await pass_time(shop, timedelta(days=4))

    assert post.said == [("email", "payment_failed"), ("email", "reminder"), ("sms", "reminder")]
    first = post.handed[0]
    assert (first.to, first.locale, first.unsubscribe_url is not None) == ("anna@example.com", "de", True)
    assert "/pay/" in first.text
    assert {state for *_, state in await states(shop)} == {"sent"}
    told = await shop.rows("SELECT data::text FROM event")
    assert not any("anna@example.com" in row[0] or "+49151" in row[0] or "/pay/" in row[0] for row in told)


async def test_quiet_hours_move_a_step_and_the_timeline_says_why(shop: Shop, post: Postbox) -> None:
    """At 22:00 in Berlin nothing is sent: it is planned for 8 in the morning, with the reason."""
    shop.clock.set(datetime(2026, 3, 23, 21, tzinfo=UTC))
    opened = await failed(shop)

    first = (await shop.file(opened.payment.id)).planned_dunning[0]
    assert first.due_at == datetime(2026, 3, 24, 7, tzinfo=UTC)
    assert first.held_because == "quiet hours (21:00-08:00 Europe/Berlin)"
    await shop.run_due()
    assert post.handed == []


async def test_two_cases_share_one_customers_budget(shop: Shop, post: Postbox) -> None:
    """Two debts that fail in one hour lead to one message now; the other waits for the gap, and is not lost."""
    await failed(shop)
    other = await failed(shop)

    await shop.run_due()

    assert post.said == [("email", "payment_failed")]
    held = [s for s in (await shop.file(other.payment.id)).planned_dunning if s.held_until is not None]
    first = [s for s in held if "payment_failed" in s.key] or held
    assert len(first) == 1
    assert "less than" in first[0].held_because
    await pass_time(shop, timedelta(days=2))
    assert post.said == [("email", "payment_failed")] * 2
    assert post.handed[0].id != post.handed[1].id


async def test_a_mail_server_that_is_down_for_two_hours_delays_and_nothing_else(shop: Shop, post: Postbox) -> None:
    """*Not now* is asked again with the same id and the same words until it is taken."""
    post.answers = lambda _: NotNow(reason="connection refused")
    await failed(shop)
    await pass_time(shop, timedelta(hours=2))
    assert {state for *_, state in await states(shop)} == {"queued"}

    post.answers = lambda _: Accepted()
    await pass_time(shop, timedelta(hours=1))

    assert [state for *_, state in await states(shop)] == ["sent"]
    assert len({(m.id, m.subject, m.text, m.unsubscribe_url) for m in post.handed}) == 1
    assert len(post.handed) < 15


async def test_what_is_never_taken_is_given_up_and_a_person_is_told(shop: Shop, post: Postbox) -> None:
    """After two days the words are no longer news; the task says that nobody was reached."""
    post.answers = lambda _: NotNow(reason="connection refused")
    await failed(shop)

    await pass_time(shop, SEND_WITHIN + timedelta(hours=13))

    assert await states(shop) == [("payment_failed", "email", "failed")]
    assert await tasks(shop) == ["message_undeliverable"]


@pytest.mark.parametrize(("deduplicates", "handed", "state"), [(False, 1, "unknown"), (True, 2, "sent")])
async def test_a_lost_answer_is_sent_again_only_where_doubles_are_told_apart(
    shop: Shop, post: Postbox, deduplicates: bool, handed: int, state: str
) -> None:
    """A raise is unknown: nobody is told twice, unless the notifier promises that the same id arrives once."""
    post.capabilities = msgspec.structs.replace(post.capabilities, deduplicates=deduplicates)
    answers = iter([RuntimeError("connection reset"), *[Accepted()] * 9])
    post.answers = lambda _: next(answers)
    await failed(shop)

    await pass_time(shop, timedelta(hours=3))

    assert (len(post.handed), [s for *_, s in await states(shop)]) == (handed, [state])
    assert len({message.id for message in post.handed}) == 1


async def test_a_message_is_looked_at_once_more_before_it_leaves(shop: Shop, post: Postbox) -> None:
    """Queued, and then the case is canceled: nothing is said any more."""
    post.answers = lambda _: NotNow(reason="busy")
    opened = await failed(shop)
    await shop.run_due()
    handed = len(post.handed)

    await cancel(shop.context, opened.case.id, shop.by(), "paid in cash")
    await pass_time(shop, timedelta(hours=1))

    assert await states(shop) == [("payment_failed", "email", "canceled")]
    assert len(post.handed) == handed


async def test_do_not_contact_is_obeyed_at_once(shop: Shop, post: Postbox) -> None:
    """Also by what was queued before; the step is skipped with that reason, and no task is opened."""
    await failed(shop)
    await change_customer(shop.context, "anna", shop.by(), CustomerChange(do_not_contact=True))

    await pass_time(shop, timedelta(days=4))

    assert post.handed == []
    because = {row[0] for row in await shop.rows("SELECT skipped_because FROM timeline_step WHERE kind = 'message'")}
    assert because == {"the customer is not to be contacted"}
    assert await tasks(shop) == []


@pytest.mark.parametrize("shop", [ContactSettings(vulnerable_per_week=0)], indirect=True)
async def test_what_waits_for_a_vulnerable_customer_is_left_to_a_person_once(shop: Shop, post: Postbox) -> None:
    """Two messages that wait are canceled when the customer is marked, and one person is asked to speak with them."""
    await failed(shop)
    post.answers = lambda message: Accepted() if message.data["template"] == "payment_failed" else NotNow(reason="busy")
    await pass_time(shop, timedelta(days=3, hours=1))
    queued = [("reminder", "email", "queued"), ("reminder", "sms", "queued")]
    assert (await states(shop), await tasks(shop)) == ([("payment_failed", "email", "sent"), *queued], [])

    await change_customer(shop.context, "anna", shop.by(), CustomerChange(vulnerable=True))
    await pass_time(shop, timedelta(hours=12))

    assert [state for *_, state in await states(shop)] == ["sent", "canceled", "canceled"]
    assert await tasks(shop) == ["vulnerable_customer"]


async def test_a_customer_without_an_address_is_put_before_a_person_once(shop: Shop, post: Postbox) -> None:
    """Two messages that can't be delivered make one task."""
    await failed(shop, ReportedContact())

    await pass_time(shop, timedelta(days=4))

    assert (post.handed, await tasks(shop)) == ([], ["message_undeliverable"])


async def test_a_bounce_blocks_the_address_for_everybody_who_has_it(shop: Shop, post: Postbox) -> None:
    """Feedback may repeat; the message is bounced once, the address blocked, and told by its id alone."""
    await failed(shop)
    await failed(shop, ANNA, ref="anna-at-work")
    await shop.run_due()
    bounce = Feedback(
        kind=FeedbackKind.BOUNCED, message_id=post.handed[0].id, detail="550 no such user anna@example.com"
    )

    assert [await apply_feedback(shop.context, "post", [bounce, bounce]) for _ in range(2)] == [2, 2]
    await apply_feedback(shop.context, "post", [Feedback(kind=FeedbackKind.DELIVERED, message_id=post.handed[0].id)])

    rows = await shop.rows("SELECT customer_ref, state FROM customer_address WHERE channel = 'email' ORDER BY 1")
    assert [tuple(row) for row in rows] == [("anna", "bounced"), ("anna-at-work", "bounced")]
    kinds = [
        r[0] for r in await shop.rows("SELECT kind FROM event WHERE kind IN ('message.bounced', 'address.blocked')")
    ]
    assert sorted(kinds) == ["address.blocked", "address.blocked", "message.bounced"]
    assert not await shop.rows("SELECT 1 FROM event WHERE data::text LIKE '%example.com%'")


async def test_who_unsubscribes_stays_so_under_another_address_until_released(shop: Shop, post: Postbox) -> None:
    """It is the person who is tired of the channel, not the mailbox; text messages go on."""
    await failed(shop)
    await shop.run_due()
    async with shop.service.database.connection() as connection:
        known = await read_customer(connection, "default", "anna")
    assert known is not None
    await unsubscribe(shop.context, known.used["email"].id, "customer")
    await change_customer(shop.context, "anna", shop.by(), CustomerChange(addresses={"email": "new@example.com"}))

    await pass_time(shop, timedelta(days=4))
    assert post.said == [("email", "payment_failed"), ("sms", "reminder")]

    after = await release(shop.context, "anna", known.used["email"].id, shop.by(), "wrote to us")
    assert after.tired == {}
    assert after.used["email"].address == "new@example.com"


async def test_erasing_leaves_no_address_and_no_word(shop: Shop, post: Postbox) -> None:
    """Names, addresses and words are gone; the message and its states stay."""
    await failed(shop)
    await shop.run_due()

    await erase(shop.context, "anna", shop.by(), "GDPR")

    [row] = await shop.rows("SELECT to_address, subject, text, html, state FROM message")
    assert tuple(row) == (None, None, None, None, "sent")
    assert not await shop.rows("SELECT 1 FROM customer_address")
    [customer] = await shop.rows("SELECT name FROM customer")
    assert customer["name"] is None


async def test_a_report_that_tells_nothing_new_writes_nothing(shop: Shop) -> None:
    """The same customer is reported with every debt; only news is an event."""
    await failed(shop)
    await failed(shop)

    rows: Sequence[Any] = await shop.rows("SELECT data -> 'fields' AS f FROM event WHERE kind = 'customer.changed'")
    assert [msgspec.json.decode(row["f"]) for row in rows] == [["name", "locale", "addresses.email", "addresses.sms"]]

"""What the staff is told: once, together, never while muted, and never about a customer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.staff import StaffKind
from recoup_core.flows.following import follow
from recoup_core.flows.jobs import run_jobs
from recoup_core.flows.messaging import Messaging, StaffReader
from recoup_core.flows.staff.anomalies import gateway_failing, look_for_anomalies, recovery_falling
from recoup_core.flows.staff.digest import day_before, tell_the_day
from recoup_core.flows.staff.muting import MuteInvalid, list_staff, mute, send_test, unmute
from recoup_core.flows.staff.noticing import EVERY, GATHER
from recoup_core.ports import Accepted, NotifierCapabilities, NotNow, OutgoingMessage, SendOutcome
from recoup_core.storage.anomalies import Answers, Recovered
from recoup_core.storage.changes import Changes

PATIENCE = 200


class Pigeon:
    """A notifier that keeps what it is given, and answers as told."""

    name = "pigeon"

    def __init__(self) -> None:
        self.capabilities = NotifierCapabilities(channels=frozenset({"email"}))
        self.sent: list[OutgoingMessage] = []
        self.answers: list[SendOutcome | Exception] = []

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        self.sent.append(message)
        answer = self.answers.pop(0) if self.answers else Accepted()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def health(self) -> None:
        return


class Desk:
    """A shop whose staff are told things by a pigeon."""

    def __init__(self, shop: Any, **reader: Any) -> None:
        self.shop, self.clock, self.pigeon = shop, shop.clock, Pigeon()
        anna = StaffReader(
            **{
                "name": "anna",
                "merchant": "default",
                "notifier": "pigeon",
                "channel": "email",
                "to": "anna@shop.example",
                "about": frozenset({"task_opened"}),
                "locale": "en",
                "timezone": "UTC",
                **reader,
            }
        )
        self.context = replace(shop.context, messaging=Messaging(notifiers={"pigeon": self.pigeon}, staff=[anna]))

    async def tell(self, *kinds: EventKind, **data: Any) -> None:
        changes = Changes()
        for kind in kinds:
            about = {"task": "unknown_outcome", "task_id": "1", **data}
            changes.add(Event(at=self.clock.now(), merchant_id="default", kind=kind, actor="system", data=about))
        async with self.shop.service.database.transaction() as connection:
            await changes.write(connection)
        for _ in range(PATIENCE):
            await follow(self.context, self.clock.now())
            if not await self.shop.rows(
                "SELECT FROM event_reader r JOIN event e ON (e.txid, e.id) > (r.txid, r.event_id)"
                " WHERE r.name = 'staff' LIMIT 1"
            ):
                return
        raise AssertionError("the staff's follower never got to the end")

    async def run(self, after: timedelta = timedelta()) -> None:
        self.clock.advance(after)
        refs = [ref for ref in await self.shop.claim() if ref.kind == "staff"]
        await run_jobs(self.context, self.shop.service._recorder, refs)

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.shop.rows("SELECT state FROM staff_message ORDER BY created_at, id")]


@pytest.fixture
def desk(shop: Any) -> Desk:
    return Desk(shop)


async def test_five_hundred_tasks_are_two_messages_at_most(desk: Desk) -> None:
    """What comes together is told together; what comes later waits for its quarter of an hour."""
    await desk.tell(*[EventKind.TASK_OPENED] * 300)
    await desk.run(GATHER)
    await desk.tell(*[EventKind.TASK_OPENED] * 200)
    await desk.run(GATHER)
    await desk.run(EVERY)

    assert [message.subject for message in desk.pigeon.sent] == ["300 tasks wait for you", "200 tasks wait for you"]
    assert "and 280 more" in desk.pigeon.sent[0].text
    assert len({message.id for message in desk.pigeon.sent}) == 2


async def test_only_what_a_reader_asked_for_is_told(desk: Desk) -> None:
    """Other kinds, and tasks that come with an event of their own, are left out."""
    await desk.tell(EventKind.REFUND_FAILED, EventKind.CASE_OPENED)
    await desk.tell(EventKind.TASK_OPENED, task="refund_failed")
    await desk.run(GATHER)

    assert desk.pigeon.sent == []


async def test_a_reader_that_nobody_answers_for_is_told_later(desk: Desk) -> None:
    """Two hours without a mail server cost lateness; the message stays the same, word for word."""
    desk.pigeon.answers = [NotNow(reason="away")] * 3
    await desk.tell(EventKind.TASK_OPENED)
    await desk.run(GATHER)
    for _ in range(3):
        await desk.run(timedelta(minutes=30))

    assert len({(message.id, message.text) for message in desk.pigeon.sent}) == 1
    assert len(desk.pigeon.sent) == 4
    assert await desk.states() == ["sent"]


async def test_a_message_whose_answer_is_lost_is_not_sent_again(desk: Desk) -> None:
    """Its notifier can't tell doubles apart."""
    desk.pigeon.answers = [ConnectionResetError()]
    await desk.tell(EventKind.TASK_OPENED)
    await desk.run(GATHER)
    await desk.run(timedelta(hours=3))

    assert len(desk.pigeon.sent) == 1
    assert await desk.states() == ["unknown"]


async def test_a_process_that_died_while_sending_is_not_followed_by_a_second_message(desk: Desk) -> None:
    """The message was committed as being sent; whoever comes next can't know."""
    await desk.tell(EventKind.TASK_OPENED)
    desk.pigeon.answers = [NotNow(reason="away")]
    await desk.run(GATHER)
    await desk.shop.rows("UPDATE staff_message SET state = 'sending'")
    await desk.run(timedelta(hours=1))

    assert len(desk.pigeon.sent) == 1
    assert await desk.states() == ["unknown"]


async def test_a_muted_reader_hears_nothing_until_the_time_is_over(desk: Desk) -> None:
    """What waited is dropped, what comes meanwhile is not kept, and the audit trail knows who did it."""
    by = desk.shop.by()
    await desk.tell(EventKind.TASK_OPENED)
    view = await mute(desk.context, "anna", StaffKind.TASK_OPENED, desk.clock.now() + timedelta(days=1), by)
    await desk.tell(EventKind.TASK_OPENED)
    await desk.run(GATHER)
    assert desk.pigeon.sent == []
    assert view.kinds[0].muted

    desk.clock.advance(timedelta(days=1))
    await desk.tell(EventKind.TASK_OPENED)
    await desk.run(GATHER)
    assert [message.subject for message in desk.pigeon.sent] == ["A task waits for you"]
    told = await desk.shop.rows("SELECT actor, data ->> 'reader' AS reader FROM event WHERE kind = 'staff.muted'")
    assert [tuple(row) for row in told] == [("operator:anna", "anna")]

    with pytest.raises(MuteInvalid):
        await mute(desk.context, "anna", None, desk.clock.now(), by)
    await mute(desk.context, "anna", None, None, by)
    await unmute(desk.context, "anna", None, by)
    assert not any(heard.muted for heard in (await list_staff(desk.context, "default"))[0].kinds)


async def test_a_test_reaches_a_reader(desk: Desk) -> None:
    """Muted or not; nothing is written down."""
    assert isinstance(await send_test(desk.context, "default", "anna"), Accepted)
    assert desk.pigeon.sent[0].to == "anna@shop.example"


async def test_no_note_tells_of_a_customer(shop: Any) -> None:
    """Ids, kinds and categories only: notes go through mail servers and chats."""
    desk = Desk(shop, about=frozenset())
    secret = "cus-77 Jane Roe"
    await desk.tell(
        EventKind.REFUND_TAKEN_BACK, EventKind.REFUND_IN_REVIEW, EventKind.TASK_OPENED, EventKind.POLICY_ACTIVATED,
        customer_ref=secret, requested_by=secret, reason=secret, comment=secret,
    )  # fmt: skip
    await desk.run(GATHER)

    assert len(desk.pigeon.sent) == 4
    assert not any(secret in message.text for message in desk.pigeon.sent)


async def test_the_digest_comes_once_a_day_after_eight_where_its_reader_is(shop: Any) -> None:
    """In the reader's zone, of the day before there."""
    desk = Desk(shop, about=frozenset({"daily_digest"}), timezone="Europe/Berlin", locale="de")
    await shop.open("tok_approve", code="insufficient_funds")
    desk.clock.set(datetime(2027, 3, 29, 5, 59, tzinfo=UTC))  # 7:59 in Berlin, the day after the clocks changed
    await tell_the_day(desk.context, desk.clock.now())
    await desk.run(GATHER)
    early = len(desk.pigeon.sent)
    for _ in range(3):
        await tell_the_day(desk.context, desk.clock.now())
        await desk.run(GATHER)

    assert early == 0
    assert len(desk.pigeon.sent) == 1
    assert "19.99 EUR in 1 Fällen" in desk.pigeon.sent[0].text
    begins, ends = day_before(desk.context.messaging.staff[0], desk.clock.now())
    assert ends.astimezone(UTC) - begins.astimezone(UTC) == timedelta(hours=23)


@pytest.mark.parametrize(
    ("answered", "failed", "stands"),
    [(0, 9, None), (0, 10, True), (17, 3, None), (80, 20, True), (960, 40, False), (93, 7, None)],
)
def test_a_gateway_fails_when_chance_is_no_explanation(answered: int, failed: int, stands: bool | None) -> None:
    """A few lost answers among a few say nothing; one in five of a hundred does."""
    assert gateway_failing(Answers("m", "g", datetime.now(UTC), answered, failed))[0] is stands


@pytest.mark.parametrize(
    ("recent", "won", "before", "before_won", "stands"),
    [
        (49, 0, 500, 300, None),
        (100, 10, 199, 120, None),
        (100, 40, 400, 240, True),
        (100, 57, 400, 240, None),
        (100, 60, 400, 240, False),
    ],
)
def test_the_recovery_rate_falls_when_chance_is_no_explanation(
    recent: int, won: int, before: int, before_won: int, stands: bool | None
) -> None:
    """Enough cases, five points, and one chance in a thousand."""
    cases = Recovered(merchant_id="m", recent=recent, recent_recovered=won, before=before, before_recovered=before_won)
    assert recovery_falling(cases)[0] is stands


async def test_an_anomaly_is_told_when_it_begins_and_when_it_is_over(shop: Any) -> None:
    """Once each, however often it is looked at."""
    desk = Desk(shop, about=frozenset({"gateway_failing"}))
    await shop.rows("INSERT INTO gateway_answers VALUES ('default', 'sandbox', $1, 10, 30)", desk.clock.now())
    for _ in range(3):
        await look_for_anomalies(desk.context, desk.clock.now())
    await shop.rows("UPDATE gateway_answers SET answered = 1000, failed = 1")
    for _ in range(3):
        await look_for_anomalies(desk.context, desk.clock.now())
    await desk.tell(EventKind.CASE_OPENED)
    await desk.run(GATHER)

    kinds = await shop.rows("SELECT kind FROM event WHERE kind LIKE 'anomaly.%' ORDER BY id")
    assert [row["kind"] for row in kinds] == ["anomaly.detected", "anomaly.over"]
    assert [message.subject for message in desk.pigeon.sent] == ["Gateway trouble: 2 reports"]

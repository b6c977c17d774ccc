"""Charges that are to come: announced once, their notices planned, said once, moved and left out as things change."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from recoup_core.domain.cardnumbers import CardNumberRefused
from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.domain.upcoming import ChargeFile, ChargeState, NoticeState
from recoup_core.flows.customers.telling import ReportedContact
from recoup_core.flows.messaging import Route
from recoup_core.flows.operate import NotAllowedNow, NotFound
from recoup_core.flows.recover import open_case
from recoup_core.flows.replay import replay
from recoup_core.flows.reports import InconsistentReport, UnknownGateway
from recoup_core.flows.sweep import ORPHAN_AGE
from recoup_core.flows.upcoming.announcing import (
    PASSED_AFTER,
    Announcement,
    ChargeEdit,
    ChargeExists,
    announce,
    call_off,
    edit,
    made,
)
from recoup_core.flows.upcoming.draft import DUE_NOTICE
from recoup_core.ports import Accepted, NotifierCapabilities
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.study.replay import Chunk, Redoer, Replayed
from recoup_core.storage.calls import Call
from recoup_core.storage.decisions import Span
from recoup_core.storage.upcoming import load_charges
from recoup_core.templates.catalogue import Catalogue
from recoup_core.wiring import shipped_policies

START = datetime(2026, 3, 2, 10, tzinfo=UTC)

RETRIES = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - {name: give up, stop: exhausted}
examples:
  - {given: {}, expect: give up}
"""

NOTICES = """
kind: notice
name: cards
applies_to: {method: card}
rules:
  - name: vulnerable customers are called
    when: {customer.vulnerable: true}
    notices:
      - {on: before_charge, ahead: 10d, task: call the customer}
  - name: the card ends before the charge
    when: {card_expires_before_charge: true}
    notices:
      - {on: before_charge, ahead: 14d, message: card_expiring, by: email}
      - {on: before_charge, ahead: 3d, message: card_expiring_2, by: email}
  - name: every other charge is announced
    notices:
      - {on: before_charge, ahead: 7d, message: upcoming_charge, by: email}
examples:
  - {given: {customer.vulnerable: true}, expect: vulnerable customers are called}
  - {given: {card_expires_before_charge: true}, expect: the card ends before the charge}
  - {given: {}, expect: every other charge is announced}
"""


class Postbox:
    """A notifier that keeps what it is handed."""

    name = "post"
    capabilities = NotifierCapabilities(channels=frozenset({"email"}), deduplicates=True, html=True)

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, message: Any) -> Accepted:
        self.sent.append(message)
        return Accepted()

    async def health(self) -> None:
        """There is nothing to reach."""


@pytest.fixture
def post() -> Postbox:
    """Where mails end up."""
    return Postbox()


@pytest.fixture
async def shop(shop_under: Any, clock: Any, post: Postbox) -> Any:
    """A merchant who can write mails, on a Monday morning."""
    clock.set(START)
    shop = await shop_under(RETRIES, NOTICES)
    messaging = replace(
        shop.context.messaging,
        notifiers={"post": post},
        routes=[Route(notifier="post", merchant=None, channels=frozenset({"email"}))],
        templates=Catalogue.load(shipped_policies() / "templates"),
    )
    shop.service.context = shop.context = replace(shop.context, messaging=messaging)
    return shop


def charge(shop: Any, **fields: Any) -> Announcement:
    """A charge in thirty days, at eleven in Berlin, on a card that is good for years."""
    given = {
        "merchant_id": "default",
        "reference": "sub-1-2026-04",
        "customer": Customer(ref="cus-1", country="DE", timezone="Europe/Berlin"),
        "contact": ReportedContact(name="Ada", addresses={"email": "ada@example.test"}),
        "amount_minor": 4900,
        "currency": "EUR",
        "charge_at": START + timedelta(days=30),
        "method": Method.CARD,
        "network": Network.VISA,
        "gateway": "sandbox",
        "expires_on": "2031-12",
        "subscription": {"plan": "pro", "interval": "month"},
    }
    return Announcement(**(given | fields))


async def now_of(shop: Any, file: ChargeFile) -> ChargeFile:
    async with shop.service.database.connection() as connection:
        found = await load_charges(connection, [file.charge.id])
    return found[file.charge.id]


def notices(file: ChargeFile) -> list[tuple[str, str, str]]:
    return [(n.key.rpartition("/")[2], f"{n.due_at:%m-%d %H:%M}", str(n.state)) for n in file.notices]


async def events(shop: Any) -> list[str]:
    rows = await shop.rows("SELECT kind FROM event WHERE data ->> 'reference' = 'sub-1-2026-04' ORDER BY id")
    return [row["kind"] for row in rows]


async def test_a_charge_is_announced_to_its_customer_once(shop: Any, post: Postbox) -> None:
    """A week ahead, with the amount and a link to the page for this charge; done, it is never said again."""
    file = await announce(shop.context, charge(shop), shop.by())
    assert notices(file) == [("upcoming_charge", "03-25 10:00", "planned")]

    await shop.live(timedelta(days=29))

    [mail] = post.sent
    assert "49" in mail.text
    assert "/pay/" in mail.text
    assert notices(await now_of(shop, file)) == [("upcoming_charge", "03-25 10:00", "done")]
    assert await events(shop) == ["upcoming_charge.announced", "notice.planned"]


async def test_a_card_that_ends_before_the_charge_is_asked_for_until_it_is_renewed(shop: Any, post: Postbox) -> None:
    """The second notice is left out once the billing system tells of a new card; the ordinary one takes its place."""
    file = await announce(shop.context, charge(shop, expires_on="2026-03"), shop.by())
    assert [name for name, _, _ in notices(file)] == ["card_expiring", "card_expiring_2"]
    await shop.live(timedelta(days=20))

    renewed = await edit(shop.context, file.charge.id, shop.by(), ChargeEdit(expires_on="2030-01"))
    await shop.live(timedelta(days=10))

    assert [name for name, _, state in notices(renewed) if state == NoticeState.SKIPPED] == ["card_expiring_2"]
    done = [name for name, _, state in notices(await now_of(shop, file)) if state == NoticeState.DONE]
    assert done == ["card_expiring", "upcoming_charge"]
    assert len(post.sent) == len(done)


async def test_a_card_renewed_at_the_gateway_stops_the_question(shop: Any, post: Postbox) -> None:
    """Whatever way the new card came: a notice that is due looks once more."""
    file = await announce(shop.context, charge(shop, expires_on="2026-03"), shop.by())
    await shop.live(timedelta(days=20))
    assert len(post.sent) == 1
    await shop.rows(
        "INSERT INTO credential (id, merchant_id, customer_ref, gateway, token, account_key, method, role, valid,"
        " expires_on, renewed_at, created_at)"
        " VALUES (gen_random_uuid(), 'default', 'cus-1', 'sandbox', 'tok_new', 'fp:new', 'card', 'primary', true,"
        " '2031-05', $1, $1)",
        shop.clock.now(),
    )

    await shop.live(timedelta(days=14))

    left = await now_of(shop, file)
    assert ("card_expiring_2", "skipped") in [(name, state) for name, _, state in notices(left)]
    said = [name for name, _, state in notices(left) if state == NoticeState.DONE]
    assert "card_expiring" in said
    assert "card_expiring_2" not in said
    assert len(post.sent) == len(said)


async def test_notices_move_with_their_charge(shop: Any) -> None:
    """A week later, a week later."""
    file = await announce(shop.context, charge(shop), shop.by())

    moved = await edit(
        shop.context, file.charge.id, shop.by(), ChargeEdit(charge_at=START + timedelta(days=37), amount_minor=5900)
    )

    assert [at for _, at, _ in notices(moved)] == ["04-01 10:00"]
    assert [n.id for n in moved.notices] == [n.id for n in file.notices]
    jobs = await shop.rows("SELECT due_at FROM job WHERE kind = $1", DUE_NOTICE)
    assert [job["due_at"] for job in jobs] == [START + timedelta(days=30)]
    assert (moved.charge.amount_minor, moved.charge.version) == (5900, 2)


@pytest.mark.parametrize("ending", ["called off", "made"])
async def test_a_charge_that_is_over_says_nothing_more(ending: str, shop: Any, post: Postbox) -> None:
    """Called off, or made early: its notices are left out, and the same word again changes nothing."""
    file = await announce(shop.context, charge(shop), shop.by())

    for _ in range(2):
        if ending == "made":
            over = await made(shop.context, file.charge.id, shop.by())
        else:
            over = await call_off(shop.context, file.charge.id, shop.by(), "the customer left")
    await shop.live()

    assert [n.state for n in over.notices] == [NoticeState.SKIPPED]
    assert post.sent == []
    assert await shop.rows("SELECT 1 FROM job") == []
    with pytest.raises(NotAllowedNow):
        await edit(shop.context, file.charge.id, shop.by(), ChargeEdit(amount_minor=1))


async def test_a_message_that_has_not_left_is_called_off_with_its_charge(shop: Any, post: Postbox) -> None:
    """Written down and not handed over yet: nobody hears of a charge that will not be made."""
    file = await announce(shop.context, charge(shop), shop.by())
    shop.clock.set(START + timedelta(days=23))
    await shop.service.run_jobs(await shop.claim())

    await call_off(shop.context, file.charge.id, shop.by(), "the customer left")
    await shop.run_due()

    assert [row["state"] for row in await shop.rows("SELECT state FROM message")] == ["canceled"]
    assert post.sent == []


async def test_a_failed_payment_ends_its_announcement(shop: Any, post: Postbox) -> None:
    """The report under the same reference opens a case: from then on the case alone writes."""
    file = await announce(shop.context, charge(shop), shop.by())
    report = shop.report("tok_generic_decline", code="generic_decline")

    await open_case(shop.context, structs.replace(report, reference="sub-1-2026-04"), "key:shop", None)
    await shop.run_due()

    assert (await now_of(shop, file)).charge.state is ChargeState.FAILED
    await shop.live()
    assert post.sent == []


async def test_a_charge_nobody_tells_more_of_passes(shop: Any) -> None:
    """No charge stays announced for ever; what is told late is taken in all the same."""
    file = await announce(shop.context, charge(shop), shop.by())

    await shop.live(timedelta(days=30) + PASSED_AFTER + timedelta(hours=1))

    assert (await now_of(shop, file)).charge.state is ChargeState.PASSED
    assert (await made(shop.context, file.charge.id, shop.by())).charge.state is ChargeState.MADE


async def test_a_person_is_asked_where_the_policy_says_so(shop: Any, post: Postbox) -> None:
    """A task about the charge, and no message."""
    customer = Customer(ref="cus-1", country="DE", vulnerable=True)
    file = await announce(shop.context, charge(shop, customer=customer), shop.by())

    await shop.live(timedelta(days=29))

    [task] = await shop.rows("SELECT kind, reason, about_id FROM human_task")
    assert (task["kind"], task["reason"]) == ("dunning", "call the customer (charge sub-1-2026-04)")
    assert task["about_id"] == file.charge.id
    assert post.sent == []


async def test_the_same_call_gets_the_same_answer_and_a_reference_is_taken_once(shop: Any) -> None:
    """Idempotent by key; another announcement under the reference is a refusal that names the charge."""
    by = shop.by(call=Call("announce-1", b"body"))

    first = await announce(shop.context, charge(shop), by)
    again = await announce(shop.context, charge(shop), by)
    with pytest.raises(ChargeExists) as refusal:
        await announce(shop.context, charge(shop), shop.by())

    assert first == again
    assert refusal.value.charge_id == first.charge.id


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"gateway": "nobody"}, UnknownGateway),
        ({"charge_at": START - timedelta(hours=1)}, InconsistentReport),
        ({"charge_at": START + timedelta(days=500)}, InconsistentReport),
        ({"amount_minor": 0}, InconsistentReport),
        ({"method": Method.SEPA_DEBIT, "network": None}, InconsistentReport),
        ({"reference": "4242424242424242"}, CardNumberRefused),
    ],
)
async def test_what_can_not_be_is_refused(wrong: dict[str, Any], refusal: type[Exception], shop: Any) -> None:
    """Nothing of it is stored."""
    with pytest.raises(refusal):
        await announce(shop.context, charge(shop, **wrong), shop.by())

    assert await shop.rows("SELECT 1 FROM upcoming_charge") == []


async def test_nobody_touches_another_merchants_charge(shop: Any) -> None:
    """Not found, whoever asks."""
    file = await announce(shop.context, charge(shop), shop.by())
    stranger = type(shop.by())(merchant_id="other", actor="key:other")

    with pytest.raises(NotFound):
        await call_off(shop.context, file.charge.id, stranger, "mine")


async def test_a_notice_that_lost_its_job_gets_it_back(shop: Any, post: Postbox) -> None:
    """The sweep finds it."""
    await announce(shop.context, charge(shop), shop.by())
    await shop.rows("DELETE FROM job")
    shop.clock.set(START + timedelta(days=23) + ORPHAN_AGE + timedelta(minutes=1))

    await shop.service.sweep(shop.clock.now())
    await shop.run_due()

    assert len(post.sent) == 1


async def test_two_workers_say_it_once(shop: Any, post: Postbox) -> None:
    """Handed over twice, the second finds it done."""
    await announce(shop.context, charge(shop), shop.by())
    shop.clock.set(START + timedelta(days=23))
    refs = await shop.claim()

    await shop.service.run_jobs(refs)
    await shop.service.run_jobs(refs)
    await shop.run_due()

    assert len(post.sent) == 1


async def test_every_decision_about_a_charge_can_be_made_again(shop: Any) -> None:
    """Promise 9: from the stored row alone."""
    file = await announce(shop.context, charge(shop, expires_on="2026-03"), shop.by())
    await edit(shop.context, file.charge.id, shop.by(), ChargeEdit(expires_on="2030-01"))
    now, redoer = shop.clock.now(), Redoer(EngineChoice.BEST)

    async def redo(chunk: Chunk) -> Replayed:
        return redoer(chunk)

    span = Span(until=now + timedelta(seconds=1), kind="notice")
    done = [each async for each in replay(shop.service.database, span, redo, now)]
    redoer.close()

    assert sum(each.count for each in done) == 2
    assert [each.differences for each in done if each.differences] == []

"""A failed payment comes in: once, whole, and only if it makes sense."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.errors import CardNumberRefused, UnknownCurrency
from recoup_core.domain.payment import Customer
from recoup_core.flows.recover import Opened, PaymentExists, open_case
from recoup_core.flows.reports import InconsistentReport, UnknownGateway
from recoup_core.storage.calls import Call, IdempotencyKeyReused

AT_ONCE = 20


async def report_it(shop: Any, report: Any, call: Call | None = None) -> Opened:
    return await open_case(shop.context, report, "key:shop", "corr-1", call)


async def count(shop: Any, table: str) -> int:
    return int((await shop.rows(f"SELECT count(*) FROM {table}"))[0][0])


async def test_the_same_call_again_gets_the_first_answer(shop: Any) -> None:
    """A client that never saw the answer asks again: same payment, same case, nothing new."""
    report, call = shop.report("tok_approve"), Call("key-1", b"POST /payments 1")

    first = await report_it(shop, report, call)
    shop.clock.advance(timedelta(hours=1))
    second = await report_it(shop, report, call)

    assert (second.payment, second.case) == (first.payment, first.case)
    assert [await count(shop, t) for t in ("payment", "recovery_case", "timeline_step", "job")] == [1, 1, 1, 1]


async def test_a_key_used_for_another_report_is_refused(shop: Any) -> None:
    """Neither opened nor answered with the other's case."""
    await report_it(shop, shop.report("tok_approve"), Call("key-1", b"one"))

    with pytest.raises(IdempotencyKeyReused):
        await report_it(shop, shop.report("tok_approve"), Call("key-1", b"two"))

    assert await count(shop, "payment") == 1


async def test_a_reference_is_reported_once(shop: Any) -> None:
    """The refusal names the payment that has it; another merchant's call under another key changes nothing."""
    report = shop.report("tok_approve")
    opened = await report_it(shop, report, Call("key-1", b"one"))

    for call in (None, Call("key-2", b"one")):
        with pytest.raises(PaymentExists) as refusal:
            await report_it(shop, report, call)
        assert refusal.value.payment_id == opened.payment.id


@pytest.mark.parametrize("call", [None, Call("key-1", b"one")])
async def test_the_same_report_at_the_same_time_opens_one_case(shop: Any, call: Call | None) -> None:
    """Twenty at once: one case; with a key all get the same answer, without one nineteen are told it exists."""
    report = shop.report("tok_approve")

    answers = await asyncio.gather(*(report_it(shop, report, call) for _ in range(AT_ONCE)), return_exceptions=True)

    opened = [each for each in answers if isinstance(each, Opened)]
    assert len({each.case.id for each in opened}) == 1
    assert len(opened) == (AT_ONCE if call else 1)
    assert all(isinstance(each, Opened | PaymentExists) for each in answers)
    assert [await count(shop, t) for t in ("payment", "recovery_case", "credential")] == [1, 1, 1]


async def test_many_payments_of_a_new_customer_at_once_share_one_credential(shop: Any) -> None:
    """They race for the same new token; all get their case."""
    first = shop.report("tok_approve")
    reports = [
        msgspec.structs.replace(shop.report("tok_approve"), customer=first.customer, credentials=first.credentials)
        for _ in range(AT_ONCE)
    ]

    opened = await asyncio.gather(*(report_it(shop, each) for each in reports))

    assert len({each.case.id for each in opened}) == AT_ONCE
    assert await count(shop, "credential") == 1


async def test_attempts_are_told_apart_by_time_and_belong_to_their_credential(shop: Any) -> None:
    """Numbered by time, whatever order they were reported in; one without a token was made on the primary."""
    report = shop.report("tok_primary", "tok_backup")
    failed = report.attempts[0]
    days = [failed.at - timedelta(days=n) for n in (1, 3, 2)]
    attempts = [msgspec.structs.replace(failed, at=days[n], token=(None, "tok_backup", None)[n]) for n in range(3)]

    opened = await report_it(shop, msgspec.structs.replace(report, attempts=tuple(attempts)))

    file = await shop.file(opened.payment.id)
    primary, backup = sorted(file.credentials, key=lambda c: c.token, reverse=True)
    assert [(a.number, a.submitted_at, a.credential_id) for a in file.attempts] == [
        (1, days[1], backup.id),
        (2, days[2], primary.id),
        (3, days[0], primary.id),
    ]
    assert file.payment.first_failed_at == days[1]


SPOILED: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "an unknown gateway": ({"gateway": "nowhere"}, UnknownGateway),
    "another merchant's gateway": ({"merchant_id": "other"}, UnknownGateway),
    "an unknown currency": ({"currency": "XYZ"}, UnknownCurrency),
    "a currency in small letters": ({"currency": "eur"}, UnknownCurrency),
    "no amount": ({"amount_minor": 0}, InconsistentReport),
    "a negative amount": ({"amount_minor": -1}, InconsistentReport),
    "an amount beyond what is exact": ({"amount_minor": 2**53}, InconsistentReport),
    "no attempt": ({"attempts": ()}, InconsistentReport),
    "a card number as reference": ({"reference": "order 4242-4242-4242-4242"}, CardNumberRefused),
    "a card number in the customer": ({"customer": Customer(ref="378282246310005")}, CardNumberRefused),
    "a card number deep inside": ({"subscription": {"x": [{"y": "5555 5555 5555 4444"}]}}, CardNumberRefused),
}


@pytest.mark.parametrize("name", SPOILED)
async def test_a_report_that_makes_no_sense_is_refused_whole(shop: Any, name: str) -> None:
    """Nothing of it is stored, not even an event."""
    fields, refusal = SPOILED[name]
    before = await count(shop, "event")

    with pytest.raises(refusal) as raised:
        await report_it(shop, msgspec.structs.replace(shop.report("tok_approve"), **fields))

    assert "4242-" not in str(raised.value)
    assert [await count(shop, t) for t in ("payment", "credential", "job")] == [0, 0, 0]
    assert await count(shop, "event") == before


async def test_attempts_that_make_no_sense_are_refused(shop: Any) -> None:
    """In the future, without a zone, on an unknown token; a token reported twice."""
    report = shop.report("tok_approve")
    failed = report.attempts[0]
    wrong = [
        {"attempts": (msgspec.structs.replace(failed, at=failed.at + timedelta(microseconds=1)),)},
        {"attempts": (msgspec.structs.replace(failed, at=failed.at.replace(tzinfo=None)),)},
        {"attempts": (msgspec.structs.replace(failed, token="tok_other"),)},
        {"credentials": report.credentials * 2},
    ]

    for fields in wrong:
        with pytest.raises(InconsistentReport):
            await report_it(shop, msgspec.structs.replace(report, **fields))
    await report_it(shop, report)


@pytest.mark.parametrize(("currency", "amount_minor"), [("JPY", 500), ("KWD", 12345), ("EUR", 1)])
async def test_every_exponent_is_collected_to_the_minor_unit(shop: Any, currency: str, amount_minor: int) -> None:
    """Zero-, three- and two-decimal currencies from report to ledger."""
    opened = await shop.open("tok_approve", currency=currency, amount_minor=amount_minor, code="generic_decline")

    await shop.live()

    file = await shop.file(opened.payment.id)
    postings = await shop.rows("SELECT amount_minor, currency FROM ledger_posting ORDER BY amount_minor DESC")
    assert file.payment.captured_minor == amount_minor
    assert [tuple(row) for row in postings] == [(amount_minor, currency), (-amount_minor, currency)]

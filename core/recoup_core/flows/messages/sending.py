"""Queued messages are sent: looked at once more, committed as *sending*, handed over, and what came of it written down.

A notifier is called outside any transaction. Where the answer is lost the same id goes again only by a notifier that
delivers it once however often it comes; by any other the message stays unknown, for its reader might be told twice.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
import structlog

from recoup_core.domain.customer import BLOCKED, WISHES, AddressState
from recoup_core.domain.happened import EventKind
from recoup_core.domain.message import Message, MessageEvent, MessageState
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.customers.blocking import Why, block
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.guard import Unknown
from recoup_core.flows.messages.contacts import ContactFile, load_contacts
from recoup_core.flows.messages.queueing import SEND_MESSAGE
from recoup_core.flows.messages.working import Working
from recoup_core.flows.notifier_guard import send_guarded
from recoup_core.ports import Accepted, NotAccepted, Notifier, NotNow, OutgoingMessage, SendOutcome
from recoup_core.ports.notifier import Sender
from recoup_core.rules.deciding.contact import ContactRules, next_slot
from recoup_core.storage.cases import lock_payments
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.customers import lock_customers
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.messages import MessageFile, MessageKey, keys_of, lock_messages

SEND_WITHIN: Final = timedelta(days=2)
"""A message that its notifier doesn't take for this long is given up: what it says is no longer news."""

RESEND_WITHIN: Final = timedelta(days=1)
"""For so long a message whose answer was lost is handed over again, where its notifier tells doubles apart; providers
keep ids for a day or so."""

WAITS: Final = tuple(timedelta(seconds=s) for s in (30, 60, 120, 300, 600, 1200, 1800))
"""Waits after *not now* or a lost answer; the last one is kept. A mail server that is away for two hours is asked some
ten times."""

RECORD_WAITS: Final = (1.0, 3.0, 9.0)
"""Waits, in seconds, for a database that is away while answers are to be written down: shorter than any lease."""

REFUSED_ADDRESS: Final = "its notifier says that there is no such address"

_OUTCOMES: Final = {Accepted: "accepted", NotAccepted: "not_accepted", NotNow: "not_now", Unknown: "unknown"}

_FOR_PEOPLE: Final = "the customer is vulnerable: a person speaks with them"
_ANY_NUMBER: Final = 1_000_000

Answer = SendOutcome | Unknown

log = structlog.get_logger(__name__)


class _Going(msgspec.Struct, frozen=True):
    """A message that was committed as *sending*, on its way to its notifier."""

    ref: JobRef
    message: Message
    notifier: Notifier
    again: bool = False
    """An answer to it was lost before: it may have got through then, whatever is answered now."""


async def run_messages(context: Context, refs: Sequence[JobRef]) -> None:
    """Send the messages of these jobs, each at most once as far as anybody can tell."""
    going = await _start(context, refs)
    answers = await asyncio.gather(*(_send(context, each) for each in going))
    await _record_surely(context, list(zip(going, answers, strict=True)))


async def _start(context: Context, refs: Sequence[JobRef]) -> list[_Going]:
    """Say of each message whether it goes now; what goes is committed as *sending* before anybody is called."""
    changes, going = Changes(), list[_Going]()
    async with context.database.transaction() as connection:
        keys = await keys_of(connection, [ref.subject_id for ref in refs])
        now = context.clock.now()
        contacts = await load_contacts(connection, {(key.merchant_id, key.customer_ref) for key in keys}, now)
        files = await lock_messages(connection, [key.id for key in keys])
        for ref in refs:
            file = files.get(ref.subject_id)
            if file is None:
                changes.finish(ref)
                continue
            work = Working(file, changes, now, SYSTEM)
            contact = contacts[file.message.merchant_id, file.message.customer_ref]
            notifier = context.messaging.notifiers.get(file.message.notifier)
            if _goes(context, work, contact, notifier, ref) and notifier is not None:
                going.append(_Going(ref, work.message, notifier, file.message.state is MessageState.SENDING))
        await changes.write(connection)
    count_events(context, changes)
    return going


def _goes(context: Context, work: Working, contact: ContactFile, notifier: Notifier | None, ref: JobRef) -> bool:
    """Decide under the locks; what does not go now is canceled, given up, lost or put off."""
    state = work.message.state
    if state not in (MessageState.QUEUED, MessageState.SENDING):
        work.changes.finish(ref)
        return False
    refusal = _unwanted(work.file, contact, context.messaging.contact, work.now)
    if state is MessageState.SENDING:  # handed over before, and nobody knows what came of it
        again = notifier is not None and notifier.capabilities.deduplicates and refusal is None
        if again and work.now - work.message.created_at < RESEND_WITHIN:
            work.move(MessageEvent.SEND, sends=work.message.sends + 1)
            return True
        work.lose(refusal or "the sending was interrupted, and nobody knows whether it got through")
    elif refusal == _FOR_PEOPLE:
        work.leave_to_people(refusal)
    elif refusal is not None:
        work.cancel(refusal)
    elif notifier is None:
        work.fail(f"no notifier is named {work.message.notifier} any more")
    elif work.now - work.message.created_at >= SEND_WITHIN:
        work.fail(f"not taken for {SEND_WITHIN.days} days: {work.message.because or 'nobody tried'}")
    elif (later := _not_before(context, work, contact)) > work.now:
        _put_off(work, later)
        return False
    else:
        work.move(MessageEvent.SEND, sends=work.message.sends + 1)
        return True
    work.changes.finish(ref)
    return False


def _unwanted(file: MessageFile, contact: ContactFile, rules: ContactRules, now: datetime) -> str | None:
    """Return why the message is no longer wanted."""
    message = file.message
    if message.text is None or message.to_address is None:
        return "the customer was erased"
    if contact.record.do_not_contact:
        return "the customer is not to be contacted"
    if contact.record.vulnerable and not rules.weekly(vulnerable=True):
        return _FOR_PEOPLE
    if file.payment not in (None, PaymentState.OWED):
        return f"the payment is {file.payment}"
    if file.case not in (None, CaseState.OPEN, CaseState.EXHAUSTED):
        return f"the case is {file.case}"
    if message.address_id is not None and (file.address is None or file.address in BLOCKED):
        return f"the address is {file.address or 'gone'}"
    if (state := contact.blocked(message.channel)) in WISHES:
        return f"the customer has {state} on this channel"
    if message.latest_at is not None and now > message.latest_at:
        return "it would come too late"
    return None


def _not_before(context: Context, work: Working, contact: ContactFile) -> datetime:
    """Return when the message may leave: one that was kept waiting keeps quiet hours and distance all the same."""
    message = work.message
    rules = msgspec.structs.replace(context.messaging.contact, per_week=_ANY_NUMBER, vulnerable_per_week=_ANY_NUMBER)
    occasion = message.step_id or message.notice_id or message.id
    past = contact.sent_contacts(occasion)
    slot = next_slot(work.now, past, rules, ZoneInfo(message.zone), message.country, occasion=occasion)
    return work.now if slot is None else slot.at


def _put_off(work: Working, at: datetime) -> None:
    message = work.message
    work.changes.add(NewJob(kind=SEND_MESSAGE, subject_id=message.id, due_at=at, correlation_id=message.correlation_id))


async def _send(context: Context, going: _Going) -> Answer:
    started = monotonic()
    answer = await send_guarded(going.notifier, _outgoing(context, going.message))
    seconds = monotonic() - started
    context.measures.message_sent(going.notifier.name, going.message.channel, _OUTCOMES[type(answer)], seconds)
    return answer


def _outgoing(context: Context, message: Message) -> OutgoingMessage:
    """Return the message as notifiers get it; the same each time, word for word."""
    brand, links = context.messaging.brand_of(message.merchant_id), context.messaging.links
    unsubscribe = None
    if message.address_id is not None:
        unsubscribe = links.unsubscribe(
            message.address_id, message.merchant_id, message.customer_ref, message.created_at
        )
    about = {
        "message": message.id,
        "case": message.case_id,
        "payment": message.payment_id,
        "step": message.step_id,
        "notice": message.notice_id,
    }
    return OutgoingMessage(
        id=message.id,
        merchant_id=message.merchant_id,
        channel=message.channel,
        to=message.to_address or "",
        sender=Sender(name=brand.name, reply_to=brand.support_email),
        subject=message.subject,
        text=message.text or "",
        html=message.html,
        locale=message.locale,
        unsubscribe_url=unsubscribe,
        data={
            "customer": message.customer_ref,
            "template": message.template,
            **{name: str(value) for name, value in about.items() if value is not None},
        },
        created_at=message.created_at,
    )


async def _record_surely(context: Context, answers: Sequence[tuple[_Going, Answer]]) -> None:
    """Write down what came of each, whatever is wrong with the others: what isn't written down is unknown for good."""
    for wait in RECORD_WAITS:
        try:
            return await _record(context, answers)
        except DatabaseUnavailable:
            await asyncio.sleep(wait)
        except Exception as failure:
            if len(answers) == 1:
                raise
            log.warning("answers_recorded_one_by_one", messages=len(answers), error=repr(failure))
            for single in answers:
                await _record_alone(context, single)
            return None
    return await _record(context, answers)


async def _record_alone(context: Context, single: tuple[_Going, Answer]) -> None:
    try:
        await _record(context, [single])
    except DatabaseUnavailable:
        raise
    except Exception as failure:  # its job's lease ends, and the next holder says what can still be said
        log.error("answer_not_recorded", message=str(single[0].message.id), error=repr(failure))


async def _record(context: Context, answers: Sequence[tuple[_Going, Answer]]) -> None:
    """Write down what came of each; feedback may have come before our own answer."""
    if not answers:
        return
    changes = Changes()
    async with context.database.transaction() as connection:
        keys = await keys_of(connection, [going.message.id for going, _ in answers])
        files = await lock_for_outcome(connection, keys, context.clock.now())
        bad: list[Message] = []
        for going, answer in answers:
            work = Working(files[going.message.id], changes, context.clock.now(), f"notifier:{going.message.notifier}")
            if _apply(work, answer, going):
                changes.finish(going.ref)
            if isinstance(answer, NotAccepted) and answer.bad_address:
                bad.append(work.message)
        why = Why(state=AddressState.BOUNCED, because=REFUSED_ADDRESS, actor=SYSTEM, now=context.clock.now())
        await block(connection, changes, bad, why)
        await changes.write(connection)
    count_events(context, changes)


async def lock_for_outcome(
    connection: asyncpg.Connection, keys: Collection[MessageKey], now: datetime
) -> Mapping[UUID, MessageFile]:
    """Lock messages together with the payments that they are about, or else their customers: who hears of two channels
    at once hears of them one after the other, and so sees that both were in vain."""
    payments = {key.payment_id for key in keys if key.payment_id is not None}
    if payments:
        await lock_payments(connection, payments)
    if customers := {(key.merchant_id, key.customer_ref) for key in keys if key.payment_id is None}:
        await lock_customers(connection, customers, now)
    return await lock_messages(connection, [key.id for key in keys])


def _apply(work: Working, answer: Answer, going: _Going) -> bool:
    """Apply an answer; return whether the message's job is done."""
    match answer:
        case Accepted():
            _accept(work, answer)
        case NotAccepted():
            if work.allows(MessageEvent.FAIL):
                work.fail(work.said(answer.reason))
        case NotNow() if work.allows(MessageEvent.NOT_SEND) and not going.again:
            work.move(MessageEvent.NOT_SEND, because=work.said(answer.reason))
            wait = max(_wait(work.message.sends), timedelta(seconds=answer.retry_after_s or 0))
            _put_off(work, work.now + wait)
            return False
        case Unknown() | NotNow() if work.allows(MessageEvent.LOSE):
            young = work.now - work.message.created_at < RESEND_WITHIN
            if going.notifier.capabilities.deduplicates and young:
                work.change(because=work.said(answer.reason))
                _put_off(work, work.now + _wait(work.message.sends))
                return False
            work.lose(work.said(answer.reason))
    return True


def _accept(work: Working, answer: Accepted) -> None:
    erased = work.message.text is None
    taken = {"sent_at": work.now, "provider_ref": None if erased else answer.provider_ref}
    if work.allows(MessageEvent.ACCEPT):
        work.move(MessageEvent.ACCEPT, because=None, finished_at=None, **taken)
        work.tell(EventKind.MESSAGE_SENT, notifier=work.message.notifier)
    elif work.message.sent_at is None:
        work.change(**taken)


def _wait(sends: int) -> timedelta:
    return WAITS[min(max(sends, 1), len(WAITS)) - 1]

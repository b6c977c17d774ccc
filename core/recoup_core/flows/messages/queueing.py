"""Something is to be said to a customer: written down with what it says, held back, or left out for a reason.

Called under the customer's lock, in the transaction in which whoever wants it said becomes done: so it is written down
once, whatever is killed when. Nothing leaves the house from here; `sending` does that.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from recoup_core.domain.customer import Address
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.message import Message, MessageState
from recoup_core.flows.draft import POLICY
from recoup_core.flows.messages.contacts import ContactFile, locale_of
from recoup_core.flows.messaging import Messaging
from recoup_core.ports import Notifier
from recoup_core.rules.deciding.contact import next_slot
from recoup_core.storage.changes import Changes, NewJob
from recoup_core.storage.customers import Told
from recoup_core.templates.catalogue import Rendered, TemplateFailed, UnknownTemplate
from recoup_core.templates.variables import MessageData

SEND_MESSAGE: Final = "message"
"""Job kind: hand a message to its notifier. Subject: the message."""

LONGEST_HOLD: Final = timedelta(days=14)
"""What would have to wait for longer is not said at all: by then it says something that is no longer so."""


class Unsaid(StrEnum):
    """Why something is not said at all."""

    DO_NOT_CONTACT = "do_not_contact"
    NO_NOTIFIER = "no_notifier"
    UNREACHABLE = "unreachable"
    """The customer has no address on any of the channels that may be written to."""
    TOO_LATE = "too_late"
    """The contact budget would let it out only when it must not come any more."""
    VULNERABLE = "vulnerable"
    """The customer is vulnerable, and such customers are left to people."""
    NO_BUDGET = "no_budget"
    """The contact budget allows for no message at all."""
    NO_TEMPLATE = "no_template"


_BY_BUDGET: Final = frozenset({Unsaid.DO_NOT_CONTACT, Unsaid.TOO_LATE, Unsaid.VULNERABLE, Unsaid.NO_BUDGET})
"""What the contact budget held back; of the others it is told that the step or notice was skipped."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said, to whom, by which channels."""

    merchant_id: str
    customer_ref: str
    template: str
    channels: tuple[str, ...]
    data: MessageData
    """What the template is given; `zone` is the customer's, and what unsubscribes is added here."""
    country: str | None = None
    """The customer's, as far as it is known: its holidays are kept."""
    vulnerable: bool = False
    """Whether the debt's report calls the customer vulnerable; their record may, too."""
    case_id: UUID | None = None
    payment_id: UUID | None = None
    step_id: UUID | None = None
    notice_id: UUID | None = None
    """The step or the notice that wants it; exactly one of them."""
    latest: datetime | None = None
    """It must not be sent later than this."""
    correlation_id: str | None = None
    actor: str = POLICY

    @property
    def occasion(self) -> UUID:
        """What its messages have in common, whatever their channel."""
        found = self.step_id or self.notice_id
        assert found is not None  # one of them wants it
        return found


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """Written down; the messages leave as soon as a worker comes by."""

    messages: tuple[Message, ...]
    held_back: tuple[str, ...] = ()
    """Channels by which it is not said although it could be: the week has no room for so many."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Not before `until`; then it is asked again."""

    until: datetime
    because: str


class NotSaid(msgspec.Struct, frozen=True, kw_only=True):
    """Not said, and not later either."""

    why: Unsaid
    because: str
    """In words; names no address."""


Said = Queued | Held | NotSaid


class _Way(msgspec.Struct, frozen=True):
    channel: str
    notifier: Notifier
    address: Address | None


def say(messaging: Messaging, contact: ContactFile, changes: Changes, wanted: Wanted, now: datetime) -> Said:
    """Write messages and their jobs to `changes`, or return until when they are held, or why nothing is said.

    One message a channel of `wanted` that the customer can be reached by. Events tell of each, and of what is held
    back; the caller brings its own step or notice in line with what comes back.
    """
    said = _decide(messaging, contact, changes, wanted, now)
    if isinstance(said, Held):
        _tell(changes, wanted, now, EventKind.MESSAGE_HELD_BACK, until=said.until.isoformat(), because=said.because)
    elif isinstance(said, NotSaid) and said.why in _BY_BUDGET:
        _tell(changes, wanted, now, EventKind.MESSAGE_HELD_BACK, why=said.why.value, because=said.because)
    elif isinstance(said, Queued) and said.held_back:
        because = "the contact budget has no room for all channels this week"
        _tell(changes, wanted, now, EventKind.MESSAGE_HELD_BACK, channels=list(said.held_back), because=because)
    return said


def _decide(messaging: Messaging, contact: ContactFile, changes: Changes, wanted: Wanted, now: datetime) -> Said:
    if contact.record.do_not_contact:
        return NotSaid(why=Unsaid.DO_NOT_CONTACT, because="the customer is not to be contacted")
    ways = _ways(messaging, contact, wanted)
    if isinstance(ways, NotSaid):
        return ways
    room = _room(messaging, contact, wanted, now)
    if not isinstance(room, int):
        return room
    going, held_back = ways[:room], tuple(way.channel for way in ways[room:])
    messages: list[Message] = []
    try:
        messages = [_written(messaging, contact, wanted, way, now) for way in going]
    except (UnknownTemplate, TemplateFailed) as unknown:
        return NotSaid(why=Unsaid.NO_TEMPLATE, because=str(unknown))
    for message in messages:
        _queue(contact, changes, wanted, message, now)
    return Queued(messages=tuple(messages), held_back=held_back)


def _room(messaging: Messaging, contact: ContactFile, wanted: Wanted, now: datetime) -> int | Held | NotSaid:
    """Return how many messages may go out now, or until when none may."""
    rules, vulnerable = messaging.contact, wanted.vulnerable or contact.record.vulnerable
    slot = next_slot(
        now,
        contact.contacts(reset_on_recovery=rules.reset_on_recovery),
        rules,
        ZoneInfo(wanted.data.zone),
        wanted.country,
        vulnerable=vulnerable,
        occasion=wanted.occasion,
    )
    if slot is None:
        if vulnerable and rules.per_week > 0:
            return NotSaid(why=Unsaid.VULNERABLE, because="the customer is vulnerable: a person speaks with them")
        return NotSaid(why=Unsaid.NO_BUDGET, because="the contact budget allows for no message")
    if slot.at <= now:
        return slot.room
    because = slot.because or "the contact budget"
    if slot.at > min(wanted.latest or slot.at, now + LONGEST_HOLD):
        return NotSaid(why=Unsaid.TOO_LATE, because=f"held back until it would come too late: {because}")
    return Held(until=slot.at, because=because)


def _ways(messaging: Messaging, contact: ContactFile, wanted: Wanted) -> Sequence[_Way] | NotSaid:
    """Return by what the customer can be reached, in the order of the channels; or why they can't be."""
    carried = [
        (channel, carrier)
        for channel in dict.fromkeys(wanted.channels)
        if (carrier := messaging.notifier_for(wanted.merchant_id, channel)) is not None
    ]
    if not carried:
        return NotSaid(why=Unsaid.NO_NOTIFIER, because=f"no notifier can send by {', '.join(wanted.channels)}")
    ways = [
        _Way(channel, carrier, contact.usable(channel))
        for channel, carrier in carried
        if contact.usable(channel) is not None or not carrier.capabilities.addressed
    ]
    if ways:
        return ways
    blocked = [f"{channel} ({state})" for channel, _ in carried if (state := contact.blocked(channel)) is not None]
    names = ", ".join(channel for channel, _ in carried)
    because = f"may not be written to by {', '.join(blocked)}" if blocked else f"has no address for {names}"
    return NotSaid(why=Unsaid.UNREACHABLE, because=f"the customer {because}")


def _written(messaging: Messaging, contact: ContactFile, wanted: Wanted, way: _Way, now: datetime) -> Message:
    locale = locale_of(contact, wanted.data.brand.locale, messaging.locale)
    data, address = wanted.data, way.address
    if address is not None:
        url = messaging.links.unsubscribe(address.id, wanted.merchant_id, wanted.customer_ref, now)
        data = msgspec.structs.replace(data, unsubscribe_url=url)
    words: Rendered = messaging.templates.render(wanted.template, way.channel, locale, data)
    return Message(
        id=new_id(),
        merchant_id=wanted.merchant_id,
        customer_ref=wanted.customer_ref,
        case_id=wanted.case_id,
        payment_id=wanted.payment_id,
        step_id=wanted.step_id,
        notice_id=wanted.notice_id,
        channel=way.channel,
        template=wanted.template,
        locale=words.locale,
        notifier=way.notifier.name,
        address_id=address.id if address else None,
        to_address=address.address if address else "",
        subject=words.subject,
        text=words.text,
        html=words.html if way.notifier.capabilities.html else None,
        zone=wanted.data.zone,
        country=wanted.country,
        latest_at=wanted.latest,
        correlation_id=wanted.correlation_id,
        created_at=now,
    )


def _queue(contact: ContactFile, changes: Changes, wanted: Wanted, message: Message, now: datetime) -> None:
    changes.add(message)
    job = NewJob(kind=SEND_MESSAGE, subject_id=message.id, due_at=now, correlation_id=message.correlation_id)
    changes.add(job)
    contact.remember(
        Told(
            id=message.id,
            step_id=message.step_id,
            notice_id=message.notice_id,
            state=MessageState.QUEUED,
            created_at=now,
            sent_at=None,
            paid=False,
        )
    )
    about = {"message": str(message.id), "channel": message.channel, "locale": message.locale}
    _tell(changes, wanted, now, EventKind.MESSAGE_QUEUED, **about)


def _tell(changes: Changes, wanted: Wanted, now: datetime, kind: EventKind, **data: Any) -> None:
    by = {"step": wanted.step_id} if wanted.step_id else {"notice": wanted.notice_id}
    changes.add(
        Event(
            at=now,
            merchant_id=wanted.merchant_id,
            kind=kind,
            actor=wanted.actor,
            case_id=wanted.case_id,
            payment_id=wanted.payment_id,
            correlation_id=wanted.correlation_id,
            data={
                **{name: str(value) for name, value in by.items()},
                "customer": wanted.customer_ref,
                "template": wanted.template,
                **data,
            },
        )
    )

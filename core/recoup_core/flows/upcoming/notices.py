"""Due notices are said, each once: done in the transaction that writes the message down; late ones are decided anew."""

from collections.abc import Mapping, Sequence
from typing import Final

from recoup_core.domain.happened import TaskKind
from recoup_core.domain.recovery import StepKind
from recoup_core.domain.upcoming import (
    ChargeEvent,
    ChargeState,
    Notice,
    NoticeEvent,
    NoticeState,
    UpcomingCharge,
    last_day_of,
)
from recoup_core.flows.context import Context
from recoup_core.flows.draft import POLICY, SYSTEM
from recoup_core.flows.messages.contacts import ContactFile, country_of, load_contacts, zone_of_customer
from recoup_core.flows.messages.queueing import Held, NotSaid, Queued, Unsaid, Wanted, say
from recoup_core.flows.messaging import Messaging
from recoup_core.flows.upcoming.announcing import PASSED_AFTER
from recoup_core.flows.upcoming.deciding import plan_notices
from recoup_core.flows.upcoming.draft import ChargeDraft, locked_charges
from recoup_core.rules.deciding.dunning import LATE
from recoup_core.storage.changes import JobRef
from recoup_core.storage.customers import CustomerKey
from recoup_core.storage.upcoming import charges_of_notices
from recoup_core.templates.variables import MessageData, Upcoming

_ASKS: Final = {
    Unsaid.UNREACHABLE: TaskKind.MESSAGE_UNDELIVERABLE,
    Unsaid.NO_TEMPLATE: TaskKind.MESSAGE_UNDELIVERABLE,
    Unsaid.VULNERABLE: TaskKind.VULNERABLE_CUSTOMER,
}
"""What a person is asked where nothing is said; the others are as somebody wished."""


async def run_charges(context: Context, refs: Sequence[JobRef]) -> None:
    """Look at charges again: one that failed or whose time is over is closed, any other decides anew."""
    async with locked_charges(context, {ref.subject_id for ref in refs}) as locked:
        for ref in refs:
            draft = locked.draft(ref.subject_id, SYSTEM, ref.correlation_id)
            if draft is None or draft.file.charge.state is not ChargeState.ANNOUNCED:
                locked.changes.finish(ref)
                continue
            over_at = draft.file.charge.charge_at + PASSED_AFTER
            if draft.file.failed:
                draft.move(ChargeEvent.FAIL, "the charge failed")
            elif draft.now >= over_at:
                draft.move(ChargeEvent.LAPSE, "the charge's time is over")
            else:
                draft.look_again(over_at)
                plan_notices(draft)


async def run_notices(context: Context, refs: Sequence[JobRef]) -> None:
    """Do due notices, each once."""
    async with context.database.connection() as connection:
        charges = await charges_of_notices(connection, [ref.subject_id for ref in refs])
    async with locked_charges(context, set(charges.values())) as locked:
        wanted = {(d.file.charge.merchant_id, d.file.charge.customer.ref) for d in locked.announced}
        contacts = await load_contacts(locked.connection, wanted, locked.now)
        for ref in refs:
            draft = locked.draft(charges.get(ref.subject_id), POLICY, ref.correlation_id)
            notice = _still_to_do(draft, ref) if draft else None
            if draft is None or notice is None:
                locked.changes.finish(ref)
            else:
                _run(draft, notice, context.messaging, contacts)


def _still_to_do(draft: ChargeDraft, ref: JobRef) -> Notice | None:
    """Return the notice where it is still planned; late, or with a card renewed since, it is decided anew."""
    if draft.file.charge.state is ChargeState.ANNOUNCED and draft.file.failed:
        draft.move(ChargeEvent.FAIL, "the charge failed")
    notice = draft.file.notice(ref.subject_id)
    if notice is None or notice.state is not NoticeState.PLANNED:
        return None
    renewed = draft.file.renewed is not None and draft.file.renewed.at > notice.created_at
    if renewed or draft.now - notice.due_at >= LATE:
        plan_notices(draft)
        notice = draft.file.notice(ref.subject_id)
    return notice if notice is not None and notice.state is NoticeState.PLANNED else None


def _run(draft: ChargeDraft, notice: Notice, messaging: Messaging, contacts: Mapping[CustomerKey, ContactFile]) -> None:
    charge = draft.file.charge
    if notice.due_at > draft.now:
        draft.wake(notice, notice.due_at)
    elif draft.now > notice.latest_at:
        draft.skip(notice, "it would come too late", had_turn=True)
    elif notice.kind is StepKind.HUMAN_TASK:
        draft.move_notice(notice, NoticeEvent.FINISH, had_turn=True)
        draft.ask_human(TaskKind.DUNNING, f"{notice.detail.get('text', '')} (charge {charge.reference})")
    else:
        _say(draft, notice, messaging, contacts[charge.merchant_id, charge.customer.ref])


def _say(draft: ChargeDraft, notice: Notice, messaging: Messaging, contact: ContactFile) -> None:
    charge = draft.file.charge
    wanted = Wanted(
        merchant_id=charge.merchant_id,
        customer_ref=charge.customer.ref,
        template=str(notice.detail.get("template", "")),
        channels=tuple(notice.detail.get("channels", ())),
        data=_data(draft, messaging, contact),
        country=country_of(contact, charge.customer),
        vulnerable=charge.customer.vulnerable,
        notice_id=notice.id,
        latest=notice.latest_at,
        correlation_id=draft.correlation_id,
        actor=draft.actor,
    )
    match say(messaging, contact, draft.changes, wanted, draft.now):
        case Queued():
            draft.move_notice(notice, NoticeEvent.FINISH, had_turn=True)
        case Held(until=until, because=because):
            held = draft.move_notice(
                notice, NoticeEvent.MOVE, due_at=until, held_until=until, held_because=because[:500]
            )
            draft.wake(held, until)
        case NotSaid(why=why, because=because):
            draft.skip(notice, because, had_turn=True)
            if why in _ASKS:
                draft.ask_human(_ASKS[why], f"{wanted.template} (charge {charge.reference}): {because}")


def _data(draft: ChargeDraft, messaging: Messaging, contact: ContactFile) -> MessageData:
    """Return what a message about this charge may say, as of now."""
    charge = draft.file.charge
    until = draft.now + messaging.link_lifetime
    return MessageData(
        brand=messaging.brand_of(charge.merchant_id),
        customer_name=contact.record.name,
        zone=zone_of_customer(contact, charge.customer).key,
        now=draft.now,
        upcoming=_upcoming(draft, charge),
        update_url=messaging.links.charge(charge.id, charge.merchant_id, charge.customer.ref, until),
    )


def _upcoming(draft: ChargeDraft, charge: UpcomingCharge) -> Upcoming:
    plan, month = charge.subscription.get("plan"), draft.file.expires_on
    return Upcoming(
        reference=charge.reference,
        amount=charge.amount,
        charge_at=charge.charge_at,
        method=charge.method,
        plan=plan if isinstance(plan, str) else None,
        card_expires=None if month is None else last_day_of(month),
    )
